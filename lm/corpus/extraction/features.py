"""What can be known of a block at a glance: its text, its place, its neighbours, and the elements that hold it.

Tags and hints of the elements around a block are given by how many levels up they stand, so one column serves "is in a list" and "is
three levels inside something called related". `FEATURES` names the columns; a model belongs to exactly one list of them. Features that
count from the start of the page, or measure its size, are left out on purpose: they told the pages apart that a model was trained on,
and it kept nothing of others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.extraction import blocks as c
from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.blocks import Blocks
from lm.corpus.extraction.markup import Markup
from lm.corpus.extraction.vocabulary import HINTS, NUM_HINTS, TAGS
from lm.corpus.signals.hashing import inner, int64, maker

Array = NDArray[Any]

FAR = 24
"""Levels up at which an element counts as absent."""
LONG_WORDS = 12.0
"""From so many words on, with few links, a block looks like prose."""
_LONG_LINKS = 0.4
_NUM_STEPS, _NUM_LEVELS = 3, 4
_SHAPE = (
    "words", "link_share", "stops_per_word", "commas_per_word", "ends_in_stop", "upper_share", "digit_share", "lines", "symbols_per_word",
    "bold_share", "heading", "kind", "starts_inline", "depth",
)  # fmt: skip
_PLACE = (
    "before", "after", "link_share_page", "long_share_page", "main_levels", "main_share", "main_distance", "parent_score",
    "from_last_long", "from_next_long",
)  # fmt: skip
_NEIGHBOURS = tuple(
    f"{name}_{side}{step}" for side in ("previous", "next") for step in (1, 2, 3) for name in ("words", "link_share", "stops", "same")
)
_WINDOW = ("window_letters", "window_link_share")
_HOLDERS = tuple(
    f"{name}_up{level}" for level in range(_NUM_LEVELS) for name in ("words", "link_share", "page_share", "long_share", "num_blocks")
)
_SIBLINGS = ("num_siblings", "sibling_words")
_AROUND = (
    "article", "main", "aside", "nav", "header", "footer", "form", "figure", "table", "ul", "ol", "li", "p", "section", "a", "blockquote",
    "td", "pre", "dl", "label", "address", "figcaption", "tr",
)  # fmt: skip
FEATURES: tuple[str, ...] = (
    *_SHAPE, *_PLACE, *_NEIGHBOURS, *_WINDOW, *_HOLDERS, *_SIBLINGS, *(f"in_{name}" for name in _AROUND),
    *(f"hint_{name}" for name, _ in HINTS),
)  # fmt: skip
"""Name of each column."""
_AT_PLACE, _AT_NEIGHBOURS, _AT_WINDOW, _AT_HOLDERS, _AT_SIBLINGS, _AT_AROUND, _AT_HINTS = (
    FEATURES.index(name)
    for name in ("before", "words_previous1", "window_letters", "words_up0", "num_siblings", "in_article", "hint_article")
)
NUM_FEATURES = len(FEATURES)
_H1 = TAGS["h1"]
_HELD_WORDS, _HELD_LETTERS, _HELD_LINKED, _HELD_LONG, _HELD_BLOCKS, _SCORE = range(6)
_OUTSIDE = 99


def around_table() -> Array:
    """int16 by number of an element: which of the elements looked for around a block it is, or -1."""
    table = np.full(256, -1, np.int16)
    for number, name in enumerate(_AROUND):
        table[TAGS[name]] = number
    return table


@inner
def is_long(row: Array) -> bool:
    """Whether a block looks like prose."""
    return bool(row[c.WORDS] >= LONG_WORDS and row[c.LINKED] < _LONG_LINKS * row[c.LETTERS])


@inner
def measure_elements(markup: Markup, blocks: Blocks, kinds: Array, held: Array) -> None:
    """Per element what its blocks hold in all, and a score that prose gives to the elements around it, as in readability."""
    for b in range(blocks.first.size):
        row, e = blocks.counts[b], blocks.holders[b]
        held[e, _HELD_WORDS] += row[c.WORDS]
        held[e, _HELD_LETTERS] += row[c.LETTERS]
        held[e, _HELD_LINKED] += row[c.LINKED]
        held[e, _HELD_BLOCKS] += 1
        if is_long(row):
            held[e, _HELD_LONG] += row[c.WORDS]
            score = (1 + row[c.COMMAS] + min(row[c.WORDS] / 15, 4.0)) * (1 - row[c.LINKED] / row[c.LETTERS])
            kind = kinds[markup.tags[e]]
            up = markup.parents[e] if kind == v.PARAGRAPH or kind == v.ITEM else e
            held[up, _SCORE] += score
            up = markup.parents[up]
            held[up, _SCORE] += score * 0.5
            held[markup.parents[up], _SCORE] += score * 0.2
    for e in range(markup.tags.size - 1, 0, -1):
        for k in range(_SCORE):
            held[markup.parents[e], k] += held[e, k]


@inner
def find_main(markup: Markup, held: Array, levels: Array) -> int:
    """The element with the highest score, and per element how many levels it stands inside that: 1 for itself, 0 for outside."""
    main = 0
    for e in range(held.shape[0]):
        if held[e, _SCORE] > held[main, _SCORE] and markup.tags[e] != 0:
            main = e
    if held[main, _SCORE] > 0:
        levels[main] = 1
        for e in range(main + 1, held.shape[0]):
            if levels[markup.parents[e]]:
                levels[e] = levels[markup.parents[e]] + 1
    return main


@inner
def fill_shape(x: Array, row: Array, tag: int, kind: int, starts_inline: bool) -> None:
    """What the block's own text is like."""
    words, letters = max(np.float32(0.5), row[c.WORDS]), max(np.float32(1), row[c.LETTERS])
    x[0] = words
    x[1] = row[c.LINKED] / letters
    x[2] = row[c.STOPS] / words
    x[3] = row[c.COMMAS] / words
    x[4] = row[c.ENDS_IN_STOP]
    x[5] = row[c.UPPER] / letters
    x[6] = row[c.DIGITS] / letters
    x[7] = row[c.LINES]
    x[8] = row[c.SYMBOLS] / words
    x[9] = row[c.BOLD] / letters
    x[10] = tag - _H1 + 1 if kind == v.HEADING else 0
    x[11] = kind
    x[12] = starts_inline


@inner
def fill_neighbours(x: Array, b: int, markup: Markup, blocks: Blocks) -> None:
    """Three blocks on either side, and the links in a window of eight."""
    num, e = blocks.first.size, blocks.holders[b]
    for side in range(2):
        for step in range(1, _NUM_STEPS + 1):
            other = b - step if side == 0 else b + step
            f = _AT_NEIGHBOURS + (side * _NUM_STEPS + step - 1) * 4
            if 0 <= other < num:
                row, held_by = blocks.counts[other], blocks.holders[other]
                x[f] = row[c.WORDS]
                x[f + 1] = row[c.LINKED] / max(np.float32(1), row[c.LETTERS])
                x[f + 2] = row[c.STOPS]
                x[f + 3] = int64(markup.parents[held_by] == markup.parents[e]) + 2 * int64(markup.tags[held_by] == markup.tags[e])
            else:
                x[f] = -1
    letters, linked = np.float32(0), np.float32(0)
    for other in range(max(0, b - 4), min(num, b + 5)):
        if other != b:
            letters += blocks.counts[other, c.LETTERS]
            linked += blocks.counts[other, c.LINKED]
    x[_AT_WINDOW] = letters
    x[_AT_WINDOW + 1] = linked / max(np.float32(1), letters)


@inner
def fill_holders(x: Array, e: int, markup: Markup, holders: Array, held: Array) -> None:
    """The element that holds the block and the three around it."""
    for level in range(_NUM_LEVELS):
        f = _AT_HOLDERS + level * 5
        x[f] = held[e, _HELD_WORDS]
        x[f + 1] = held[e, _HELD_LINKED] / max(np.float32(1), held[e, _HELD_LETTERS])
        x[f + 2] = held[e, _HELD_WORDS] / max(np.float32(1), held[0, _HELD_WORDS])
        x[f + 3] = held[e, _HELD_LONG] / max(np.float32(0.5), held[e, _HELD_WORDS])
        x[f + 4] = held[e, _HELD_BLOCKS]
        e = holders[markup.parents[e]]


@inner
def fill_around(x: Array, owner: int, markup: Markup, around: Array) -> None:
    """Tags and hints of all elements around the block, by the levels up at which they are first met; all are FAR before."""
    e, level, seen = owner, 0, int64(0)
    while e:
        step = min(level, FAR - 1)
        place = around[markup.tags[e]]
        if place >= 0 and x[_AT_AROUND + place] == FAR:
            x[_AT_AROUND + place] = step
        found = markup.hints[e] & ~seen
        if found:
            seen |= found
            for bit in range(NUM_HINTS):
                if (found >> bit) & 1:
                    x[_AT_HINTS + bit] = step
        e = markup.parents[e]
        level += 1
    x[13] = level


@inner
def fill_distances(x: Array, blocks: Blocks, levels: Array) -> None:
    """How many blocks away prose is, and the prose of the main element."""
    num, first, last = x.shape[0], -1, -1
    for b in range(num):
        if is_long(blocks.counts[b]) and levels[blocks.holders[b]]:
            first = b if first < 0 else first
            last = b
    since = _OUTSIDE
    for b in range(num):
        since = 0 if is_long(blocks.counts[b]) else since + 1
        x[b, _AT_PLACE + 8] = since
        x[b, _AT_PLACE + 6] = _OUTSIDE if first < 0 else min(0, b - first) + max(0, b - last)
    since = _OUTSIDE
    for b in range(num - 1, -1, -1):
        since = 0 if is_long(blocks.counts[b]) else since + 1
        x[b, _AT_PLACE + 9] = since


@inner
def fill_all(
    x: Array, markup: Markup, blocks: Blocks, holders: Array, kinds: Array, around: Array,
    held: Array, levels: Array, children: Array, child_words: Array,
) -> None:  # fmt: skip
    """All columns of all rows of zeros; the last four arrays are per element, and zero too."""
    num = x.shape[0]
    measure_elements(markup, blocks, kinds, held)
    main = find_main(markup, held, levels)
    for f in range(_AT_AROUND, NUM_FEATURES):
        for b in range(num):
            x[b, f] = FAR
    for b in range(num):
        parent = markup.parents[blocks.holders[b]]
        children[parent] += 1
        child_words[parent] += blocks.counts[b, c.WORDS]
    page_words, page_letters, before = max(np.float32(1), held[0, _HELD_WORDS]), max(np.float32(1), held[0, _HELD_LETTERS]), np.float32(0)
    for b in range(num):
        row, e, owner = blocks.counts[b], blocks.holders[b], markup.owners[blocks.first[b]]
        parent = markup.parents[e]
        fill_shape(x[b], row, int64(markup.tags[e]), int64(kinds[markup.tags[e]]), kinds[markup.tags[owner]] == v.INLINE)
        f = _AT_PLACE
        x[b, f] = before / page_words
        before += row[c.WORDS]
        x[b, f + 1] = (page_words - before) / page_words
        x[b, f + 2] = held[0, _HELD_LINKED] / page_letters
        x[b, f + 3] = held[0, _HELD_LONG] / page_words
        x[b, f + 4] = levels[e]
        x[b, f + 5] = held[main, _HELD_WORDS] / page_words
        x[b, f + 7] = held[parent, _SCORE] / max(held[main, _SCORE], np.float32(0.01))
        fill_neighbours(x[b], b, markup, blocks)
        fill_holders(x[b], e, markup, holders, held)
        x[b, _AT_SIBLINGS] = children[parent]
        x[b, _AT_SIBLINGS + 1] = child_words[parent] / children[parent]
        fill_around(x[b], owner, markup, around)
    fill_distances(x, blocks, levels)


@maker
def measure_blocks(markup: Markup, blocks: Blocks, holders: Array, kinds: Array, around: Array, num_more: int) -> Array:
    """Features of all blocks, float32 (block, feature), with room for `num_more` columns behind; a column lies in one piece."""
    x, num_elements = np.zeros((NUM_FEATURES + num_more, blocks.first.size), np.float32).T, markup.tags.size
    held, levels = np.zeros((num_elements, 6), np.float32), np.zeros(num_elements, np.int16)
    children, child_words = np.zeros(num_elements, np.int32), np.zeros(num_elements, np.float32)
    fill_all(x, markup, blocks, holders, kinds, around, held, levels, children, child_words)
    return x
