"""Folded words of a text as hashes: what paragraphs and evaluation items are compared by.

A word is a run of letters and digits in lower case without diacritics and width forms; Han and Hiragana characters are words of their
own; everything else separates. So case, punctuation, quotation marks, hyphens and white space do not hide a copy, and "13 words" are 13
characters of Chinese. A word becomes 64 bits, a stretch of words a polynomial hash of them modulo 2^64: one multiplication per stretch,
whatever its length. The price: traditional and simplified characters differ, and two different stretches are taken for equal with
probability 2^-64.
"""

import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.signals import Texts, characters, hashing, kernel, utf8_buffers
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

ALONE = 1 << 24
"""Bit of a code point that is a word by itself."""
LETTER = 1 << 25
"""Bit of a code point that is a letter."""
DROPPED, SEPARATOR, LINE_END = -1, 0, -2
_CODE_POINT = (1 << 21) - 1
_STEP = uint64(0x9E3779B97F4A7C55)
_S1, _S2, _S3 = (uint64(bits) for bits in (30, 27, 31))
_M1, _M2 = uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)
BASE = 0xD6E8FEB86659FD93
"""Base of the hash of a stretch: odd, so that no word loses its bits."""
_BASE = uint64(BASE)


class Words(NamedTuple):
    """Working memory: the words of one text, each with its bytes, its line, and whether it holds a letter."""

    hashes: Array
    begins: Array
    ends: Array
    lines: Array
    letters: Array


def workspace(max_bytes: int) -> Words:
    """Room for the words of a text of so many bytes."""
    size = max_bytes // 2 + 2
    return Words(*(np.zeros(size, dtype=dtype) for dtype in (np.uint64, np.int64, np.int64, np.int32, np.bool_)))


def _fold(char: str) -> int:
    """What a letter or digit becomes; itself where that is not one code point."""
    kept = [c for c in unicodedata.normalize("NFKD", char.lower()) if unicodedata.category(c) not in ("Mn", "Me")]
    return ord(kept[0]) if len(kept) == 1 else ord(char)


@cache
def code_points() -> Array:
    """int32 per code point: what it becomes with its bits, or one of DROPPED, SEPARATOR, LINE_END."""
    flags = characters.flags()
    table = np.zeros(len(flags), dtype=np.int32)
    numbers = [i for i in range(0x1F000) if unicodedata.category(chr(i)) in ("Nd", "Nl", "No")]
    letters = np.nonzero(flags & characters.ALPHA)[0]
    table[numbers], table[letters] = numbers, letters
    single = (flags & characters.SINGLE) != 0
    for code_point in [*numbers, *(i for i in letters.tolist() if not single[i] and not 0xAC00 <= i < 0xD7A4)]:
        table[code_point] = _fold(chr(code_point))
    table[single] = np.nonzero(single)[0].astype(np.int32) | ALONE
    table[letters] |= LETTER
    table[single] |= LETTER
    marks = [i for i in range(0x1F000) if unicodedata.category(chr(i)) in ("Mn", "Me", "Cf")]
    table[marks] = DROPPED
    table[[ord("\n"), ord("\r"), 0x2028, 0x2029]] = LINE_END
    table.setflags(write=False)
    return table


@inner
def spread(x: int) -> int:
    """A bijection that spreads every bit over all 64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> _S1)) * _M1
    x = (x ^ (x >> _S2)) * _M2
    return x ^ (x >> _S3)


@inner
def code_point(data: Array, at: int, stop: int) -> tuple[int, int]:
    """Code point that starts at a byte of valid UTF-8, and its length in bytes."""
    a = int64(data[at])
    if a < 0x80:
        return a, int64(1)
    if a < 0xE0 and at + 1 < stop:
        return ((a & 0x1F) << 6) | (int64(data[at + 1]) & 0x3F), int64(2)
    if a < 0xF0 and at + 2 < stop:
        return ((a & 0x0F) << 12) | ((int64(data[at + 1]) & 0x3F) << 6) | (int64(data[at + 2]) & 0x3F), int64(3)
    if at + 3 < stop:
        tail = ((int64(data[at + 1]) & 0x3F) << 12) | ((int64(data[at + 2]) & 0x3F) << 6) | (int64(data[at + 3]) & 0x3F)
        return min(((a & 0x07) << 18) | tail, int64(0x10FFFF)), int64(4)
    return int64(0xFFFD), int64(1)


@inner
def cut(data: Array, start: int, stop: int, table: Array, w: Words) -> int:
    """Write the words of data[start:stop]; returns how many. Bytes count from the start of the text."""
    num, at, line, open_word, letter, value = int64(0), start, 0, False, False, uint64(0)
    while at < stop:
        char, size = code_point(data, at, stop)
        becomes = table[char]
        if becomes == DROPPED:
            at += size
            continue
        ends_word = becomes <= 0 or becomes & ALONE != 0
        if open_word and ends_word:
            w.hashes[num], w.ends[num], w.letters[num] = spread(value), at - start, letter
            num += 1
            open_word = False
        if becomes == LINE_END:
            line += 1
        elif becomes > 0:
            if not open_word:
                w.begins[num], w.lines[num] = at - start, line
                value, letter = uint64(0), False
            letter = letter or becomes & LETTER != 0
            value = (value + uint64(becomes & _CODE_POINT)) * _STEP
            open_word = not ends_word
            if ends_word:
                w.hashes[num], w.ends[num], w.letters[num] = spread(value), at - start + size, letter
                num += 1
        at += size
    if open_word:
        w.hashes[num], w.ends[num], w.letters[num] = spread(value), stop - start, letter
        num += 1
    return num


@cache
def _cut_kernel() -> Callable[..., Any]:
    version = kernel.sources_digest(__file__, hashing.__file__, kernel.__file__)

    def run(data: Array, start: int, stop: int, table: Array, w: Words) -> int:
        return cut(data, start, stop, table, w) if version else 0

    return kernel.compiled(run, lambda function: function(*trial_text(), 0, 0, code_points(), workspace(1)))


def trial_text() -> tuple[Array]:
    """An empty text, for the first call of a kernel."""
    data = np.zeros(1, dtype=np.uint8)
    data.setflags(write=False)
    return (data,)


def words_of(texts: Texts) -> list[Words]:
    """Words of each text, copied out of the working memory."""
    data, offsets = utf8_buffers(texts)
    if len(offsets) == 1:
        return []
    w, run, table = workspace(int(np.diff(offsets).max())), _cut_kernel(), code_points()
    found = []
    for start, stop in pairwise(offsets.tolist()):
        num = run(data, start, stop, table, w)
        found.append(Words(*(column[:num].copy() for column in w)))
    return found


def powers(num: int) -> Array:
    """uint64 powers of the base modulo 2^64, from the 0th on."""
    return np.array([pow(BASE, i, 1 << 64) for i in range(num)], dtype=np.uint64)


@cache
def _prefix_kernel() -> Callable[..., Any]:
    def run(words: Array, out: Array) -> None:
        for i in range(len(words)):
            out[i + 1] = out[i] * _BASE + words[i]

    return kernel.compiled(run, lambda function: function(np.zeros(1, np.uint64), np.zeros(2, np.uint64)))


def stretches(words: Array, length: int) -> Array:
    """uint64 hash of each stretch of so many words, which `scan` finds again."""
    prefix = np.zeros(len(words) + 1, dtype=np.uint64)
    _prefix_kernel()(np.ascontiguousarray(words), prefix)
    num = max(0, len(words) - length + 1)
    hashes: Array = prefix[length : length + num] - prefix[:num] * powers(length + 1)[length]
    return hashes
