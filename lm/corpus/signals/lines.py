"""What is measured on lines: Gopher's bullets and ellipses, FineWeb's line rules, C4's line edits.

C4 does not only judge lines, it drops them, and FineWeb's rules then see the shorter text. So the text that C4 would leave is built
here in a buffer, measured and thrown away: a recipe with these rules stays a query. Definitions follow huggingface/datatrove
(c4_filters.py, fineweb_quality_filter.py, gopher_quality_filter.py) and spaCy's sentencizer for sentences.
"""

from typing import Any

from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals.hashing import inner, int64
from lm.corpus.signals.repetition import duplicates

Array = NDArray[Any]

PHRASES = ("lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
"""What C4 looks for in lower-case lines; from the third on, marks of a policy."""

CITATION_MARKS = ("[edit]", "[citation needed]")

MAX_WORD_LENGTH = 1000
MIN_LINE_WORDS = 3
SHORT_LINE_CHARS = 30

LONG_WORD, UNTERMINATED, FEW_WORDS, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACE, POLICY = (1 << bit for bit in range(7))

_NEWLINE, _RETURN, _DOT, _ELLIPSIS, _BULLET, _HYPHEN, _STAR = (ord(c) for c in "\n\r.…•-*")
_SMALL_L, _SMALL_O, _SMALL_J, _SMALL_A, _SMALL_T, _SMALL_E, _SMALL_P, _SMALL_R, _SMALL_C, _SMALL_U, _SMALL_S = (
    ord(c) for c in "lojateprcus"
)
_QUESTION, _EXCLAMATION, _DOUBLE_QUOTE, _QUOTE, _OPEN, _CLOSE, _BRACE = (ord(c) for c in "?!\"'[]{")


@inner
def split_lines(chars: Array, flags: Array, num_chars: int, starts: Array, ends: Array) -> int:
    """Lines as `str.splitlines` gives them."""
    num, begin, i = 0, 0, 0
    while i < num_chars:
        if flags[i] & ch.LINE_BREAK:
            starts[num], ends[num] = begin, i
            num += 1
            if chars[i] == _RETURN and i + 1 < num_chars and chars[i + 1] == _NEWLINE:
                i += 1
            begin = i + 1
        i += 1
    if begin < num_chars:
        starts[num], ends[num] = begin, num_chars
        num += 1
    return num


@inner
def strip(flags: Array, start: int, stop: int) -> tuple[int, int]:
    """The stretch without white space at its ends."""
    while start < stop and flags[start] & ch.SPACE:
        start += 1
    while stop > start and flags[stop - 1] & ch.SPACE:
        stop -= 1
    return start, stop


@inner
def _ends_in_dots(chars: Array, start: int, stop: int) -> bool:
    return stop - start >= 3 and chars[stop - 1] == _DOT and chars[stop - 2] == _DOT and chars[stop - 3] == _DOT


@inner
def measure_line_ends(chars: Array, flags: Array, starts: Array, ends: Array, num: int, row: Array) -> None:
    """Lines that start with a bullet or end in an ellipsis, over all lines."""
    bullets, stars, ellipses = 0, 0, 0
    for line in range(num):
        start, stop = strip(flags, int64(starts[line]), int64(ends[line]))
        if start == stop:
            continue
        bullets += chars[start] == _BULLET or chars[start] == _HYPHEN
        stars += chars[start] == _STAR or chars[start] == _HYPHEN
        ellipses += chars[stop - 1] == _ELLIPSIS or _ends_in_dots(chars, start, stop)
    row[col.NUM_LINES] = num
    if num > 0:
        row[col.BULLET_LINE_FRACTION] = bullets / num
        row[col.STAR_BULLET_LINE_FRACTION] = stars / num
        row[col.ELLIPSIS_LINE_FRACTION] = ellipses / num


@inner
def split_non_empty(chars: Array, flags: Array, num_chars: int, starts: Array, ends: Array) -> tuple[int, int]:
    """Newline-separated lines that hold more than white space, white space at their ends included; their number and that of newlines."""
    num, begin, filled, newlines = 0, 0, False, 0
    for i in range(num_chars + 1):
        if i == num_chars or chars[i] == _NEWLINE:
            newlines += i < num_chars
            if filled:
                starts[num], ends[num] = begin, i
                num += 1
            begin, filled = i + 1, False
        elif not flags[i] & ch.SPACE:
            filled = True
    return num, newlines


@inner
def measure_line_kinds(flags: Array, starts: Array, ends: Array, num: int, row: Array) -> None:
    """Lines mostly in capitals and lines of numbers, over non-empty lines."""
    shouting, numeric = 0, 0
    for line in range(num):
        capitals, digits, plain = 0, 0, 0
        for i in range(starts[line], ends[line]):
            capitals += 1 if flags[i] & ch.UPPER else 0
            digits += 1 if flags[i] & ch.DIGIT else 0
            plain += 0 if flags[i] & (ch.DIGIT | ch.PUNCTUATION | ch.SYMBOL | ch.SPACE) else 1
        shouting += 2 * capitals > ends[line] - starts[line]
        numeric += digits > 0 and plain == 0
    row[col.NUM_NON_EMPTY_LINES] = num
    if num > 0:
        row[col.UPPERCASE_LINE_FRACTION] = shouting / num
        row[col.NUMERIC_LINE_FRACTION] = numeric / num


@inner
def measure_fineweb(
    flags: Array, num_chars: int, newlines: int, num_words: int, prefix: Array, powers: Array, starts: Array, ends: Array, num: int,
    keys: Array, stamps: Array, stamp: int, row: Array, base: int,
) -> None:  # fmt: skip
    """FineWeb's four ratios, written from row[base] on; `starts` and `ends` are the non-empty lines."""
    terminal, short = 0, 0
    for line in range(num):
        terminal += 1 if flags[ends[line] - 1] & ch.TERMINAL else 0
        short += ends[line] - starts[line] <= SHORT_LINE_CHARS
    if num > 0:
        row[base] = terminal / num
        row[base + 1] = short / num
        row[base + 2] = duplicates(prefix, powers, starts, ends, num, keys, stamps, stamp)[1] / (num_chars - newlines)
    if num_words > 0:
        row[base + 3] = newlines / num_words


@inner
def _matches(chars: Array, lower: Array, at: int, stop: int, pattern: Array) -> bool:
    if at + len(pattern) > stop:
        return False
    for i in range(len(pattern)):  # noqa: SIM110 - all() over a generator does not compile
        if lower[chars[at + i]] != pattern[i]:
            return False
    return True


@inner
def _matches_exactly(chars: Array, at: int, stop: int, pattern: Array) -> bool:
    if at + len(pattern) > stop:
        return False
    for i in range(len(pattern)):  # noqa: SIM110 - all() over a generator does not compile
        if chars[at + i] != pattern[i]:
            return False
    return True


@inner
def _citation_length(chars: Array, flags: Array, at: int, stop: int, marks: Array, mark_ends: Array) -> int:
    """Length of [12], [], [edit] or [citation needed] at this place; 0 if there is none."""
    end = at + 1
    while end < stop and flags[end] & ch.DIGIT:
        end += 1
    if end < stop and chars[end] == _CLOSE:
        return end + 1 - at
    begin = 0
    for m in range(len(mark_ends)):
        if _matches_exactly(chars, at, stop, marks[begin : mark_ends[m]]):
            return int64(mark_ends[m] - begin)
        begin = mark_ends[m]
    return 0


@inner
def has_bracket(chars: Array, start: int, stop: int) -> bool:
    """Whether a citation mark may stand in this stretch."""
    found = 0
    for i in range(start, stop):  # without a way out the loop takes several code points at once
        found |= chars[i] == _OPEN
    return found != 0


@inner
def copy_without_citations(
    chars: Array, flags: Array, start: int, stop: int, marks: Array, mark_ends: Array, out: Array, out_flags: Array, at: int
) -> tuple[int, int]:
    """Copy a line to out[at:]; returns where the copy ends and how many marks were cut out."""
    num_marks, i = 0, start
    while i < stop:
        size = _citation_length(chars, flags, i, stop, marks, mark_ends) if chars[i] == _OPEN else 0
        if size > 0:
            num_marks += 1
            i += size
        else:
            out[at], out_flags[at] = chars[i], flags[i]
            at += 1
            i += 1
    return at, num_marks


@inner
def word_faults(flags: Array, start: int, stop: int) -> int:
    """LONG_WORD and FEW_WORDS of a line."""
    num_words, size, faults = 0, 0, 0
    for i in range(start, stop):
        if flags[i] & ch.SPACE:
            size = 0
        else:
            num_words += size == 0
            size += 1
            if size > MAX_WORD_LENGTH:
                faults |= LONG_WORD
    return faults | FEW_WORDS if num_words < MIN_LINE_WORDS else faults


@inner
def _may_start_phrase(first: int, second: int) -> bool:
    """Whether two lower-case letters open one of PHRASES."""
    return (
        (first == _SMALL_L and second == _SMALL_O) or (first == _SMALL_J and second == _SMALL_A)
        or (first == _SMALL_T and second == _SMALL_E) or (first == _SMALL_P and second == _SMALL_R)
        or (first == _SMALL_C and second == _SMALL_O) or (first == _SMALL_U and second == _SMALL_S)
    )  # fmt: skip


@inner
def text_faults(chars: Array, flags: Array, start: int, stop: int, lower: Array, phrases: Array, phrase_ends: Array) -> int:
    """Faults of a line after citation marks are gone: its end, its phrases, its brackets."""
    faults = UNTERMINATED
    if stop > start:
        c = chars[stop - 1]
        if c in (_DOT, _QUESTION, _EXCLAMATION, _DOUBLE_QUOTE, _QUOTE):
            faults = UNTERMINATED if _ends_in_dots(chars, start, stop) else 0
    for i in range(start, stop):
        if chars[i] == _BRACE:
            faults |= CURLY_BRACE
        if not flags[i] & ch.PHRASE_START or i + 1 >= stop or not _may_start_phrase(lower[chars[i]], lower[chars[i + 1]]):
            continue
        begin = 0
        for p in range(len(phrase_ends)):
            if _matches(chars, lower, i, stop, phrases[begin : phrase_ends[p]]):
                faults |= LOREM_IPSUM if p == 0 else (JAVASCRIPT if p == 1 else POLICY)
            begin = phrase_ends[p]
    return faults


@inner
def num_sentences(flags: Array, starts: Array, ends: Array, first: int, last: int) -> int:
    """Sentences among words first..last: one ends at a terminal mark that is a word of its own and the punctuation that follows."""
    num, closed = (1 if last > first else 0), False
    for w in range(first, last):
        terminal = ends[w] - starts[w] == 1 and flags[starts[w]] & ch.TERMINAL != 0
        if terminal:
            closed = True
        elif closed:
            mark = True
            for i in range(starts[w], ends[w]):
                mark = mark and flags[i] & ch.PUNCTUATION != 0
            if not mark:
                num += 1
                closed = False
    return num


@inner
def count_faults(faults: Array, num: int, row: Array) -> None:
    """How many lines have each fault, whatever other faults they have."""
    for i in range(num):
        row[col.NUM_LONG_WORD_LINES] += 1 if faults[i] & LONG_WORD else 0
        row[col.NUM_UNTERMINATED_LINES] += 1 if faults[i] & UNTERMINATED else 0
        row[col.NUM_FEW_WORD_LINES] += 1 if faults[i] & FEW_WORDS else 0
        row[col.NUM_JAVASCRIPT_LINES] += 1 if faults[i] & JAVASCRIPT else 0
        row[col.NUM_POLICY_LINES] += 1 if faults[i] & POLICY else 0


@inner
def keep_lines(
    flags: Array, starts: Array, ends: Array, faults: Array, sentences: Array, sizes: Array, num: int, dropped_for: int,
    out_starts: Array, out_ends: Array, row: Array, base: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Lines C4 keeps; counts go to row[base] on: lines, sentences, characters, lorem ipsum lines, curly bracket lines.

    The text left is these lines, a newline between two, without white space around the whole. It is not written: `out_starts` and
    `out_ends` say where its lines that hold more than white space lie. `dropped_for` holds UNTERMINATED or not; `sizes` are the words of
    each line. Returns the number of lines written, and the words, code points and newlines of the text.
    """
    num_words, num_lines, num_filled = 0, 0, int64(0)
    at, first_char, last_char, first_line, last_line = int64(0), int64(0), int64(0), 0, 0
    for i in range(num):
        fault = faults[i]
        if fault & (LONG_WORD | FEW_WORDS | dropped_for):
            continue
        if fault & LOREM_IPSUM:
            row[base + 3] += 1
        elif not fault & JAVASCRIPT and fault & CURLY_BRACE:
            row[base + 4] += 1
        if fault & (LOREM_IPSUM | JAVASCRIPT | CURLY_BRACE | POLICY):
            continue
        at += num_lines > 0
        start, stop = int64(starts[i]), int64(ends[i])
        begin, end = strip(flags, start, stop)
        if begin < end:
            if num_filled == 0:
                first_char, first_line = at + begin - start, num_lines
            out_starts[num_filled], out_ends[num_filled] = start if num_filled else begin, stop
            last_char, last_line, num_filled = at + end - start, num_lines, num_filled + 1
            last_end = end
        at += stop - start
        num_lines += 1
        row[base + 1] += sentences[i]
        num_words += sizes[i]
    if num_filled > 0:
        out_ends[num_filled - 1] = last_end
    row[base], row[base + 2] = num_lines, last_char - first_char
    return num_filled, num_words, last_char - first_char, last_line - first_line
