"""signals: raw values, MinHash band keys and personal data of every distinct text, then near-duplicate pairs and scores of the user's own.

Each distinct text is scored once, in the shard that brought it first. Near-duplicates are incremental: new texts are compared with each
other and with the stored band keys of all earlier ones, and the result equals doing all at once.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import (
    Plan,
    Planned,
    StageResult,
    code_of,
    column,
    every_slot,
    open_lake,
    publish_markdown,
    require,
    settle,
    stage_keys,
)
from flows.near_duplicates import compare_all, key_all, plan_keys, plan_pairs
from flows.progress import Progress
from flows.scores import plan_scores, score_all
from flows.settings import SignalsSettings
from lm.corpus import minhash, pii
from lm.corpus import signals as signal_kernels
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir

__all__ = ["measure", "plan", "plan_keys", "plan_pairs", "plan_scores", "signals_flow"]

UNSCORED = """
    SELECT id, min(text) AS text FROM documents
    WHERE produced_by = ? AND id NOT IN (SELECT id FROM signals WHERE list_contains(?, produced_by))
    GROUP BY id ORDER BY id
"""
"""Texts of one documents output that no output which stays has scored."""
BATCH_TEXTS = 4096
"""Texts in memory at once."""


def plan(lake: Lake, settings: SignalsSettings) -> Plan[str]:
    """One unit per output of the documents stage.

    A text is scored in the first output that holds it. When that output is replaced by one without the text, another output that
    holds it takes it over: its unit names the orphans among its inputs and so runs again.
    """
    code = code_of("lm.corpus.signals", "lm.corpus.minhash", "lm.corpus.pii")
    parameters = {"minhash_presets": settings.minhash_presets}
    done = set(stage_keys(lake, "signals").values())
    planned = []
    for slot, key in stage_keys(lake, "documents").items():
        work = Work(stage="signals", slot=slot.partition("/")[2], parameters=parameters, code=code, inputs={slot: key})
        orphans = _orphans(lake, key) if work.key in done else []
        if orphans:
            work = replace(work, inputs={**work.inputs, "orphans": digest(*orphans)})
        planned.append(Planned(work, key))
    return Plan("signals", planned, owns=every_slot)


def _orphans(lake: Lake, documents_key: str) -> list[str]:
    rows = lake.rows(
        "SELECT DISTINCT id FROM documents WHERE produced_by = ? AND id NOT IN (SELECT id FROM signals) ORDER BY id", [documents_key]
    )
    return [id for (id,) in rows]


@task(name="measure", cache_policy=NO_CACHE, persist_result=False, task_run_name="measure {work.slot}")
def measure(work: Work, documents_key: str, staying: list[str], taken: set[str], settings: SignalsSettings) -> Output:
    """Signals, band keys and personal data of the texts that one documents output brought first; adds their ids to `taken`.

    Texts come and rows go in batches, so that memory does not grow with the file.
    """
    started = time.monotonic()
    written: dict[str, list[str]] = {"signals": [], "signatures": [], "pii_spans": []}
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out, lake.connection() as connection:
        for number, batch in enumerate(connection.execute(UNSCORED, [documents_key, staying]).to_arrow_reader(BATCH_TEXTS)):
            texts = pa.Table.from_batches([batch])
            texts = texts.filter(pa.array([id not in taken for id in column(texts, "id")], pa.bool_()))
            taken.update(column(texts, "id"))
            for table, rows in _measured(texts, settings).items():
                written[table].append(out.write(table, rows, part=number, **_layout(table, texts.num_rows)))
    return Output(work=work, files={table: names for table, names in written.items() if names}, seconds=time.monotonic() - started)


def _layout(table: str, num_texts: int) -> dict[str, Any]:
    """Band keys are random numbers, and those of one preset are read without the others: one row group for each."""
    return {"plain": ("id", "bands"), "row_group_rows": max(1, num_texts)} if table == "signatures" else {}


def _measured(texts: pa.Table, settings: SignalsSettings) -> dict[str, pa.Table]:
    ids, threads = texts["id"], settings.num_threads
    bands = [minhash.band_table(ids, texts["text"], preset, num_threads=threads) for preset in settings.minhash_presets]
    return {
        "signals": signal_kernels.compute(texts["text"], num_threads=threads).add_column(0, "id", ids),
        "signatures": pa.concat_tables(bands),
        "pii_spans": pii.span_table(column(texts, "id"), texts["text"]),
    }


@flow(name="signals")
def signals_flow(settings: SignalsSettings = SignalsSettings()) -> list[StageResult]:
    """Measure every text that has not been measured, and find its near-duplicates."""
    with open_lake() as lake:
        planned = plan(lake, settings)
        require(planned.units, "documents", "ladder documents")

        def produce(todo: Sequence[Planned[str]]) -> list[Output]:
            replaced = {p.work.slot for p in todo}
            staying = [key for slot, key in stage_keys(lake, "signals").items() if slot.partition("/")[2] not in replaced]
            taken: set[str] = set()
            return [measure(p.work, p.unit, staying, taken, settings) for p in Progress("measure", "files").each(todo)]

        measured = settle(lake, planned, produce)
        results = [measured, compare_all(lake, settings), key_all(lake, settings), score_all(lake, settings)]
        publish_markdown("signals", "\n\n".join(map(str, results)), "Texts measured and compared")
        return results
