"""From stretches of text to blocks: what a reader would see as one paragraph, a heading, an item or a cell.

A block is the text between two block-level boundaries: tags, or an empty line made of line breaks. What it holds is counted here,
character by character and once. Lengths count words, a Han or kana character as 0.6 of one, and full-width punctuation counts as
punctuation, so that all that follows needs to know no language. Numbers of code points in entities are read. The cost: a word in a
script without spaces other than these (Thai, Khmer) is as long as its phrase.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.markup import BLOCK as NEW_BLOCK
from lm.corpus.extraction.markup import LINE, Markup
from lm.corpus.extraction.vocabulary import TAGS
from lm.corpus.signals.hashing import inner, int64, maker, uint64

Array = NDArray[Any]

CJK_WORDS = 0.6
"""Words that one Han or kana character stands for; Chinese words have some 1.5 to 1.8 characters."""
WORDS, LETTERS, LINKED, STOPS, COMMAS, UPPER, DIGITS, LINES, SYMBOLS, BOLD, ENDS_IN_STOP = range(11)
"""Columns of the counts. LETTERS are weighted by what a character says (Latin 1, digit 0.5, Hangul 1.5, Han 2.5)."""
NUM_COUNTS = 11
_A, _B, _STRONG = (TAGS[name] for name in ("a", "b", "strong"))
_SPACE, _OPAQUE, _RARE_HAN = 32, 1, 0x20000
_AMPERSAND, _SEMICOLON, _NUMBER_SIGN = 38, 59, 35
_MAX_ENTITY_BYTES = 12
_LOOKED_AT, _STRETCHES = 24, 64
"""Bytes of a stretch of text that tell its script, and about how many stretches are looked at; all of them took 3% of reading a page."""
_MAX_CODE_POINT = 0x110000


class Blocks(NamedTuple):
    """Blocks of a page in its order."""

    first: Array
    """int32: first stretch of text."""
    last: Array
    """int32: behind the last stretch."""
    holders: Array
    """int32: nearest element that is not inline."""
    counts: Array
    """float32 (block, count)."""


@inner
def entity_at(page: Array, at: int, end: int) -> tuple[int, int]:
    """The character of an entity and the place behind it: numbers are read, `&nbsp;` is a space, other names are opaque."""
    stop = at + 1
    while stop < end and stop < at + _MAX_ENTITY_BYTES and page[stop] != _SEMICOLON and page[stop] > _SPACE and page[stop] != _AMPERSAND:
        stop += 1
    if stop >= end or page[stop] != _SEMICOLON or stop == at + 1:
        return _AMPERSAND, at + 1
    if page[at + 1] != _NUMBER_SIGN:
        is_nbsp = page[at + 1] == 110 and page[at + 2] == 98
        return (_SPACE if is_nbsp else _OPAQUE), stop + 1
    is_hex = (page[at + 2] | 32) == 120
    base, value = int64(16 if is_hex else 10), int64(0)
    for place in range(at + 3 if is_hex else at + 2, stop):
        byte = int64(page[place])
        digit = (byte | 32) - 87 if byte > 57 else byte - 48
        value = min(value * base + max(0, min(digit, base - 1)), _MAX_CODE_POINT)
    return (_SPACE if value == 160 else value), stop + 1


@inner
def character_at(page: Array, at: int, end: int) -> tuple[int, int]:
    """The character at a place and the place behind it. Spaces of all kinds are one; what is beyond the first plane counts as Han."""
    byte = int64(page[at])
    if byte == _AMPERSAND:
        return entity_at(page, at, end)
    if byte < 0x80:
        return byte, at + 1
    if byte < 0xE0:
        if at + 1 < end:
            value = (byte & 31) << 6 | int64(page[at + 1] & 63)
            return (_SPACE if value == 0xA0 else value), at + 2
    elif byte < 0xF0:
        if at + 2 < end:
            value = (byte & 15) << 12 | int64(page[at + 1] & 63) << 6 | int64(page[at + 2] & 63)
            is_blank = value == 0x3000 or value == 0xFEFF or 0x2000 <= value <= 0x200F
            return (_SPACE if is_blank else value), at + 3
    elif at + 3 < end:
        return _RARE_HAN, at + 4
    return byte, at + 1


@inner
def is_stop(char: int) -> bool:
    """A mark that ends a sentence, in any script that has one."""
    return (
        char == 46 or char == 33 or char == 63 or char == 0x3002 or char == 0xFF01 or char == 0xFF1F or char == 0xFF0E
        or char == 0x2026 or char == 0x61F or char == 0x6D4 or char == 0x964
    )  # fmt: skip


@inner
def is_comma(char: int) -> bool:
    """A mark that separates parts of a sentence."""
    return char == 44 or char == 59 or char == 0xFF0C or char == 0x3001 or char == 0xFF1B or char == 0x60C or char == 0x61B


@inner
def is_symbol(char: int) -> bool:
    """A mark that sets off the parts of a menu or a byline."""
    return (
        char == 124 or char == 62 or char == 47 or char == 169 or char == 183 or char == 187 or char == 0x2022 or char == 0x203A
        or 0x2190 <= char < 0x2E80
    )  # fmt: skip


@inner
def letter_weight(char: int) -> float:
    """What a character says, in Latin letters; 0 if it is no letter and no digit."""
    if char < 128:
        if 97 <= (char | 32) <= 122:
            return 1.0
        return 0.5 if 48 <= char <= 57 else 0.0
    if char < 0xC0:
        return 0.0
    if char < 0x2010:
        return 1.0
    if char < 0x3040:
        return 0.0
    if char < 0xA000 or char == _RARE_HAN or 0xF900 <= char < 0xFB00:
        return 2.5
    if char < 0xD7B0:
        return 1.5
    return 1.0 if 0xFB00 <= char < 0xFF00 else 0.0


@inner
def count_text(page: Array, start: int, end: int, is_linked: bool, is_bold: bool, row: Array) -> None:
    """Add the counts of a stretch of text. They grow in registers, not in the row: adding to memory would wait for itself."""
    at, in_word, letters, words = start, False, 0.0, row[WORDS]
    upper, digits, stops, commas, symbols, ends = int64(0), int64(0), int64(0), int64(0), int64(0), int64(row[ENDS_IN_STOP])
    while at < end:
        byte = page[at]
        if 97 <= byte <= 122:  # most characters of most pages: the first of the cases below
            letters += 1.0
            words += np.float32(0 if in_word else 1)
            in_word, ends, at = True, int64(0), at + 1
            continue
        if byte == _SPACE:
            in_word, at = False, at + 1
            continue
        char, at = character_at(page, at, end)
        if char == _OPAQUE:
            continue
        weight = letter_weight(char)
        if weight > 0 and not is_stop(char) and not is_comma(char):
            letters += weight
            if weight == 2.5:
                words += np.float32(CJK_WORDS)
                in_word = False
            elif not in_word:
                words += np.float32(1)
                in_word = True
            upper += 65 <= char <= 90
            digits += weight == 0.5
            ends = int64(0)
            continue
        in_word = in_word and (char == 39 or char == 45 or char == 0x2019)
        if is_stop(char):
            stops += 1
            ends = int64(1)
        elif is_comma(char):
            commas += 1
        elif is_symbol(char):
            symbols += 1
        elif char == 58 or char == 0xFF1A:
            ends = int64(0)
    row[WORDS], row[ENDS_IN_STOP] = words, ends
    row[UPPER] += upper
    row[DIGITS] += digits
    row[STOPS] += stops
    row[COMMAS] += commas
    row[SYMBOLS] += symbols
    row[LETTERS] += letters
    row[LINKED] += letters if is_linked else 0.0
    row[BOLD] += letters if is_bold else 0.0


@inner
def is_dense(page: Array, markup: Markup) -> bool:
    """Whether the page's text is in Han, kana or Hangul: one such character to five letters of ASCII, in a sample of beginnings."""
    starts, ends, num_dense, num_letters = markup.starts, markup.ends, int64(0), int64(0)
    for t in range(0, starts.size, max(1, starts.size // _STRETCHES)):
        for at in range(int64(starts[t]), min(int64(ends[t]), int64(starts[t]) + _LOOKED_AT)):
            byte = page[uint64(at)]
            num_dense += 0xE3 <= byte <= 0xED
            num_letters += 97 <= byte <= 122
    return num_dense * 5 >= max(num_letters, int64(1))


@inner
def find_holders(markup: Markup, kinds: Array, holders: Array, in_link: Array, in_bold: Array) -> None:
    """Per element: the nearest that is not inline, and whether it stands in a link, and in bold. Element 0 is given."""
    tags, parents = markup.tags, markup.parents
    for e in range(1, tags.size):
        tag, parent = tags[e], parents[e]
        is_inline = kinds[tag] == v.INLINE
        holders[e] = holders[parent] if is_inline else e
        in_link[e] = tag == _A or in_link[parent]
        in_bold[e] = tag in (_B, _STRONG) or (is_inline and in_bold[parent])


@inner
def cut_blocks(page: Array, markup: Markup, holders: Array, in_link: Array, in_bold: Array, out: Blocks) -> int:
    """Write blocks to where there is room for all, counts being zero; returns how many there are."""
    starts, ends, owners, breaks = markup.starts, markup.ends, markup.owners, markup.breaks
    first, last, held_by, counts = out
    num = 0
    for t in range(starts.size):
        owner = owners[t]
        if num == 0 or breaks[t] == NEW_BLOCK or holders[owner] != held_by[num - 1]:
            if num and counts[num - 1, LETTERS] == 0:  # nothing but marks: its place is taken
                num -= 1
                counts[num, :] = 0
            first[num], held_by[num] = t, holders[owner]
            num += 1
        last[num - 1] = t + 1
        counts[num - 1, LINES] += breaks[t] == LINE
        count_text(page, starts[t], ends[t], in_link[owner], in_bold[owner], counts[num - 1])
    if num and counts[num - 1, LETTERS] == 0:
        num -= 1
    return num


@maker
def find_blocks(page: Array, markup: Markup, kinds: Array) -> tuple[Blocks, Array]:
    """Blocks that hold a letter or a digit, and the holder of every element."""
    num_elements, num_texts = markup.tags.size, markup.starts.size
    holders, in_link, in_bold = np.zeros(num_elements, np.int32), np.zeros(num_elements, np.bool_), np.zeros(num_elements, np.bool_)
    find_holders(markup, kinds, holders, in_link, in_bold)
    room = Blocks(
        np.empty(num_texts, np.int32), np.empty(num_texts, np.int32), np.empty(num_texts, np.int32),
        np.zeros((num_texts, NUM_COUNTS), np.float32),
    )  # fmt: skip
    num = cut_blocks(page, markup, holders, in_link, in_bold, room)
    return Blocks(room.first[:num], room.last[:num], room.holders[:num], room.counts[:num]), holders
