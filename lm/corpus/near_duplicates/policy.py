"""Who goes among similar documents: decided on verified pairs, one document after the other.

Documents are looked at in order, by a signal from its best value on or by id alone, and one goes if it is similar enough to `max_kept`
that were kept before it. So no document goes for the sake of one that goes itself, and a chain swallows nothing. Ids are content hashes:
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


def resolve(pairs: pa.Table, threshold: float, *, max_kept: int = 1) -> pa.Table:
    """Who goes: columns id, kept_id, jaccard, sorted by id.

    `pairs` are verified pairs (id_a, id_b, jaccard) of documents that may be kept; with columns score_a and score_b the document of the
    higher score comes first, NULL last, and equal scores go by id. A document goes if at least `max_kept` documents before it were kept
    and have a similarity of at least `threshold` with it; `kept_id` is the most similar of these.
    """
    strong = pairs.filter(pa.array(np.asarray(pairs["jaccard"]).astype(np.float32) >= np.float32(threshold)))
    names, first, second = _in_order(strong)
    jaccard = np.asarray(strong["jaccard"]).astype(np.float32)
    removed: dict[int, tuple[int, float]] = {}
    order = np.lexsort((first, -jaccard, second))
    similar: list[tuple[int, float]] = []
    rows = list(zip(first[order].tolist(), second[order].tolist(), jaccard[order].tolist(), strict=True))
    for position, (one, other, score) in enumerate(rows):
        if one not in removed:
            similar.append((one, score))
        if position + 1 == len(rows) or rows[position + 1][1] != other:
            if len(similar) >= max_kept:
                removed[other] = similar[0]
            similar = []
    found = sorted((names[id], names[kept], score) for id, (kept, score) in removed.items())
    columns: list[Any] = [list(column) for column in zip(*found, strict=True)] or [[], [], []]
    return pa.table(columns, schema=REMOVALS)


def _in_order(pairs: pa.Table) -> tuple[list[str], Array, Array]:
    """Ids in the order they are looked at, and for each pair the position of the earlier and of the later one."""
    if not pairs.num_rows:
        return [], np.zeros(0, np.int64), np.zeros(0, np.int64)
    sides = []
    for side in ("a", "b"):
        score = pairs[f"score_{side}"] if f"score_{side}" in pairs.column_names else pa.nulls(pairs.num_rows, pa.float64())
        sides.append(pa.table({"id": pairs[f"id_{side}"], "score": score.cast(pa.float64())}))
    seen = pa.concat_tables(sides).group_by("id").aggregate([("score", "max")])
    order: Any = [("score_max", "descending"), ("id", "ascending")]
    names = [str(id) for id in seen.sort_by(order)["id"].to_pylist()]
    place = {id: number for number, id in enumerate(names)}
    a, b = (np.array([place[str(id)] for id in pairs[f"id_{side}"].to_pylist()], np.int64) for side in ("a", "b"))
    return names, np.minimum(a, b), np.maximum(a, b)
