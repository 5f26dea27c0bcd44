"""Where a document, or a part of a long one, stands in the order of use, and whether it may be drawn for validation.

Both are keyed BLAKE2b hashes of the document id (and part) with 64 bits: uniform, independent of each other, of arrival order and of the
number of workers. A new crawl only interleaves. The price of a cryptographic hash is about a microsecond per document, little
beside tokenizing it. Two of n documents share a rank with probability n^2 / 2^65 (3% for a billion); ties go by id.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

EDITED = "~"
"""Between the id of a document and the name of a variant in the id of an edited text."""

Ranks = np.ndarray[tuple[int], np.dtype[np.uint64]]


def rank(ids: Iterable[str], key: str) -> Ranks:
    """Rank of each document id under a key, uniform over 64 bits."""
    return _keyed(ids, key, b"rank")


def part_name(document_id: str, part: int) -> str:
    """What is ranked for a part of a document: the first stands where the whole document would.

    An edited text, `<document id>~<variant>`, stands where the document does, so that recipes differ in texts and not in their order.
    """
    whole = document_id.partition(EDITED)[0]
    return whole if part == 0 else f"{whole}/{part}"


def split_hash(ids: Iterable[str], key: str) -> Ranks:
    """The hash that decides the draw for validation; independent of the rank under the same key."""
    return _keyed(ids, key, b"split")


def _keyed(ids: Iterable[str], key: str, purpose: bytes) -> Ranks:
    secret = hashlib.blake2b(key.encode(), digest_size=32).digest()  # any length of key, and never an empty one
    base = hashlib.blake2b(digest_size=8, key=secret, person=purpose)
    joined = bytearray()
    for document_id in ids:
        hasher = base.copy()
        hasher.update(document_id.encode())
        joined += hasher.digest()
    return np.frombuffer(bytes(joined), dtype=">u8").astype(np.uint64)
