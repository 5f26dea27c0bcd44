"""The text of chosen blocks, written out of the page's bytes.

White space becomes one space, a line break a line, a paragraph an empty line; an item of a list starts with a dash, cells of a row are
parted by tabs, and preformatted text keeps its lines. Entities stay as they are, for the caller to read once over the whole text.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.blocks import Blocks
from lm.corpus.extraction.lexing import is_space
from lm.corpus.extraction.markup import LINE, Markup
from lm.corpus.extraction.vocabulary import TAGS
from lm.corpus.signals.hashing import inner, maker

Array = NDArray[Any]

_PRE, _LI = TAGS["pre"], TAGS["li"]
_TAB, _NEWLINE, _SPACE, _DASH = 9, 10, 32, 45
_PRE_LEVELS = 4
_SEPARATOR_BYTES = 4


@inner
def is_preformatted(markup: Markup, e: int) -> bool:
    """Whether an element or one of the three around it is <pre>."""
    for _ in range(_PRE_LEVELS):
        if markup.tags[e] == _PRE:
            return True
        e = markup.parents[e]
    return False


@inner
def write_break(out: Array, num: int, markup: Markup, before: int, e: int, kinds: Array) -> int:
    """What stands between a block held by `before` (-1 if there is none) and one held by `e`, and the dash of an item."""
    is_item = markup.tags[e] == _LI
    if before >= 0:
        are_cells = kinds[markup.tags[e]] == v.CELL and kinds[markup.tags[before]] == v.CELL
        is_row = are_cells and markup.parents[e] == markup.parents[before]
        out[num] = _TAB if is_row else _NEWLINE
        num += 1
        if not are_cells and not (is_item and markup.tags[before] == _LI):
            out[num] = _NEWLINE
            num += 1
    if is_item and before != e:
        out[num], out[num + 1] = _DASH, _SPACE
        num += 2
    return num


@inner
def write_block(page: Array, markup: Markup, first: int, last: int, is_pre: bool, out: Array, num: int) -> int:
    """The stretches of one block."""
    is_pending, has_begun = False, False
    for t in range(first, last):
        if markup.breaks[t] == LINE and has_begun:
            out[num] = _NEWLINE
            num += 1
            is_pending, has_begun = False, False
        for at in range(markup.starts[t], markup.ends[t]):
            byte = page[at]
            if is_space(byte) and not is_pre:
                is_pending = has_begun
                continue
            if is_pending:
                out[num] = _SPACE
                num += 1
            out[num] = byte
            num += 1
            is_pending, has_begun = False, True
    return num


@inner
def room_for(markup: Markup, blocks: Blocks, keep: Array) -> int:
    """Bytes that the text of the chosen blocks can have at most."""
    room = 0
    for b in range(keep.size):
        if keep[b]:
            room += _SEPARATOR_BYTES
            for t in range(blocks.first[b], blocks.last[b]):
                room += markup.ends[t] - markup.starts[t] + 2
    return room


@inner
def write_blocks(page: Array, markup: Markup, blocks: Blocks, keep: Array, kinds: Array, out: Array) -> int:
    """The text of the chosen blocks, written to where there is room; returns how many bytes it has."""
    num, before = 0, -1
    for b in range(keep.size):
        if keep[b]:
            e = blocks.holders[b]
            num = write_break(out, num, markup, before, e, kinds)
            num = write_block(page, markup, blocks.first[b], blocks.last[b], is_preformatted(markup, e), out, num)
            before = e
    return num


@maker
def write_text(page: Array, markup: Markup, blocks: Blocks, keep: Array, kinds: Array) -> Array:
    """Text of the blocks that are kept (bool per block), as uint8 bytes."""
    out = np.empty(room_for(markup, blocks, keep), np.uint8)
    return out[: write_blocks(page, markup, blocks, keep, kinds, out)]
