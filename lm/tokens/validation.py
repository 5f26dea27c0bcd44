"""Draw documents for validation.

A document's split hash decides: those with the smallest hashes are drawn until a budget is full. So the draw is uniform over
documents, the same whatever the order they come in, and a larger budget only adds to a smaller draw. Documents above
`max_document_bytes` are never drawn, lest one book be half of the set; that they are missing from validation is the price, and
their number is returned. A set is drawn once and then kept as the table `validation` holds it: losses on different sets do not
compare. Keeping near-duplicates of drawn documents out of training is the caller's part, over verified pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm.tokens.rank import split_hash
from storage.digest import digest

MAX_BYTES = 1 << 20
MAX_SHARE = 0.1
DOCUMENTS_PER_BUDGET = 20
"""A single document may take this part of the budget at most: 1/20."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The documents drawn. `validation_id` names the set: the digest of its sorted ids."""

    validation_id: str
    ids: list[str]
    num_bytes: int
    num_too_long: int


def draw(
    ids: Sequence[str],
    num_bytes: Sequence[int],
    *,
    key: str,
    max_bytes: int = MAX_BYTES,
    max_documents: int | None = None,
    max_share: float = MAX_SHARE,
) -> Draw:
    """Draw distinct documents up to `max_bytes`, `max_documents` and `max_share` of all bytes, whichever comes first.

    Raises: ValueError if nothing can be drawn.
    """
    if len(set(ids)) != len(ids) or len(ids) != len(num_bytes):
        raise ValueError(f"need one size per distinct id, got {len(ids)} ids ({len(set(ids))} distinct) and {len(num_bytes)} sizes")
    sizes = np.asarray(num_bytes, dtype=np.int64)
    budget = min(max_bytes, int(max_share * sizes.sum()))
    short = sizes <= budget / DOCUMENTS_PER_BUDGET
    order = np.lexsort((np.array(ids, dtype=str), split_hash(ids, key)))
    order = order[short[order]]
    num_drawn = int(np.searchsorted(np.cumsum(sizes[order]), budget, side="right"))
    drawn = [ids[i] for i in order[: num_drawn if max_documents is None else min(num_drawn, max_documents)]]
    if not drawn:
        raise ValueError(
            f"validation needs documents of at most {budget // DOCUMENTS_PER_BUDGET} bytes (1/{DOCUMENTS_PER_BUDGET} of {budget}), "
            f"but none of {len(ids)} is that short; add documents or raise the budget"
        )
    chosen = set(drawn)
    total = sum(int(size) for document_id, size in zip(ids, sizes, strict=True) if document_id in chosen)
    return Draw(digest(*sorted(drawn)), drawn, total, int((~short).sum()))
