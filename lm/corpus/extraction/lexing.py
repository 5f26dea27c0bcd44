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
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

UNSEEN_BIT = 1 << 62
"""Set where the page itself says that an element is not shown."""
NAMED_BIT = 1 << 61
"""Set where an attribute that names what an element says holds one of `vocabulary.META_NAMES`."""
_OFFSET, _PRIME = np.uint64(v.FNV_OFFSET), np.uint64(v.FNV_PRIME)
_CLASS, _ID, _ITEMPROP, _ROLE, _STYLE, _HIDDEN, _ARIA_HIDDEN = (
    np.uint64(v.name_hash(name)) for name in ("class", "id", "itemprop", "role", "style", "hidden", "aria-hidden")
)
_NAME, _PROPERTY, _HTTP_EQUIV = (np.uint64(v.name_hash(name)) for name in ("name", "property", "http-equiv"))
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
def read_name(page: Array, at: int) -> tuple[int, Any]:
    """The end of a name that starts at `at`, and the hash of its lower-case form."""
    name = _OFFSET
    while at < page.size:
        byte = page[at]
        if byte in (_GT, _SLASH, _EQUALS) or is_space(byte):
            break
        if 65 <= byte <= 90:
            byte |= 32
        name = (name ^ np.uint64(byte)) * _PRIME
        at += 1
    return at, name


@inner
def skip_space(page: Array, at: int) -> int:
    """The next place without white space."""
    while at < page.size and is_space(page[at]):
        at += 1
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
def hints_of(page: Array, start: int, stop: int, moves: Array, outputs: Array) -> int:
    """Bits of all hints whose words are in a value."""
    found, state = int64(0), moves[0, 0]
    for at in range(start, stop):
        byte = page[at] | 32
        state = moves[state, byte - 96 if 97 <= byte <= 122 else 0]
        found |= outputs[state]
    return int64(found | outputs[moves[state, 0]])


@inner
def is_meta_name(page: Array, start: int, stop: int, names: Array) -> bool:
    """Whether a value, in lower case and without white space around it, is one of the names with these hashes."""
    while start < stop and is_space(page[start]):
        start += 1
    while stop > start and is_space(page[stop - 1]):
        stop -= 1
    value = _OFFSET
    for at in range(start, stop):
        byte = page[at]
        value = (value ^ np.uint64(byte | 32 if 65 <= byte <= 90 else byte)) * _PRIME
    is_known = False
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
def read_attributes(page: Array, at: int, words: Vocabulary) -> tuple[int, int, bool]:
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
        at, name = read_name(page, at)
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
            found |= hints_of(page, start, stop, words.moves, words.hints)
        elif name == _STYLE and is_display_none(page, start, stop):
            found |= UNSEEN_BIT
        elif name == _ARIA_HIDDEN and stop - start == 4 and page[start] == 116:
            found |= _HIDDEN_BIT
    return page.size, found, closes


@inner
def tag_of(name: Any, words: Vocabulary) -> int:
    """Number of the element with this hash of a name; 0 if it is none of those told apart."""
    place = np.int64(name & np.uint64(511))
    while words.keys[place] != 0 and words.keys[place] != name:
        place = (place + 1) & 511
    return int64(words.tags[place]) if words.keys[place] == name else int64(0)
