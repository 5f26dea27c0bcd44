"""The line rules of RefinedWeb in DCLM's form: which lines of a text would go, and how many of its words with them.

Lines end at newlines. A line goes if more than half of it is capitals, if it is all digits, if it is a counter ("3 likes"), or if it
has fewer than two words; a line of at most ten words loses "items in cart", a "Read more..." at its end and a "Sign-in" at its front,
and goes if nothing else is in it. The text left is measured and not written; `lm.corpus.variants` writes it, and a test holds the two
together. Words are stretches between white space. Definitions follow mlfoundations/dclm, baselines/mappers/modifiers.py, with one
difference: a digit is a decimal digit, so a line of superscripts stays.
"""

from typing import Any

from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

COUNTED = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads", "views", "followers",
)  # fmt: skip
"""What a counter counts."""

CUTS = ("items in cart", "read more", "sign-in")
"""Cut anywhere; cut at the end with three more characters; cut at the front. In lower case."""

MIN_LINE_WORDS = 2
MAX_CUT_WORDS = 10
END_CHARS = 3

_NEWLINE, _COMMA, _DOT, _K, _M, _B, _SMALL_I, _SMALL_R, _SMALL_S = (ord(c) for c in "\n,.kmbirs")


@inner
def _follows(chars: Array, lower: Array, at: int, stop: int, pattern: Array) -> bool:
    if at + len(pattern) > stop:
        return False
    for i in range(len(pattern)):  # noqa: SIM110 - all() over a generator does not compile
        if lower[chars[at + i]] != pattern[i]:
            return False
    return True


@inner
def _skip_marks(flags: Array, at: int, stop: int) -> int:
    while at < stop and not flags[at] & (ch.ALPHA | ch.DIGIT):
        at += 1
    return at


@inner
def _is_counter(chars: Array, flags: Array, lower: Array, start: int, stop: int, counted: Array, counted_ends: Array) -> bool:
    """A number, perhaps with k, m or b behind it, white space, and what it counts; marks around do not matter."""
    at = _skip_marks(flags, start, stop)
    if at == stop or not flags[at] & ch.DIGIT:
        return False
    while at < stop and (flags[at] & ch.DIGIT or chars[at] == _COMMA or chars[at] == _DOT):
        at += 1
    if at < stop and (lower[chars[at]] == _K or lower[chars[at]] == _M or lower[chars[at]] == _B):
        at += 1
    before = at
    while at < stop and flags[at] & ch.SPACE:
        at += 1
    if at == before:
        return False
    begin = 0
    for c in range(len(counted_ends)):
        pattern = counted[begin : counted_ends[c]]
        if _follows(chars, lower, at, stop, pattern) and _skip_marks(flags, at + len(pattern), stop) == stop:
            return True
        begin = counted_ends[c]
    return False


@inner
def _cut(chars: Array, flags: Array, lower: Array, start: int, stop: int, cuts: Array, cut_ends: Array, out: Array) -> int:
    """Write the line without the three phrases; returns its length, or that of the line itself if nothing is cut."""
    first, second, third = cuts[: cut_ends[0]], cuts[cut_ends[0] : cut_ends[1]], cuts[cut_ends[1] :]
    num, i = int64(0), start
    while i < stop:
        space = 1 if flags[i] & ch.SPACE else 0
        if _follows(chars, lower, i + space, stop, first):
            i += space + len(first)
        else:
            out[num] = chars[i]
            num, i = num + 1, i + 1
    size = len(second) + END_CHARS
    if num >= size and _follows(out, lower, num - size, num, second):
        num -= size
        if num > 0 and (out[num - 1] == 32 or 9 <= out[num - 1] <= 13):
            num -= 1
    if _follows(out, lower, int64(0), num, third):
        gone = int64(len(third))
        if gone < num and (out[gone] == 32 or 9 <= out[gone] <= 13):
            gone += 1
        for at in range(gone, num):
            out[at - gone] = out[at]
        num -= gone
    return num


@inner
def _measure_line(flags: Array, start: int, stop: int) -> tuple[int, int, int]:
    """Words, capitals and digits of a line."""
    num_words, capitals, digits, inside = int64(0), int64(0), int64(0), False
    for i in range(start, stop):
        flag = flags[i]
        capitals += 1 if flag & ch.UPPER else 0
        digits += 1 if flag & ch.DIGIT else 0
        space = flag & ch.SPACE != 0
        num_words += 1 if not space and not inside else 0
        inside = not space
    return num_words, capitals, digits


@inner
def _opens_cut(chars: Array, flags: Array, lower: Array, start: int, stop: int, cuts: Array, cut_ends: Array) -> bool:
    """Whether one of the phrases may stand in this line."""
    begin = 0
    for c in range(len(cut_ends)):
        pattern = cuts[begin : cut_ends[c]]
        for i in range(start, stop):
            if lower[chars[i]] == pattern[0] and _follows(chars, lower, i, stop, pattern):
                return True
        begin = cut_ends[c]
    return False


@inner
def measure_line_rules(
    chars: Array, flags: Array, num_chars: int, all_flags: Array, lower: Array, counted: Array, counted_ends: Array, cuts: Array,
    cut_ends: Array, out: Array, out_flags: Array, row: Array,
) -> None:  # fmt: skip
    """What the line rules leave; `out` and `out_flags` are working memory."""
    begin, words_before, words_after, num_counters, num_kept = int64(0), int64(0), int64(0), 0, 0
    at, first, last, num_joined = int64(0), int64(-1), int64(0), 0
    for i in range(num_chars + 1):
        if i < num_chars and chars[i] != _NEWLINE:
            continue
        num_words, capitals, digits = _measure_line(flags, begin, i)
        words_before += num_words
        size, start, source, kept = i - begin, begin, flags, True
        if size > 0:
            counter = digits > 0 and _is_counter(chars, flags, lower, begin, i, counted, counted_ends)
            num_counters += counter
            kept = not (2 * capitals > size or digits == size or counter or num_words < MIN_LINE_WORDS)
        if kept and 0 < num_words <= MAX_CUT_WORDS and _opens_cut(chars, flags, lower, begin, i, cuts, cut_ends):
            size, start, source = _cut(chars, flags, lower, begin, i, cuts, cut_ends, out), int64(0), out_flags
            for c in range(size):
                out_flags[c] = all_flags[out[c]]
            num_words = _measure_line(out_flags, int64(0), size)[0]
            kept = num_words > 0
        begin = i + 1
        if not kept:
            continue
        at += num_joined > 0
        num_joined += 1
        if num_words > 0:
            num_kept += 1
            words_after += num_words
            left, right = int64(0), size
            while source[start + left] & ch.SPACE:
                left += 1
            while source[start + right - 1] & ch.SPACE:
                right -= 1
            if first < 0:
                first = at + left
            last = at + right
        at += size
    row[col.NUM_COUNTER_LINES] = num_counters
    row[col.DCLM_NUM_LINES] = num_kept
    row[col.DCLM_NUM_CHARS] = last - first if num_kept > 0 else 0
    row[col.DCLM_REMOVED_WORD_FRACTION] = (words_before - words_after) / words_before if words_before > 0 else 0.0
