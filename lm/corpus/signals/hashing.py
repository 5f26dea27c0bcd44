"""Hashes inside kernels: polynomial prefix hashes of code points, and a hash table that is emptied in no time.

With prefix hashes modulo the prime 2^61 - 1 the hash of any stretch of text costs one multiplication, so lines, paragraphs and word
n-grams of every length come out of one pass over the characters. Two different stretches of one document share a hash with
probability below length / 2^61; they are not compared letter by letter, which is the price.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest

Array = NDArray[Any]
int64 = cast(Callable[[Any], int], np.int64)
uint64 = cast(Callable[[Any], int], np.uint64)
"""For kernels, where a plain 0 is a type of its own to the compiler and a variable that starts as one is compiled twice."""
F = TypeVar("F", bound=Callable[..., Any])

PRIME = (1 << 61) - 1
BASE = 0x0B5A_3D4F_6E8C_9A17 % PRIME
_SPREAD = uint64(0x9E37_79B9_7F4A_7C15)
_P = uint64(PRIME)
_P2 = uint64(2 * PRIME)
_B = uint64(BASE)
_B2 = uint64(BASE * BASE % PRIME)
_S61 = uint64(61)
_ONE = uint64(1)


_MAKER: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_INNER: dict[str, Any] = {**_MAKER, "_nrt": False}


def inner(function: F) -> F:
    """Compile a function that only other kernels call: without a way in from Python it compiles in half the time.

    It makes no arrays, and so need not count who holds those it is given: counting is an atomic instruction per array and call, which
    took up to nine tenths of the time of loops over characters. numba refuses to compile a function that breaks this.
    """
    return cast(F, njit(**_INNER)(function))


def maker(function: F) -> F:
    """Like `inner`, for functions that make or return arrays. Their loops belong in functions that do not."""
    return cast(F, njit(**_MAKER)(function))


def text_hash(text: str) -> int:
    """What `prefix_hashes` gives for a whole text; for tables that are made outside the kernels."""
    value = 0
    for char in text:
        value = (value * BASE + ord(char) + 1) % PRIME
    return value


def _product(_context: Any, a: Any, b: Any) -> Any:
    """The product has 122 bits, which the processor gives in one instruction and numba's integers cannot hold."""

    def generate(_typing: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        ir: Any = vars(cgutils)["ir"]
        wide, narrow = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        low = builder.and_(builder.trunc(product, narrow), ir.Constant(narrow, PRIME))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 61)), narrow)
        return builder.add(low, high)

    return types.uint64(types.uint64, types.uint64), generate


folded_product = cast(Callable[[int, int], int], intrinsic(_product))
"""a * b folded once at bit 61, for kernels: congruent modulo 2^61 - 1 and below 2^62, for a and b below 2^61."""


@inner
def reduce(x: int) -> int:
    """x modulo 2^61 - 1, for x below 2^63."""
    y = (x & _P) + (x >> _S61)
    return y - _P if y >= _P else y


@inner
def multiply(a: int, b: int) -> int:
    """a * b modulo 2^61 - 1."""
    return reduce(folded_product(uint64(a), uint64(b)))


@inner
def prefix_hashes(chars: Array, num_chars: int, prefix: Array) -> None:
    """prefix[i] = hash of the first i code points."""
    prefix[0] = uint64(0)
    go_on(chars, int64(0), num_chars, prefix)


@inner
def go_on(chars: Array, start: int, stop: int, prefix: Array) -> None:
    """Prefix hashes from that of the first `start` code points on.

    Each hash follows from the one before, which keeps the processor waiting; so of two steps the second starts from the same hash as the
    first.
    """
    value = uint64(prefix[start])
    i = start
    while i + 1 < stop:
        first = uint64(chars[i]) + _ONE
        prefix[i + 1] = reduce(folded_product(value, _B) + first)
        both = reduce(folded_product(first, _B) + uint64(chars[i + 1]) + _ONE)
        value = reduce(folded_product(value, _B2) + both)
        prefix[i + 2] = value
        i += 2
    if i < stop:
        prefix[i + 1] = reduce(folded_product(value, _B) + uint64(chars[i]) + _ONE)


def _eight_bytes(_context: Any, array: Any, at: Any) -> Any:
    """One load of the processor, at any place; numba would put eight together."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ir: Any = vars(cgutils)["ir"]
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        load = builder.load(place)
        load.align = 1
        return load

    return types.uint64(array, at), generate


eight_bytes = cast(Callable[[Array, int], int], intrinsic(_eight_bytes))
"""array[at : at + 8] of bytes in one piece as a little-endian uint64, for kernels. The caller makes sure that all eight are there."""


@inner
def stretch(prefix: Array, powers: Array, start: int, stop: int) -> int:
    """Hash of what lies between two points of a prefix hash; `powers` counts in the same unit."""
    return without(prefix[stop], prefix[start], powers[stop - start])


@inner
def without(whole: int, front: int, power: int) -> int:
    """Hash of what follows `front` in `whole`, given the base to the power of its length."""
    return reduce(whole + _P2 - folded_product(uint64(front), uint64(power)))


@inner
def word_hashes(prefix: Array, powers: Array, starts: Array, ends: Array, num: int, words: Array, joined: Array, sizes: Array) -> None:
    """Hash of each word, and prefix hashes over words run together. sizes[w] = code points of the first w words."""
    before, chars = uint64(0), int64(0)
    sizes[0], joined[0] = chars, before
    for w in range(num):
        size = int64(ends[w] - starts[w])
        word = stretch(prefix, powers, starts[w], ends[w])
        chars += size
        before = reduce(folded_product(before, uint64(powers[size])) + word)
        words[w], sizes[w + 1], joined[w + 1] = word, chars, before


def powers_of_base(num_powers: int) -> Array:
    """uint64 powers of the base modulo the prime, from the 0th on."""
    powers: Array = _powers_kernel()(num_powers)[0]
    return powers


@cache
def _powers_kernel() -> Callable[..., Any]:
    version = sources_digest(__file__)

    def run(num: int) -> tuple[Array, int]:
        powers, power = np.empty(num, np.uint64), _ONE
        for i in range(num):
            powers[i] = power
            power = reduce(folded_product(power, _B))
        return powers, version

    return compiled(run, lambda kernel: kernel(1))


@inner
def find(keys: Array, stamps: Array, stamp: int, shift: int, key: int) -> int:
    """Slot of the key, or the free slot where it belongs. A slot is taken if it carries the stamp of the current round.

    The table has 2^(64 - shift) slots in use and must never be full.
    """
    mask = (1 << (64 - shift)) - 1
    slot = int64((key * _SPREAD) >> uint64(shift))
    while stamps[slot] == stamp and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@inner
def shift_for(num_keys: int) -> int:
    """Shift of a table with at least twice as many slots as keys."""
    shift = 61
    while (1 << (64 - shift)) < 2 * num_keys:
        shift -= 1
    return shift
