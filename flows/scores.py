"""scores: values of texts that depend on what a user brought, such as a trained classifier, a list of words or of addresses.

They stand beside the signals, in a table of their own, because they come and go: a new classifier scores every text and measures nothing
again. One unit per score and output of the signals stage; all that are missing for an output share one pass over its texts, which come in
batches, so that memory does not grow with them. The cost: texts are read once more than if scores were signals. What is no longer asked
for goes.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.common import Plan, Planned, StageResult, code_of, column, every_slot, open_lake, settle, stage_keys
from flows.progress import Progress
from flows.settings import SignalsSettings
from lm.corpus import lists, quality
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import local_copy

TEXTS = """
    SELECT id, min(text) AS text, min(language) AS language FROM documents
    SEMI JOIN (SELECT id FROM signals WHERE produced_by = ?) USING (id) GROUP BY id ORDER BY id
"""
ADDRESSES = "SELECT id, url FROM documents SEMI JOIN (SELECT id FROM signals WHERE produced_by = ?) USING (id) ORDER BY id, url"
MODELS = "SELECT model, file, weights_digest FROM quality_models ORDER BY model"
BAD_WORDS, BLOCKED_URL = "bad_words", "blocked_url"
BATCH_TEXTS = 4096
"""Texts in memory at once."""
_TYPES: dict[str, Any] = {"id": pa.string(), "value": pa.float64()}
_SCHEMA = pa.schema(_TYPES)


@dataclass(frozen=True, slots=True)
class Score:
    """A score over the texts of one signals output: its name and the files it is made from."""

    name: str
    files: tuple[str, ...]
    signals_key: str


def plan_scores(lake: Lake, settings: SignalsSettings) -> Plan[Score]:
    """One unit per score and output of the signals stage."""
    asked = list(_asked(lake, settings))
    units = []
    for slot, key in stage_keys(lake, "signals").items():
        for name, files, digests, module in asked:
            work = Work(
                stage="scores",
                slot=f"{name}/{slot.partition('/')[2]}",
                parameters={"name": name},
                code=code_of(module),
                inputs={slot: key, **digests},
            )
            units.append(Planned(work, Score(name, files, key)))
    return Plan("scores", units, owns=every_slot)


def _asked(lake: Lake, settings: SignalsSettings) -> Iterator[tuple[str, tuple[str, ...], dict[str, str], str]]:
    """Name, files, their digests and the module of each score."""
    for name, paths in ((BAD_WORDS, settings.bad_words), (BLOCKED_URL, settings.blocked_urls)):
        if paths:
            yield name, tuple(paths), {path: file_digest(path) for path in paths}, "lm.corpus.lists"
    for name, file, weights in lake.rows(MODELS):
        yield name, (file,), {f"quality/{name}": weights}, "lm.corpus.quality"


@task(name="score", cache_policy=NO_CACHE, persist_result=False, task_run_name="score {signals_key}")
def score(signals_key: str, todo: Sequence[Planned[Score]], num_threads: int) -> list[Output]:
    """Some scores of the texts of one signals output, in one pass; an output per score."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        found = {p.unit.name: [_listed_addresses(lake, p.unit)] for p in todo if p.unit.name == BLOCKED_URL}
        scorers = {p.unit.name: _scorer(lake, p.unit, num_threads) for p in todo if p.unit.name != BLOCKED_URL}
        found |= {name: [_SCHEMA.empty_table()] for name in scorers}
        with lake.connection() as connection:
            batches = connection.execute(TEXTS, [signals_key]).to_arrow_reader(BATCH_TEXTS) if scorers else ()
            for batch in batches:
                for name, scorer in scorers.items():
                    found[name].append(scorer(pa.Table.from_batches([batch])))
    seconds = (time.monotonic() - started) / len(todo)
    rows = {name: pa.concat_tables(pieces) for name, pieces in found.items()}
    return [Output(work=p.work, tables={"scores": _named(rows[p.unit.name], p.unit.name)}, seconds=seconds) for p in todo]


def _named(rows: pa.Table, name: str) -> pa.Table:
    return rows.add_column(1, "name", pa.array([name] * rows.num_rows, pa.string()))


def _scorer(lake: Lake, asked: Score, num_threads: int) -> Callable[[pa.Table], pa.Table]:
    """From texts to their values: what a score is made from is read once."""
    if asked.name == BAD_WORDS:
        words = {lists.language_of(path): lists.word_list(path) for path in asked.files}
        return lambda texts: _bad_words(texts, words)
    model = quality.load(local_copy(lake, asked.files[0]))
    return lambda texts: pa.table({"id": texts["id"], "value": quality.score(texts["text"], model, num_threads)}, schema=_SCHEMA)


def _bad_words(texts: pa.Table, words: Mapping[str, lists.WordList]) -> pa.Table:
    counts = lists.count_bad_words(column(texts, "text"), column(texts, "language"), words)
    rows = pa.table({"id": texts["id"], "value": pa.array(counts, pa.float64())}, schema=_SCHEMA)
    return rows.filter(rows["value"].is_valid())


def _listed_addresses(lake: Lake, asked: Score) -> pa.Table:
    blocked = lists.blocklist(asked.files)
    counts: dict[str, float] = {}
    for id, url in lake.rows(ADDRESSES, [asked.signals_key]):
        counts[id] = counts.get(id, 0.0) + blocked.blocks(url)
    return pa.table({"id": list(counts), "value": list(counts.values())}, schema=_SCHEMA)


def score_all(lake: Lake, settings: SignalsSettings) -> StageResult:
    """Score what has not been scored."""

    def produce(todo: Sequence[Planned[Score]]) -> list[Output]:
        texts: dict[str, list[Planned[Score]]] = {}
        for planned in todo:
            texts.setdefault(planned.unit.signals_key, []).append(planned)
        each = Progress("score", "files").each(list(texts))
        return [output for key in each for output in score(key, texts[key], settings.num_threads)]

    return settle(lake, plan_scores(lake, settings), produce)
