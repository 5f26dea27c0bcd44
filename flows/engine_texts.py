"""engine_texts: the texts of documents by another engine than the lake's, for recipes that start from them.

A document stays what it is; its text by another engine is a variant, named after the engine, and measured as the lake's texts are. Files
with pages are read once more, one at a time, in parallel processes, and only documents whose text changes are stored. One unit per engine
and output of the signals stage: of equal texts the page counts that brought the text first, so every text has one variant and a new crawl
reads its own files only. The cost: an archive is unpacked again for each engine, and a text that two pages share gets what the engine makes
of one of them.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, code_of, every_slot, open_lake, settle, stage_keys, works_of
from flows.documents import Shard, shards
from flows.processes import in_child, side_by_side
from flows.progress import Progress
from flows.signals import BATCH_TEXTS
from lm.corpus.documents import WITH_PAGES
from lm.corpus.engine_texts import STAGE, measured, write_texts
from lm.corpus.extraction.forest import model_digest
from lm.corpus.language import language_model_digest
from lm.corpus.records import ExtractionOptions
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import OutputDir, output_dir

WANTED = """
    SELECT capture_id, id, num_bytes FROM documents
    WHERE produced_by = ? AND extractor <> 'plain' AND id IN (SELECT id FROM signals WHERE produced_by = ?)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY capture_id) = 1 ORDER BY capture_id
"""
"""Texts that one signals output brought first, each with one page it was taken from."""


OWNED = "SELECT produced_by, count(*) || ' ' || bit_xor(md5_number_lower(id)) FROM signals GROUP BY produced_by"
"""What tells the texts of one signals output from others: other signals of the same texts ask for no page again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A crawled file that another engine is to read."""

    shard: Shard
    options: dict[str, Any]
    documents_key: str
    signals_key: str


def plan(lake: Lake, engines: Collection[str]) -> Plan[Asked]:
    """One unit per engine and file with pages whose documents are by another engine."""
    return Plan(STAGE, list(_planned(lake, engines)) if engines else [], owns=every_slot)


def _planned(lake: Lake, engines: Collection[str]) -> Iterator[Planned[Asked]]:
    files, signals, owned = {shard.slot: shard for shard in shards(lake)}, stage_keys(lake, "signals"), dict(lake.rows(OWNED))
    models = {"model:lm.corpus.extraction": model_digest(), "model:lm.corpus.language": language_model_digest()}
    code = {**code_of("lm.corpus.engine_texts"), **models}
    for made in works_of(lake, "documents"):
        shard, signals_key = files.get(made.slot), signals.get(f"signals/{made.slot}", "")
        if shard is None or shard.kind not in WITH_PAGES or signals_key not in owned:
            continue
        inputs = {f"documents/{made.slot}": made.key, "texts": owned[signals_key]}
        options = {name: value for name, value in made.parameters.items() if name != "kind"}
        for engine in sorted(set(engines) - {options["extractor"]}):
            asked = Asked(shard, {**options, "extractor": engine}, made.key, signals_key)
            work = Work(stage=STAGE, slot=f"{engine}/{made.slot}", parameters=asked.options, code=code, inputs=inputs)
            yield Planned(work, asked)


@task(name="extract again", cache_policy=NO_CACHE, persist_result=False, task_run_name="extract again {work.slot}")
def extract_again(work: Work, asked: Asked) -> Output:
    """Texts of one crawled file that another engine changes."""
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        wanted = lake.query(WANTED, [asked.documents_key, asked.signals_key])
        if not wanted.num_rows:
            return Output(work=work)
        shard = asked.shard
        result = in_child(
            write_texts,
            shard.source(lake),
            wanted,
            str(out.path / "text_variants.parquet"),
            name=shard.file,
            storage_options=shard.storage_options(lake),
            crawl=shard.crawl,
            kind=shard.kind,
            options=ExtractionOptions(**asked.options),
            produced_by=work.key,
            on_progress=Progress(f"{asked.options['extractor']} {shard.file.rsplit('/', 1)[-1]}", "MB", 1e6),
        )
        written = {"text_variants": [out.publish("text_variants.parquet")], "variant_signals": list(_measure(out))}
    files = {table: names for table, names in written.items() if names}
    name, num_texts = shard.file.rsplit("/", 1)[-1], wanted.num_rows
    LOG.info("  %s: %s of %s texts are others by %s", name, f"{result.num_changed:,}", f"{num_texts:,}", asked.options["extractor"])
    return Output(work=work, files=files, rejects=result.rejects, seconds=result.seconds)


def _measure(out: OutputDir) -> Iterator[str]:
    """Signals of the texts, written in batches so that memory does not grow with them; the files."""
    texts = pq.ParquetFile(out.path / "text_variants.parquet")
    for number, batch in enumerate(texts.iter_batches(BATCH_TEXTS, columns=["id", "variant", "text"])):
        yield out.write("variant_signals", measured(pa.Table.from_batches([batch])), part=number)


def extract_all(todo: Sequence[Planned[Asked]]) -> list[Output]:
    """All of these, as many side by side as there are cores."""
    calls = [{"work": planned.work, "asked": planned.unit} for planned in todo]
    return [state.result() for state in side_by_side(extract_again, calls, os.cpu_count() or 1)]


def bring_up_to_date(lake: Lake, engines: Collection[str]) -> StageResult | None:
    """Make the texts by these engines, and remove those by others; None where there is nothing to make or remove."""
    planned = plan(lake, engines)
    return settle(lake, planned, extract_all) if planned.units or planned.stale(lake) else None


def is_current(lake: Lake, engine: str) -> bool:
    """Whether the texts by this engine are made of all texts that are measured."""
    return not plan(lake, [engine]).todo(lake)
