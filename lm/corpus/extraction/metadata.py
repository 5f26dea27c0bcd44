"""What a page says of itself: title, language, date of publication.

All three stand in few places, which the compiled scan notes as it passes (`Markup.facts`): <html>, <title>, <time>, and <meta> with a
name we know. Only these few tags are read here. Dates are taken from <meta>, from schema.org's datePublished and from <time> marked as
the publication, in this order, and only where they can be read without guessing: ISO 8601, or the date of an e-mail. A date without a
zone counts as UTC. Dates before 1990, or more than a day after they could have been fetched, are none of ours to judge: the former are
left out, the latter kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from numpy.typing import NDArray

from lm.corpus.entities import unescape
from lm.corpus.extraction.vocabulary import DATE_NAMES, TAGS

_HEAD_BYTES = 1 << 17
"""Where <title>, <html> and <meta> are looked for."""
_MAX_TAG_BYTES = 6000
_MAX_TITLE_BYTES = 12_000
_MAX_VALUE_CHARS = 1000
_FIRST_YEAR = 1990
_ATTRIBUTE = re.compile(r"""([a-zA-Z:_-]{1,40})(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_JSON_NAME = b'"datePublished"'
_JSON_DATE = re.compile(rb'"datePublished"\s*:\s*"([^"\\]{8,40})"')
_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{1,8}){0,3}")
_HTML, _TITLE, _META, _TIME = (TAGS[name] for name in ("html", "title", "meta", "time"))


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was found; None where the page does not say."""

    title: str | None = None
    language: str | None = None
    """As in BCP 47, as given, with hyphens."""
    published_at: datetime | None = None
    """In UTC."""


def read_metadata(page: bytes, facts: NDArray[Any]) -> Metadata:
    """Title, language attribute and date of publication of a page in UTF-8, from the places that its reading noted."""
    places: list[list[int]] = facts.tolist()
    head = [place for place in places if place[1] < _HEAD_BYTES]
    metas = {name: value for attributes in _tags(page, head, _META) for name, value in _named(attributes)}
    return Metadata(_title(page, head, metas), _language(page, head, metas), _published_at(page, places, metas))


def _tags(page: bytes, places: list[list[int]], tag: int) -> Iterator[dict[str, str]]:
    """Attributes of the tags of one kind; a tag out of all proportion is left out."""
    for kind, start, stop in places:
        if kind == tag and 0 < stop - start <= _MAX_TAG_BYTES:
            text = page[start : stop - 1].decode("utf-8", "replace")
            yield {name.lower(): unescape(one or two or three) for name, one, two, three in _ATTRIBUTE.findall(text)}


def _named(attributes: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A <meta> under each of its names."""
    content = attributes.get("content", "").strip()[:_MAX_VALUE_CHARS]
    for key in ("name", "property", "itemprop", "http-equiv"):
        if content and key in attributes:
            yield attributes[key].strip().lower(), content


def _title(page: bytes, head: list[list[int]], metas: dict[str, str]) -> str | None:
    for kind, _, stop in head:
        if kind == _TITLE:
            text = page[stop : stop + _MAX_TITLE_BYTES].partition(b"<")[0].decode("utf-8", "ignore")
            return unescape(text).strip() or metas.get("og:title") or None
    return metas.get("og:title") or None


def _language(page: bytes, head: list[list[int]], metas: dict[str, str]) -> str | None:
    given = next(_tags(page, head, _HTML), {})
    for value in (given.get("lang"), given.get("xml:lang"), metas.get("content-language")):
        if value and _LANGUAGE.fullmatch(value.strip()):
            return value.strip().replace("_", "-")
    return None


def _published_at(page: bytes, places: list[list[int]], metas: dict[str, str]) -> datetime | None:
    """The first date that can be read, best place first."""
    for value in _dates(page, places, metas):
        if date := parse_date(value):
            return date
    return None


def _dates(page: bytes, places: list[list[int]], metas: dict[str, str]) -> Iterator[str]:
    yield from (metas[name] for name in DATE_NAMES if name in metas)
    at = page.find(_JSON_NAME)
    if at >= 0 and (match := _JSON_DATE.match(page, at)):
        yield match.group(1).decode("utf-8", "replace")
    for attributes in _tags(page, places, _TIME):
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
