"""scores: values of texts that depend on what a user brought, such as a trained classifier, a list of words or of addresses.

They stand beside the signals, in a table of their own, because they come and go: a new classifier scores every text and measures nothing
again. One unit per score and output of the signals stage. What is no longer asked for goes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.common import Plan, Planned, StageResult, code_of, column, every_slot, open_lake, settle, stage_keys
from flows.settings import SignalsSettings
from lm.corpus import lists, quality
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import local_copy, output_dir

TEXTS = """
    SELECT id, min(text) AS text, min(language) AS language FROM documents
    SEMI JOIN (SELECT id FROM signals WHERE produced_by = ?) USING (id) GROUP BY id ORDER BY id
"""
ADDRESSES = "SELECT id, url FROM documents SEMI JOIN (SELECT id FROM signals WHERE produced_by = ?) USING (id) ORDER BY id, url"
MODELS = "SELECT model, file, weights_digest FROM quality_models ORDER BY model"
BAD_WORDS, BLOCKED_URL = "bad_words", "blocked_url"


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


@task(name="score", cache_policy=NO_CACHE, persist_result=False, task_run_name="score {work.slot}")
def score(work: Work, asked: Score, num_threads: int) -> Output:
    """One score of the texts of one signals output."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        rows = _listed_addresses(lake, asked) if asked.name == BLOCKED_URL else _of_texts(lake, asked, num_threads)
        rows = rows.add_column(1, "name", pa.array([asked.name] * rows.num_rows, pa.string()))
        files = {"scores": [out.write("scores", rows)]}
    return Output(work=work, files=files, seconds=time.monotonic() - started)


def _of_texts(lake: Lake, asked: Score, num_threads: int) -> pa.Table:
    texts = lake.query(TEXTS, [asked.signals_key])
    if asked.name == BAD_WORDS:
        words = {lists.language_of(path): lists.word_list(path) for path in asked.files}
        counts = lists.count_bad_words(column(texts, "text"), column(texts, "language"), words)
        rows = pa.table({"id": texts["id"], "value": pa.array(counts, pa.float64())})
        return rows.filter(rows["value"].is_valid())
    model = quality.load(local_copy(lake, asked.files[0]))
    return pa.table({"id": texts["id"], "value": quality.score(texts["text"], model, num_threads)})


def _listed_addresses(lake: Lake, asked: Score) -> pa.Table:
    blocked = lists.blocklist(asked.files)
    counts: dict[str, float] = {}
    for id, url in lake.rows(ADDRESSES, [asked.signals_key]):
        counts[id] = counts.get(id, 0.0) + blocked.blocks(url)
    return pa.table({"id": pa.array(counts, pa.string()), "value": pa.array(counts.values(), pa.float64())})


def score_all(lake: Lake, settings: SignalsSettings) -> StageResult:
    """Score what has not been scored."""

    def produce(todo: Sequence[Planned[Score]]) -> list[Output]:
        return [score(p.work, p.unit, settings.num_threads) for p in todo]

    return settle(lake, plan_scores(lake, settings), produce)
