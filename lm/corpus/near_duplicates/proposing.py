"""Candidate pairs: documents with an equal band key, out of partitions of band keys.

The keys of the new documents are cut into partitions by value, together with those keys of earlier documents that a bitmap of the new
ones lets pass, so that an increment joins little more than itself. Each partition is sorted and its buckets give pairs, which are cut
into partitions once more to meet their repeats from other bands. Memory holds one partition and the bitmap, whatever the number of
documents; the cost is that keys and pairs are written once and read once.

Boilerplate can put thousands of documents into one bucket. Up to `max_bucket` members every pair is proposed; above it each member is
paired with the `max_bucket / 2` smallest ids only, which costs k instead of k^2 and still ties every member to documents that a policy
looks at first. How many buckets were so large is returned: where there are any, pairs of an increment differ from those of everything at
once, and the caller must compare everything again to have the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lm.corpus.near_duplicates.marks import Marks
from lm.corpus.near_duplicates.spill import ID, Partitions, encode_ids, mixed, num_partitions, partition_of

Array = NDArray[Any]
Rows = Iterable[pa.RecordBatch]

MAX_BUCKET = 1000
_KEY = np.dtype([("key", "<u8"), ("high", "<u8"), ("low", "<u8"), ("new", "?")])
PAIR = np.dtype([("a", ID), ("b", ID)])
_PAIRS_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True)
class Proposal:
    """Distinct candidate pairs in partitions, and what the guard against huge buckets did."""

    pairs: Partitions
    num_buckets: int
    """Buckets with a new document and more than `max_bucket` members."""
    num_skipped: int
    """Pairs of these that no band proposed there; another band may have."""

    def __iter__(self) -> Iterator[Array]:
        """Records of `PAIR` with a < b, sorted and distinct, one partition after the other."""
        for number in range(self.pairs.num):
            pairs = self.pairs.read(number)
            self.pairs.remove(number)
            if len(pairs):
                yield distinct(pairs)


def propose(new: Rows, old: Rows, num_documents: int, folder: Path, max_bucket: int = MAX_BUCKET) -> Proposal:
    """Pairs of documents with an equal band key of which at least one is new.

    `new` and `old` give batches with columns id and bands (list<uint64>, equally long); they are read once. `num_documents`, of both
    together, decides how many partitions there are and nothing else. Files go to `folder`, which must be empty.
    Raises: ValueError if an id is no digest.
    """
    keys: Partitions | None = None
    for batch in new:
        records = _records(batch, None)
        keys = keys or Partitions(folder, "keys", num_partitions(num_documents * _num_bands(batch) * _KEY.itemsize), _KEY)
        keys.append(records, partition_of(mixed(records["key"]), keys.num))
    if keys is None:
        return Proposal(Partitions(folder, "pairs", 1, PAIR), 0, 0)
    marks: Marks | None = None
    for batch in old:
        marks = _marks(keys) if marks is None else marks
        records = _records(batch, marks)
        keys.append(records, partition_of(mixed(records["key"]), keys.num))
    del marks
    return _pair_up(keys, Partitions(folder, "pairs", 2 * keys.num, PAIR), max_bucket)


def distinct(pairs: Array) -> Array:
    """Records of `PAIR`, sorted, each once."""
    order = np.lexsort((pairs["b"]["low"], pairs["b"]["high"], pairs["a"]["low"], pairs["a"]["high"]))
    pairs = pairs[order]
    changes = np.ones(len(pairs), bool)
    changes[1:] = np.any([np.diff(pairs[side][half]) != 0 for side in ("a", "b") for half in ("high", "low")], axis=0)
    return pairs[changes]


def _num_bands(batch: pa.RecordBatch) -> int:
    return max(1, len(pc.list_flatten(batch["bands"])) // max(1, len(batch["id"])))


def _records(batch: pa.RecordBatch, marks: Marks | None) -> Array:
    """One record per new document and band; of earlier documents only those whose key the marks of the new ones let pass."""
    keys = np.asarray(pc.list_flatten(batch["bands"])).astype(np.uint64, copy=False)
    num_bands = len(keys) // max(1, len(batch["id"]))
    if marks is None:
        ids = np.repeat(encode_ids(batch["id"]), num_bands)
    else:
        passed = marks.passed(keys)
        ids, keys = encode_ids(batch["id"].take(pa.array(passed // max(1, num_bands), pa.int64()))), keys[passed]
    records = np.zeros(len(keys), _KEY)
    records["key"], records["new"] = keys, marks is None
    records["high"], records["low"] = ids["high"], ids["low"]
    return records


def _marks(new: Partitions) -> Marks:
    """Marks of the new keys."""
    marks = Marks(new.num_records)
    for number in range(new.num):
        marks.add(new.read(number)["key"])
    return marks


def _pair_up(keys: Partitions, pairs: Partitions, max_bucket: int) -> Proposal:
    num_buckets = num_skipped = 0
    for number in range(keys.num):
        records = _sorted(keys.read(number))
        keys.remove(number)
        for bucket, sizes in _buckets(records):
            num_buckets += int((sizes > max_bucket).sum())
            for a, b in _pairs_of(bucket, sizes, max_bucket):
                fresh = records["new"][a] | records["new"][b]
                found = np.zeros(int(fresh.sum()), PAIR)
                for side, rows in (("a", a[fresh]), ("b", b[fresh])):
                    found[side]["high"], found[side]["low"] = records["high"][rows], records["low"][rows]
                pairs.append(found, partition_of(mixed(found["a"]["low"] ^ mixed(found["b"]["low"])), pairs.num))
            large = sizes[sizes > max_bucket]
            leaders = max(1, max_bucket // 2)
            num_skipped += int(((large - leaders) * (large - leaders - 1) // 2).sum())
    return Proposal(pairs, num_buckets, num_skipped)


def _sorted(records: Array) -> Array:
    """Those that share their key, by key and id; a document that comes twice counts once, and as new if it is new anywhere."""
    records = _with_company(records)
    records = records[np.lexsort((~records["new"], records["low"], records["high"], records["key"]))]
    same = np.ones(len(records), bool)
    same[1:] = (np.diff(records["key"]) != 0) | (np.diff(records["high"]) != 0) | (np.diff(records["low"]) != 0)
    return records[same]


def _with_company(records: Array) -> Array:
    """Records whose key another has too: most have none, and sorting by one number takes a fraction of sorting by four."""
    keys = np.ascontiguousarray(records["key"])
    order = np.argsort(keys)
    keys = keys[order]
    equal = np.zeros(len(keys) + 1, bool)
    equal[1:-1] = keys[1:] == keys[:-1]
    return records[order[equal[1:] | equal[:-1]]]


def _buckets(records: Array) -> Iterator[tuple[Array, Array]]:
    """First rows and sizes of the buckets with at least two members of which one is new: small ones together by size, large ones alone."""
    starts = np.nonzero(np.concatenate([[True], np.diff(records["key"]) != 0]))[0] if len(records) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(records)))
    fresh = np.add.reduceat(records["new"], starts) > 0 if len(starts) else np.zeros(0, bool)
    for size in np.unique(sizes[(sizes > 1) & fresh]).tolist():
        chosen = starts[(sizes == size) & fresh]
        step = max(1, _PAIRS_AT_ONCE // (size * (size - 1) // 2))
        for first in range(0, len(chosen), step):
            part = chosen[first : first + step]
            yield part, np.full(len(part), size, np.int64)


def _pairs_of(starts: Array, sizes: Array, max_bucket: int) -> Iterator[tuple[Array, Array]]:
    """Rows of all pairs of these equally large buckets, or of those with their first members if they are too large; the smaller first."""
    size = int(sizes[0])
    if size <= max_bucket:
        first, second = np.triu_indices(size, 1)
        yield (starts[:, None] + first).reshape(-1), (starts[:, None] + second).reshape(-1)
        return
    for leader in range(max(1, max_bucket // 2)):
        for start in starts.tolist():
            others = np.arange(leader + 1, size) + start
            yield np.full(len(others), start + leader), others
