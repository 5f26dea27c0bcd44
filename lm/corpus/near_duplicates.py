"""Near-duplicate pairs: band keys propose, shingle sets decide, a policy says who goes.

A pair is stored only with its exact Jaccard similarity, so a threshold is a query and no document goes because a chain of others
links it to one it does not resemble. Proposing compares the new documents with each other and with all earlier ones: crawl by crawl gives
the pairs that one run over everything gives.

Boilerplate can put thousands of documents into one bucket. Up to `max_bucket` members every pair is proposed; above it each member is
paired with the `max_bucket / 2` smallest ids only, which costs k instead of k^2 and still ties every member to documents that the policy
looks at first. The price: some pairs of such buckets are unknown; how many is returned and logged. There, pairs found in earlier
runs stay, so many small runs may know more pairs than one large one, never fewer.

The policy goes through ids in order and removes a document that is similar enough to one kept before it. Ids are content hashes, so the
order owes nothing to the order of the crawl; the price is that a later crawl may bring a document that takes an earlier one's place.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lm.corpus.minhash import band_table, preset_named, shingle_sets

LOG = logging.getLogger(__name__)

MAX_BUCKET = 1000
MIN_JACCARD = 0.5
"""Least similarity worth storing: below any threshold in use."""

_BATCH_BYTES = 32 << 20
"""Text whose shingle sets are held at once."""

Array = NDArray[Any]

_TYPES: dict[str, Any] = {
    "id_a": pa.string(),
    "id_b": pa.string(),
    "jaccard": pa.float32(),
    "containment": pa.float32(),
    "method": pa.string(),
}
PAIRS = pa.schema(_TYPES)
_TYPES_REMOVED: dict[str, Any] = {"id": pa.string(), "kept_id": pa.string(), "jaccard": pa.float32()}
REMOVALS = pa.schema(_TYPES_REMOVED)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What the guard against huge buckets left out of one proposal."""

    num_buckets: int
    """Buckets with more than `max_bucket` members."""
    num_pairs: int
    """Pairs of these that no band proposed there; another band may have."""


def _members(new: pa.Table, old: pa.Table | None) -> "tuple[pa.Array[Any], Array, Array]":
    """All ids in order, whether each is new, and their band keys as uint64[id, band]. An id that comes twice counts once."""
    tables = [new] if old is None else [new, old]
    ids = pa.concat_arrays([chunk.cast(pa.string()) for table in tables for chunk in table["id"].chunks] or [pa.array([], pa.string())])
    is_new = np.arange(len(ids)) < new.num_rows
    keys = [np.asarray(pc.list_flatten(chunk)).astype(np.uint64) for table in tables for chunk in table["bands"].chunks if len(chunk)]
    bands = np.concatenate(keys).reshape(len(ids), -1) if keys else np.zeros((0, 1), dtype=np.uint64)
    order = np.asarray(pc.sort_indices(ids))
    ids, is_new, bands = ids.take(pa.array(order)), is_new[order], bands[order]
    first = np.ones(len(ids), dtype=bool)
    first[1:] = np.asarray(pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1))))
    if not first.all():
        is_new = np.logical_or.reduceat(is_new, np.nonzero(first)[0])
        ids, bands = ids.filter(pa.array(first)), bands[first]
    return ids, is_new, bands


def _buckets(keys: Array) -> Iterator[Array]:
    """Members of each bucket with at least two, in order."""
    order = np.argsort(keys, kind="stable")
    edges = np.nonzero(np.diff(keys[order]))[0] + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(keys)]])
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        yield order[start:end]


def _pairs_of(bucket: Array, max_bucket: int) -> tuple[Array, Array]:
    """All pairs of a bucket, or those with its first members if it is too large; the smaller one first."""
    k = len(bucket)
    if k <= max_bucket:
        a, b = np.triu_indices(k, 1)
    else:
        leaders = max(1, max_bucket // 2)
        a, b = (side.reshape(-1) for side in np.meshgrid(np.arange(leaders), np.arange(k), indexing="ij"))
        a, b = a[a < b], b[a < b]
    return bucket[a], bucket[b]


def _band_pairs(keys: Array, is_new: Array, max_bucket: int) -> tuple[Array, Skipped]:
    """Codes a * n + b of the pairs one band proposes that hold a new document."""
    n, found, num_buckets, num_skipped = len(keys), [np.zeros(0, dtype=np.int64)], 0, 0
    for bucket in _buckets(keys):
        if not is_new[bucket].any():
            continue
        a, b = _pairs_of(bucket, max_bucket)
        if len(bucket) > max_bucket:
            num_buckets += 1
            num_skipped += len(bucket) * (len(bucket) - 1) // 2 - len(a)
        fresh = is_new[a] | is_new[b]
        found.append(a[fresh] * n + b[fresh])
    return np.unique(np.concatenate(found)), Skipped(num_buckets, num_skipped)


def propose_counted(new: pa.Table, old: pa.Table | None = None, max_bucket: int = MAX_BUCKET) -> tuple[pa.Table, Skipped]:
    """Candidate pairs (id_a, id_b), id_a < id_b, sorted, of which at least one is new; and what was skipped.

    Both tables have columns id and bands (list<uint64>, equally long). One band is looked at after the other, so memory holds the band
    keys, one sorted column of them and the pairs.
    """
    ids, is_new, bands = _members(new, old)
    codes, num_buckets, num_pairs = np.zeros(0, dtype=np.int64), 0, 0
    for band in range(bands.shape[1] if len(ids) else 0):
        found, skipped = _band_pairs(np.ascontiguousarray(bands[:, band]), is_new, max_bucket)
        codes = np.union1d(codes, found)
        num_buckets, num_pairs = num_buckets + skipped.num_buckets, num_pairs + skipped.num_pairs
    n = max(1, len(ids))
    a, b = pa.array(codes // n, pa.int64()), pa.array(codes % n, pa.int64())
    table = pa.table({"id_a": ids.take(a), "id_b": ids.take(b)})
    return table, Skipped(num_buckets, num_pairs)


def propose(new: pa.Table, old: pa.Table | None = None) -> pa.Table:
    """`propose_counted`, with a warning in the log if buckets were too large for all their pairs."""
    table, skipped = propose_counted(new, old)
    if skipped.num_buckets:
        message = "%s buckets hold more than %s documents: their members were compared with %s each, %s pairs were not proposed there"
        LOG.warning(message, skipped.num_buckets, MAX_BUCKET, MAX_BUCKET // 2, skipped.num_pairs)
    return table


def similarity(a: Array, b: Array) -> tuple[float, float]:
    """Jaccard and containment of two sorted sets of shingles, neither empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared), shared / min(len(a), len(b))


def _texts_of(ids: list[str], texts: Mapping[str, str] | pa.Table) -> "pa.Array[Any]":
    """Texts in the order of the ids. Raises KeyError if one is missing."""
    if isinstance(texts, pa.Table):
        rows = pc.index_in(pa.array(ids, pa.string()), texts["id"].combine_chunks().cast(pa.string()))
        if rows.null_count:
            raise KeyError(f"texts must hold every id of the pairs, but {rows.null_count} are missing, such as {ids[_first_null(rows)]}")
        column = texts["text"].cast(pa.large_string()).take(rows)
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    missing = [id for id in ids if id not in texts]
    if missing:
        raise KeyError(f"texts must hold every id of the pairs, but {len(missing)} are missing, such as {missing[0]}")
    return pa.array([texts[id] for id in ids], pa.large_string())


def _first_null(array: Any) -> int:
    return int(np.nonzero(np.asarray(pc.is_null(array)))[0][0])


def _batches(a: Array, b: Array, sizes: Array) -> Iterator[slice]:
    """Slices of the pairs whose documents hold about `_BATCH_BYTES` of text, at least one pair each."""
    start, total, seen = 0, 0, set[int]()
    for i, pair in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        fresh = [d for d in pair if d not in seen]
        added = int(sizes[fresh].sum()) if fresh else 0
        if i > start and total + added > _BATCH_BYTES:
            yield slice(start, i)
            start, total, seen, fresh = i, 0, set(), list(pair)
            added = int(sizes[fresh].sum())
        seen.update(fresh)
        total += added
    if len(a) > start:
        yield slice(start, len(a))


def verify(pairs: pa.Table, texts: Mapping[str, str] | pa.Table, preset: str, *, min_jaccard: float = MIN_JACCARD) -> pa.Table:
    """Pairs whose exact similarity on the preset's shingles is at least `min_jaccard`: rows of the table `near_duplicates`, sorted.

    `texts` maps ids to texts, or has columns id and text. Shingle sets are held for one batch of pairs at a time.
    Raises ValueError for an unknown preset, KeyError for a missing text.
    """
    name = preset_named(preset).name
    pairs = pairs.sort_by([("id_a", "ascending"), ("id_b", "ascending")])
    flat = pa.concat_arrays([pa.array([], pa.string()), *(c.cast(pa.string()) for side in ("id_a", "id_b") for c in pairs[side].chunks)])
    encoded = flat.dictionary_encode()
    codes = np.asarray(encoded.indices)
    a, b = codes[: pairs.num_rows], codes[pairs.num_rows :]
    column: Any = _texts_of([str(id) for id in encoded.dictionary.to_pylist()], texts)
    sizes = np.asarray(pc.binary_length(column)).astype(np.int64)
    scores = np.zeros((pairs.num_rows, 2), dtype=np.float32)
    for batch in _batches(a, b, sizes):
        used = np.unique(np.concatenate([a[batch], b[batch]]))
        sets = dict(zip(used.tolist(), shingle_sets(column.take(pa.array(used)), name), strict=True))
        for i in range(batch.start, batch.stop):
            scores[i] = similarity(sets[int(a[i])], sets[int(b[i])])
    columns = [pairs["id_a"], pairs["id_b"], pa.array(scores[:, 0]), pa.array(scores[:, 1]), pa.array([name] * pairs.num_rows, pa.string())]
    return pa.table(columns, schema=PAIRS).filter(pa.array(scores[:, 0] >= np.float32(min_jaccard)))


def find(ids: "pa.Array[Any]", texts: "pa.Array[Any]", preset: str, *, min_jaccard: float = MIN_JACCARD) -> pa.Table:
    """All verified pairs among these texts: band keys, proposal and check in one call."""
    return verify(propose(band_table(ids, texts, preset)), pa.table({"id": ids, "text": texts}), preset, min_jaccard=min_jaccard)


def resolve(pairs: pa.Table, threshold: float) -> pa.Table:
    """Who goes when the first of similar documents is kept: columns id, kept_id, jaccard, sorted by id.

    `pairs` are verified pairs (id_a, id_b, jaccard) of documents that may be kept. Ids are looked at in order; a document goes if it has a
    similarity of at least `threshold` with one that was kept before it, and `kept_id` is the most similar of these. A document that
    resembles only removed ones stays, so chains swallow nothing.
    """
    strong = pairs.filter(pa.array(np.asarray(pairs["jaccard"]).astype(np.float32) >= np.float32(threshold)))
    strong = strong.sort_by([("id_b", "ascending"), ("jaccard", "descending"), ("id_a", "ascending")])
    removed: dict[str, tuple[str, float]] = {}
    for first, second, jaccard in zip(*(strong[name].to_pylist() for name in ("id_a", "id_b", "jaccard")), strict=True):
        if second not in removed and first not in removed:
            removed[second] = (first, jaccard)
    ids = sorted(removed)
    columns: list[Any] = [ids, [removed[id][0] for id in ids], [removed[id][1] for id in ids]]
    return pa.table(columns, schema=REMOVALS)
