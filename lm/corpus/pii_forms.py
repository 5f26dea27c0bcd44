"""What personal data looks like: forms of addresses and numbers, and what must hold for that which has the form.

Checksum, date and range decide where the form has them. What has no checksum is taken only in its written forms (a + in front, brackets,
groups), because a false alarm masks a number that the text is about; the cost is that phone numbers written as bare digits stay, Chinese
mobile numbers apart. Where form and range are not enough, the words around decide: four small numbers with dots are a section of a law or
a version of a program unless something nearby speaks of addresses, and eleven digits are no mobile number behind "order" or before a unit.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise

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
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


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


Check = tuple[str, Callable[[bytes], Iterator[tuple[int, int]]], Callable[[str, str, str], bool]]
"""Kind, where its form stands, and whether what has the form is one: asked with the text, some characters before it and some behind."""
CHECKS: tuple[Check, ...] = (
    ("email", _places(_EMAIL), _anything),
    ("public_ip", _places(_IPV4), _is_public),
    ("chinese_id", _places(_CHINESE_ID), _is_identity),
    ("payment_card", _cards, _anything),
    ("chinese_mobile", _places(_CHINESE_MOBILE), _is_mobile),
    ("phone", _places(_PHONE), _is_phone),
)
"""In the order in which they are asked."""
IPV6: Check = ("public_ip", _places(_IPV6), _is_public)
"""For stretches with colons, which hold nothing else."""
