"""A guard against pages whose markup makes other engines take minutes.

Some shapes of markup cost parsers more than linear time. They look at every open element for each tag (20,000 nested <article> with a <p>
each: 15 s; end tags that fit none, or <li> and <form> far inside: as bad at 200,000), open formatting elements again that were never
closed, as the HTML standard demands (2,000 <font> with 2,000 <p> between them: 3 s and millions of nodes), and compare each attribute of a
tag with those before it (80,000: 10 s). No limit on size catches these: 200 kB can hold them. So tags, open elements and attributes are
counted before a page is parsed, in one compiled pass, and the work they can cause is bounded to about a second. Each name is counted for
itself, since an end tag closes nothing of another name. Of 525 real pages none comes to a twentieth of a limit. The cost is a few per
cent of the time of these engines, and no verdict on shapes nobody has met yet. Our own engine needs none of this.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest
from lm.corpus.extraction import lexing
from lm.corpus.extraction.lexing import find_end_tag, is_letter, is_space, name_end, skip_comment, skip_past, skip_space, value_end
from lm.corpus.signals import hashing
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

MAX_WORK = 20_000_000
"""Most open elements times tags of the page: about a second of extraction."""
MAX_REOPENED = 2_000_000
"""Most unclosed formatting elements times tags of the page: a bound of the elements a parser would add, about a second."""
MAX_ATTRIBUTES = 20_000
"""Of one tag: half a second of comparing."""
_MIN_ATTRIBUTE_BYTES = 2
_OFFSET, _PRIME = 0xCBF29CE484222325, 0x100000001B3
_SLOTS, _PROBES = 4096, 8
"""Names told apart; what finds no place is taken for never closed."""
_FORMATTING = ("b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u")
_NEVER_OPEN = (
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "html", "head", "body",
    "p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "colgroup", "option", "optgroup", "rt", "rp",
)  # fmt: skip
"""Elements without an end, and those that the next of their kind closes, so that they nest only inside others."""
_RAW = ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
_LT, _GT, _SLASH, _BANG, _EQUALS, _DASH, _QUOTE, _APOSTROPHE = (ord(char) for char in "<>/!=-\"'")


def excess(page: bytes) -> str | None:
    """Why parsing a page in UTF-8 could take far longer than its size suggests: too_deep or too_many_attributes; None if it could not."""
    num_tags = page.count(b"<")
    if num_tags * num_tags <= MAX_REOPENED and len(page) < MAX_ATTRIBUTES * _MIN_ATTRIBUTE_BYTES:
        return None
    num_open, num_formatting, num_attributes, _ = _kernel()(np.frombuffer(page, np.uint8), *_names())
    if num_attributes > MAX_ATTRIBUTES:
        return "too_many_attributes"
    return "too_deep" if num_open * num_tags > MAX_WORK or num_formatting * num_tags > MAX_REOPENED else None


def _hash_of(name: str) -> int:
    value = _OFFSET
    for byte in name.encode():
        value = ((value ^ byte) * _PRIME) & (2**64 - 1)
    return value


@inner
def hash_at(page: Array, start: int, stop: int) -> int:
    """FNV-1a of a name in lower case, all of it: `lexing.name_key` leaves out the middle of long names, which an author may choose."""
    value = uint64(_OFFSET)
    for at in range(start, stop):
        byte = page[at]
        value = (value ^ uint64(byte | 32 if 65 <= byte <= 90 else byte)) * uint64(_PRIME)
    return value


@cache
def _names() -> tuple[Array, Array, Array]:
    formatting, never_open, raw = (np.array(sorted(map(_hash_of, names)), np.uint64) for names in (_FORMATTING, _NEVER_OPEN, _RAW))
    return formatting, never_open, raw


@inner
def is_among(name: int, names: Array) -> bool:
    """Whether a hash is one of a few."""
    found = False
    for known in names:
        found = found or known == name
    return found


@inner
def count_attributes(page: Array, at: int) -> tuple[int, int]:
    """From behind an element's name: the place behind its tag, and how many attributes it has."""
    num = int64(0)
    while at < page.size and page[at] != _GT:
        if page[at] == _SLASH or page[at] == _EQUALS or is_space(page[at]):
            at += 1
            continue
        num += 1
        at = skip_space(page, name_end(page, at))
        if at < page.size and page[at] == _EQUALS:
            at = skip_space(page, at + 1)
            quote = int64(page[at]) if at < page.size and (page[at] == _QUOTE or page[at] == _APOSTROPHE) else int64(0)
            at = value_end(page, at + 1, quote) + 1 if quote else value_end(page, at, quote)
    return at + 1, num


@inner
def slot_of(name: int, keys: Array) -> int:
    """Place of a name in a table that grows; -1 if there is none left near by."""
    slot = int64(name >> uint64(20)) & (_SLOTS - 1)
    for _ in range(_PROBES):
        if keys[slot] == 0:
            keys[slot] = name
        if keys[slot] == name:
            return slot
        slot = (slot + 1) & (_SLOTS - 1)
    return int64(-1)


@inner
def count_open(page: Array, formatting: Array, never_open: Array, raw: Array, keys: Array, counts: Array) -> tuple[int, int, int]:
    """The most elements that are open at any place, the most of them formatting, and the most attributes of a tag."""
    at, depth, reopened, most_open, most_reopened, most_attributes = int64(0), int64(0), int64(0), int64(0), int64(0), int64(0)
    while at < page.size:
        at = lexing.find_byte(page, at, _LT)
        if at + 3 < page.size and page[at + 1] == _BANG and page[at + 2] == _DASH and page[at + 3] == _DASH:
            at = skip_comment(page, at + 4)
            continue
        is_end = at + 1 < page.size and page[at + 1] == _SLASH
        start = at + 2 if is_end else at + 1
        if start >= page.size or not is_letter(page[start]):
            at += 1
            continue
        stop = name_end(page, start)
        name = hash_at(page, start, stop)
        at, num_attributes = count_attributes(page, stop)
        if not is_end and is_among(name, raw):
            at = skip_past(page, find_end_tag(page, at, start, stop), _GT)
        most_attributes = max(most_attributes, num_attributes)
        if is_among(name, never_open) or is_among(name, raw):
            continue
        slot = slot_of(name, keys)
        change = int64(1) if not is_end else int64(-1) if slot >= 0 and counts[slot] > 0 else int64(0)
        if slot >= 0:
            counts[slot] += change
        depth += change
        reopened += change if is_among(name, formatting) else int64(0)
        most_open, most_reopened = max(most_open, depth), max(most_reopened, reopened)
    return most_open, most_reopened, most_attributes


@cache
def _kernel() -> Callable[..., Any]:
    version = sources_digest(__file__, lexing.__file__, hashing.__file__)

    def count(page: Array, formatting: Array, never_open: Array, raw: Array) -> tuple[int, int, int, int]:
        keys, counts = np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int64)
        most_open, most_reopened, most_attributes = count_open(page, formatting, never_open, raw, keys, counts)
        return most_open, most_reopened, most_attributes, version

    return compiled(count, lambda kernel: kernel(np.frombuffer(b"<p>", np.uint8), *_names()))
