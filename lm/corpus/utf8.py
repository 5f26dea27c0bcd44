"""Whether bytes are UTF-8, how many characters they are, and how many of the first ones are control characters, in one compiled pass.

Python tells the first by making a string, of two bytes per character for most pages, that nothing else here needs: the extractor reads
bytes. ASCII goes by 64 bytes at a time. Valid is what Python's strict decoder takes: no surrogates, no overlong forms, nothing above
U+10FFFF. The cost is a kernel more to compile, in half a second.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest
from lm.corpus.signals import hashing
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

_BLOCK = 64
_NONE, _ONE, _TWO, _THREE, _FOUR, _STEP = (uint64(num) for num in (0, 1, 2, 3, 4, _BLOCK))


def look(page: bytes, num_head_chars: int = 0) -> tuple[int, int]:
    """Number of characters of UTF-8, or -1 if it is none; and control characters, C1 and U+FEFF included, among the first so many."""
    num_chars, num_controls, _ = _kernel()(np.frombuffer(page, np.uint8), num_head_chars)
    return int(num_chars), int(num_controls)


@inner
def size_at(page: Array, at: int) -> int:
    """Bytes of the character at a place; 0 if there is none. Unsigned places spare the compiler a look at the sign of each."""
    first, left = page[at], uint64(page.size) - at
    if first < 0x80:
        return _ONE
    if first < 0xC2 or first > 0xF4 or left < _TWO or page[at + _ONE] & 0xC0 != 0x80:
        return _NONE
    if first < 0xE0:
        return _TWO
    second = page[at + _ONE]
    if left < _THREE or page[at + _TWO] & 0xC0 != 0x80:
        return _NONE
    if first < 0xF0:
        return _NONE if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F) else _THREE
    if left < _FOUR or page[at + _THREE] & 0xC0 != 0x80 or (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
        return _NONE
    return _FOUR


@inner
def is_control(page: Array, at: int, size: int) -> bool:
    """Whether the character of so many bytes is a control character (other than white space), U+FEFF, U+FFFE or U+FFFF."""
    byte = page[at]
    if size == _ONE:
        return bool(byte < 9 or 14 <= byte < 32 or byte == 127)
    if size == _TWO:
        return bool(byte == 0xC2 and page[at + _ONE] < 0xA0)
    if size != _THREE or byte != 0xEF:
        return False
    second, third = page[at + _ONE], page[at + _TWO]
    return bool((second == 0xBB and third == 0xBF) or (second == 0xBF and third > 0xBD))


@inner
def count_controls(page: Array, num_chars: int) -> int:
    """Control characters among the first characters, up to the first byte that is no UTF-8."""
    num, at = int64(0), _NONE
    for _ in range(num_chars):
        size = size_at(page, at) if at < uint64(page.size) else _NONE
        if size == _NONE:
            break
        num += is_control(page, at, size)
        at += size
    return num


@inner
def count_characters(page: Array) -> int:
    """Characters of UTF-8; -1 for anything else."""
    num, at, end = _NONE, _NONE, uint64(page.size)
    while at < end:
        stop = min(at + _STEP, end)
        if at + _STEP <= end:
            seen = np.uint8(0)
            for i in range(_BLOCK):
                seen |= page[at + uint64(i)]
            if seen < 0x80:
                num += _STEP
                at = stop
                continue
        while at < stop:
            size = size_at(page, at)
            if size == _NONE:
                return int64(-1)
            at += size
            num += _ONE
    return int64(num)


@cache
def _kernel() -> Callable[..., Any]:
    version = sources_digest(__file__, hashing.__file__)

    def both(page: Array, num_head_chars: int) -> tuple[int, int, int]:
        return count_characters(page), count_controls(page, num_head_chars), version

    return compiled(both, lambda kernel: kernel(np.frombuffer(b"a", np.uint8), 1))
