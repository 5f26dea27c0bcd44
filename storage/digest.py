"""Content identity: BLAKE2b with 128 bits, in hex, the same for every id of the lake.

Parts are prefixed with their length, so that ("ab", "c") and ("a", "bc") differ; the cost is that the digest of one part
is not the plain hash of its bytes. `file_digest` is the plain hash of a file, so that `b2sum -l 128` gives the same.
128 bits keep an accidental clash among 10^12 items below 10^-14.
"""

import hashlib
from pathlib import Path

DIGEST_BYTES = 16
_CHUNK_BYTES = 1 << 20


def digest(*parts: str | bytes) -> str:
    """Hex digest of the parts in order; text counts as its UTF-8 bytes."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def file_digest(path: str | Path) -> str:
    """Hex digest of a local file's bytes, read in pieces."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()
