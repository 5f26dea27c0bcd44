"""Captures from files that hold text already: JSONL, Parquet, plain text, and wikiextractor's <doc> files.

A row that cannot be used is counted under a reason and reading goes on; a field that is missing from every row shows as its
count, not as an empty result. Lines are bounded, so one endless line cannot fill the memory. Bytes that are not UTF-8 are read as a page's
would be. Compressed JSONL and text (.gz, .bz2, .xz, .zst by name) are read through fsspec's codecs; a cut or broken file gives what comes
before. A store that cannot be reached is no broken file, and its error is raised.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, BinaryIO, cast

from lm.corpus import parquet_rows
from lm.corpus.charset import decode
from lm.corpus.entities import unescape
from lm.corpus.records import Capture, ExtractionOptions, Problem
from lm.corpus.unpacking import Watched, is_readable

Found = Capture | Problem
MAX_URL_CHARS = 1 << 14
"""Of a row's address; the header of an archive's record is bounded too."""
_DOC = re.compile(r'<doc id="([^"]*)" url="([^"]*)" title="(.*)">\s*$')


def read_jsonl(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """One capture per line that is an object with a text; the offset is the line number from 0."""
    for number, line in _lines(raw, name, options.max_line_bytes):
        if isinstance(line, Problem):
            yield line
            continue
        if not line.strip():
            continue
        try:
            row = _parsed(line)
        except (ValueError, RecursionError):
            yield Problem("invalid_json", str(number))
            continue
        yield _from_row(row, number, options) if isinstance(row, dict) else Problem("not_an_object", str(number))


def read_parquet(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """One capture per row; the offset is the row number. A file without the text column counts all its rows as no_text_field."""
    source = Watched(raw)
    wanted = (options.text_field, options.url_field, options.title_field, options.date_field)
    try:
        for number, row in parquet_rows.rows(cast(BinaryIO, source), wanted):
            if isinstance(row, str):
                source.raise_own()
                yield Problem("corrupt_parquet", f"row {number} or later of its group: {row}")
            else:
                yield _from_row(row, number, options)
    except parquet_rows.BROKEN as error:
        source.raise_own()
        yield Problem("invalid_parquet", f"{name}: {error}")


def read_text(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """The whole file as one capture."""
    if not is_readable(name):
        yield Problem("unknown_compression", name)
        return
    source = Watched(raw)
    try:
        data = source.unpacked(name).read(options.max_page_bytes + 1)
    except Exception:
        source.raise_own()
        yield Problem("truncated_file", "0")
        return
    if len(data) > options.max_page_bytes:
        yield Problem("too_large", "0")
    elif (text := decode(data)) is None:
        yield Problem("undecodable", "0")
    else:
        yield _plain(text, 0)


def read_wiki(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """One capture per <doc>; one that holds nothing but its title is empty. The offset is the number of its first line."""
    start, head, lines = 0, None, list[str]()
    for number, line in _lines(raw, name, options.max_line_bytes):
        if isinstance(line, Problem):
            yield line
            continue
        text = line.decode("utf-8", "replace")
        if match := _DOC.match(text):
            if head:
                yield Problem("unclosed_doc", str(start))
            start, head, lines = number, match, []
        elif head and text.strip() == "</doc>":
            yield _article(head, lines, start)
            head, lines = None, []
        elif head:
            lines.append(text)
        elif text.strip():
            yield Problem("text_outside_doc", str(number))
    if head:
        yield Problem("unclosed_doc", str(start))


def _article(head: re.Match[str], lines: list[str], number: int) -> Capture:
    title = unescape(head.group(3))
    body = "".join(lines)
    if body.strip() == title.strip():
        body = ""
    return _plain(body, number, url=unescape(head.group(2)), title=title)


def _parsed(line: bytes) -> Any:
    """The value of a line of JSON, which should be UTF-8 and may be something else. Raises: ValueError, RecursionError."""
    try:
        return json.loads(line)
    except UnicodeDecodeError:
        text = decode(line)
        if text is None:
            raise
        return json.loads(text)


def _string(value: object) -> str | None:
    """A text, given as such or as bytes; None if it is neither, or bytes in no encoding we know."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return decode(value)
    return value if isinstance(value, str) else None


def _from_row(row: Mapping[str, Any], number: int, options: ExtractionOptions) -> Found:
    """A capture from a row of named values."""
    if row.get(options.text_field) is None:
        return Problem("no_text_field", f"{number}: no field {options.text_field!r} among {', '.join(map(str, list(row)[:20])) or 'none'}")
    moment = row.get(options.date_field)
    text, url = _string(row[options.text_field]), _string(row.get(options.url_field)) or ""
    if text is None:
        return Problem("undecodable" if isinstance(row[options.text_field], bytes) else "text_not_a_string", str(number))
    if len(url) > MAX_URL_CHARS:
        return Problem("url_too_long", str(number))
    return _plain(text, number, url=url, title=_string(row.get(options.title_field)), fetched_at=_moment(_string(moment) or moment))


def _plain(text: str, number: int, *, url: str = "", title: str | None = None, fetched_at: datetime | None = None) -> Capture:
    body, url = text.encode("utf-8", "ignore"), url.encode("utf-8", "replace").decode()
    return Capture(url=url, file_offset=number, body=body, extractor="plain", title=title, fetched_at=fetched_at)


def _moment(value: object) -> datetime | None:
    """A time with a zone from ISO 8601 text or a Parquet time; None for anything else. Times without a zone are UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None


def _lines(raw: BinaryIO, name: str, max_line_bytes: int) -> Iterator[tuple[int, bytes | Problem]]:
    """Numbered lines; a Problem stands for a line that is too long, and for the place where a compressed file breaks."""
    if not is_readable(name):
        yield 0, Problem("unknown_compression", name)
        return
    number, is_inside, source = 0, False, Watched(raw)
    try:
        file = source.unpacked(name)
        while line := file.readline(max_line_bytes):
            is_whole = line.endswith(b"\n") or len(line) < max_line_bytes
            if not is_inside and is_whole:
                yield number, line
            elif not is_inside:
                yield number, Problem("too_large", str(number))
            is_inside = not is_whole
            number += is_whole
    except Exception:
        source.raise_own()
        yield number, Problem("truncated_file", str(number))
