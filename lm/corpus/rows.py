"""Captures from files that hold text already: JSONL, Parquet, plain text, and wikiextractor's <doc> files.

A row that cannot be used is counted under a reason and reading goes on; a field that is missing from every row shows as its
count, not as an empty result. Lines are bounded, so one endless line cannot fill the memory. Compressed JSONL and text (.gz,
.bz2, .xz, .zst by name) are read through fsspec's codecs; a cut file gives what comes before the cut.
"""

import html
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from lzma import LZMAError
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.compression import compr
from fsspec.utils import infer_compression

from lm.corpus.charset import decode
from lm.corpus.records import Capture, ExtractionOptions, Problem

Found = Capture | Problem
_BATCH_ROWS = 256
_BROKEN_FILE = (EOFError, OSError, zlib.error, LZMAError)
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
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield Problem("invalid_json", str(number))
            continue
        yield _from_row(row, number, options) if isinstance(row, dict) else Problem("not_an_object", str(number))


def read_parquet(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """One capture per row; the offset is the row number. A file without the text column counts all its rows as no_text_field."""
    try:
        file = pq.ParquetFile(raw)
    except (pa.ArrowException, OSError) as error:
        yield Problem("invalid_parquet", f"{name}: {error}")
        return
    wanted = (options.text_field, options.url_field, options.title_field, options.date_field)
    columns = [column for column in dict.fromkeys(wanted) if column in file.schema_arrow.names]
    number = 0
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns or file.schema_arrow.names[:1]):
            for row in batch.to_pylist():
                yield _from_row(row, number, options)
                number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Problem("corrupt_parquet", f"row {number} or later: {error}")


def read_text(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Found]:
    """The whole file as one capture."""
    try:
        data = _decompressed(raw, name).read(options.max_page_bytes + 1)
    except _BROKEN_FILE:
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
    title = html.unescape(head.group(3))
    body = "".join(lines)
    if body.strip() == title.strip():
        body = ""
    return _plain(body, number, url=html.unescape(head.group(2)), title=title)


def _from_row(row: Mapping[str, Any], number: int, options: ExtractionOptions) -> Found:
    """A capture from a row of named values."""
    if row.get(options.text_field) is None:
        return Problem("no_text_field", f"{number}: no field {options.text_field!r} among {', '.join(map(str, list(row)[:20])) or 'none'}")
    text, url, title = row[options.text_field], row.get(options.url_field), row.get(options.title_field)
    if not isinstance(text, str):
        return Problem("text_not_a_string", str(number))
    return _plain(
        text,
        number,
        url=url if isinstance(url, str) else "",
        title=title if isinstance(title, str) else None,
        fetched_at=_moment(row.get(options.date_field)),
    )


def _plain(text: str, number: int, *, url: str = "", title: str | None = None, fetched_at: datetime | None = None) -> Capture:
    body = text.encode("utf-8", "ignore")
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
    number, is_inside = 0, False
    try:
        file = _decompressed(raw, name)
        while line := file.readline(max_line_bytes):
            is_whole = line.endswith(b"\n") or len(line) < max_line_bytes
            if not is_inside and is_whole:
                yield number, line
            elif not is_inside:
                yield number, Problem("too_large", str(number))
            is_inside = not is_whole
            number += is_whole
    except _BROKEN_FILE:
        yield number, Problem("truncated_file", str(number))


def _decompressed(raw: BinaryIO, name: str) -> BinaryIO:
    """The file through the codec its name asks for."""
    codec: Callable[..., BinaryIO] | None = compr.get(infer_compression(name))
    return codec(raw, mode="rb") if codec and infer_compression(name) else raw
