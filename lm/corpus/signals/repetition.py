"""Repetition inside a document: lines, paragraphs and word n-grams that come again (Gopher, arXiv:2112.11446, table A1).

Definitions follow huggingface/datatrove, gopher_repetition_filter.py: only repeats after the first count, the most common n-gram
counts with single spaces between its words, the scan for duplicated n-grams goes on after the n-gram on a hit.
"""

from typing import Any

from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals.hashing import find, inner, int64, shift_for, stretch, uint64, without

Array = NDArray[Any]

_NEWLINE = ord("\n")
_HALF = uint64(32)
_SPREAD = uint64(0x9E37_79B9_7F4A_7C15)


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
def extend(
    num: int, keys: Array, stamps: Array, firsts: Array, stamp: int, classes: Array, counts: Array, longer: Array, longer_counts: Array
) -> tuple[int, int]:
    """Classes of the n-grams at the first `num` places from those of the (n-1)-grams; count and place of the most common, the earliest of
    equals.

    An n-gram comes twice only if the (n-1)-grams at its start and one word later do, and it is known by these two. So the ever fewer places
    where both come again are all that is looked at. Elsewhere the class is the place itself.
    """
    shift = shift_for(num)
    best_count, best_first = int64(1), int64(0)
    for i in range(num):
        left, right = classes[i], classes[i + 1]
        longer[i], longer_counts[i] = i, 0
        if counts[left] < 2 or counts[right] < 2:
            longer_counts[i] = 1
            continue
        key = uint64(left) << _HALF | uint64(right)
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] != stamp:
            keys[slot], stamps[slot], firsts[slot] = key, stamp, i
        first = int64(firsts[slot])
        longer[i] = first
        longer_counts[first] += 1
        count = int64(longer_counts[first])
        if count > best_count or (count == best_count and first < best_first):
            best_count, best_first = count, first
    return best_count, best_first


@inner
def measure_top_n_grams(
    num_chars: int, num: int, sizes: Array, keys: Array, stamps: Array, firsts: Array, stamp: int, classes: Array, counts: Array,
    other: Array, other_counts: Array, row: Array,
) -> None:  # fmt: skip
    """Code points of the most common 2-, 3- and 4-gram, spaces between words included, times its count. `classes` are those of words."""
    for n in range(2, 5):
        if num < n:
            return
        count, first = extend(num - n + 1, keys, stamps, firsts, stamp + n - 2, classes, counts, other, other_counts)
        row[col.TOP_2_GRAM_CHAR_FRACTION + n - 2] = count * int64(sizes[first + n] - sizes[first] + n - 1) / num_chars
        classes, other = other, classes
        counts, other_counts = other_counts, counts


@inner
def find_candidates(
    letters: Array, num: int, sizes: Array, width: int, keys: Array, stamps: Array, counts: Array, stamp: int, slots: Array, out: Array
) -> int:
    """Places where an n-gram of 5 words or more may come again: its first `width` letters do, or it has fewer. Returns how many.

    Places of the first kind are written as they are, others as -1 - place: there only n-grams shorter than `width` matter.
    """
    shift = shift_for(num)
    for i in range(num - 4):
        slots[i] = -1
        if sizes[i] + width > sizes[num]:
            continue
        key = uint64(0)
        for at in range(sizes[i], sizes[i] + width):
            key = key * _SPREAD + uint64(letters[at])
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] != stamp:
            keys[slot], stamps[slot], counts[slot] = key, stamp, 0
        counts[slot] += 1
        slots[i] = slot
    num_found = int64(0)
    for i in range(num - 4):
        again = slots[i] >= 0 and counts[slots[i]] > 1
        if again or sizes[i + 5] - sizes[i] < width:
            out[num_found] = i if again else -1 - i
            num_found += 1
    return num_found


@inner
def duplicate_n_gram_chars(
    n: int, num: int, places: Array, num_places: int, width: int, joined: Array, powers: Array, sizes: Array, keys: Array, stamps: Array,
    stamp: int,
) -> int:  # fmt: skip
    """Code points, without spaces, of n-grams seen before; after a hit the scan goes on behind it."""
    shift = shift_for(num_places)
    num_chars, goes_on = 0, int64(0)
    for p in range(num_places):
        i = int64(places[p])
        if i < 0:
            i = -1 - i
            if i + n <= num and sizes[i + n] - sizes[i] >= width:
                continue
        if i < goes_on or i + n > num:
            continue
        size = int64(sizes[i + n] - sizes[i])
        key = without(joined[i + n], joined[i], powers[size])
        slot = find(keys, stamps, stamp, shift, key)
        if stamps[slot] == stamp:
            num_chars += size
            goes_on = i + n
        else:
            keys[slot], stamps[slot] = key, stamp
    return num_chars


@inner
def measure_duplicate_n_grams(
    chars: Array, flags: Array, num_chars: int, num: int, joined: Array, powers: Array, sizes: Array, keys: Array, stamps: Array,
    counts: Array, stamp: int, letters: Array, slots: Array, places: Array, row: Array,
) -> None:  # fmt: skip
    """Duplicated 5..10-grams. Uses the stamps from `stamp` to `stamp + 6`.

    Most places start no n-gram that comes again, and a hash of their next few letters shows it once for all six lengths. Where words are
    single characters five letters are all that is sure to be there; elsewhere twelve tell places apart better.
    """
    if num < 5:
        return
    size = int64(0)
    for i in range(num_chars):
        if not flags[i] & ch.SPACE:
            letters[size] = chars[i]
            size += 1
    width = int64(5) if 2 * sizes[num] < 5 * num else int64(12)
    num_places = find_candidates(letters, num, sizes, width, keys, stamps, counts, stamp, slots, places)
    for n in range(5, 11):
        repeated = duplicate_n_gram_chars(n, num, places, num_places, width, joined, powers, sizes, keys, stamps, stamp + n - 4)
        row[col.DUPLICATE_5_GRAM_CHAR_FRACTION + n - 5] = repeated / num_chars
