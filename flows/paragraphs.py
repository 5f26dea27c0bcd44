"""paragraphs: what repeats across texts, and the texts without it, as variants beside the texts themselves.

Two outputs over all documents: `without_repeats` by DCLM's rule on 13-grams, `without_boilerplate` by lines that many texts of one host
share. Both are made anew when documents change, because a new text may be what an old one repeats.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, code_of, every_slot, open_lake, require, settle, stage_keys, works_of
from flows.settings import ParagraphsSettings
from lm.corpus import boilerplate, paragraphs
from lm.corpus.contamination.verdict import without_spans
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir

BATCH_ROWS = 1024
TEXTS = "SELECT id, text FROM documents"
ADDRESSED = "SELECT DISTINCT ON (id) id, host, text FROM documents WHERE host IN (SELECT host FROM lines_of_hosts) ORDER BY id, host"
REPEATING = "SELECT DISTINCT ON (id) id, text, spans, is_whole FROM documents JOIN repeating USING (id) ORDER BY id"
NUM_BYTES = "SELECT coalesce(sum(num_bytes), 0) FROM documents"


def plan(lake: Lake, settings: ParagraphsSettings) -> Plan[str]:
    """Two units: repeats over all documents, and lines per host."""
    keys = stage_keys(lake, "documents")
    lines = settings.model_dump()
    units = [
        ("repeats", {"ngram": paragraphs.NGRAM, "max_seen": paragraphs.MAX_SEEN}, code_of("lm.corpus.paragraphs")),
        ("host_lines", lines, code_of("lm.corpus.boilerplate")),
    ]
    works = [Work(stage="paragraphs", slot=slot, parameters=given, code=code, inputs=keys) for slot, given, code in units]
    return Plan("paragraphs", [Planned(work, work.slot) for work in works] if keys else [], owns=every_slot)


@task(name="repeats", cache_policy=NO_CACHE, persist_result=False, task_run_name="repeats")
def find_repeats(work: Work) -> Output:
    """Texts without paragraphs that earlier texts hold."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out, tempfile.TemporaryDirectory(prefix="ladder-") as folder:

        def texts() -> Iterator[pa.RecordBatch]:
            with lake.connection() as connection:
                connection.execute(TEXTS)
                yield from connection.to_arrow_reader(BATCH_ROWS)

        found = list(paragraphs.find_repeats(texts, int(lake.value(NUM_BYTES)), Path(folder)))
        variants = [boilerplate.VARIANTS.empty_table()]
        with lake.connection() as connection:
            connection.register("repeating", pa.concat_tables([paragraphs.REPEATS.empty_table(), *found]))
            connection.execute(REPEATING)
            variants += [_without(batch) for batch in connection.to_arrow_reader(BATCH_ROWS)]
            connection.unregister("repeating")
        rows = pa.concat_tables(variants)
        files = {"text_variants": [out.write("text_variants", rows)]}
    LOG.info("  %s: %s texts lose paragraphs or go", paragraphs.VARIANT, f"{rows.num_rows:,}")
    return Output(work=work, files=files, seconds=time.monotonic() - started)


def _without(batch: pa.RecordBatch) -> pa.Table:
    rows = []
    for row in batch.to_pylist():
        text = "" if row["is_whole"] else without_spans(row["text"], [row["spans"]])
        removed = len(row["text"].encode()) - len(text.encode())
        rows.append({"id": row["id"], "variant": paragraphs.VARIANT, "text": text, "num_removed_bytes": removed})
    return pa.Table.from_pylist(rows, schema=boilerplate.VARIANTS)


@task(name="host lines", cache_policy=NO_CACHE, persist_result=False, task_run_name="host lines")
def find_host_lines(work: Work, settings: ParagraphsSettings) -> Output:
    """Lines that many texts of a host share, and the texts without them."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out, lake.connection() as connection:
        lines = connection.execute(boilerplate.host_lines_sql(settings.min_line_documents, settings.min_line_share)).to_arrow_table()
        by_host: dict[str, set[str]] = {}
        for host, line in zip(lines["host"].to_pylist(), lines["whole"].to_pylist(), strict=True):
            by_host.setdefault(str(host), set()).add(str(line))
        connection.register("lines_of_hosts", lines.select(["host"]))
        connection.execute(ADDRESSED)
        variants = [boilerplate.VARIANTS.empty_table()]
        variants += [boilerplate.variants(batch, by_host) for batch in connection.to_arrow_reader(BATCH_ROWS)]
        connection.unregister("lines_of_hosts")
        tables = {"host_lines": lines.drop_columns(["whole"]), "text_variants": pa.concat_tables(variants)}
        files = {name: [out.write(name, rows)] for name, rows in tables.items()}
    LOG.info("  %s: %s lines of %s hosts", boilerplate.VARIANT, f"{lines.num_rows:,}", f"{len(by_host):,}")
    return Output(work=work, files=files, seconds=time.monotonic() - started)


def bring_up_to_date(lake: Lake, settings: ParagraphsSettings | None = None) -> StageResult:
    """Make both variants over all documents there are; without settings as they were made last."""
    settings = settings or _last_settings(lake)

    def produce(todo: Sequence[Planned[str]]) -> list[Output]:
        return [find_repeats(p.work) if p.unit == "repeats" else find_host_lines(p.work, settings) for p in todo]

    return settle(lake, plan(lake, settings), produce)


def is_current(lake: Lake) -> bool:
    """Whether both variants are made of all documents there are."""
    return not plan(lake, _last_settings(lake)).todo(lake)


def _last_settings(lake: Lake) -> ParagraphsSettings:
    last = [work.parameters for work in works_of(lake, "paragraphs") if work.slot == "host_lines"]
    return ParagraphsSettings(**dict(last[0])) if last else ParagraphsSettings()


@flow(name="paragraphs")
def paragraphs_flow(settings: ParagraphsSettings = ParagraphsSettings()) -> StageResult:
    """Find what repeats across texts, and write the texts without it as variants."""
    with open_lake() as lake:
        require(plan(lake, settings).units, "documents", "ladder documents")
        return bring_up_to_date(lake, settings)
