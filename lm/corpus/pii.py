"""Personal data in text: e-mail addresses, public IP addresses, phone numbers, payment cards, Chinese identity and mobile numbers.

A compiled pass over the UTF-8 bytes finds the few stretches that may hold one, runs of digits and what stands around @ and ::, and only
these are looked at closely: by form, and by checksum, date and range where the form has them. So prose costs about a nanosecond per
byte. What has no checksum is taken only in its written forms (a + in front, brackets, groups), because a false alarm masks a number
that the text is about; the cost is that phone numbers written as bare digits stay, Chinese mobile numbers apart. Where form and range are
not enough, the words around decide: four small numbers with dots are a section of a law or a version of a program unless something
nearby speaks of addresses, and eleven digits are no mobile number behind "order" or before a unit.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import Texts, kernel, utf8_buffers
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

MASKS = {
    "email": "name@example.org",
    "public_ip": "192.0.2.1",
    "chinese_id": "000000000000000000",
    "payment_card": "0000 0000 0000 0000",
    "chinese_mobile": "100 0000 0000",
    "phone": "555-0100",
}
"""What stands in the place of each kind: addresses reserved for examples (RFC 2606, RFC 5737), numbers that nobody has."""
KINDS = tuple(MASKS)

_AT, _COLON, _ZERO, _NINE, _PLUS, _OPEN, _DOT, _SPACE, _HYPHEN, _CLOSE, _UNDERSCORE, _PERCENT = (ord(c) for c in "@:09+(. -)_%")
_MAX_LOCAL, _MAX_DOMAIN = 64, 255
_MIN_DIGITS, _MIN_IP_DIGITS, _IP_DOTS, _IP_COLONS = 7, 4, 3, 7

_EMAIL = re.compile(
    rb"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\.[A-Za-z]{2,24}(?![A-Za-z])"
)
_ALONE = rb"(?<![0-9A-Za-z.])%s(?![0-9A-Za-z])(?!\.[0-9])"
_IPV4 = re.compile(_ALONE % rb"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
_IPV6 = re.compile(rb"[0-9A-Fa-f:]+(?:\.[0-9.]+)?")
_CHINESE_ID = re.compile(_ALONE % rb"[1-9][0-9]{16}[0-9Xx]")
_CARD_START = re.compile(rb"(?<![0-9A-Za-z.])[2-6][0-9]{3}")
_CARDS = tuple(
    re.compile(form + rb"(?![0-9A-Za-z])(?!\.[0-9])")
    for form in (
        rb"[0-9]{13,19}",
        rb"[0-9]{4}(?:([ -])[0-9]{4})(?:\1[0-9]{4}){2}(?:\1[0-9]{1,3})",
        rb"[0-9]{4}([ -])[0-9]{4}(?:\1[0-9]{4}){2}",
        rb"[0-9]{4}([ -])[0-9]{6}\1[0-9]{4,5}",
    )
)
"""At a stretch, or in the groups that are printed on a card."""
_CHINESE_MOBILE = re.compile(rb"(?<![0-9A-Za-z.+-])(?:(?:\+|00)86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}(?![0-9A-Za-z])(?!\.[0-9])")
_PHONE = re.compile(
    rb"(?<![0-9A-Za-z.])(?:\+[1-9][0-9]{0,2}(?:[ .-]?(?:\([0-9]{1,4}\)|[0-9]{1,4})){2,6}"
    rb"|(?:1[ .-])?\([2-9][0-9]{2}\)[ .-]?[0-9]{3}[ .-][0-9]{4}"
    rb"|(?:1[.-])?[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1[0-9]{4}"
    rb"|(?:0(?:10|2[0-9]|[3-9][0-9]{2})[ -]|\(0(?:10|2[0-9]|[3-9][0-9]{2})\)[ -]?)[2-8][0-9]{2,3}[ -]?[0-9]{4})(?![0-9A-Za-z])(?!\.[0-9])"
)
_UNICAST = ipaddress.ip_network("2000::/3")
"""IPv6 addresses handed out so far; outside, what looks like one is mostly source code."""
_SMALL_OCTET = 31
"""Four octets up to here are numbers of sections and versions far more often than an address; of addresses one in 4,000 is such."""
_SPEAKS_OF_ADDRESSES = re.compile(
    r"(?i)\b(?:ip|ipv4|addr|address(?:es)?|hosts?|servers?|dns|ping|subnet|gateway|proxy|router|login|logged in|client)\b|地址|主机|服务器|网关|代理|来自|://$|@$"
)
_SPEAKS_OF_NUMBERS = re.compile(
    r"(?i)(?:\b(?:v|ver|version|versions|release|build|firmware|update|patch|rev|revision|section|sections|sec|sect|art|article|chapter|clause|"
    r"rule|reg|para|paragraph|part|vol|volume|no|nr|fig|figure|table|appendix|annex|item|isbn|doi|oid|rfc|std|cfr|code)\b|[§¶]|版本|版|第|条|節|节|章|款|号|图|表|卷)"
    r"[\s.:：#(\[]*(?:[0-9]+(?:\.[0-9]+)*\s*(?:,|;|and|to|or|und|-|–|、|和|至)\s*)*$"
)
"""What stands right before a version, a section, a volume; other such numbers may stand between."""
_COUNTS_BEHIND = re.compile(r"\s*(?:版|节|節|条|章|款)")
_IS_HEADING = re.compile(r"(?:^|\n)[ \t#*]*$")
_NO_MOBILE_BEFORE = re.compile(
    r"(?i)(?:qq群?|q群|群号|订单|訂單|单号|编号|編號|货号|型号|账号|帐号|卡号|流水号|证号|批号|isbn|issn|doi|id|uid|no|order)[\s:：号為为是.#]*$"
)
_NO_MOBILE_BEHIND = re.compile(r"\s*(?:[万亿千百]|元|人|次|件|吨|个|美元|米|公里|平方|字节|%|％|kg|km|bytes?\b)")
_CONTEXT_BYTES, _BEHIND_BYTES = 60, 24
_MAX_ROUNDS = 8
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Span(NamedTuple):
    """A kind, and the code points it covers."""

    kind: str
    start: int
    end: int


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others. Source: ISO/IEC 7812-1."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def is_chinese_id(text: str) -> bool:
    """Whether 18 characters hold a date of birth and end in their check character. Source: GB 11643-1999."""
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    check = "10X98765432"[sum(int(d) * w for d, w in zip(text[:17], _ID_WEIGHTS, strict=True)) % 11]
    return 1900 <= born.year < 2100 and text[17].upper() == check


def _cards(piece: bytes) -> Iterator[tuple[int, int]]:
    """Where payment cards stand, among other numbers too: behind one often comes a date, and in front of it a number of items."""
    stop = 0
    for start in _CARD_START.finditer(piece):
        left = start.start()
        forms = (form.match(piece, left) for form in _CARDS) if left >= stop and _is_issued(int(start[0])) else ()
        right = next((form.end() for form in forms if form and _is_card(form[0].decode())), 0)
        if right:
            stop = right
            yield left, right


def _is_issued(first: int) -> bool:
    """Whether cards begin with these four digits. So years, which come in rows of four, are none. Source: ISO/IEC 7812, list of issuers."""
    return (
        2200 <= first <= 2204 or 2221 <= first <= 2720 or first // 100 in (30, 34, 36, 37, 38, 39) or 3528 <= first <= 3589 or first >= 4000
    )


def _is_card(text: str) -> bool:
    digits, groups = re.sub("[ -]", "", text), [int(group) for group in re.split("[ -]", text)]
    is_list = len(groups) > 1 and len({b - a for a, b in pairwise(groups)}) == 1
    return luhn(digits) and len(set(digits)) > 1 and not is_list


def _is_public(text: str, before: str, behind: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6:
        return address.is_global and address in _UNICAST
    return address.is_global and not _is_section(text, before, behind)


def _is_section(text: str, before: str, behind: str) -> bool:
    """Whether four numbers with dots are those of a section, a version, a citation."""
    if _SPEAKS_OF_NUMBERS.search(before) or _COUNTS_BEHIND.match(behind):
        return True
    is_small = all(int(octet) <= _SMALL_OCTET for octet in text.split("."))
    if is_small and _IS_HEADING.search(before) and re.match(r"[ \t]+[^\W\d_]", behind):
        return True
    return is_small and not _SPEAKS_OF_ADDRESSES.search(before)


def _is_mobile(_text: str, before: str, behind: str) -> bool:
    return not _NO_MOBILE_BEFORE.search(before) and not _NO_MOBILE_BEHIND.match(behind)


def _is_identity(text: str, _before: str, _behind: str) -> bool:
    return is_chinese_id(text)


def _is_phone(text: str, _before: str, _behind: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


def _anything(_text: str, _before: str, _behind: str) -> bool:
    return True


def _places(pattern: re.Pattern[bytes]) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    return lambda piece: (match.span() for match in pattern.finditer(piece))


_Check = tuple[str, Callable[[bytes], Iterator[tuple[int, int]]], Callable[[str, str, str], bool]]
"""Kind, where its form stands, and whether what has the form is one: asked with the text, some characters before it and some behind."""
_CHECKS: tuple[_Check, ...] = (
    ("email", _places(_EMAIL), _anything),
    ("public_ip", _places(_IPV4), _is_public),
    ("chinese_id", _places(_CHINESE_ID), _is_identity),
    ("payment_card", _cards, _anything),
    ("chinese_mobile", _places(_CHINESE_MOBILE), _is_mobile),
    ("phone", _places(_PHONE), _is_phone),
)


@inner
def _is_digit(b: int) -> bool:
    return _ZERO <= b <= _NINE


@inner
def _is_name(b: int) -> bool:
    letter = b | 32
    return _is_digit(b) or 97 <= letter <= 122 or b in (_DOT, _HYPHEN)


@inner
def _is_hex(b: int) -> bool:
    return _is_digit(b) or 97 <= b | 32 <= 102


@inner
def _around_at(data: Array, start: int, stop: int, at: int) -> tuple[int, int]:
    left, right = at, at + 1
    while left > start and at - left < _MAX_LOCAL:
        b = data[left - 1]
        if not (_is_name(b) or b in (_PLUS, _UNDERSCORE, _PERCENT)):
            break
        left -= 1
    while right < stop and right - at < _MAX_DOMAIN and _is_name(data[right]):
        right += 1
    return left, right


@inner
def _around_colon(data: Array, start: int, stop: int, at: int) -> tuple[int, int, bool]:
    """The run of hexadecimal digits and colons around a colon, and whether it may be an address."""
    left, right, colons, double = at, at, 0, False
    while left > start and (_is_hex(data[left - 1]) or data[left - 1] == _COLON):
        left -= 1
    while right < stop and (_is_hex(data[right]) or data[right] == _COLON or data[right] == _DOT):
        right += 1
    for i in range(left, right):
        colons += data[i] == _COLON
        double = double or (i + 1 < right and data[i] == _COLON and data[i + 1] == _COLON)
    return left, right, right - left <= 45 and (colons == _IP_COLONS or (double and colons > 1 and right - left > 3))


@inner
def _run_of_digits(data: Array, start: int, stop: int, at: int) -> tuple[int, int, bool]:
    """Digits with at most two marks between two of them, from a digit on, and whether they may be a number of a person."""
    left, right, digits, dots = at, at, 0, 0
    while left > start and at - left < 2 and (data[left - 1] == _PLUS or data[left - 1] == _OPEN):
        left -= 1
    last, i = at, at
    while i < stop and i - last <= 3:
        b = data[i]
        if _is_digit(b):
            digits += 1
            last = i
        elif b == _DOT:
            dots += 1
        elif b not in (_SPACE, _HYPHEN, _OPEN, _CLOSE):
            break
        i += 1
    right = last + 1
    if right < stop and data[right] | 32 == 120:
        right += 1
    return left, right, digits >= _MIN_DIGITS or (digits >= _MIN_IP_DIGITS and dots >= _IP_DOTS)


@inner
def scan(data: Array, start: int, stop: int, out: Array, max_rows: int) -> int:
    """Stretches to look at closely, as rows of first byte, byte after and first code point; returns how many there are."""
    num, chars, i = int64(0), int64(0), start
    while i < stop:
        b = data[i]
        left, right, found, step = i, i, False, int64(1)
        if b == _AT:
            left, right = _around_at(data, start, stop, i)
            found = left < i and right > i + 3
        elif b == _COLON and i + 1 < stop and (data[i + 1] == _COLON or _is_hex(data[i + 1])):
            left, right, found = _around_colon(data, start, stop, i)
            step = max(step, right - i)
        elif _is_digit(b):
            left, right, found = _run_of_digits(data, start, stop, i)
            step = max(step, right - i)
        if found:
            if num < max_rows:
                out[num, 0], out[num, 1], out[num, 2] = left, right, chars - (i - left)
            num += 1
        chars += step if step > 1 else (1 if b & 0xC0 != 0x80 else 0)
        i += step
    return num


@cache
def _scan_kernel() -> Any:
    """scan(data, start, stop, out, max_rows), compiled for callers in Python."""
    version = kernel.sources_digest(__file__)

    def run(data: Array, start: int, stop: int, out: Array, max_rows: int) -> int:
        return scan(data, start, stop, out, max_rows) if version else 0

    def trial(compiled: Any) -> object:
        data = np.zeros(1, dtype=np.uint8)
        data.setflags(write=False)
        return compiled(data, 0, 0, np.zeros((1, 3), dtype=np.int64), 1)

    return kernel.compiled(run, trial)


def _candidates(data: Array, start: int, stop: int, rows: Array) -> tuple[Array, Array]:
    run = _scan_kernel()
    num = run(data, start, stop, rows, len(rows))
    if num > len(rows):
        rows = np.zeros((2 * num, 3), dtype=np.int64)
        num = run(data, start, stop, rows, len(rows))
    return rows[:num], rows


def _look_closely(data: Array, start: int, stop: int, first: int, last: int, first_char: int) -> Iterator[Span]:
    """Personal data in one candidate; of two that overlap the first in the order of `KINDS`."""
    begin = max(start, first - 1)
    piece = data[begin : min(stop, last + 2)].tobytes()
    taken = bytearray(len(piece))
    core = data[first:last].tobytes()
    if b"::" in core or core.count(b":") >= _IP_COLONS:
        checks: list[_Check] = [("public_ip", _places(_IPV6), _is_public)]
    elif b"@" in core:
        checks = [check for check in _CHECKS if check[0] == "email"]
    else:
        checks = [check for check in _CHECKS if check[0] != "email"]
    for kind, places, holds in checks:
        for left, right in places(piece):
            if taken.find(1, left, right) >= 0:
                continue
            before = data[max(start, begin + left - _CONTEXT_BYTES) : begin + left].tobytes().decode(errors="ignore")
            behind = data[begin + right : min(stop, begin + right + _BEHIND_BYTES)].tobytes().decode(errors="ignore")
            if holds(piece[left:right].decode(), before, behind):
                taken[left:right] = b"\1" * (right - left)
                yield Span(kind, first_char + begin + left - first, first_char + begin + right - first)


def find(texts: Texts, kinds: Sequence[str] = KINDS) -> list[list[Span]]:
    """Personal data of these kinds in each text, in the order of the text, without overlaps: of two that overlap one is made."""
    data, offsets = utf8_buffers(texts)
    rows = np.zeros((64, 3), dtype=np.int64)
    found = []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        candidates, rows = _candidates(data, start, stop, rows)
        spans = [span for row in candidates.tolist() for span in _look_closely(data, start, stop, *row) if span.kind in kinds]
        found.append(_without_overlaps(spans))
    return found


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Spans that overlap as one, of the kind of the first: what is left of the second would still be personal."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if kept and span.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept


def span_table(ids: Sequence[str], texts: Texts) -> pa.Table:
    """Rows of the table `pii_spans`: id, kind, start_char, end_char."""
    rows = [(id, *span) for id, spans in zip(ids, find(texts), strict=True) for span in spans]
    ids_, kinds, starts, ends = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "id": pa.array(ids_, pa.string()),
            "kind": pa.array(kinds, pa.string()),
            "start_char": pa.array(starts, pa.int64()),
            "end_char": pa.array(ends, pa.int64()),
        }
    )


def mask(text: str, kinds: Sequence[str] = KINDS) -> str:
    """The text with personal data of these kinds replaced by `MASKS`.

    What stands beside a mask may make a number of it, +192.0.2.1 00 a phone's; so the result is masked again until that changes nothing.
    """
    for _ in range(_MAX_ROUNDS):
        masked = _masked(text, kinds)
        if masked == text:
            break
        text = masked
    return text


def _masked(text: str, kinds: Sequence[str]) -> str:
    out, at = [], 0
    for span in find(pa.array([text]), kinds)[0]:
        out += [text[at : span.start], MASKS[span.kind]]
        at = span.end
    return "".join(out) + text[at:]
