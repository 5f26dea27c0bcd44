"""contamination: texts are compared with every registered evaluation set, shard by shard, and then judged together.

The unit is one evaluation set over one output of the documents stage: a new set is looked for in all texts, a new crawl is scanned for
all sets, and nothing is scanned twice. Sets that are new to the same shard share one pass over its text. The verdict is a query over all
matches, made anew when any of them changes, because what is frequent depends on all documents.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import (
    LOG,
    MissingInputError,
    Plan,
    Planned,
    StageResult,
    code_of,
    every_slot,
    markdown_table,
    open_lake,
    publish_markdown,
    settle,
    stage_keys,
)
from flows.progress import Progress
from flows.settings import ContaminationSettings
from lm.corpus.contamination import index, planting, scanning, verdict
from lm.corpus.contamination.item_files import content, files_of
from lm.corpus.contamination.items import Fields, read_set
from lm.evaluation.formats import AS_IT_IS, Spec
from storage import ledger
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir

BATCH_ROWS = 2048
NUM_HOSTS = 20
"""Texts that lend their words to the planted documents of a scan."""

ITEMS = """
    SELECT evaluation_set, item, question, answer, context FROM evaluation_items WHERE list_contains(?, evaluation_set) ORDER BY ALL
"""
SUMMARY = """
    WITH sets AS (SELECT evaluation_set, count(*) AS items FROM evaluation_items GROUP BY ALL),
    hit AS (
      SELECT evaluation_set, count(*) FILTER (contaminated) AS contaminated, count(*) AS touched FROM contaminated_items GROUP BY ALL),
    texts AS (SELECT evaluation_set, count(DISTINCT id) AS documents FROM contamination WHERE contaminated GROUP BY ALL),
    planted AS (
      SELECT evaluation_set, sum(num_found) FILTER (is_contaminated) AS right_ones, sum(num_found) AS found,
        sum(num_planted) FILTER (is_contaminated) AS copies
      FROM contamination_checks GROUP BY ALL)
    SELECT evaluation_set, items, coalesce(touched, 0) AS touched, coalesce(contaminated, 0) AS contaminated,
      coalesce(documents, 0) AS documents, round(right_ones / nullif(found, 0), 3) AS own_precision,
      round(right_ones / copies, 3) AS own_recall
    FROM sets LEFT JOIN hit USING (evaluation_set) LEFT JOIN texts USING (evaluation_set) LEFT JOIN planted USING (evaluation_set)
    ORDER BY evaluation_set
"""
"""Per evaluation set: its items, those of which anything was found, those that count, documents, and how well planted copies were found."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One evaluation set over one documents output."""

    evaluation_set: str
    documents_key: str


def add_set(
    lake: Lake, name: str, file: str, fields: Fields, spec: Spec = AS_IT_IS, say: Callable[[str], None] = LOG.warning
) -> StageResult:
    """Register an evaluation set, or replace the one of that name; `say` is told what is left out of it.

    Raises: ItemsError if the file cannot be used.
    """
    files = [*files_of(name, file), *([Path(fields.labels_file)] if fields.labels_file else [])]
    parameters = {key: value for key, value in {**asdict(fields), **asdict(spec)}.items() if key != "labels_file"}
    inputs = {path.name: digest(content(path)) for path in files}
    code = code_of("lm.corpus.contamination.items")
    work = Work(stage="evaluation_sets", slot=name, parameters=parameters, code=code, inputs=inputs)

    def produce(_todo: Sequence[Planned[None]]) -> list[Output]:
        found = read_set(name, file, fields, spec)
        for reason, num in found.left_out.items():
            say(f"{name}: {num:,} {'rows are' if num > 1 else 'row is'} left out: {reason}")
        return [Output(work=work, tables={"evaluation_items": found.items})]

    return settle(lake, Plan("evaluation_sets", [Planned(work, None)]), produce)


def remove_set(lake: Lake, name: str) -> None:
    """Take an evaluation set out of the lake; what was found of it goes with the next `ladder contamination`.

    Raises: MissingInputError if there is none of that name.
    """
    known = sorted(slot.partition("/")[2] for slot in stage_keys(lake, "evaluation_sets"))
    if name not in known:
        raise MissingInputError(f"The lake has no evaluation set {name!r}; it has {', '.join(known) or 'none'}.")
    ledger.commit(lake, [], also_remove=[("evaluation_sets", name)])


def plan(lake: Lake, settings: ContaminationSettings) -> Plan[Scan]:
    """One unit per evaluation set and documents output."""
    code = code_of("lm.corpus.contamination.scanning", "lm.corpus.contamination.planting")
    sets = stage_keys(lake, "evaluation_sets")
    units = []
    for slot, key in stage_keys(lake, "documents").items():
        for name, set_key in sets.items():
            evaluation_set, place = name.partition("/")[2], slot.partition("/")[2]
            parameters = {"min_overlap": settings.min_overlap}
            inputs = {slot: key, name: set_key}
            work = Work(stage="contamination_scan", slot=f"{evaluation_set}/{place}", parameters=parameters, code=code, inputs=inputs)
            units.append(Planned(work, Scan(evaluation_set, key)))
    return Plan("contamination_scan", units, owns=every_slot)


def plan_verdict(lake: Lake, settings: ContaminationSettings) -> Plan[None]:
    """One unit: the judgement over all matches, where there is any set."""
    keys = stage_keys(lake, "contamination_scan")
    parameters = {"min_overlap": settings.min_overlap, "frequent_documents": settings.frequent_documents}
    code = code_of("lm.corpus.contamination.verdict")
    work = Work(stage="contamination", slot="verdict", parameters=parameters, code=code, inputs=keys)
    return Plan("contamination", [Planned(work, None)] if keys else [], owns=every_slot)


@lru_cache(maxsize=4)
def _index(root: str, names: tuple[str, ...], keys: tuple[str, ...]) -> index.Index:
    """Index over some sets; kept for the shards that follow."""
    with open_lake(read_only=True) as lake:
        return index.build(lake.query(ITEMS, [list(names)]))


@task(name="scan", cache_policy=NO_CACHE, persist_result=False, task_run_name="scan {documents_key}")
def scan(documents_key: str, todo: Sequence[Planned[Scan]], settings: ContaminationSettings) -> list[Output]:
    """Matches of some evaluation sets in the texts of one documents output, and the scan's check of itself; an output per set."""
    started = time.monotonic()
    found, hosts = [scanning.MATCHES.empty_table()], list[str]()
    with open_lake(read_only=True) as lake, lake.connection() as connection:
        names = tuple(sorted(p.unit.evaluation_set for p in todo))
        built = _index(lake.settings.root, names, tuple(p.work.inputs[f"evaluation_sets/{p.unit.evaluation_set}"] for p in todo))
        connection.execute("SELECT id, text FROM documents WHERE produced_by = ?", [documents_key])
        for batch in connection.to_arrow_reader(BATCH_ROWS):
            hosts += [str(text) for text in batch["text"].slice(0, max(0, NUM_HOSTS - len(hosts))).to_pylist()]
            found.append(scanning.scan(built, batch["id"], batch["text"], settings.num_threads))
    checks = planting.check(built, hosts, settings.min_overlap)
    tables = {"contamination_matches": pa.concat_tables(found), "contamination_checks": checks}
    seconds = (time.monotonic() - started) / len(todo)
    return [Output(work=p.work, tables=_of_set(tables, p.unit.evaluation_set), seconds=seconds) for p in todo]


def _of_set(tables: dict[str, pa.Table], name: str) -> dict[str, pa.Table]:
    return {table: rows.filter(pc.field("evaluation_set") == name) for table, rows in tables.items()}


@task(name="judge", cache_policy=NO_CACHE, persist_result=False, task_run_name="judge contamination")
def judge(work: Work, settings: ContaminationSettings) -> Output:
    """What counts, which items are known, and the text of contaminated documents without the paragraphs."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out, lake.connection() as connection:
        sql = verdict.contamination_sql(settings.min_overlap, settings.frequent_documents)
        hits = connection.execute(sql).to_arrow_table()
        connection.register("judged", hits)
        items = connection.execute(verdict.contaminated_items_sql("judged")).to_arrow_table()
        connection.execute(verdict.SPANS_SQL)
        variants = pa.concat_tables([verdict.VARIANTS.empty_table(), *map(verdict.variants, connection.to_arrow_reader(BATCH_ROWS))])
        connection.unregister("judged")
        tables = {"contamination": hits, "contaminated_items": items, "text_variants": variants}
        files = {name: [out.write(name, rows)] for name, rows in tables.items()}
    return Output(work=work, files=files, seconds=time.monotonic() - started)


@flow(name="contamination")
def contamination_flow(settings: ContaminationSettings = ContaminationSettings()) -> list[StageResult]:
    """Look for evaluation sets in every text that was not compared with them, and judge what was found."""
    with open_lake() as lake:

        def produce(todo: Sequence[Planned[Scan]]) -> list[Output]:
            progress = Progress("scan", "files")
            shards: dict[str, list[Planned[Scan]]] = {}
            for planned in todo:
                shards.setdefault(planned.unit.documents_key, []).append(planned)
            outputs = []
            for number, (key, units) in enumerate(shards.items()):
                outputs += scan(key, units, settings)
                progress(number + 1, len(shards))
            return outputs

        scanned = settle(lake, plan(lake, settings), produce)
        judged = settle(lake, plan_verdict(lake, settings), lambda todo: [judge(p.work, settings) for p in todo])
        if stage_keys(lake, "evaluation_sets"):
            _tell(lake, judged)
        return [scanned, judged]


def _tell(lake: Lake, result: StageResult) -> None:
    rows = lake.query(SUMMARY)
    for row in rows.to_pylist():
        if result.num_new:
            text = "  %(evaluation_set)s: %(contaminated)s of %(items)s items known, in %(documents)s documents"
            LOG.info(text + "; planted copies: precision %(own_precision)s, recall %(own_recall)s", row)
    publish_markdown("contamination", markdown_table(rows), "Evaluation sets and what the documents know of them")
