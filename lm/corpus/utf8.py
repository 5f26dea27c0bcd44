"""Whether bytes are UTF-8, how many characters they are, and how many of the first ones are control characters, in one compiled pass.

Python tells the first by making a string, of two bytes per character for most pages, that nothing else here needs: the extractor reads
bytes. Here every byte is judged by itself and the three before it, without a branch, so the compiler does 64 at a time. Valid is what
Python's strict decoder takes: no surrogates, no overlong forms, nothing above U+10FFFF. The cost is a kernel more to compile, in half a
second.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest
from lm.corpus.signals import hashing
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]
Byte = Any
"""np.uint8, to the compiler: a plain number would make eight bytes of each."""

_BLOCK = 128
_REACH = 3
"""Bytes before a byte that its verdict depends on."""
_ONE, _TWO, _THREE = (uint64(num) for num in (1, 2, 3))
_ASCII_END, _INSIDE, _INSIDE_MASK, _INSIDE_END = (np.uint8(byte) for byte in (0x80, 0x80, 0xC0, 0xBF))
_LEAD, _LEAD_OF_3, _LEAD_OF_4, _LEAD_END = (np.uint8(byte) for byte in (0xC0, 0xE0, 0xF0, 0xF4))
_E0, _ED, _F0, _F4, _A0, _9F, _90, _8F, _C0, _C1, _C2 = (
    np.uint8(byte) for byte in (0xE0, 0xED, 0xF0, 0xF4, 0xA0, 0x9F, 0x90, 0x8F, 0xC0, 0xC1, 0xC2)
)
_EF, _BB, _BE, _BF = (np.uint8(byte) for byte in (0xEF, 0xBB, 0xBE, 0xBF))
_TAB, _RETURN, _SPACE, _DELETE = (np.uint8(byte) for byte in (9, 13, 32, 127))


class Look(NamedTuple):
    """What a look at bytes tells."""

    is_utf8: bool
    num_chars: int
    """Characters; of bytes that are no UTF-8, those that might start one, as far as was looked."""
    num_controls: int
    """Control characters other than white space, C1, U+FEFF, U+FFFE and U+FFFF included, that end in the head."""


def look(page: bytes, num_head_bytes: int = 0) -> Look:
    """One pass over all bytes, and control characters among the first so many."""
    is_utf8, num_chars, num_controls, _ = _kernel()(np.frombuffer(page, np.uint8), num_head_bytes)
    return Look(bool(is_utf8), int(num_chars), int(num_controls))


@inner
def is_wrong(byte: Byte, first: Byte, second: Byte, third: Byte) -> bool:
    """Whether a byte cannot follow the three before it, nearest first."""
    is_due = (first >= _LEAD) | (second >= _LEAD_OF_3) | (third >= _LEAD_OF_4)
    is_inside = (byte & _INSIDE_MASK) == _INSIDE
    is_no_byte = (byte == _C0) | (byte == _C1) | (byte > _LEAD_END)
    is_overlong = ((first == _E0) & (byte < _A0)) | ((first == _F0) & (byte < _90))
    is_beyond = ((first == _ED) & (byte > _9F)) | ((first == _F4) & (byte > _8F))
    return bool((is_due != is_inside) | is_no_byte | is_overlong | is_beyond)


@inner
def is_control(byte: Byte, first: Byte, second: Byte) -> bool:
    """Whether a byte ends a control character, U+FEFF, U+FFFE or U+FFFF, given the two before it, nearest first."""
    is_c0 = (byte < _TAB) | ((byte > _RETURN) & (byte < _SPACE)) | (byte == _DELETE)
    is_c1 = (first == _C2) & (byte >= _INSIDE) & (byte < _A0)
    is_mark = (second == _EF) & (((first == _BB) & (byte == _BF)) | ((first == _BF) & (byte >= _BE) & (byte <= _INSIDE_END)))
    return bool(is_c0 | is_c1 | is_mark)


@inner
def look_closely(page: Array, start: int, stop: int) -> tuple[bool, int]:
    """Whether page[start:stop] is UTF-8 so far, and how many characters start there; the page's ends are looked at here."""
    is_bad, num = False, int64(0)
    for at in range(start, stop):
        first = page[at - 1] if at > 0 else np.uint8(0)
        second = page[at - 2] if at > 1 else np.uint8(0)
        third = page[at - 3] if at > 2 else np.uint8(0)
        is_bad |= is_wrong(page[at], first, second, third)
        num += (page[at] & _INSIDE_MASK) != _INSIDE
    return is_bad, num


@inner
def look_at_block(page: Array, start: int) -> tuple[bool, int]:
    """The same for a block inside the page."""
    seen, at = np.uint8(0), uint64(start)
    for i in range(_BLOCK + _REACH):
        seen |= page[at + uint64(i) - _THREE]
    if seen < _ASCII_END:
        return False, int64(_BLOCK)
    is_bad, num_inside = False, np.uint8(0)
    for i in range(_BLOCK):
        here = at + uint64(i)
        is_bad |= is_wrong(page[here], page[here - _ONE], page[here - _TWO], page[here - _THREE])
        num_inside = np.uint8(num_inside + np.uint8((page[here] & _INSIDE_MASK) == _INSIDE))
    return is_bad, _BLOCK - int64(num_inside)


@inner
def look_at_all(page: Array) -> tuple[bool, int]:
    """Whether a page is UTF-8, and how many characters; of one that is not, up to the block that is wrong."""
    at = int64(min(page.size, _BLOCK))
    is_bad, num = look_closely(page, int64(0), at)
    while at + _BLOCK <= page.size and not is_bad:
        is_bad, num_more = look_at_block(page, at)
        num += num_more
        at += _BLOCK
    is_bad_end, num_more = look_closely(page, at, int64(page.size))
    for back in range(1, min(_REACH, page.size) + 1):  # a last character that is cut off
        is_bad |= page[page.size - back] >= (_LEAD, _LEAD_OF_3, _LEAD_OF_4)[back - 1]
    return not (is_bad or is_bad_end), num + num_more


@inner
def count_controls(page: Array, num_bytes: int) -> int:
    """Control characters that end among the first bytes."""
    num, first, second = int64(0), np.uint8(0), np.uint8(0)
    for at in range(min(num_bytes, page.size)):
        num += is_control(page[at], first, second)
        first, second = page[at], first
    return num


@cache
def _kernel() -> Callable[..., Any]:
    version = sources_digest(__file__, hashing.__file__)

    def both(page: Array, num_head_bytes: int) -> tuple[bool, int, int, int]:
        is_utf8, num_chars = look_at_all(page)
        return is_utf8, num_chars, count_controls(page, num_head_bytes), version

    return compiled(both, lambda kernel: kernel(np.frombuffer(b"a", np.uint8), 1))
