"""One compiled pass over the bytes of a page: its elements, and the stretches of text between the tags.

No tree is built: an element is a row with its parent, its tag and what its attributes hint at, a stretch of text a row with its place
in the page and the element it stands in. Elements that HTML closes by implication (paragraphs, items, cells) are closed here too; an
end tag closes up to the element it names, but nothing outside its table cell. Open elements are bounded in depth, so the time is linear
in the size of the page, whatever it holds: 170 kB take about 0.1 ms. The cost: a page whose tags are badly crossed is understood as
its author wrote it, not as a browser repairs it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.lexing import (
    NAMED_BIT,
    NUM_SEEN,
    UNSEEN_BIT,
    find_byte,
    find_end_tag,
    is_letter,
    name_end,
    name_key,
    read_attributes,
    skip_comment,
    skip_past,
    skip_space,
    tag_of,
)  # fmt: skip
from lm.corpus.extraction.vocabulary import TAGS, Vocabulary
from lm.corpus.signals.hashing import inner, int64, maker, uint64

Array = NDArray[Any]

MAX_DEPTH = 256
"""Deeper elements are read as if they stood at this depth."""
NO_BREAK, LINE, BLOCK = 0, 1, 2
"""What lies between a stretch of text and the one before."""
MAX_FACTS = 1024
"""Facts looked at; only <time> can be more than a few."""

_P, _LI, _DT, _DD, _TD, _TH, _TR, _TABLE = (TAGS[name] for name in ("p", "li", "dt", "dd", "td", "th", "tr", "table"))
_UL, _OL, _DL, _MENU, _A, _HTML, _BODY, _HR = (TAGS[name] for name in ("ul", "ol", "dl", "menu", "a", "html", "body", "hr"))
_THEAD, _TBODY, _TFOOT, _TITLE, _META, _TIME = (TAGS[name] for name in ("thead", "tbody", "tfoot", "title", "meta", "time"))
_P_REACH = 8
"""A paragraph is closed by a block that starts at most so many inline elements inside it."""
_BLOCK = uint64(128)
_LT, _GT, _SLASH, _BANG, _QUESTION, _DASH = (ord(char) for char in "<>/!?-")


class Markup(NamedTuple):
    """Elements and stretches of text in the order of the page. Element 0 is the page itself."""

    tags: Array
    """uint8 per element."""
    parents: Array
    """int32 per element; smaller than its own number."""
    hints: Array
    """int64 per element: bits of `vocabulary.HINTS`."""
    starts: Array
    """int32 per stretch: first byte."""
    ends: Array
    """int32 per stretch: behind the last byte."""
    owners: Array
    """int32 per stretch: innermost element."""
    breaks: Array
    """uint8 per stretch: NO_BREAK, LINE or BLOCK before it."""
    facts: Array
    """int32 (fact, 3): tags that say something of the page itself: number of the element, first byte behind its name, and behind the tag.
    They are <html>, <title>, <time>, and <meta> with a name of `vocabulary.META_NAMES`."""


@inner
def is_table_part(tag: int) -> bool:
    """Whether an end tag of this kind may close a cell."""
    return tag in (_TABLE, _TR, _TBODY, _THEAD, _TFOOT, _TD, _TH)


@inner
def depth_after_end(tags: Array, stack: Array, depth: int, tag: int) -> int:
    """How many elements stay open after an end tag."""
    if tag in (_BODY, _HTML):
        return depth
    level = depth
    while level > 0:
        held = tags[stack[level]]
        if held == tag:
            return level - 1
        if (held in (_TD, _TH, _TABLE)) and not is_table_part(tag):
            return depth
        level -= 1
    return depth


@inner
def depth_before_item(tags: Array, stack: Array, depth: int, tag: int) -> int:
    """How many elements stay open when <li>, <dt> or <dd> starts."""
    level = depth
    while level > 0:
        held = tags[stack[level]]
        if (tag == _LI and held == _LI) or (tag != _LI and (held in (_DT, _DD))):
            return level - 1
        if held in (_UL, _OL, _DL, _MENU, _TD, _TABLE):
            return depth
        level -= 1
    return depth


@inner
def depth_before_table_part(tags: Array, stack: Array, depth: int, is_cell: bool) -> int:
    """How many elements stay open when a cell, a row or a group of rows starts."""
    level = depth
    while level > 0:
        held = tags[stack[level]]
        if held == _TABLE or (is_cell and held == _TR):
            return depth
        if held == _TR or (is_cell and (held in (_TD, _TH))):
            return level - 1
        level -= 1
    return depth


@inner
def depth_before_block(tags: Array, kinds: Array, stack: Array, depth: int) -> int:
    """How many elements stay open when any other block starts: it closes a paragraph."""
    level = depth
    while level > 0 and level > depth - _P_REACH:
        held = tags[stack[level]]
        if held == _P:
            return level - 1
        if kinds[held] != v.INLINE and kinds[held] != v.HEADING:
            return depth
        level -= 1
    return depth


@inner
def depth_before_link(tags: Array, kinds: Array, stack: Array, depth: int) -> int:
    """How many elements stay open when a link starts: it closes another link."""
    level = depth
    while level > 0 and kinds[tags[stack[level]]] == v.INLINE:
        if tags[stack[level]] == _A:
            return level - 1
        level -= 1
    return depth


@inner
def depth_before(tags: Array, kinds: Array, stack: Array, depth: int, tag: int) -> int:
    """How many elements stay open when an element of this tag starts."""
    kind = kinds[tag]
    if tag == _A:
        return depth_before_link(tags, kinds, stack, depth)
    if kind == v.INLINE or kind == v.SKIPPED:
        return depth
    if kind == v.ITEM:
        return depth_before_item(tags, stack, depth, tag)
    if kind == v.CELL or tag in (_TR, _TBODY, _THEAD, _TFOOT):
        return depth_before_table_part(tags, stack, depth, kind == v.CELL)
    return depth_before_block(tags, kinds, stack, depth)


@inner
def text_end(page: Array, at: int) -> tuple[int, bool]:
    """Where the next tag starts, and whether all before it is white space."""
    at = skip_space(page, at)
    first, at = at, find_byte(page, at, _LT)
    while at + 1 < page.size:
        following = page[at + 1]
        if is_letter(following) or following in (_SLASH, _BANG, _QUESTION):
            return at, at == first
        at = find_byte(page, at + 1, _LT)
    return int64(page.size), first == page.size


@maker
def scan(page: Array, words: Vocabulary) -> Markup:
    """Elements and text of a page, given as uint8 bytes in UTF-8."""
    room = count_byte(page, _LT) + 2
    found = Markup(
        np.empty(room, np.uint8), np.empty(room, np.int32), np.empty(room, np.int64),
        np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.uint8),
        np.empty((MAX_FACTS, 3), np.int32),
    )  # fmt: skip
    e, t, f = scan_into(page, words, found, np.zeros(MAX_DEPTH + 1, np.int32), np.zeros((NUM_SEEN, 2), np.int64))
    return Markup(
        found.tags[:e], found.parents[:e], found.hints[:e],
        found.starts[:t], found.ends[:t], found.owners[:t], found.breaks[:t], found.facts[:f],
    )  # fmt: skip


@inner
def count_byte(page: Array, byte: int) -> int:
    """How often a byte is on the page."""
    num, at, wanted = int64(0), uint64(0), np.uint8(byte)
    while at + _BLOCK <= uint64(page.size):
        num_here = np.uint8(0)  # a wider counter would be eight bytes for each byte of the page
        for i in range(_BLOCK):
            num_here = np.uint8(num_here + np.uint8(page[at + uint64(i)] == wanted))
        num += int64(num_here)
        at += _BLOCK
    while at < uint64(page.size):
        num += page[at] == wanted
        at += uint64(1)
    return num


@inner
def scan_into(page: Array, words: Vocabulary, out: Markup, stack: Array, seen: Array) -> tuple[int, int, int]:
    """Write elements, stretches of text and facts to where there is room for all; returns how many there are of each."""
    tags, parents, hints, starts, ends, owners, breaks, facts = out
    kinds, tag_hints = words.kinds, words.tag_hints
    num_elements, num_texts, num_facts, depth, num_lines, at = 1, 0, 0, 0, 2, 0
    tags[0], parents[0], hints[0] = 0, 0, 0
    left_out = MAX_DEPTH + 1  # the depth from which on nothing is shown
    while at < page.size:
        start = at
        at, is_blank = text_end(page, at)
        if at > start and depth < left_out and (not is_blank or num_lines == 0):
            starts[num_texts], ends[num_texts], owners[num_texts], breaks[num_texts] = start, at, stack[depth], min(num_lines, BLOCK)
            num_texts += 1
            num_lines = num_lines if is_blank else 0
        if at + 1 >= page.size:
            break
        is_end = page[at + 1] == _SLASH
        if page[at + 1] == _BANG and at + 3 < page.size and page[at + 2] == _DASH and page[at + 3] == _DASH:
            at = skip_comment(page, at + 4)
            continue
        start = at + 2 if is_end else at + 1
        if start >= page.size or not is_letter(page[start]):
            at = skip_past(page, at, _GT)
            continue
        at = stop = name_end(page, start)
        tag = tag_of(name_key(page, start, stop), words)
        kind = int64(kinds[tag])
        if is_end:
            at = skip_past(page, at, _GT)
            num_lines = num_lines if kind == v.INLINE else BLOCK
            depth = depth_after_end(tags, stack, depth, tag)
            left_out = MAX_DEPTH + 1 if depth < left_out else left_out
            continue
        at, found, closes = read_attributes(page, at, words, seen)
        if num_facts < MAX_FACTS and (tag in (_HTML, _TITLE, _TIME) or (tag == _META and found & NAMED_BIT)):
            facts[num_facts, 0], facts[num_facts, 1], facts[num_facts, 2] = tag, stop, at
            num_facts += 1
        if kind == v.BREAK:
            num_lines += 2 if tag == _HR else 1
        elif kind == v.RAW:
            at = skip_past(page, find_end_tag(page, at, start, stop), _GT)
        elif kind != v.VOID:
            depth = depth_before(tags, kinds, stack, depth, tag)
            left_out = MAX_DEPTH + 1 if depth < left_out else left_out
            num_lines = num_lines if kind == v.INLINE or kind == v.SKIPPED else BLOCK
            if closes and tag != _A and (kind == v.INLINE or kind == v.SKIPPED):
                continue
            is_root = tag in (_HTML, _BODY)
            depth = min(depth + 1, MAX_DEPTH)
            tags[num_elements], parents[num_elements] = tag, stack[depth - 1]
            hints[num_elements] = int64(0) if is_root else found | tag_hints[tag]
            stack[depth] = num_elements
            num_elements += 1
            if left_out > MAX_DEPTH and not is_root and (kind == v.SKIPPED or found & UNSEEN_BIT):
                left_out = depth
    return num_elements, num_texts, num_facts
