"""Evaluation sets as stages see them: which can be scored, their items as tokens, and which items the training data holds."""

import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.common import MissingInputError, Plan, Planned, StageResult, settle, stage_keys
from lm.evaluation.requests import REQUESTS_SCHEMA, encode_items
from lm.tokens import tokenizer
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home, local_copy

SIZES = """
    SELECT evaluation_set, count(kind) AS num_scored, count(*) AS num_items FROM evaluation_items GROUP BY ALL ORDER BY ALL
"""
ITEMS = """
    SELECT item, subset, kind, prompt, choices, label FROM evaluation_items
    WHERE evaluation_set = ? AND kind IS NOT NULL ORDER BY subset, item
"""
VOCABULARY = "SELECT any_value(tokenizer_id), any_value(file) FROM rungs JOIN tokenizers USING (tokenizer_id) WHERE ladder_id = ?"
KNOWN = """
    SELECT evaluation_set, item, count(DISTINCT id)::BIGINT AS num_documents FROM contamination SEMI JOIN members USING (id)
    WHERE contaminated GROUP BY ALL ORDER BY ALL
"""
DECONTAMINATED = "~decontaminated"


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """An evaluation set, or its first items by a hash."""

    name: str
    key: str
    """Key of the set's registration: another content is another set."""
    num_items: int
    """Items that are scored."""
    max_items: int | None = None

    @property
    def label(self) -> str:
        """Name under which scores are stored."""
        return self.name if self.max_items is None else f"{self.name}[:{self.max_items}]"


def keys(lake: Lake) -> dict[str, str]:
    """Name and key of every registered set."""
    return {slot.partition("/")[2]: key for slot, key in stage_keys(lake, "evaluation_sets").items()}


def scored(lake: Lake, names: Sequence[str], max_items: int | None = None) -> list[ScoredSet]:
    """Sets that can be scored, by name; all if no names are given. Raises: MissingInputError for a name that is not registered."""
    found = keys(lake)
    if unknown := sorted(set(names) - set(found)):
        raise MissingInputError(
            f"There is no evaluation set {', '.join(unknown)} (the lake has {', '.join(found) or 'none'}). Run `ladder evals add` first."
        )
    sizes = [(name, num) for name, num, _ in lake.rows(SIZES) if num and (not names or name in names) and name in found]
    return [ScoredSet(name, found[name], min(num, max_items or num), max_items) for name, num in sizes]


def not_scored(lake: Lake, names: Sequence[str]) -> list[tuple[str, str]]:
    """Sets, and items of sets, that are left out, with the reason."""
    said = []
    for name, num, whole in lake.rows(SIZES):
        if num < whole and (not names or name in names):
            what = "none of its items has" if not num else f"{whole - num:,} of {whole:,} items do not have"
            said.append((name, f"{what} choices and a label; see `ladder evals add --help`"))
    return said


def requests_file(lake: Lake, asked: ScoredSet, ladder_id: str) -> str:
    """The items as tokens of the ladder's vocabulary, encoded once and kept beside the lake."""
    tokenizer_id, vocabulary = lake.rows(VOCABULARY, [ladder_id])[0]
    file = home(lake) / "evaluations" / "requests" / f"{digest(asked.key, tokenizer_id, asked.label)}.parquet"
    if not file.exists():
        loaded = tokenizer.load(local_copy(lake, vocabulary))
        _write(encode_items(items(lake, asked), loaded.encode_batch, loaded.end_of_document), file)
    return str(file)


def items(lake: Lake, asked: ScoredSet) -> pa.Table:
    """The items that are scored: item, subset, kind, prompt, choices, label."""
    return _first(lake.query(ITEMS, [asked.name]), asked)


def _first(items: pa.Table, asked: ScoredSet) -> pa.Table:
    """The first items by a hash of their names, in the order of the set."""
    if asked.max_items is None or asked.max_items >= items.num_rows:
        return items
    ranks = [digest(asked.name, str(item)) for item in items["item"].to_pylist()]
    limit = sorted(ranks)[asked.max_items - 1]
    return items.filter(pa.array([rank <= limit for rank in ranks]))


def _write(table: pa.Table, file: Path) -> None:
    assert table.schema.equals(REQUESTS_SCHEMA)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}-{threading.get_native_id()}.part")
    pq.write_table(table, beside, compression="zstd")
    beside.replace(file)


def forget_chunks(lake: Lake) -> None:
    """Remove what scoring kept for a restart, for work that is in the lake."""
    for folder in (home(lake) / "evaluations").glob("*"):
        if folder.name != "requests" and lake.rows("SELECT 1 FROM stages WHERE key = ?", [folder.name]):
            shutil.rmtree(folder, ignore_errors=True)


def known(lake: Lake, ladder_id: str, name: str) -> frozenset[str] | None:
    """Items of a set that the ladder's training data holds; None unless every document was compared with the set."""
    if not _is_compared(lake, name):
        return None
    rows = _known_items(lake, ladder_id)
    return frozenset(map(str, rows.filter(pc.field("evaluation_set") == name)["item"].to_pylist()))


def digest_of(items: frozenset[str] | None) -> str:
    """What a set of known items is, for the ledger."""
    return "not compared" if items is None else digest(*sorted(items))


def settle_known(lake: Lake, ladder_id: str) -> StageResult:
    """Write which items the ladder's training data holds; one unit per ladder."""
    rows = _known_items(lake, ladder_id)
    content = digest(*(str(value) for row in rows.to_pylist() for value in row.values()))
    work = Work(stage="known_items", slot=ladder_id, parameters={}, code={}, inputs={"contamination": content})
    table = rows.add_column(0, "ladder_id", pa.array([ladder_id] * rows.num_rows, pa.string()))
    return settle(lake, Plan("known_items", [Planned(work, None)]), lambda _: [Output(work=work, tables={"known_items": table})])


def _is_compared(lake: Lake, name: str) -> bool:
    scans = stage_keys(lake, "contamination_scan")
    places = [slot.partition("/")[2] for slot in stage_keys(lake, "documents")]
    return bool(stage_keys(lake, "contamination")) and all(f"contamination_scan/{name}/{place}" in scans for place in places)


def _known_items(lake: Lake, ladder_id: str) -> pa.Table:
    """Judged hits in the documents that the ladder trains on, up to its largest rung."""
    files = lake.rows("SELECT any_value(selection_file), max(rank_limit) FROM rungs WHERE ladder_id = ?", [ladder_id])
    selection = pq.read_table(local_copy(lake, files[0][0]), columns=["rank", "id", "split"])
    read = selection.filter((pc.field("split") == "train") & (pc.field("rank") <= pa.scalar(files[0][1], pa.uint64())))
    ids = {str(id).partition("~")[0] for id in read["id"].to_pylist() if DECONTAMINATED not in str(id)}
    with lake.connection() as connection:
        connection.register("members", pa.table({"id": pa.array(sorted(ids), pa.string())}))
        found: pa.Table = connection.execute(KNOWN).to_arrow_table()
        connection.unregister("members")
    return found
