"""The smallest pieces of markup, read in compiled code: names, attributes and what they hint at, comments, where an end tag is.

Each function starts at a place in the page's bytes and returns the next. None looks back, and none goes beyond the end of the page. The
cost of such small functions is nothing: the compiler puts them in line.
"""

from typing import Any, cast

import numpy as np
from numba import types
from numpy.typing import NDArray

from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.vocabulary import Vocabulary
from lm.corpus.signals.hashing import eight_bytes, inner, int64, uint64

Array = NDArray[Any]

UNSEEN_BIT = 1 << 62
"""Set where the page itself says that an element is not shown."""
NAMED_BIT = 1 << 61
"""Set where an attribute that names what an element says holds one of `vocabulary.META_NAMES`."""
_CLASS, _ID, _ITEMPROP, _ROLE, _STYLE, _HIDDEN, _ARIA_HIDDEN = (
    np.uint64(v.name_key(name)) for name in ("class", "id", "itemprop", "role", "style", "hidden", "aria-hidden")
)
_NAME, _PROPERTY, _HTTP_EQUIV = (np.uint64(v.name_key(name)) for name in ("name", "property", "http-equiv"))
_SPREAD, _LOWER, _HALF, _TOP_9 = uint64(v.SPREAD), uint64(v.LOWER), uint64(32), uint64(64 - 9)
_BLANKS = uint64(0x2020_2020_2020_2020)
NUM_SEEN = 1 << 9
"""Slots for values whose hints are remembered."""
_HIDDEN_BIT = 1 << v.HINT_BITS["hidden"]
_LT, _GT, _SLASH, _BANG, _QUESTION, _EQUALS, _DASH = (ord(char) for char in "<>/!?=-")
_memchr: Any = types.ExternalFunction("memchr", cast(Any, types.uintp)(types.uintp, types.int32, types.uintp))
"""Of the C library; found by its name wherever the compiled form is loaded."""


@inner
def is_space(byte: int) -> bool:
    """White space of HTML."""
    return byte == 32 or 9 <= byte <= 13


@inner
def is_letter(byte: int) -> bool:
    """An ASCII letter."""
    return 97 <= (byte | 32) <= 122


@inner
def find_byte(page: Array, at: int, byte: int) -> int:
    """Where the next such byte is, from `at` on; the end of the page if nowhere. The C library looks at 32 bytes at a time."""
    if at >= page.size:
        return int64(page.size)
    start = page.ctypes.data
    found = _memchr(start + at, byte, page.size - at)
    return int64(found - start) if found else int64(page.size)


@inner
def skip_past(page: Array, at: int, byte: int) -> int:
    """The place behind the next such byte; beyond the end of the page if there is none."""
    return find_byte(page, at, byte) + 1


@inner
def skip_comment(page: Array, at: int) -> int:
    """The place behind a comment whose `<!--` ends at `at`."""
    if at < page.size and page[at] == _GT:
        return at + 1
    at = find_byte(page, at, _GT)
    while at < page.size and not (page[at - 1] == _DASH and page[at - 2] == _DASH):
        at = find_byte(page, at + 1, _GT)
    return at + 1


@inner
def find_end_tag(page: Array, at: int, start: int, stop: int) -> int:
    """Where an end tag with the name in page[start:stop] starts, from `at` on; the end of the page if nowhere."""
    num = stop - start
    at = find_byte(page, at, _LT)
    while at + num + 1 < page.size:
        if page[at + 1] == _SLASH:
            same = 0
            while same < num and (page[at + 2 + same] | 32) == (page[start + same] | 32):
                same += 1
            if same == num:
                return at
        at = find_byte(page, at + 1, _LT)
    return page.size


@inner
def few_bytes(page: Array, at: int, num: int) -> int:
    """Fewer than eight bytes as a little-endian uint64."""
    if at + 8 <= page.size:
        return eight_bytes(page, at) & ((uint64(1) << uint64(8 * num)) - uint64(1))
    word = uint64(0)
    for i in range(num):
        word |= uint64(page[at + i]) << uint64(8 * i)
    return word


@inner
def name_key(page: Array, start: int, stop: int) -> int:
    """What `vocabulary.name_key` gives for a name."""
    num = stop - start
    if num >= 8:
        first, last = eight_bytes(page, start) | _LOWER, eight_bytes(page, stop - 8) | _LOWER
    else:
        first = few_bytes(page, start, num) | (_LOWER & ((uint64(1) << uint64(8 * num)) - uint64(1)))
        last = first
    return ((first * _SPREAD) ^ last) * _SPREAD + uint64(num)


@inner
def name_end(page: Array, at: int) -> int:
    """The end of a name that starts at `at`."""
    place, end = uint64(at), uint64(page.size)
    while place < end:
        byte = page[place]
        if byte in (_GT, _SLASH, _EQUALS) or is_space(byte):
            break
        place += uint64(1)
    return int64(place)


@inner
def skip_space(page: Array, at: int) -> int:
    """The next place without white space; of long stretches of blanks, with which pages are indented, eight at a time."""
    while at < page.size and is_space(page[uint64(at)]):
        at += 1
        while at + 8 <= page.size and eight_bytes(page, at) == _BLANKS:
            at += 8
    return at


@inner
def value_end(page: Array, at: int, quote: int) -> int:
    """The end of an attribute's value that starts at `at`; quote is 0 if it has none."""
    if quote:
        return find_byte(page, at, quote)
    while at < page.size and page[at] != _GT and not is_space(page[at]):
        at += 1
    return at


@inner
def value_key(page: Array, start: int, stop: int) -> int:
    """A number that tells values apart, from eight bytes at a time; two values share it with probability 2^-64 unless made to."""
    key, at = uint64(stop - start + 1), start
    while at + 8 <= stop:
        key = (key ^ eight_bytes(page, at)) * _SPREAD
        key ^= key >> _HALF
        at += 8
    key = (key ^ few_bytes(page, at, stop - at)) * _SPREAD
    return (key ^ (key >> _HALF)) * _SPREAD


@inner
def known_hints(page: Array, start: int, stop: int, words: Vocabulary, seen: Array) -> int:
    """Bits of all hints whose words are in a value. The same few values stand in most elements of a page, so they are remembered in
    `seen`, int64 (slot, 2). The cost: an author who makes two values share a key misleads us about their own page."""
    key = value_key(page, start, stop)
    slot = key >> _TOP_9
    if seen[slot, 0] != int64(key):
        seen[slot, 0], seen[slot, 1] = int64(key), hints_of(page, start, stop, words.moves, words.hints)
    return int64(seen[slot, 1])


@inner
def hints_of(page: Array, start: int, stop: int, moves: Array, outputs: Array) -> int:
    """The same, read letter by letter."""
    found, state = int64(0), uint64(moves[0, 0])
    for at in range(start, stop):
        letter = uint64(page[uint64(at)] | 32) - uint64(96)
        state = uint64(moves[state, letter if letter <= uint64(26) else uint64(0)])
        found |= outputs[state]
    return int64(found | outputs[uint64(moves[state, uint64(0)])])


@inner
def is_meta_name(page: Array, start: int, stop: int, names: Array) -> bool:
    """Whether a value, in lower case and without white space around it, is one of the names with these keys."""
    while start < stop and is_space(page[start]):
        start += 1
    while stop > start and is_space(page[stop - 1]):
        stop -= 1
    value, is_known = name_key(page, start, stop), False
    for name in names:
        is_known = is_known or name == value
    return is_known


@inner
def is_display_none(page: Array, start: int, stop: int) -> bool:
    """Whether a style says `display: none`."""
    for at in range(start, stop - 11):
        # d i s . . . y :
        if page[at] == 100 and page[at + 1] == 105 and page[at + 2] == 115 and page[at + 6] == 121 and page[at + 7] == 58:
            after = skip_space(page, at + 8)
            if after + 3 < page.size and page[after] == 110 and page[after + 1] == 111 and page[after + 2] == 110:
                return True
    return False


@inner
def read_attributes(page: Array, at: int, words: Vocabulary, seen: Array) -> tuple[int, int, bool]:
    """From behind an element's name to behind its tag: that place, the element's hints, and whether the tag closes itself."""
    found, closes = int64(0), False
    while at < page.size:
        byte = page[at]
        if byte == _GT:
            return at + 1, found, closes
        if byte in (_SLASH, _EQUALS) or is_space(byte):
            closes = closes or byte == _SLASH
            at += 1
            continue
        closes = False
        start, at = at, name_end(page, at)
        name = name_key(page, start, at)
        at = skip_space(page, at)
        if name == _HIDDEN:
            found |= UNSEEN_BIT
        if at >= page.size or page[at] != _EQUALS:
            continue
        at = skip_space(page, at + 1)
        if at >= page.size:
            break
        quote = int64(page[at]) if page[at] == 34 or page[at] == 39 else 0
        start = at + 1 if quote else at
        stop = value_end(page, start, quote)
        at = stop + 1 if quote else stop
        if name in (_NAME, _PROPERTY, _HTTP_EQUIV, _ITEMPROP) and is_meta_name(page, start, stop, words.meta_names):
            found |= NAMED_BIT
        if name in (_CLASS, _ID, _ITEMPROP, _ROLE):
            found |= known_hints(page, start, stop, words, seen)
        elif name == _STYLE and is_display_none(page, start, stop):
            found |= UNSEEN_BIT
        elif name == _ARIA_HIDDEN and stop - start == 4 and page[start] == 116:
            found |= _HIDDEN_BIT
    return page.size, found, closes


@inner
def tag_of(name: Any, words: Vocabulary) -> int:
    """Number of the element whose name has this key; 0 if it is none of those told apart."""
    place = name >> _TOP_9
    while words.keys[place] != 0 and words.keys[place] != name:
        place = (place + uint64(1)) & uint64(511)
    return int64(words.tags[place]) if words.keys[place] == name else int64(0)
