"""One document after another through all measurements, in compiled code.

The buffers of a thread are made once for its largest document and reused, so a call allocates nothing per document. The compiled
form is kept beside the source and is used again only if no kernel source has changed.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled as compiled
from lm.corpus.compiling import sources_digest as sources_digest
from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals import hashing, lines, refinedweb, repetition, words
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

_HASH, _DOT, _ELLIPSIS = (ord(c) for c in "#.…")
_STAMPS_PER_DOCUMENT = 16
_LAST_STAMP = 2**31 - 2 * _STAMPS_PER_DOCUMENT


class Tables(NamedTuple):
    """What all documents share."""

    flags: Array
    lower: Array
    powers: Array
    stop_words: Array
    lexicon: Array
    phrases: Array
    phrase_ends: Array
    marks: Array
    mark_ends: Array
    counted: Array
    counted_ends: Array
    cuts: Array
    cut_ends: Array


class Buffers(NamedTuple):
    """Working memory of one thread; its size is that of the largest document in bytes."""

    chars: Array
    flags: Array
    prefix: Array
    word_starts: Array
    word_ends: Array
    word_hashes: Array
    joined: Array
    sizes: Array
    classes: Array
    class_counts: Array
    longer: Array
    longer_counts: Array
    tail: Array
    line_starts: Array
    line_ends: Array
    histogram: Array
    edit_starts: Array
    edit_ends: Array
    faults: Array
    sentences: Array
    line_sizes: Array
    letters: Array
    letter_flags: Array
    edit_prefix: Array
    edit_word_starts: Array
    edit_word_ends: Array
    keys: Array
    stamps: Array
    counts: Array
    firsts: Array


def tables(max_bytes: int) -> Tables:
    """Tables for documents of up to `max_bytes` bytes."""

    def code_points(texts: tuple[str, ...]) -> tuple[Array, Array]:
        flat = np.array([ord(c) for text in texts for c in text], dtype=np.int32)
        return flat, np.cumsum([len(text) for text in texts]).astype(np.int64)

    def hashes(texts: tuple[str, ...] | list[str]) -> Array:
        return np.array([hashing.text_hash(text) for text in texts], dtype=np.uint64)

    return Tables(
        ch.flags(),
        ch.lower(),
        hashing.powers_of_base(2 * max_bytes + 16),
        hashes(words.STOP_WORDS),
        np.sort(hashes(words.LEXICON)),
        *code_points(lines.PHRASES),
        *code_points(lines.CITATION_MARKS),
        *code_points(refinedweb.COUNTED),
        *code_points(refinedweb.CUTS),
    )


def buffers(max_bytes: int) -> Buffers:
    """Working memory for documents of up to `max_bytes` bytes; the system hands out pages only as they are used."""
    size = max_bytes + 16
    slots = 1 << max(3, (2 * size - 1).bit_length())
    narrow, wide = np.int32, np.uint64

    def make(dtype: Any, length: int = size) -> Array:
        return np.zeros(length, dtype=dtype)

    twice = 2 * size  # lines without their citation marks stand behind the text
    text = (make(narrow, twice), make(np.uint32, twice), make(wide, twice), make(narrow), make(narrow))
    word = (make(wide), make(wide), *(make(narrow) for _ in range(6)))
    line = (make(narrow), make(narrow), make(np.int64), *(make(narrow) for _ in range(5)))
    edit = (make(narrow), make(np.uint32), make(wide), make(narrow), make(narrow))
    table = (make(wide, slots), make(narrow, slots), make(narrow, slots), make(narrow, slots))
    return Buffers._make([*text, *word, *line, *edit, *table])


@inner
def decode(data: Array, start: int, stop: int, chars: Array) -> int:
    """Code points of valid UTF-8; returns how many."""
    num, i = 0, start
    while i < stop:
        b = np.int32(data[i])
        if b < 0x80:
            chars[num] = b
            i += 1
        elif b < 0xE0:
            chars[num] = (b & 0x1F) << 6 | data[i + 1] & 0x3F
            i += 2
        elif b < 0xF0:
            chars[num] = (b & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F
            i += 3
        else:
            chars[num] = (b & 0x07) << 18 | (data[i + 1] & 0x3F) << 12 | (data[i + 2] & 0x3F) << 6 | data[i + 3] & 0x3F
            i += 4
        num += 1
    return num


@inner
def clear(numbers: Array) -> None:
    """Set all to zero; numba's own assignment to a slice costs a second to compile."""
    for i in range(len(numbers)):
        numbers[i] = 0


@inner
def measure_characters(chars: Array, flags: Array, num_chars: int, scripts: Array, row: Array) -> None:
    """Shares of scripts and kinds, and SlimPajama's length; `scripts` is zero before and after."""
    spaces, digits, marks, capitals, normalized, gap = 0, 0, 0, 0, 0, False
    for i in range(num_chars):
        flag = flags[i]
        scripts[flag >> ch.SCRIPT_SHIFT & 15] += 1
        digits += 1 if flag & ch.DIGIT else 0
        marks += 1 if flag & (ch.PUNCTUATION | ch.SYMBOL) else 0
        capitals += 1 if flag & ch.UPPER else 0
        if flag & ch.SPACE:
            spaces += 1
            gap = normalized > 0
        elif not flag & ch.ASCII_PUNCTUATION:
            # lower-casing turns U+0130 into two code points and nothing else into more than one
            normalized += (2 if chars[i] == 0x130 else 1) + gap
            gap = False
    row[col.NORMALIZED_CHARS] = normalized
    row[col.WHITE_SPACE_CHAR_FRACTION] = spaces / num_chars
    row[col.DIGIT_CHAR_FRACTION] = digits / num_chars
    row[col.PUNCTUATION_CHAR_FRACTION] = marks / num_chars
    row[col.UPPERCASE_CHAR_FRACTION] = capitals / num_chars
    for script in range(7):
        row[col.LATIN_CHAR_FRACTION + script] = scripts[script + 1] / num_chars
    for script in range(8):
        scripts[script] = 0


@inner
def measure_symbols(chars: Array, num_chars: int, num_words: int, row: Array) -> None:
    """Hash signs and ellipses over words."""
    hashes, dots, runs, signs = 0, 0, 0, 0
    for i in range(num_chars):
        c = chars[i]
        hashes += c == _HASH
        signs += c == _ELLIPSIS
        dots = dots + 1 if c == _DOT else 0
        if dots == 3:
            runs += 1
            dots = 0
    if num_words > 0:
        row[col.HASH_TO_WORD_RATIO] = hashes / num_words
        row[col.ELLIPSIS_TO_WORD_RATIO] = (runs + signs) / num_words
        row[col.ELLIPSIS_SIGN_TO_WORD_RATIO] = signs / num_words


@inner
def cut_copy(t: Tables, b: Buffers, start: int, stop: int) -> tuple[int, int]:
    """Sentences and words of a line whose citation marks are gone: its words have to be cut anew."""
    chars, flags = b.chars[start:stop], b.flags[start:stop]
    hashing.prefix_hashes(chars, stop - start, b.edit_prefix)
    num = words.cut_words(chars, flags, stop - start, b.edit_word_starts, b.edit_word_ends, b.tail, b.edit_prefix, t.powers, t.lexicon)
    return lines.num_sentences(flags, b.edit_word_starts, b.edit_word_ends, int64(0), num), num


@inner
def judge_lines(t: Tables, b: Buffers, num_chars: int, num_lines: int, num_words: int, row: Array) -> None:
    """Faults and sentences of each line, as C4 sees it, in the text or, where it has citation marks, in a copy without them."""
    at, word = num_chars, int64(0)
    for line in range(num_lines):
        start, stop = lines.strip(b.flags, int64(b.line_starts[line]), int64(b.line_ends[line]))
        first = word
        while word < num_words and b.word_starts[word] < stop:
            word += 1
        begin, end, num_marks = start, stop, 0
        if lines.has_bracket(b.chars, start, stop):
            begin = at
            at, num_marks = lines.copy_without_citations(b.chars, b.flags, start, stop, t.marks, t.mark_ends, b.chars, b.flags, at)
            end = at
        faults = lines.text_faults(b.chars, b.flags, begin, end, t.lower, t.phrases, t.phrase_ends)
        b.edit_starts[line], b.edit_ends[line] = begin, end
        b.faults[line] = faults | lines.word_faults(b.flags, start, stop)
        if num_marks == 0:
            sentences, size = lines.num_sentences(b.flags, b.word_starts, b.word_ends, first, word), word - first
        else:
            sentences, size = cut_copy(t, b, begin, end)
        b.sentences[line], b.line_sizes[line] = sentences, size
        row[col.NUM_CITATION_MARKS] += num_marks
    hashing.go_on(b.chars, num_chars, at, b.prefix)
    lines.count_faults(b.faults, num_lines, row)


@inner
def measure_edits(t: Tables, b: Buffers, num_lines: int, stamp: int, row: Array) -> None:
    """The texts that C4 would leave, with and without its rule on line ends; FineWeb's ratios on the second."""
    for strict in (True, False):
        base = col.C4_NUM_LINES if strict else col.OPEN_C4_NUM_LINES
        num, num_words, num_chars, newlines = lines.keep_lines(
            b.flags, b.edit_starts, b.edit_ends, b.faults, b.sentences, b.line_sizes, num_lines, lines.UNTERMINATED if strict else 0,
            b.line_starts, b.line_ends, row, base,
        )  # fmt: skip
    row[col.OPEN_C4_NUM_WORDS] = num_words
    lines.measure_fineweb(
        b.flags, num_chars, newlines, num_words, b.prefix, t.powers, b.line_starts, b.line_ends, num,
        b.keys, b.stamps, stamp, row, col.OPEN_C4_TERMINAL_LINE_FRACTION,
    )  # fmt: skip


@inner
def measure_document(t: Tables, b: Buffers, num_chars: int, stamp: int, row: Array) -> None:
    """All signals of the document in b.chars. Uses 16 stamps from `stamp` on."""
    for i in range(num_chars):
        b.flags[i] = t.flags[b.chars[i]]
    hashing.prefix_hashes(b.chars, num_chars, b.prefix)
    num = words.cut_words(b.chars, b.flags, num_chars, b.word_starts, b.word_ends, b.tail, b.prefix, t.powers, t.lexicon)
    hashing.word_hashes(b.prefix, t.powers, b.word_starts, b.word_ends, num, b.word_hashes, b.joined, b.sizes)
    distinct = words.classify_words(b.word_hashes, num, b.keys, b.stamps, b.firsts, stamp, b.classes, b.class_counts)
    words.measure_words(b.flags, b.word_starts, b.word_ends, num, b.word_hashes, t.stop_words, distinct, row)
    words.measure_white_space_words(b.flags, num_chars, b.histogram, row)
    measure_characters(b.chars, b.flags, num_chars, b.histogram, row)
    measure_symbols(b.chars, num_chars, num, row)
    repetition.measure_repeated_lines(
        b.chars, b.flags, num_chars, b.prefix, t.powers, b.line_starts, b.line_ends, b.keys, b.stamps, stamp + 1, row
    )
    repetition.measure_top_n_grams(
        num_chars, num, b.sizes, b.keys, b.stamps, b.firsts, stamp + 3, b.classes, b.class_counts, b.longer, b.longer_counts, row
    )
    repetition.measure_duplicate_n_grams(
        b.chars, b.flags, num_chars, num, b.joined, t.powers, b.sizes, b.keys, b.stamps, b.counts, stamp + 6, b.letters, b.longer,
        b.classes, row,
    )  # fmt: skip
    num_lines, newlines = lines.split_non_empty(b.chars, b.flags, num_chars, b.line_starts, b.line_ends)
    lines.measure_line_kinds(b.flags, b.line_starts, b.line_ends, num_lines, row)
    lines.measure_fineweb(
        b.flags, num_chars, newlines, num, b.prefix, t.powers, b.line_starts, b.line_ends, num_lines, b.keys, b.stamps, stamp + 13, row,
        col.TERMINAL_LINE_FRACTION,
    )  # fmt: skip
    num_lines = lines.split_lines(b.chars, b.flags, num_chars, b.line_starts, b.line_ends)
    lines.measure_line_ends(b.chars, b.flags, b.line_starts, b.line_ends, num_lines, row)
    judge_lines(t, b, num_chars, num_lines, num, row)
    measure_edits(t, b, num_lines, stamp + 14, row)
    refinedweb.measure_line_rules(
        b.chars, b.flags, num_chars, t.flags, t.lower, t.counted, t.counted_ends, t.cuts, t.cut_ends, b.letters, b.letter_flags, row
    )


@cache
def measure_kernel() -> Callable[..., Any]:
    """measure(data, offsets, first, last, tables, buffers, rows): signals of documents first..last into rows of zeros."""
    version = sources_digest(__file__, *(str(module.__file__) for module in (ch, col, hashing, words, repetition, lines, refinedweb)))

    def measure(data: Array, offsets: Array, first: int, last: int, t: Tables, b: Buffers, rows: Array) -> int:
        stamp = int64(1)
        clear(b.stamps)
        for document in range(first, last):
            if stamp > _LAST_STAMP:
                clear(b.stamps)
                stamp = int64(1)
            num_chars = decode(data, offsets[document], offsets[document + 1], b.chars)
            if num_chars > 0:
                measure_document(t, b, num_chars, stamp, rows[document])
            stamp += _STAMPS_PER_DOCUMENT
        return version

    def trial(kernel: Callable[..., Any]) -> object:
        data, offsets = np.zeros(1, dtype=np.uint8), np.zeros(2, dtype=np.int64)
        data.setflags(write=False)
        offsets.setflags(write=False)
        return kernel(data, offsets, 0, 0, tables(1), buffers(1), np.zeros((1, col.DCLM_REMOVED_WORD_FRACTION + 1)))

    return compiled(measure, trial)
