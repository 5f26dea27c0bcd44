"""Captures of a WARC, WET or ARC file, whatever state the file is in.

FastWARC parses each record's headers and the HTTP response inside; finding where a record starts and ends is done here, because
FastWARC's own iterator (2.0) ends at the first bad header or, in its lenient mode, skips damage silently, and no longer reads
ARC. A record whose length is wrong is set aside and reading goes on at the next `WARC/` line, taken back out of the payload if it
was swallowed; everything set aside has a reason and a place. The cost: some 30 microseconds of Python per record, and whole
records in memory up to the bound on a page.

Records that describe other records or the crawl (warcinfo, request, metadata) are no captures and are not counted.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from fastwarc.warc import WarcRecord

from lm.corpus.arc import arc_records, is_arc
from lm.corpus.extraction import is_text
from lm.corpus.http_response import with_response
from lm.corpus.records import Capture, Problem
from lm.corpus.streams import Stream

MAX_HEADER_BYTES = 1 << 16
_SLACK_BYTES = 1 << 20
"""HTTP headers and chunk sizes that a stored response may have beyond the page itself."""
_WARC_START = re.compile(rb"\n(WARC/[01]\.\d)")
_HEADER_END = re.compile(rb"\n\r?\n")
_CONTENT_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_DESCRIPTIONS = ("warcinfo", "request", "metadata")
_NOT_READ = {"revisit": "revisit", "continuation": "segmented_record"}

Found = Capture | Problem | None
"""None stands for a sound record that is no capture."""


def read_captures(raw: BinaryIO, max_page_bytes: int) -> Iterator[Capture | Problem]:
    """Every capture of an open file, and every problem, in the order of the file; never raises for what the file holds."""
    num_found = 0
    for found in _records(Stream(raw), max_page_bytes):
        if found is not None:
            num_found += 1
            yield found
    if not num_found:
        yield Problem("no_captures", "0")


def _records(stream: Stream, max_page_bytes: int) -> Iterator[Found]:
    """Records by the format of the file, told from its first bytes."""
    stream.next_span()
    head = stream.peek(4096)
    if stream.is_over:
        yield Problem("empty_file", "0")
    elif is_arc(head):
        yield from arc_records(stream, max_page_bytes)
    elif not head or head.lstrip(b"\r\n").startswith(b"WARC/"):
        yield from _warc_records(stream, max_page_bytes)
    elif _find_first(stream):
        yield Problem("broken_record", "0")
        yield from _warc_records(stream, max_page_bytes)
    else:
        yield Problem("not_warc", "0")


def _find_first(stream: Stream) -> bool:
    """Go to the first record of a file that does not start with one."""
    while stream.peek(5) != b"WARC/" and not stream.skip_to(_WARC_START):
        if not stream.next_span():
            return False
    return True


def _warc_records(stream: Stream, max_page_bytes: int) -> Iterator[Found]:
    while True:
        stream.skip_newlines()
        offset, start = stream.offset, stream.peek(5)
        if not start:
            if damage := stream.take_damage():
                yield Problem(damage.reason, str(damage.offset))
            if not stream.next_span():
                return
        elif start == b"WARC/":
            yield _warc_record(stream, offset, max_page_bytes)
        else:
            stream.skip_to(_WARC_START)
            yield Problem("broken_record", str(offset))


def _warc_record(stream: Stream, offset: int, max_page_bytes: int) -> Found:
    """One record. After a record that cannot be used the stream is at the next one, or at the end of the span."""
    header = _read_header(stream)
    length = _CONTENT_LENGTH.search(header) if header else None
    if header is None or length is None:
        stream.skip_to(_WARC_START)
        return Problem("invalid_header" if header is None else "bad_content_length", str(offset))
    num_bytes, limit = int(length.group(1)), max_page_bytes + _SLACK_BYTES
    if swallowed := _swallowed(stream, num_bytes, limit):
        stream.skip(swallowed)
        return Problem("bad_content_length", str(offset))
    if not stream.may_hold(num_bytes):
        is_last = not stream.skip_to(_WARC_START)
        return Problem("truncated_record" if is_last else "bad_content_length", str(offset))
    block = stream.read(min(num_bytes, limit))
    num_read = len(block) + stream.skip(num_bytes - len(block))
    if num_read < num_bytes or not _is_closed(stream.peek(5)):
        reason = _why_unclosed(stream, num_read < num_bytes)
        stream.skip_to(_WARC_START)
        return Problem(reason, str(offset))
    if stream.damage and stream.damage.reason == "corrupt_gzip" and stream.damage.offset == offset:
        return None  # its checksum failed; the damage itself is counted at the end of the span
    return _capture_of(header, block, num_bytes, offset, max_page_bytes)


def _read_header(stream: Stream) -> bytes | None:
    """The header of a record, its empty line included; None, and nothing read but the first line, if it does not end."""
    for window in (1 << 12, MAX_HEADER_BYTES):
        if match := _HEADER_END.search(stream.peek(window)):
            return stream.read(match.end())
    stream.read(5)
    return None


def _swallowed(stream: Stream, num_bytes: int, limit: int) -> int | None:
    """How far the record is that starts inside a block of a wrong length; None if the length is right, or none starts there.

    The block is only looked at: were it read and given back, a file of nothing but such records would be read once for each of them.
    """
    ahead = stream.behind(min(num_bytes, limit), 5)
    if ahead is not None and (ahead if num_bytes > limit else _is_closed(ahead)):
        return None
    swallowed = stream.find(_WARC_START, min(num_bytes, limit))
    if swallowed and ahead is None:
        stream.take_damage()
    return swallowed


def _is_closed(ahead: bytes) -> bool:
    """A record ends in empty lines, or at least at the start of the next or at the end of the span."""
    return ahead.startswith((b"\r\n\r\n", b"\n\n")) or b"WARC/".startswith(ahead.lstrip(b"\r\n"))


def _why_unclosed(stream: Stream, is_short: bool) -> str:
    """Short records end in the damage of their span, or where the file was cut; others have a wrong length."""
    damage = stream.take_damage() if is_short else None
    if damage and damage.reason != "truncated_gzip":
        return damage.reason
    return "truncated_record" if is_short else "bad_content_length"


def _capture_of(header: bytes, block: bytes, num_bytes: int, offset: int, max_page_bytes: int) -> Found:
    """The capture in a sound record."""
    try:
        record = WarcRecord.from_bytes(b"\r\n".join(header.splitlines()) + b"\r\n\r\n")
    except OSError:
        return Problem("invalid_header", str(offset))
    kind = (record.headers.get("WARC-Type") or "").strip().lower()
    if kind in _DESCRIPTIONS:
        return None
    if kind in _NOT_READ:
        return Problem(_NOT_READ[kind], str(offset))
    url = (record.headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">").strip()
    if not url:
        return Problem("missing_url", str(offset))
    if url.startswith("metadata:"):  # the log of the crawler itself, as wget writes it
        return None
    capture = Capture(
        url=url,
        file_offset=offset,
        body=block,
        content_type=record.headers.get("Content-Type"),
        fetched_at=record.record_date,
        reason="too_large" if num_bytes > len(block) else None,
    )
    if kind == "conversion":
        return replace(capture, extractor="wet", content_type="text/plain")
    if kind == "response":
        return with_response(capture, max_page_bytes)
    if kind == "resource":
        return replace(capture, reason=capture.reason or (None if is_text(capture.content_type, block) else "not_text"))
    return Problem("unknown_record_type", str(offset))
