"""Cutting text into words, and what Gopher and Dolma measure on words.

The cut follows the rules of the tokenizer the published filters run on (spaCy's blank English): split at white space, take
punctuation off both ends, split contractions, keep abbreviations and addresses whole, split inside at hyphens between letters and
the like. Han and Hiragana characters are words of their own. The published tokenizer also knows some 1,300 exceptions; we keep the
abbreviations, so counts differ from it by a fraction of a percent, which moves a document across a threshold only if it stands on it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import columns as col
from lm.corpus.signals.hashing import find, inner, int64, shift_for, stretch

Array = NDArray[Any]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""arXiv:2112.11446."""

_ABBREVIATIONS = (
    "Adm. Ak. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Co. Colo. Conn. Corp. D.C. Dec. Del. Dr. E.G. E.g. Feb. Fla. Ga. Gen. Gov. I.E. "
    "I.e. Ia. Id. Ill. Inc. Ind. Jan. Jr. Jul. Jun. Kan. Kans. Ky. La. Ltd. Mar. Mass. Md. Messrs. Mich. Minn. Miss. Mo. Mont. Mr. "
    "Mrs. Ms. Mt. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. Ph.D. Prof. Rep. Rev. S.C. Sen. Sep. Sept. "
    "St. Tenn. Va. Wash. Wis. a. a.m. b. c. co. d. e. e.g. f. g. h. i. i.e. j. k. l. m. n. o. p. p.m. q. r. s. t. u. v. v.s. vs. w. "
    "x. y. z. ä. ö. ü."
)
ABBREVIATIONS = tuple(_ABBREVIATIONS.split())
"""Words that keep their period: explosion/spaCy, lang/en/tokenizer_exceptions.py and lang/tokenizer_exceptions.py."""

_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb "
    "KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар Кб КБ кб Мб МБ мб "
    "Гб ГБ гб Тб ТБ كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ ملغ كوب اكواب"
)
UNITS = tuple(_UNITS.split())
"""Cut off after a digit: explosion/spaCy, lang/char_classes.py."""

LEXICON = (*ABBREVIATIONS, *UNITS)

LONGEST_ABBREVIATION = 7
LONGEST_UNIT = 5

_DOT, _PLUS, _MINUS, _STAR, _CARET, _COMMA, _AT, _SLASH, _COLON = (ord(c) for c in ".+-*^,@/:")
_LESS, _MORE, _EQUAL, _APOSTROPHE, _RIGHT_QUOTE, _ELLIPSIS, _EM_DASH = (ord(c) for c in "<>='’…—")
_S, _CAPITAL_S, _N, _T, _D, _M, _L, _V, _E, _R, _W, _HASH = (ord(c) for c in "sSntdmlverw#")


@inner
def _num_dots(chars: Array, at: int, stop: int) -> int:
    end = at
    while end < stop and chars[end] == _DOT:
        end += 1
    return end - at


@inner
def _prefix_length(chars: Array, flags: Array, start: int, stop: int) -> int:
    """Code points to cut off as one word at the front; 0 for none."""
    first = chars[start]
    if first == _DOT:
        dots = _num_dots(chars, start, stop)
        return dots if dots > 1 else 0
    if first == _PLUS:
        return 0 if start + 1 < stop and flags[start + 1] & ch.DIGIT else 1
    return 1 if flags[start] & ch.PREFIX else 0


@inner
def _cased_or_not(flags: int, case: int) -> bool:
    """Whether a letter has this case, or its script has none."""
    return flags & case != 0 or flags & (ch.ALPHA | ch.UPPER | ch.LOWER) == ch.ALPHA


@inner
def _period_length(chars: Array, flags: Array, start: int, stop: int) -> int:
    dots = 1
    while stop - 1 - dots >= start and chars[stop - 1 - dots] == _DOT:
        dots += 1
    if dots > 1:
        return dots
    if stop - 2 < start:
        return 0
    before = flags[stop - 2]
    if before & (ch.DIGIT | ch.BEFORE_PERIOD) or _cased_or_not(before, ch.LOWER):
        return 1
    return 1 if stop - 3 >= start and before & ch.UPPER and flags[stop - 3] & ch.UPPER else 0


@inner
def _is_known(prefix: Array, powers: Array, start: int, stop: int, lexicon: Array) -> bool:
    key = stretch(prefix, powers, start, stop)
    low, high = 0, len(lexicon)
    while low < high:
        middle = (low + high) // 2
        if lexicon[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < len(lexicon) and lexicon[low] == key


@inner
def _unit_length(flags: Array, start: int, stop: int, hashes: Array, powers: Array, lexicon: Array) -> int:
    """Length of a unit of measure right after a digit; 0 for none."""
    for size in range(1, min(LONGEST_UNIT, stop - start - 1) + 1):
        if flags[stop - size - 1] & ch.DIGIT:
            return size if _is_known(hashes, powers, stop - size, stop, lexicon) else 0
    return 0


@inner
def _suffix_length(chars: Array, flags: Array, start: int, stop: int, hashes: Array, powers: Array, lexicon: Array) -> int:
    """Code points to cut off as one word at the back; 0 for none."""
    last = chars[stop - 1]
    if last == _DOT:
        return _period_length(chars, flags, start, stop)
    if flags[stop - 1] & ch.SUFFIX:
        return 1
    if stop - 2 < start:
        return 0
    if last in (_S, _CAPITAL_S):
        return 2 if chars[stop - 2] == _APOSTROPHE or chars[stop - 2] == _RIGHT_QUOTE else 0
    if last == _PLUS or flags[stop - 1] & ch.CURRENCY:
        return 1 if flags[stop - 2] & ch.DIGIT else 0
    return 0 if flags[stop - 1] & ch.DIGIT else _unit_length(flags, start, stop, hashes, powers, lexicon)


@inner
def _contraction_length(chars: Array, start: int, stop: int) -> int:
    """3 for n't 've 're 'll, 2 for 'd 'm, where something stands before; else 0."""
    size = stop - start
    if size > 3:
        a, b, c = chars[stop - 3], chars[stop - 2], chars[stop - 1]
        if a == _N and b in (_APOSTROPHE, _RIGHT_QUOTE) and c == _T:
            return 3
        if a in (_APOSTROPHE, _RIGHT_QUOTE) and ((b in (_V, _R) and c == _E) or (b == _L and c == _L)):
            return 3
    if size > 2 and (chars[stop - 1] == _D or chars[stop - 1] == _M):
        return 2 if chars[stop - 2] == _APOSTROPHE or chars[stop - 2] == _RIGHT_QUOTE else 0
    return 0


@inner
def _is_address(chars: Array, start: int, stop: int) -> bool:
    """A URL or an e-mail address: it holds :// or starts with www. or has a dot after an inner @."""
    if stop - start > 4 and chars[start] == _W and chars[start + 1] == _W and chars[start + 2] == _W and chars[start + 3] == _DOT:
        return True
    at = False
    for i in range(start + 1, stop - 1):
        c = chars[i]
        if c == _COLON and i + 2 < stop and chars[i + 1] == _SLASH and chars[i + 2] == _SLASH:
            return True
        if c == _DOT and at:
            return True
        at = at or c == _AT
    return False


@inner
def _hyphen_length(chars: Array, flags: Array, at: int, stop: int) -> int:
    """Length of a hyphen or dash between a letter or digit and a letter; 0 if it is none."""
    size = 1
    longest = 3 if chars[at] == _MINUS else (2 if chars[at] == _EM_DASH else 1)
    while size < longest and at + size < stop and chars[at + size] == chars[at]:
        size += 1
    return size if at + size < stop and flags[at - 1] & (ch.ALPHA | ch.DIGIT) and flags[at + size] & ch.ALPHA else 0


@inner
def _infix_length(chars: Array, flags: Array, at: int, stop: int) -> int:
    """Length of a mark inside a word that splits it; 0 for none. There is a code point before `at`."""
    c = chars[at]
    before = flags[at - 1]
    if c == _ELLIPSIS or flags[at] & ch.ICON:
        return 1
    if at + 1 >= stop:
        return 0
    after = flags[at + 1]
    if c == _DOT:
        dots = _num_dots(chars, at, stop)
        if dots > 1:
            return dots
        quoted = (before & ch.QUOTE or _cased_or_not(before, ch.LOWER)) and (after & ch.QUOTE or _cased_or_not(after, ch.UPPER))
        return 1 if quoted else 0
    if c in (_PLUS, _MINUS, _STAR, _CARET) and before & ch.DIGIT and (after & ch.DIGIT or chars[at + 1] == _MINUS):
        return 1
    if c == _COMMA:
        return 1 if before & ch.ALPHA and after & ch.ALPHA else 0
    if flags[at] & ch.HYPHEN:
        return _hyphen_length(chars, flags, at, stop)
    if c in (_COLON, _LESS, _MORE, _EQUAL, _SLASH):
        return 1 if before & (ch.ALPHA | ch.DIGIT) and after & ch.ALPHA else 0
    return 0


@inner
def _cut_core(chars: Array, flags: Array, start: int, stop: int, starts: Array, ends: Array, num: int) -> int:
    """Split what is left between prefixes and suffixes."""
    begin = start
    i = start + 1
    whole = _is_address(chars, start, stop)
    while i < stop and not whole:
        size = _infix_length(chars, flags, i, stop)
        if size == 0:
            i += 1
            continue
        if i > begin:
            starts[num], ends[num] = begin, i
            num += 1
        starts[num], ends[num] = i, i + size
        num += 1
        begin = i + size
        i = begin
    if begin < stop:
        starts[num], ends[num] = begin, stop
        num += 1
    return num


@inner
def _cut_part(
    chars: Array,
    flags: Array,
    start: int,
    stop: int,
    starts: Array,
    ends: Array,
    num: int,
    tail: Array,
    hashes: Array,
    powers: Array,
    lexicon: Array,
) -> int:
    """Words of a stretch without white space and without single-character words."""
    num_tail = 0
    while start < stop:
        short = stop - start <= LONGEST_ABBREVIATION and chars[stop - 1] == _DOT
        if short and _is_known(hashes, powers, start, stop, lexicon):
            break
        size = _prefix_length(chars, flags, start, stop)
        if size > 0:
            starts[num], ends[num] = start, start + size
            num += 1
            start += size
            continue
        size = _suffix_length(chars, flags, start, stop, hashes, powers, lexicon)
        if size == 0:
            break
        tail[num_tail] = stop
        num_tail += 1
        stop -= size
    size = _contraction_length(chars, start, stop)
    if size > 0:
        tail[num_tail] = stop
        num_tail += 1
        stop -= size
    num = _cut_core(chars, flags, start, stop, starts, ends, num)
    for i in range(num_tail - 1, -1, -1):
        starts[num], ends[num] = stop, tail[i]
        stop = tail[i]
        num += 1
    return num


@inner
def _plain_length(chars: Array, flags: Array, start: int, stop: int) -> int:
    """Letters of a chunk that is letters alone, or letters and one mark that is surely cut off; 0 for any other chunk.

    Most chunks are of this kind, and for them the rules need not be tried one by one.
    """
    end = start
    while end < stop and flags[end] & ch.ALPHA:
        end += 1
    size = end - start
    if size == 0 or end == stop:
        return size
    if end + 1 < stop:
        return 0
    if chars[end] == _DOT:
        return size if size >= LONGEST_ABBREVIATION and flags[end - 1] & ch.LOWER else 0
    return size if flags[end] & ch.SUFFIX else 0


@inner
def cut_words(
    chars: Array, flags: Array, num_chars: int, starts: Array, ends: Array, tail: Array, hashes: Array, powers: Array, lexicon: Array
) -> int:
    """Write where the words of the first `num_chars` code points start and end; returns how many there are."""
    num, i = int64(0), int64(0)
    while i < num_chars:
        if flags[i] & ch.SPACE:
            i += 1
            continue
        if flags[i] & ch.SINGLE:
            starts[num], ends[num] = i, i + 1
            num += 1
            i += 1
            continue
        begin = i
        while i < num_chars and not flags[i] & (ch.SPACE | ch.SINGLE):
            i += 1
        size = _plain_length(chars, flags, begin, i)
        if size == 0:
            num = _cut_part(chars, flags, begin, i, starts, ends, num, tail, hashes, powers, lexicon)
            continue
        starts[num], ends[num] = begin, begin + size
        num += 1
        if begin + size < i:
            starts[num], ends[num] = begin + size, i
            num += 1
    return num


@inner
def _is_stop_word(key: int, stop_words: Array) -> int:
    for i in range(len(stop_words)):
        if stop_words[i] == key:
            return i
    return -1


@inner
def classify_words(words: Array, num: int, keys: Array, stamps: Array, firsts: Array, stamp: int, classes: Array, counts: Array) -> int:
    """classes[w] = where the word stood first; counts[w], for such a first place, how often it comes. Returns the distinct words."""
    shift = shift_for(num)
    distinct = 0
    for i in range(num):
        slot = find(keys, stamps, stamp, shift, words[i])
        if stamps[slot] != stamp:
            keys[slot], stamps[slot], firsts[slot] = words[i], stamp, i
            counts[i] = 0
            distinct += 1
        classes[i] = firsts[slot]
        counts[classes[i]] += 1
    return distinct


@inner
def measure_words(
    flags: Array, starts: Array, ends: Array, num: int, words: Array, stop_words: Array, num_distinct: int, row: Array
) -> None:
    """Counts and lengths of words; `words` holds the hash of each."""
    num_letters, num_alphabetic, num_plain, num_stop, seen = 0, 0, 0, 0, 0
    for w in range(num):
        every = np.uint32(0)
        plain = False
        for i in range(starts[w], ends[w]):
            every |= flags[i]
            plain = plain or not flags[i] & ch.NON_WORD
        if every & ch.ALPHA:
            num_alphabetic += 1
        if plain:
            num_plain += 1
            num_letters += ends[w] - starts[w]
        if 2 <= ends[w] - starts[w] <= 4:
            which = _is_stop_word(words[w], stop_words)
            if which >= 0:
                num_stop += 1
                seen |= 1 << which
    row[col.NUM_WORDS] = num
    row[col.NUM_NON_SYMBOL_WORDS] = num_plain
    row[col.MEAN_WORD_LENGTH] = num_letters / num_plain if num_plain else 0.0
    row[col.ALPHABETIC_WORD_FRACTION] = num_alphabetic / num if num else 0.0
    row[col.DISTINCT_WORD_FRACTION] = num_distinct / num if num else 0.0
    row[col.NUM_STOP_WORDS] = num_stop
    distinct = 0
    while seen:
        distinct += seen & 1
        seen >>= 1
    row[col.NUM_DISTINCT_STOP_WORDS] = distinct


@inner
def measure_white_space_words(flags: Array, num_chars: int, histogram: Array, row: Array) -> None:
    """Number, median and greatest length of the stretches between white space; `histogram` is zero before and after."""
    num, longest, size = 0, 0, 0
    for i in range(num_chars + 1):
        if i < num_chars and not flags[i] & ch.SPACE:
            size += 1
        elif size > 0:
            histogram[size] += 1
            num += 1
            longest = max(longest, size)
            size = 0
    row[col.NUM_WHITE_SPACE_WORDS] = num
    row[col.MAX_WORD_LENGTH] = longest
    seen, low, high = 0, 0, 0
    for length in range(1, longest + 1):
        before = seen
        seen += histogram[length]
        histogram[length] = 0
        if before < (num + 1) // 2 <= seen:
            low = length
        if before < num // 2 + 1 <= seen:
            high = length
    row[col.MEDIAN_WORD_LENGTH] = (low + high) / 2
