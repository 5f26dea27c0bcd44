"""Entities to characters, and characters to NFC, as Python does both, but for any text and in time linear in it.

`html.unescape` reads a number of any length and raises an error above 4,300 digits; `unicodedata.normalize` sorts the marks upon one
letter by insertion, which takes 40 minutes for a page of two million. Pages hold such things, by mistake or on purpose. A number of so
many digits is no character, so U+FFFD stands for it as for every other; of marks no script needs more than a few, and behind thirty of them
U+034F is set, which parts them and shows nothing, as Unicode's stream-safe format does (UAX #15, section 13). The cost is a second look
at texts that are not in NFC.
"""

import html
import re
import sys
import unicodedata
from functools import cache

MAX_MARKS = 30
"""Characters that combine with those before, in a row."""
_MAX_DIGITS = 7
"""Of the greatest code point, in decimal digits."""
_JOINER = "\u034f"
_LONG_NUMBER = re.compile(rf"&#([0-9]{{{_MAX_DIGITS + 1},}})")
_BEYOND = f"&#{sys.maxunicode + 1}"


def unescape(text: str) -> str:
    """The text with its entities read, as `html.unescape` reads them."""
    if "&" not in text:
        return text
    return html.unescape(_LONG_NUMBER.sub(_shortened, text) if "&#" in text else text)


def _shortened(number: re.Match[str]) -> str:
    digits = number[1].lstrip("0") or "0"
    return _BEYOND if len(digits) > _MAX_DIGITS else f"&#{digits}"


def to_nfc(text: str) -> str:
    """The text in NFC; one that is not is given U+034F behind each thirty combining characters in a row."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", _long_runs().sub(_parted, text))


def _parted(run: re.Match[str]) -> str:
    marks = run[0]
    return _JOINER.join(marks[at : at + MAX_MARKS] for at in range(0, len(marks), MAX_MARKS))


@cache
def _long_runs() -> re.Pattern[str]:
    """More combining characters in a row than there should be."""
    points = [point for point in range(sys.maxunicode + 1) if unicodedata.combining(chr(point))]
    return re.compile(f"[{''.join(map(chr, points))}]{{{MAX_MARKS + 1},}}")
