"""A bitmap of 64-bit keys: of millions that stream by, it lets pass those that were marked and few others.

One bit per key and one look-up, as a Bloom filter with a single hash. It is sized by the marked keys, so for a small set it stays in the
processor's cache, where two million look-ups take 6 ms. The cost: where marked keys are so many that the bitmap has its largest size, more
others pass; whoever asks checks exactly what passes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.signals import kernel

Array = NDArray[Any]

_BITS = (16, 27)
"""Binary logarithms of the smallest and the largest bitmap: 8 KB and 16 MB."""
_BITS_PER_KEY = 256
"""One other key in so many passes by chance, unless the bitmap has its largest size."""
_SPREAD = 0x9E3779B97F4A7C15


class Marks:
    """Marked uint64 keys, about `num_keys` of them."""

    def __init__(self, num_keys: int) -> None:
        low, high = _BITS
        bits = min(high, max(low, (num_keys * _BITS_PER_KEY).bit_length()))
        self._bitmap, self._shift = np.zeros(1 << (bits - 6), np.uint64), np.uint64(64 - bits)

    def add(self, keys: Array) -> None:
        """Mark these keys."""
        _kernels()[0](self._bitmap, _read_only(keys), self._shift)

    def passed(self, keys: Array) -> Array:
        """int64 positions of the keys that are marked, and of few others, in order."""
        keys, out = _read_only(keys), np.empty(len(keys), np.int64)
        return out[: _kernels()[1](self._bitmap, keys, self._shift, out)]


def _read_only(keys: Array) -> Array:
    """As Arrow's memory is: whether it may be written to must not decide which kernel is compiled."""
    keys = np.ascontiguousarray(keys).view()
    keys.setflags(write=False)
    return keys


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """mark(bitmap, keys, shift); marked(bitmap, keys, shift, out): positions of the keys that may have been marked, and how many."""
    step, six, rest, one = (np.uint64(n) for n in (_SPREAD, 6, 63, 1))

    def mark(bitmap: Array, keys: Array, shift: int) -> None:
        for i in range(len(keys)):
            place = ((keys[i] ^ (keys[i] >> six)) * step) >> shift
            bitmap[place >> six] |= one << (place & rest)

    def marked(bitmap: Array, keys: Array, shift: int, out: Array) -> int:
        num = 0
        for i in range(len(keys)):
            place = ((keys[i] ^ (keys[i] >> six)) * step) >> shift
            if (bitmap[place >> six] >> (place & rest)) & one:
                out[num] = i
                num += 1
        return num

    bitmap, keys, shift = np.zeros(1, np.uint64), _read_only(np.zeros(1, np.uint64)), np.uint64(58)
    return (
        kernel.compiled(mark, lambda run: run(bitmap, keys, shift)),
        kernel.compiled(marked, lambda run: run(bitmap, keys, shift, np.zeros(1, np.int64))),
    )
