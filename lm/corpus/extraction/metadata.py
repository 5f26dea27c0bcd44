"""What a page says of itself: title, language, date of publication.

All three are read from the markup's surface, without a parser: they stand in few places, and a search for those places costs some 0.1
ms. Dates are taken from <meta>, from schema.org's datePublished and from <time> marked as the publication, in this order, and only
where they can be read without guessing: ISO 8601, or the date of an e-mail. A date without a zone counts as UTC. Dates before 1990, or
more than a day after they could have been fetched, are none of ours to judge: the former are left out, the latter kept.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_HEAD_CHARS = 1 << 17
"""Where <title>, <html> and <meta> are looked for."""
_MAX_VALUE_CHARS = 1000
_FIRST_YEAR = 1990
_TITLE = re.compile(r"<[tT][iI][tT][lL][eE]\b[^>]{0,500}>([^<]{0,4000})")
_META = re.compile(r"<[mM][eE][tT][aA]\s([^>]{1,2000})>")
_HTML = re.compile(r"<[hH][tT][mM][lL]\s([^>]{1,2000})>")
_TIME = re.compile(r"<[tT][iI][mM][eE]\s([^>]{1,1000})>")
"""Both cases are written out: only where a pattern must start with one certain character does the search leap from one to the next."""
_ATTRIBUTE = re.compile(r"""([a-zA-Z:_-]{1,40})(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_JSON_DATE = re.compile(r'"datePublished"\s*:\s*"([^"\\]{8,40})"')
_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{1,8}){0,3}")
_DATE_NAMES = (
    "article:published_time", "og:article:published_time", "datepublished", "og:published_time", "publishdate", "pubdate", "publish-date",
    "publish_date", "article.published", "parsely-pub-date", "sailthru.date", "dc.date.issued", "dcterms.created", "dc.date", "date",
)  # fmt: skip
"""Values of name, property or itemprop that stand for the date of publication, best first."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was found; None where the page does not say."""

    title: str | None = None
    language: str | None = None
    """As in BCP 47, as given, with hyphens."""
    published_at: datetime | None = None
    """In UTC."""


def read_metadata(page: str) -> Metadata:
    """Title, language attribute and date of publication of a page's markup."""
    head = page[:_HEAD_CHARS]
    metas = {name: value for attributes in _tags(_META, head) for name, value in _named(attributes)}
    return Metadata(_title(head, metas), _language(head, metas), _published_at(page, metas))


def _tags(pattern: re.Pattern[str], text: str) -> Iterator[dict[str, str]]:
    for match in pattern.finditer(text):
        yield {name.lower(): html.unescape(one or two or three) for name, one, two, three in _ATTRIBUTE.findall(match.group(1))}


def _named(attributes: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A <meta> under each of its names."""
    content = attributes.get("content", "").strip()[:_MAX_VALUE_CHARS]
    for key in ("name", "property", "itemprop", "http-equiv"):
        if content and key in attributes:
            yield attributes[key].strip().lower(), content


def _title(head: str, metas: dict[str, str]) -> str | None:
    match = _TITLE.search(head)
    return (html.unescape(match.group(1)).strip() if match else "") or metas.get("og:title") or None


def _language(head: str, metas: dict[str, str]) -> str | None:
    given = next(_tags(_HTML, head), {})
    for value in (given.get("lang"), given.get("xml:lang"), metas.get("content-language")):
        if value and _LANGUAGE.fullmatch(value.strip()):
            return value.strip().replace("_", "-")
    return None


def _published_at(page: str, metas: dict[str, str]) -> datetime | None:
    """The first date that can be read, best place first."""
    for value in _dates(page, metas):
        if date := parse_date(value):
            return date
    return None


def _dates(page: str, metas: dict[str, str]) -> Iterator[str]:
    yield from (metas[name] for name in _DATE_NAMES if name in metas)
    at = page.find('"datePublished"')
    if at >= 0 and (match := _JSON_DATE.match(page, at)):
        yield match.group(1)
    if "<time" in page:
        for attributes in _tags(_TIME, page):
            if "datetime" in attributes and ("pubdate" in attributes or attributes.get("itemprop", "").lower() == "datepublished"):
                yield attributes["datetime"]


def parse_date(value: str) -> datetime | None:
    """A date in ISO 8601 or RFC 5322, in UTC; None if it is neither, or too early to be of a page."""
    value = value.strip()[:64]
    date = None
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        date = date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return date if date.year >= _FIRST_YEAR else None
