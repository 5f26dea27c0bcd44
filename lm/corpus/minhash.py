"""MinHash: band keys that propose near-duplicates, and the shingle sets that decide about them.

A preset says what a shingle is, how many permutations are drawn and how they are cut into bands; two documents with an equal key in
one band are candidates. Band keys are stored, so a later crawl is compared with earlier ones without their text. Shingles are 61-bit
polynomial hashes of the simplified text; a permutation is a multiplication modulo 2^64 whose upper half is kept, which is close to
min-wise independent and several times as fast as arithmetic modulo a prime. The cost is that signatures are not those of other tools.

A text too short for one shingle is one shingle; a text that simplifies to nothing counts as its raw self.
"""

import string
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import Texts, characters, hashing, kernel, over_ranges, utf8_buffers
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

_SPACE = ord(" ")
_ZERO = ord("0")
_DROP, _DIGIT = -2, -1
_DECIMAL_MARKS = ".,،٫⎖⎗⎘"
_S1, _S2, _S3, _S32 = (uint64(bits) for bits in (30, 27, 31, 32))
_M1, _M2 = uint64(0xBF58476D1CE4E5B9), uint64(0x94D049BB133111EB)
_GOLDEN = 0x9E3779B97F4A7C15
_RAW = uint64(1 << 63)
"""Set in the hash of a text that simplifies to nothing; the hashes of others have 61 bits."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What a shingle is and how signatures are cut into bands."""

    name: str
    unit: Literal["word", "char"]
    ngram: int
    num_bands: int
    rows_per_band: int
    source: str

    @property
    def num_permutations(self) -> int:
        return self.num_bands * self.rows_per_band


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "ladder", "word", 5, 18, 6, "as many permutations as fineweb, in more bands: 0.996 of pairs at Jaccard 0.8 instead of 0.924"
            ),
            Preset("fineweb", "word", 5, 14, 8, "huggingface/datatrove examples/fineweb.py: 112 permutations, text by simplify_text"),
            Preset("slimpajama", "char", 13, 9, 13, "Cerebras modelzoo slimpajama/dedup: 117 of 128 permutations stand in bands"),
        )
    }
)
"""Presets by name."""


def preset_named(name: str) -> Preset:
    """The preset; raises ValueError with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"MinHash preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]


class Workspace(NamedTuple):
    """Working memory of one thread."""

    chars: Array
    simple: Array
    prefix: Array
    starts: Array
    ends: Array
    shingles: Array


class Tables(NamedTuple):
    """What all documents share: what each code point becomes, which are words alone, which are decimal marks; permutations."""

    becomes: Array
    alone: Array
    decimal: Array
    powers: Array
    factors: Array
    addends: Array


def _folded(char: str) -> int:
    """Code point without case and diacritics; itself where that is not one code point."""
    kept = [c for c in unicodedata.normalize("NFD", char.lower()) if unicodedata.category(c) != "Mn"]
    if not kept:
        return _DROP
    return ord(kept[0]) if len(kept) == 1 else ord(char)


@cache
def _code_points(unit: str) -> tuple[Array, Array, Array]:
    """The first three of `Tables` for a preset's unit."""
    flags = characters.flags()
    becomes = characters.lower().copy()
    decimal = np.zeros(len(flags), dtype=np.bool_)
    if unit == "word":
        foldable = np.nonzero((flags & characters.ALPHA) != 0)[0].tolist() + [
            i for i in range(0x1F000) if unicodedata.category(chr(i)) in ("Mn", "Mc", "Me")
        ]
        for code_point in foldable:
            becomes[code_point] = _folded(chr(code_point))
        # what separates words in datatrove: its punctuation without the rarer terminal marks
        becomes[(flags & characters.NON_WORD) != 0] = _SPACE
        becomes[(flags & characters.DIGIT) != 0] = _DIGIT
        decimal[[ord(c) for c in _DECIMAL_MARKS]] = True
    else:
        becomes[[ord(c) for c in string.punctuation]] = _DROP
    becomes[(flags & characters.SPACE) != 0] = _SPACE
    alone = ((flags & characters.SINGLE) != 0) & (unit == "word")
    return becomes, alone, decimal


@cache
def _splitmix(seed: int, num: int) -> Array:
    """Pseudo-random uint64 numbers (Steele, Lea, Flood 2014); the same on every machine and numpy."""
    mask = (1 << 64) - 1
    out = []
    for i in range(1, num + 1):
        z = (seed + i * _GOLDEN) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out.append(z ^ (z >> 31))
    return np.array(out, dtype=np.uint64)


def _tables(preset: Preset, max_bytes: int) -> Tables:
    numbers = _splitmix(1, 2 * preset.num_permutations)
    factors, addends = numbers[::2] | np.uint64(1), numbers[1::2].copy()
    return Tables(*_code_points(preset.unit), hashing.powers_of_base(2 * max_bytes + 16), factors, addends)


def _workspace(max_bytes: int) -> Workspace:
    size = 2 * max_bytes + 16

    def make(dtype: Any) -> Array:
        return np.zeros(size, dtype=dtype)

    return Workspace(make(np.int32), make(np.int32), make(np.uint64), make(np.int32), make(np.int32), make(np.uint64))


@inner
def mix(x: int) -> int:
    """A bijection that spreads every bit over all 64."""
    x = (x ^ (x >> _S1)) * _M1
    x = (x ^ (x >> _S2)) * _M2
    return x ^ (x >> _S3)


@inner
def _skip_number(chars: Array, at: int, num_chars: int, t: Tables) -> int:
    """Where digits, and one decimal part, end."""
    while at < num_chars and t.becomes[chars[at]] == _DIGIT:
        at += 1
    if at + 1 < num_chars and t.decimal[chars[at]] and t.becomes[chars[at + 1]] == _DIGIT:
        at += 1
        while at < num_chars and t.becomes[chars[at]] == _DIGIT:
            at += 1
    return at


@inner
def simplify(w: Workspace, num_chars: int, t: Tables) -> tuple[int, int]:
    """Write the simplified text, words one space apart, and where its words lie; returns its length and number of words."""
    size, num_words, i, open_word = int64(0), int64(0), int64(0), False
    while i < num_chars:
        c = t.becomes[w.chars[i]]
        alone = t.alone[w.chars[i]]
        if c == _DIGIT:
            i = _skip_number(w.chars, i, num_chars, t)
            c = _ZERO
        else:
            i += 1
        if c == _DROP:
            continue
        if open_word and (c == _SPACE or alone):
            w.ends[num_words] = size
            num_words += 1
            open_word = False
        if c == _SPACE:
            continue
        if not open_word:
            if size > 0:
                w.simple[size] = _SPACE
                size += 1
            w.starts[num_words] = size
        w.simple[size] = c
        size += 1
        open_word = not alone
        if alone:
            w.ends[num_words] = size
            num_words += 1
    if open_word:
        w.ends[num_words] = size
        num_words += 1
    return size, num_words


@inner
def shingle(data: Array, start: int, stop: int, t: Tables, w: Workspace, by_word: bool, ngram: int) -> int:
    """Write the shingles of one text, repeats included; returns how many. There is at least one."""
    num_chars = kernel.decode(data, start, stop, w.chars)
    size, num_words = simplify(w, num_chars, t)
    if size == 0:
        hashing.prefix_hashes(w.chars, num_chars, w.prefix)
        w.shingles[0] = mix(w.prefix[num_chars] | _RAW)
        return 1
    hashing.prefix_hashes(w.simple, size, w.prefix)
    num = (num_words if by_word else size) - ngram + 1
    if num < 1:
        w.shingles[0] = mix(w.prefix[size])
        return 1
    for i in range(num):
        first, last = (w.starts[i], w.ends[i + ngram - 1]) if by_word else (i, i + ngram)
        w.shingles[i] = mix(hashing.stretch(w.prefix, t.powers, int64(first), int64(last)))
    return num


def _kernel(function: Callable[..., Any], *trial: Any) -> Callable[..., Any]:
    return kernel.compiled(function, lambda run: run(*trial))


def _trial() -> tuple[Any, ...]:
    preset = PRESETS["fineweb"]
    data, offsets = np.zeros(1, dtype=np.uint8), np.zeros(2, dtype=np.int64)
    data.setflags(write=False)
    offsets.setflags(write=False)
    return data, offsets, _tables(preset, 1), _workspace(1)


@cache
def _band_kernel() -> Callable[..., Any]:
    """bands(data, offsets, tables, workspace, first, last, by_word, ngram, num_rows, lowest, out)."""
    version = kernel.sources_digest(__file__, characters.__file__, hashing.__file__, kernel.__file__)

    def bands(
        data: Array, offsets: Array, t: Tables, w: Workspace, first: int, last: int, by_word: bool, ngram: int, rows: int,
        lowest: Array, out: Array,
    ) -> int:  # fmt: skip
        num_permutations = len(t.factors)
        for document in range(first, last):
            num = shingle(data, offsets[document], offsets[document + 1], t, w, by_word, ngram)
            for p in range(num_permutations):
                lowest[p] = 0xFFFFFFFF
            for i in range(num):
                x = w.shingles[i]
                for p in range(num_permutations):
                    value = np.uint32((t.factors[p] * x + t.addends[p]) >> _S32)
                    lowest[p] = min(lowest[p], value)
            for p in range(num_permutations):
                key = uint64(p) if p % rows == 0 else out[document, p // rows]
                out[document, p // rows] = mix(key * _M1 + uint64(lowest[p]) + uint64(1))
        return version

    return _kernel(bands, *_trial(), 0, 0, True, 5, 8, np.zeros(112, dtype=np.uint32), np.zeros((1, 14), dtype=np.uint64))


@cache
def _shingle_kernel() -> Callable[..., Any]:
    """shingles(data, offsets, tables, workspace, document, by_word, ngram): how many were written to the workspace."""
    version = kernel.sources_digest(__file__, characters.__file__, hashing.__file__, kernel.__file__)

    def shingles(data: Array, offsets: Array, t: Tables, w: Workspace, document: int, by_word: bool, ngram: int) -> int:
        return shingle(data, offsets[document], offsets[document + 1], t, w, by_word, ngram) if version else 0

    return _kernel(shingles, *_trial(), 0, True, 5)


def signatures(texts: Texts, preset: str, num_threads: int = 1) -> "pa.Array[Any]":
    """Band keys of each text as list<uint64>, one per band. Raises ValueError for an unknown preset, for nulls and for other types."""
    p = preset_named(preset)
    data, offsets = utf8_buffers(texts)
    num = len(offsets) - 1
    out = np.zeros((num, p.num_bands), dtype=np.uint64)
    if num:
        max_bytes = int(np.diff(offsets).max())
        run, tables = _band_kernel(), _tables(p, max_bytes)

        over_ranges(
            offsets,
            max(1, num_threads),
            lambda: (_workspace(max_bytes), np.zeros(p.num_permutations, dtype=np.uint32)),
            lambda first, last, own: run(
                data, offsets, tables, own[0], first, last, p.unit == "word", p.ngram, p.rows_per_band, own[1], out
            ),
        )
    starts = pa.array(np.arange(num + 1, dtype=np.int32) * np.int32(p.num_bands))
    return pa.ListArray.from_arrays(starts, pa.array(out.reshape(-1)))


def band_table(ids: Texts, texts: Texts, preset: str, num_threads: int = 1) -> pa.Table:
    """Rows of the table `signatures`: id, method, bands."""
    keys = signatures(texts, preset, num_threads)
    return pa.table({"id": ids, "method": pa.array([preset] * len(keys), pa.string()), "bands": keys})


def _distinct(numbers: Array) -> Array:
    """Sorted, each once: `np.unique`, which hashes integers before it sorts them, takes four times as long for so few."""
    ordered = numbers.copy()
    ordered.sort()
    changes = np.empty(len(ordered), bool)
    changes[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    kept: Array = ordered[changes]
    return kept


def shingle_sets(texts: Texts, preset: str) -> list[NDArray[np.uint64]]:
    """Distinct shingles of each text as sorted hashes. Every text has at least one."""
    p = preset_named(preset)
    data, offsets = utf8_buffers(texts)
    if len(offsets) == 1:
        return []
    max_bytes = int(np.diff(offsets).max())
    run, tables, work = _shingle_kernel(), _tables(p, max_bytes), _workspace(max_bytes)
    sets = []
    for document in range(len(offsets) - 1):
        num = run(data, offsets, tables, work, document, p.unit == "word", p.ngram)
        sets.append(_distinct(work.shingles[:num]))
    return sets
