"""Repetition inside a document: lines, paragraphs and word n-grams that come again (Gopher, arXiv:2112.11446, table A1).

Definitions follow huggingface/datatrove, gopher_repetition_filter.py: only repeats after the first count, the most common n-gram
counts with single spaces between its words, the scan for duplicated n-grams goes on after the n-gram on a hit.
"""

from typing import Any

from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals.hashing import find, inner, int64, shift_for, stretch, without

Array = NDArray[Any]

_NEWLINE = ord("\n")


@inner
def duplicates(
    prefix: Array, powers: Array, starts: Array, ends: Array, num: int, keys: Array, stamps: Array, stamp: int
) -> tuple[int, int]:
    """How many stretches repeat an earlier one, and their code points."""
    shift = shift_for(num)
    num_repeats, num_chars = 0, 0
    for i in range(num):
        key = stretch(prefix, powers, starts[i], ends[i])
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] == stamp:
            num_repeats += 1
            num_chars += ends[i] - starts[i]
        else:
            keys[slot], stamps[slot] = key, stamp
    return num_repeats, num_chars


@inner
def split_at_newlines(chars: Array, start: int, stop: int, fewest: int, starts: Array, ends: Array) -> int:
    r"""Parts between runs of at least `fewest` newlines, as `re.split` with \n{fewest,} gives them."""
    num, begin, i = 0, start, start
    while i < stop:
        end = i
        while end < stop and chars[end] == _NEWLINE:
            end += 1
        if end - i >= fewest:
            starts[num], ends[num] = begin, i
            num += 1
            begin = end
        i = max(end, i + 1)
    starts[num], ends[num] = begin, stop
    return num + 1


@inner
def measure_repeated_lines(
    chars: Array,
    flags: Array,
    num_chars: int,
    prefix: Array,
    powers: Array,
    starts: Array,
    ends: Array,
    keys: Array,
    stamps: Array,
    stamp: int,
    row: Array,
) -> None:
    """Repeated lines and paragraphs. Uses the stamps `stamp` and `stamp + 1`."""
    num = split_at_newlines(chars, int64(0), num_chars, 1, starts, ends)
    repeats, repeated_chars = duplicates(prefix, powers, starts, ends, num, keys, stamps, stamp)
    row[col.DUPLICATE_LINE_FRACTION] = repeats / num
    row[col.DUPLICATE_LINE_CHAR_FRACTION] = repeated_chars / num_chars
    first, last = int64(0), num_chars
    while first < last and flags[first] & ch.SPACE:
        first += 1
    while last > first and flags[last - 1] & ch.SPACE:
        last -= 1
    num = split_at_newlines(chars, first, last, 2, starts, ends)
    repeats, repeated_chars = duplicates(prefix, powers, starts, ends, num, keys, stamps, stamp + 1)
    row[col.NUM_PARAGRAPHS] = num
    row[col.DUPLICATE_PARAGRAPH_FRACTION] = repeats / num
    row[col.DUPLICATE_PARAGRAPH_CHAR_FRACTION] = repeated_chars / num_chars


@inner
def top_n_gram_chars(
    n: int, num: int, spaced: Array, powers: Array, sizes: Array, keys: Array, stamps: Array, counts: Array, firsts: Array, stamp: int
) -> int:
    """Code points of the most common n-gram, spaces between words included, times its count; the earliest of equals."""
    shift = shift_for(num)
    best_count, best_first = 0, 0
    for i in range(num - n + 1):
        key = stretch_of_words(spaced, powers, sizes, i, i + n, 1)
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] != stamp:
            keys[slot], stamps[slot], counts[slot], firsts[slot] = key, stamp, 0, i
        counts[slot] += 1
        if counts[slot] > best_count or (counts[slot] == best_count and firsts[slot] < best_first):
            best_count, best_first = counts[slot], firsts[slot]
    if best_count == 0:
        return 0
    return best_count * int64(sizes[best_first + n] - sizes[best_first] + n - 1)


@inner
def duplicate_n_gram_chars(n: int, num: int, joined: Array, powers: Array, sizes: Array, keys: Array, stamps: Array, stamp: int) -> int:
    """Code points, without spaces, of n-grams seen before; after a hit the scan goes on behind it."""
    shift = shift_for(num)
    num_chars, i = 0, int64(0)
    while i + n <= num:
        key = stretch_of_words(joined, powers, sizes, i, i + n, 0)
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] == stamp:
            num_chars += sizes[i + n] - sizes[i]
            i += n
        else:
            keys[slot], stamps[slot] = key, stamp
            i += 1
    return num_chars


@inner
def stretch_of_words(prefix: Array, powers: Array, sizes: Array, start: int, stop: int, gap: int) -> int:
    """Hash of words start..stop from a prefix hash over words, each followed by `gap` separators."""
    size = sizes[stop] - sizes[start] + gap * (stop - start)
    return without(prefix[stop], prefix[start], powers[size])


@inner
def measure_n_grams(
    num_chars: int,
    num: int,
    joined: Array,
    spaced: Array,
    powers: Array,
    sizes: Array,
    keys: Array,
    stamps: Array,
    counts: Array,
    firsts: Array,
    stamp: int,
    row: Array,
) -> None:
    """Most common 2..4-grams and duplicated 5..10-grams. Uses the stamps from `stamp` to `stamp + 8`."""
    for n in range(2, 5):
        best = top_n_gram_chars(n, num, spaced, powers, sizes, keys, stamps, counts, firsts, stamp + n - 2)
        row[col.TOP_2_GRAM_CHAR_FRACTION + n - 2] = best / num_chars
    for n in range(5, 11):
        repeated = duplicate_n_gram_chars(n, num, joined, powers, sizes, keys, stamps, stamp + n - 2)
        row[col.DUPLICATE_5_GRAM_CHAR_FRACTION + n - 5] = repeated / num_chars
