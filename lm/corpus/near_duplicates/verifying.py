"""The check of every proposed pair on exact shingle sets, in memory that does not grow with the documents.

Candidates are put in the order of their families (what proposed pairs link), so that both documents of nearly every pair lie close
together. Their texts are read once, in whatever order they come; each becomes its set of shingle hashes and goes to the part of its
place. Then parts are loaded one by one, and pairs across two parts load both. Memory holds two parts of sets, and 24 bytes per candidate
document for its place; the cost is that sets are written to disk once, 8 bytes per shingle.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.minhash import preset_named, shingle_sets
from lm.corpus.near_duplicates.proposing import PAIR
from lm.corpus.near_duplicates.spill import ID, Partitions, decode_ids, encode_ids
from lm.corpus.signals import kernel

Array = NDArray[Any]
TextsOf = Callable[[pa.Table], Iterable[pa.RecordBatch]]
"""Asked with a table of ids, gives batches with columns id and text that hold each of them at least once; others are passed by."""

MIN_JACCARD = 0.5
"""Least similarity worth storing: below any threshold in use."""
PART_DOCUMENTS = 2048
"""Candidates whose shingle sets are loaded together."""
TEXTS_AT_ONCE = 512
"""Texts whose shingles are made together."""
_CODES = np.dtype([("a", "<i8"), ("b", "<i8")])
_TYPES: dict[str, Any] = {
    "id_a": pa.string(),
    "id_b": pa.string(),
    "jaccard": pa.float32(),
    "containment": pa.float32(),
    "method": pa.string(),
}
PAIRS = pa.schema(_TYPES)


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """unite(parents, a, b): union-find over pairs; shared(sets, starts, a, b, out): elements that two sorted sets share."""

    def unite(parents: Array, a: Array, b: Array) -> None:
        for i in range(len(a)):
            x, y = a[i], b[i]
            while parents[x] != x:
                parents[x] = parents[parents[x]]
                x = parents[x]
            while parents[y] != y:
                parents[y] = parents[parents[y]]
                y = parents[y]
            if x < y:
                parents[y] = x
            else:
                parents[x] = y

    def shared(sets: Array, starts: Array, a: Array, b: Array, out: Array) -> None:
        for k in range(len(a)):
            i, i_end, j, j_end, num = starts[a[k]], starts[a[k] + 1], starts[b[k]], starts[b[k] + 1], 0
            while i < i_end and j < j_end:
                if sets[i] == sets[j]:
                    num += 1
                    i += 1
                    j += 1
                elif sets[i] < sets[j]:
                    i += 1
                else:
                    j += 1
            out[k] = num

    ints, numbers = np.zeros(1, np.int64), np.zeros(1, np.uint64)
    return (
        kernel.compiled(unite, lambda run: run(ints.copy(), ints, ints)),
        kernel.compiled(shared, lambda run: run(numbers, np.zeros(2, np.int64), ints, ints, ints.copy())),
    )


class _Candidates:
    """Every document of the pairs, with its place in the order of families."""

    def __init__(self, proposed: Iterable[Array], folder: Path) -> None:
        stored = Partitions(folder, "distinct", 1, PAIR)
        self.ids, waiting = np.zeros(0, ID), [np.zeros(0, ID)]
        for pairs in proposed:
            stored.append(pairs, np.zeros(len(pairs), np.int64))
            waiting.append(_distinct_ids(pairs["a"], pairs["b"]))
            if sum(map(len, waiting)) > max(len(self.ids), 1 << 16):  # so that each id is sorted a few times, not once per partition
                self.ids, waiting = _distinct_ids(self.ids, *waiting), []
        self.ids = _distinct_ids(self.ids, *waiting)
        parents = np.arange(len(self.ids))
        for pairs in _chunks(stored):
            _kernels()[0](parents, self.codes(pairs["a"]), self.codes(pairs["b"]))
        while (parents[parents] != parents).any():
            parents = parents[parents]
        order = np.argsort(parents, kind="stable")
        self.places = np.empty(len(order), np.int64)
        self.places[order] = np.arange(len(order))
        self.num_parts = max(1, -(-len(order) // PART_DOCUMENTS))
        self.by_part = Partitions(folder, "ordered", self.num_parts, _CODES)
        for pairs in _chunks(stored):
            codes = np.zeros(len(pairs), _CODES)
            a, b = self.places[self.codes(pairs["a"])], self.places[self.codes(pairs["b"])]
            codes["a"], codes["b"] = np.minimum(a, b), np.maximum(a, b)
            self.by_part.append(codes, codes["a"] // PART_DOCUMENTS)
        self.ids_in_order = self.ids[order]

    def find(self, ids: Array) -> tuple[Array, Array]:
        """Rows of those ids that are candidates, and their positions among the sorted ids."""
        codes = self.codes(ids)
        same = [_at(self.ids[half], codes) == ids[half] for half in ("high", "low")]
        rows = np.nonzero(same[0] & same[1])[0]
        return rows, codes[rows]

    def codes(self, ids: Array) -> Array:
        """Positions among the sorted ids. Ids that are none of them get one past the end or a neighbour's."""
        low = np.searchsorted(self.ids["high"], ids["high"])
        for _ in range(64):  # two ids with equal upper halves are a matter of 2^-64, and of tests
            behind = (low < len(self.ids)) & (_at(self.ids["high"], low) == ids["high"]) & (_at(self.ids["low"], low) < ids["low"])
            if not behind.any():
                break
            low = low + behind
        return low


def _at(column: Array, rows: Array) -> Array:
    return column[np.minimum(rows, max(0, len(column) - 1))] if len(column) else np.zeros(len(rows), column.dtype)


def _distinct_ids(*columns: Array) -> Array:
    ids = np.concatenate(columns)
    ids = ids[np.lexsort((ids["low"], ids["high"]))]
    first = np.ones(len(ids), bool)
    first[1:] = (np.diff(ids["high"]) != 0) | (np.diff(ids["low"]) != 0)
    return ids[first]


def _chunks(stored: Partitions, size: int = 1 << 18) -> Iterator[Array]:
    """Records of the one partition, a bounded number at a time."""
    stored.flush()
    path = stored.path(0)
    if not path.exists():
        return
    with open(path, "rb") as file:
        while len(data := file.read(size * PAIR.itemsize)):
            yield np.frombuffer(data, PAIR)


class _Sets:
    """Shingle sets of one part, or of two."""

    def __init__(self, files: Partitions, parts: tuple[int, ...]) -> None:
        self.place: dict[int, int] = {}
        sizes, sets = [0], [np.zeros(0, np.uint64)]
        for part in parts:
            data, at = files.read(part), 0
            while at < len(data):
                place, size = int(data[at]), int(data[at + 1])
                if place not in self.place:  # a text that came twice
                    self.place[place] = len(sizes) - 1
                    sizes.append(size)
                    sets.append(data[at + 2 : at + 2 + size])
                at += 2 + size
        self.sets, self.starts = np.concatenate(sets), np.cumsum(sizes)

    def scores(self, pairs: Array) -> tuple[Array, Array]:
        """Jaccard and containment of pairs of places."""
        a, b = (np.array([self.place[int(p)] for p in pairs[side].tolist()], np.int64) for side in ("a", "b"))
        both = np.zeros(len(pairs), np.int64)
        _kernels()[1](self.sets, self.starts, a, b, both)
        size_a, size_b = (self.starts[side + 1] - self.starts[side] for side in (a, b))
        return both / (size_a + size_b - both), both / np.minimum(size_a, size_b)


def verify(
    proposed: Iterable[Array], texts_of: TextsOf, preset: str, folder: Path, *, min_jaccard: float = MIN_JACCARD
) -> Iterator[pa.Table]:
    """Pairs whose exact similarity on the preset's shingles is at least `min_jaccard`: rows of the table `near_duplicates`, part by part.

    `proposed` gives records of `PAIR`, distinct over all batches. The rows depend on the pairs and texts alone, not on their order.
    Files go to `folder`. Raises ValueError for an unknown preset, KeyError for a missing text.
    """
    name = preset_named(preset).name
    candidates = _Candidates(proposed, folder)
    if not len(candidates.ids):
        return
    files = _write_sets(candidates, texts_of, name, folder)
    for part in range(candidates.num_parts):
        pairs = candidates.by_part.read(part)
        if len(pairs):
            yield from _verified(candidates, files, part, pairs, name, min_jaccard)


def _write_sets(candidates: _Candidates, texts_of: TextsOf, preset: str, folder: Path) -> Partitions:
    files = Partitions(folder, "sets", candidates.num_parts, np.uint64)
    missing = np.ones(len(candidates.ids), bool)
    for codes, texts in _wanted(candidates, texts_of(pa.table({"id": decode_ids(candidates.ids)}))):
        missing[codes] = False
        for place, shingles in zip(candidates.places[codes].tolist(), shingle_sets(texts, preset), strict=True):
            files.append_runs(place // PART_DOCUMENTS, np.array([place, len(shingles)], np.uint64), shingles)
    if missing.any():
        first = decode_ids(candidates.ids[missing][:1])[0].as_py()
        raise KeyError(f"texts must hold every id of the pairs, but {int(missing.sum())} are missing, such as {first}")
    return files


def _wanted(candidates: _Candidates, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Array, Any]]:
    """Positions and texts of candidates, some hundred together, for each call to measure them has its price."""
    codes: list[Array] = []
    texts: list[Any] = []
    for batch in batches:
        rows, found = candidates.find(encode_ids(batch["id"]))
        if len(rows):
            codes.append(found)
            texts.append(batch["text"].take(pa.array(rows, pa.int64())).cast(pa.large_string()))
        if sum(map(len, codes)) >= TEXTS_AT_ONCE:
            yield np.concatenate(codes), pa.concat_arrays(texts)
            codes, texts = [], []
    if codes:
        yield np.concatenate(codes), pa.concat_arrays(texts)


def _verified(candidates: _Candidates, files: Partitions, part: int, pairs: Array, method: str, min_jaccard: float) -> Iterator[pa.Table]:
    """Pairs whose first document lies in one part: one table per part of the second."""
    others = pairs["b"] // PART_DOCUMENTS
    for other in np.unique(others).tolist():
        mine = pairs[others == other]
        jaccard, containment = _Sets(files, tuple(sorted({part, other}))).scores(mine)
        stays = jaccard.astype(np.float32) >= np.float32(min_jaccard)
        mine = mine[stays]
        ids = [candidates.ids_in_order[mine[side]] for side in ("a", "b")]
        swap = (ids[0]["high"] > ids[1]["high"]) | ((ids[0]["high"] == ids[1]["high"]) & (ids[0]["low"] > ids[1]["low"]))
        columns = [
            decode_ids(np.where(swap, ids[1], ids[0])),
            decode_ids(np.where(swap, ids[0], ids[1])),
            pa.array(jaccard[stays].astype(np.float32)),
            pa.array(containment[stays].astype(np.float32)),
            pa.array([method] * len(mine), pa.string()),
        ]
        yield pa.table(columns, schema=PAIRS).sort_by([("id_a", "ascending"), ("id_b", "ascending")])
