"""What each Unicode code point is: one table of 32-bit flags that all kernels read.

The table is built from Python's own Unicode data on first use (a quarter of a second) and kept; importing builds nothing. Flags
follow the tests that the published filters make: `str.isspace`, `str.isalpha`, `string.punctuation`, the punctuation of datatrove
and of spaCy's English rules, Unicode's Sentence_Terminal. The cost of reading Python's data is that a newer Python, which knows
newer characters, may measure a text with such characters differently.
"""

import string
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SPACE = 1 << 0
LINE_BREAK = 1 << 1
ALPHA = 1 << 2
UPPER = 1 << 3
LOWER = 1 << 4
DIGIT = 1 << 5
PUNCTUATION = 1 << 6
SYMBOL = 1 << 7
NON_WORD = 1 << 8
TERMINAL = 1 << 9
SINGLE = 1 << 10
PREFIX = 1 << 11
SUFFIX = 1 << 12
QUOTE = 1 << 13
HYPHEN = 1 << 14
ICON = 1 << 15
CURRENCY = 1 << 16
ASCII_PUNCTUATION = 1 << 17
PHRASE_START = 1 << 18
BEFORE_PERIOD = 1 << 19
SCRIPT_SHIFT = 24
SCRIPTS = ("latin", "han", "kana", "hangul", "cyrillic", "arabic", "other_letter")
"""Script of a letter, as 1 + position in this tuple from bit SCRIPT_SHIFT on; 0 for what is no letter."""

_LAST = 0x323AF
"""Last letter of the planes in use; code points above hold tags and private use, which have no flags."""

_RANGES = {
    "latin": "41-5A 61-7A AA BA C0-D6 D8-F6 F8-24F 250-2AF 1D00-1D7F 1E00-1EFF 2C60-2C7F A720-A7FF AB30-AB6F FF21-FF3A FF41-FF5A",
    "han": "2E80-2FDF 3005 3007 3021-3029 3038-303B 3400-4DBF 4E00-9FFF F900-FAFF 20000-323AF",
    "hiragana": "3041-3096 309D-309F 1B001-1B11F",
    "kana": "3041-3096 309D-309F 30A1-30FA 30FC-30FF 31F0-31FF FF66-FF9F 1B000-1B16F",
    "hangul": "1100-11FF 3130-318F A960-A97F AC00-D7FF FFA0-FFDC",
    "cyrillic": "400-52F 1C80-1C8F 2DE0-2DFF A640-A69F",
    "arabic": "600-6FF 750-77F 870-8FF FB50-FDFF FE70-FEFF",
    # Sentence_Terminal as in huggingface/datatrove, utils/text.py, TERMINAL_PUNCTUATION
    "terminal": "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D5 "
    "17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E 2E3C "
    "2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E "
    "FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 "
    "1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C "
    "11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F 1DA88",
}

# Words made of these alone are symbols: huggingface/datatrove, utils/text.py, PUNCTUATION
_NON_WORD = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
_NON_WORD_CONTROLS = [*range(9), *range(11, 32), *range(127, 160)]
# Cut off at the ends of a chunk: explosion/spaCy, lang/char_classes.py and lang/punctuation.py
_CUT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_DASHES = "—–"
_HYPHENS = "-–—~"


def _parse(ranges: str) -> Iterable[int]:
    for item in ranges.split():
        first, _, last = item.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def _general(char: str) -> int:
    """Flags that follow from Python's Unicode data."""
    category = unicodedata.category(char)
    flags = SPACE * char.isspace() | ALPHA * char.isalpha() | UPPER * char.isupper() | LOWER * char.islower() | DIGIT * char.isdecimal()
    flags |= LINE_BREAK * (len(f"a{char}a".splitlines()) > 1)
    flags |= PUNCTUATION * (category[0] == "P") | SYMBOL * (category[0] == "S") | (ICON * (category == "So" and char != "°"))
    return flags


def _mark(table: Array, code_points: Iterable[int], flag: int) -> None:
    table[list(code_points)] |= np.uint32(flag)


def _mark_scripts(table: Array) -> None:
    letters = (table & ALPHA) != 0
    script = np.where(letters, len(SCRIPTS), 0).astype(np.uint32)
    for number, name in enumerate(SCRIPTS[:-1], start=1):
        inside = np.zeros(len(table), dtype=bool)
        inside[list(_parse(_RANGES[name]))] = True
        script[inside & (letters | (name == "han"))] = number
    table |= script << np.uint32(SCRIPT_SHIFT)


@cache
def flags() -> Array:
    """uint32 flags of each of the 0x110000 code points."""
    table = np.zeros(0x110000, dtype=np.uint32)
    for code_point in range(_LAST + 1):
        if not 0xD800 <= code_point < 0xE000:
            table[code_point] = _general(chr(code_point))
    _mark_scripts(table)
    sets: list[tuple[int, Iterable[int]]] = [
        (NON_WORD, [*map(ord, _NON_WORD), *_NON_WORD_CONTROLS, *_parse(_RANGES["terminal"])]),
        (TERMINAL, _parse(_RANGES["terminal"])),
        (SINGLE, [*_parse(_RANGES["han"]), *_parse(_RANGES["hiragana"])]),
        (PREFIX, map(ord, _CUT + _QUOTES + _CURRENCY + _DASHES + "§%=")),
        (SUFFIX, map(ord, _CUT + _QUOTES + _DASHES)),
        (QUOTE, map(ord, _QUOTES)),
        (HYPHEN, map(ord, _HYPHENS)),
        (CURRENCY, map(ord, _CURRENCY + "%")),
        (ASCII_PUNCTUATION, map(ord, string.punctuation)),
        (PHRASE_START, map(ord, "jltpcuJLTPCU")),
        (BEFORE_PERIOD, map(ord, _CUT + _QUOTES + "%²-+")),
    ]
    for flag, code_points in sets:
        _mark(table, code_points, flag)
    icons = (table & ICON) != 0
    table[icons] |= np.uint32(PREFIX | SUFFIX)
    table.setflags(write=False)
    return table


@cache
def lower() -> Array:
    """int32 lower-case code point of each code point; itself where lower-casing gives more than one."""
    table = np.arange(0x110000, dtype=np.int32)
    for code_point in np.nonzero(flags() & (ALPHA | UPPER))[0].tolist():
        char = chr(code_point).lower()
        if len(char) == 1:
            table[code_point] = ord(char)
    table.setflags(write=False)
    return table
