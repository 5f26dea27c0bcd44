"""zlib's decompressor, as Intel's ISA-L has it: 65 MB of pages in 0.06 s where zlib takes 0.15.

The interface is zlib's, the error a type of its own. The cost: on damaged data it is a little less strict. It waits for a whole header
before it looks at the first byte, takes flags nobody has defined, and may find the end of the data where zlib finds the damage. So
whoever reads members one after the other looks at their first bytes with `may_open`.
"""

from typing import Any, cast

from isal import isal_zlib

GZIP, ZLIB, RAW = 31, 15, -15
"""How the data is wrapped."""
MEMBER = b"\x1f\x8b\x08"
"""The first bytes of a gzip member."""
MEMBER_HEAD_BYTES = 4
InflateError = cast(type[Exception], isal_zlib.error)


def decompressor(wrapping: int) -> Any:
    """An object like that of `zlib.decompressobj`, which raises InflateError on broken data."""
    return isal_zlib.decompressobj(wrapping)


def may_open(head: bytes) -> bool:
    """Whether these bytes, or what is there of them at the end of a file, may start a gzip member."""
    return MEMBER.startswith(head[:3]) and (len(head) < MEMBER_HEAD_BYTES or head[3] < 0x20)
