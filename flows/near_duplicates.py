"""near duplicates: texts are compared with each other and with all earlier ones, through their stored band keys.

Per preset one output for each time that something new came: it holds the pairs in which a text is new, so that all outputs together are
what one comparison of everything would give. Where a bucket of a band is too large for all its pairs that would not be so; then
everything is compared again, and the one output takes the place of all earlier ones. Band keys, texts and pairs are streamed; memory does
not grow with the lake.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, code_of, every_slot, open_lake, settle, stage_keys, works_of
from flows.settings import SignalsSettings
from lm.corpus.near_duplicates import keys, proposing, reading, verifying
from storage import files
from storage.digest import digest
from storage.inventory import RowsElsewhere
from storage.lake import DataFile, Lake
from storage.ledger import Output, Work
from storage.outputs import OutputDir, output_dir
from storage.schema import TABLES
from storage.settings import is_remote

NUM_BANDS = "SELECT count(*) FROM signatures WHERE method = ?"
BANDS = "SELECT id, bands FROM signatures WHERE method = ? AND {which} list_contains(?, produced_by)"
TEXTS = "SELECT id, text FROM documents SEMI JOIN wanted USING (id)"
ADDRESSED = "SELECT id, crawl, host, url, text FROM documents WHERE produced_by = ?"
BATCH_ROWS = 2048
FILE_ROWS = 200_000
"""Verified pairs per file."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared: the signals outputs that are new to this preset, with each other and with all others."""

    preset: str
    min_jaccard: float
    fresh: tuple[str, ...]


def plan_pairs(lake: Lake, settings: SignalsSettings) -> Plan[Comparison]:
    """Comparisons done so far with this code, and per preset at most one to do: the signals outputs that none of them covers."""
    found, works = stage_keys(lake, "signals"), works_of(lake, "near_duplicates")
    units = [unit for preset in settings.minhash_presets for unit in _comparisons(preset, settings.min_jaccard, found, works)]
    return Plan("near_duplicates", units, owns=every_slot)


def _comparisons(preset: str, min_jaccard: float, found: dict[str, str], works: Sequence[Work]) -> list[Planned[Comparison]]:
    asked = _work(preset, min_jaccard, found)
    done = [work for work in works if work.parameters == asked.parameters and work.code == asked.code]
    covered = {key for work in done for key in work.inputs.values()}
    fresh = {slot: key for slot, key in found.items() if key not in covered}
    units = [Planned(work, Comparison(preset, min_jaccard, ())) for work in done]
    if fresh:
        units.append(Planned(_work(preset, min_jaccard, fresh), Comparison(preset, min_jaccard, tuple(sorted(fresh.values())))))
    return units


def _work(preset: str, min_jaccard: float, inputs: dict[str, str]) -> Work:
    slot = f"{preset}/{digest(*sorted(inputs.values()))[:16]}"
    code = code_of("lm.corpus.near_duplicates.proposing", "lm.corpus.near_duplicates.verifying", "lm.corpus.minhash")
    parameters = {"preset": preset, "min_jaccard": min_jaccard}
    return Work(stage="near_duplicates", slot=slot, parameters=parameters, code=dict(code), inputs=inputs)


@task(name="compare", cache_policy=NO_CACHE, persist_result=False, task_run_name="compare {work.slot}")
def compare(work: Work, asked: Comparison) -> Output:
    """Verified pairs in which at least one text is new; all pairs, as other work, where a bucket is too large for that to be the same."""
    with open_lake(read_only=True) as lake:
        found = stage_keys(lake, "signals")
        output, num_large = _compare(lake, work, asked)
        if num_large and len(asked.fresh) < len(found):
            LOG.info("  %s: everything is compared again, for %d buckets of bands are too large for an increment", asked.preset, num_large)
            everything = Comparison(asked.preset, asked.min_jaccard, tuple(sorted(found.values())))
            output, num_large = _compare(lake, _work(asked.preset, asked.min_jaccard, found), everything)
        if num_large:
            text = "  %s: %d buckets hold more than %d documents: their members were compared with the first %d of each"
            LOG.warning(text, asked.preset, num_large, proposing.MAX_BUCKET, proposing.MAX_BUCKET // 2)
        return output


def _compare(lake: Lake, work: Work, asked: Comparison) -> tuple[Output, int]:
    """The output, and the number of buckets that were too large."""
    started = time.monotonic()
    with output_dir(lake, work) as out, tempfile.TemporaryDirectory(prefix="ladder-") as folder:
        listed = _files(lake, "signatures")
        num = int(lake.value(NUM_BANDS, [asked.preset])) if listed is None else sum(stored.num_rows for stored in listed)
        new, old = (_bands(lake, asked, listed, is_new) for is_new in (True, False))
        proposal = proposing.propose(new, old, num, Path(folder))
        pairs = verifying.verify(proposal, lambda ids: _texts(lake, ids), asked.preset, Path(folder), min_jaccard=asked.min_jaccard)
        paths = list(_write(out, work, pairs))
    return Output(work=work, files={"near_duplicates": paths}, seconds=time.monotonic() - started), proposal.num_buckets


def _bands(lake: Lake, asked: Comparison, listed: Sequence[DataFile] | None, is_new: bool) -> Iterator[pa.RecordBatch]:
    """Ids and band keys of the preset, of texts that are new or of all others."""
    if listed is None:
        yield from _stream(lake, BANDS.format(which="" if is_new else "NOT"), [asked.preset, list(asked.fresh)])
        return
    for stored in listed:
        if (stored.key in asked.fresh) == is_new:
            with _open(lake, stored) as file:
                yield from reading.band_keys([file], asked.preset)


def _texts(lake: Lake, ids: pa.Table) -> Iterator[pa.RecordBatch]:
    """Ids and texts of these documents, and of others where that costs less."""
    listed = _files(lake, "documents")
    if listed is not None:
        wanted = reading.Wanted(ids["id"])
        for stored in listed:
            with _open(lake, stored) as file:
                yield from reading.texts([file], wanted)
        return
    with lake.connection() as connection:
        connection.register("wanted", ids)
        yield from _stream(lake, TEXTS, [])
        connection.unregister("wanted")


def _files(lake: Lake, table: str) -> list[DataFile] | None:
    """Files to read a table from: DuckDB holds tens of megabytes more to do it. None if rows stand elsewhere, as small outputs do."""
    try:
        return lake.data_files(table)
    except RowsElsewhere:
        return None


def _open(lake: Lake, stored: DataFile) -> Any:
    return files.open_read(stored.path, lake.settings.s3fs_options() if is_remote(stored.path) else None)


def _stream(lake: Lake, sql: str, parameters: list[object]) -> Iterator[pa.RecordBatch]:
    with lake.connection() as connection:
        connection.execute(sql, parameters)
        yield from connection.to_arrow_reader(BATCH_ROWS)


def _write(out: OutputDir, work: Work, tables: Iterator[pa.Table]) -> Iterator[str]:
    """Files of some hundred thousand pairs each; one, and empty, if there are none."""
    number, waiting = 0, [verifying.PAIRS.empty_table()]

    def write() -> str:
        name = f"near_duplicates-{number:05}.parquet"
        rows = pa.concat_tables(waiting).sort_by([("id_a", "ascending"), ("id_b", "ascending")])
        files.write_parquet(str(out.path / name), rows, work.key, schema=TABLES["near_duplicates"])
        return out.publish(name)

    for table in tables:
        waiting.append(table)
        if sum(rows.num_rows for rows in waiting) >= FILE_ROWS:
            yield write()
            number, waiting = number + 1, [verifying.PAIRS.empty_table()]
    if number == 0 or len(waiting) > 1:
        yield write()


def compare_all(lake: Lake, settings: SignalsSettings) -> StageResult:
    """Bring the pairs of all presets up to date."""

    def replaces(outputs: Sequence[Output]) -> list[str]:
        """Earlier slots of a preset that was compared as a whole."""
        whole = set(stage_keys(lake, "signals").values())
        presets = {output.work.slot.partition("/")[0] for output in outputs if set(output.work.inputs.values()) == whole}
        slots = [slot.partition("/")[2] for slot in stage_keys(lake, "near_duplicates")]
        return [slot for slot in slots if slot.partition("/")[0] in presets]

    return settle(lake, plan_pairs(lake, settings), lambda todo: [compare(p.work, p.unit) for p in todo], replaces=replaces)


def plan_keys(lake: Lake, _settings: SignalsSettings) -> Plan[str]:
    """One unit per documents output: canonical addresses and content keys."""
    code = code_of("lm.corpus.near_duplicates.keys")
    units = [
        Planned(Work(stage="document_keys", slot=slot.partition("/")[2], parameters={}, code=code, inputs={slot: key}), key)
        for slot, key in stage_keys(lake, "documents").items()
    ]
    return Plan("document_keys", units, owns=every_slot)


@task(name="key", cache_policy=NO_CACHE, persist_result=False, task_run_name="key {work.slot}")
def key(work: Work, documents_key: str) -> Output:
    """Canonical addresses and content keys of one documents output."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        found = [keys.document_keys(batch) for batch in _stream(lake, ADDRESSED, [documents_key])]
        tables = {"document_keys": pa.concat_tables(found)} if found else {}
        written = {name: [out.write(name, rows)] for name, rows in tables.items()}
    return Output(work=work, files=written, seconds=time.monotonic() - started)


def key_all(lake: Lake, settings: SignalsSettings) -> StageResult:
    """Bring the keys of all documents up to date."""
    return settle(lake, plan_keys(lake, settings), lambda todo: [key(p.work, p.unit) for p in todo])
