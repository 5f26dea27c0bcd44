"""Who goes among similar documents: decided on verified pairs, one document after the other.

Documents are looked at in order, by a signal from its best value on or by id alone, and one goes if it is similar enough to `max_kept`
that were kept before it. So no document goes for the sake of one that goes itself, and a chain swallows nothing. Documents that share a
key, an address or a content, come as a group and not as pairs, so a thousand of them cost a thousand steps. Ids are content hashes:
the order owes nothing to that of the crawl; the price is that a later crawl may bring a document that takes an earlier one's place.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Array = NDArray[Any]

SCOPES = ("all", "crawl", "host")
"""Among which documents duplicates are looked for: all, or those that share a crawl, or a host."""
KEEPS = ("first", "best", "duplicated")
"""Which one stays: the first id, the best by a signal; or, as a negative control, all that have a duplicate and no others."""
_TYPES: dict[str, Any] = {"id": pa.string(), "kept_id": pa.string(), "jaccard": pa.float32()}
REMOVALS = pa.schema(_TYPES)
_KEYED: dict[str, Any] = {"id": pa.string(), "key": pa.string()}
_NO_KEYS = pa.schema(_KEYED).empty_table()


def resolve(pairs: pa.Table, threshold: float, *, max_kept: int = 1, keyed: pa.Table | None = None) -> pa.Table:
    """Who goes: columns id, kept_id, jaccard, sorted by id.

    `pairs` are verified pairs (id_a, id_b, jaccard) of documents that may be kept, `keyed` documents with a key each (id, key), where those
    of one key are as similar as can be; with columns score_a and score_b, and score, the document of the higher score comes first, NULL
    last, and equal scores go by id. A document goes if at least `max_kept` documents before it were kept and have a similarity of at least
    `threshold` with it; `kept_id` is the most similar of these. Memory: some hundred bytes per pair.
    """
    strong = pairs.filter(pa.array(np.asarray(pairs["jaccard"]).astype(np.float32) >= np.float32(threshold)))
    keyed = _NO_KEYS if keyed is None else keyed
    names, first, second, keyed_place = _in_order(strong, keyed)
    before: dict[int, list[tuple[float, int]]] = {}
    for one, other, score in zip(first.tolist(), second.tolist(), np.asarray(strong["jaccard"]).tolist(), strict=True):
        before.setdefault(other, []).append((-score, one))
    keys_of: dict[int, list[str]] = {}
    for place, key in zip(keyed_place.tolist(), keyed["key"].to_pylist(), strict=True):
        keys_of.setdefault(place, []).append(str(key))
    kept_of: dict[str, list[int]] = {}
    """Documents kept so far of each key, never more than `max_kept`."""
    removed: dict[int, tuple[int, float]] = {}
    for place in sorted(before.keys() | keys_of.keys()):
        keys = keys_of.get(place, [])
        similar = sorted([*before.get(place, []), *((-1.0, one) for key in keys for one in kept_of.get(key, []))])
        kept = [(one, -score) for score, one in similar if one not in removed]
        if len({one for one, _ in kept}) >= max_kept:
            removed[place] = kept[0]
            continue
        for key in keys:
            kept_of.setdefault(key, []).append(place)
    found = sorted((names[id], names[kept], score) for id, (kept, score) in removed.items())
    columns: list[Any] = [list(column) for column in zip(*found, strict=True)] or [[], [], []]
    return pa.table(columns, schema=REMOVALS)


def _in_order(pairs: pa.Table, keyed: pa.Table) -> tuple[list[str], Array, Array, Array]:
    """Ids in the order they are looked at; positions of the earlier and the later one of each pair, and of each that has a key."""
    if not pairs.num_rows and not keyed.num_rows:
        return [], *(np.zeros(0, np.int64),) * 3
    sides = [_scored(pairs, "id_a", "score_a"), _scored(pairs, "id_b", "score_b"), _scored(keyed, "id", "score")]
    seen = pa.concat_tables(sides).group_by("id").aggregate([("score", "max")])
    order: Any = [("score_max", "descending"), ("id", "ascending")]
    names = [str(id) for id in seen.sort_by(order)["id"].to_pylist()]
    place = {id: number for number, id in enumerate(names)}
    a, b, c = (np.array([place[str(id)] for id in side["id"].to_pylist()], np.int64) for side in sides)
    return names, np.minimum(a, b), np.maximum(a, b), c


def _scored(rows: pa.Table, id: str, score: str) -> pa.Table:
    scores = rows[score] if score in rows.column_names else pa.nulls(rows.num_rows, pa.float64())
    return pa.table({"id": rows[id].cast(pa.string()), "score": scores.cast(pa.float64())})
