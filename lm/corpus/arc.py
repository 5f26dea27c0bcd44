"""ARC, the format before WARC: a line of URL, IP, date, type and length, then that many bytes, then a newline.

Records have no magic number, so after a broken one reading goes on at the next line that looks like a record's. Source: the ARC
file format of the Internet Archive, versions 1 (five fields) and 2 (ten fields).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from lm.corpus.http_response import with_response
from lm.corpus.records import Capture, Problem
from lm.corpus.streams import Stream

_MAX_LINE_BYTES = 8192
_SLACK_BYTES = 1 << 20
_LINE = re.compile(rb"([a-z][a-z0-9+.-]*:[^\n]*?) (\S+) (\d{12,18}) (\S+)(?: \S+ \S+ \S+ \S+ \S+)? (\d{1,18})\r?\n")
_START = re.compile(rb"\n((?:https?|ftp|dns|filedesc):[^\n]{1,4000} \d{12,18} [^\n]{1,400}\n)")


def is_arc(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an ARC file."""
    return head.startswith(b"filedesc:") or _LINE.match(head) is not None


def arc_records(stream: Stream, max_page_bytes: int) -> Iterator[Capture | Problem | None]:
    """Every capture and problem; None for a sound record that is no capture."""
    while True:
        stream.skip_newlines()
        offset, ahead = stream.offset, stream.peek(_MAX_LINE_BYTES)
        if not ahead:
            if damage := stream.take_damage():
                yield Problem(damage.reason, str(damage.offset))
            if not stream.next_span():
                return
        elif line := _LINE.match(ahead):
            stream.read(line.end())
            yield _arc_record(stream, line, offset, max_page_bytes)
        else:
            stream.skip_to(_START)
            yield Problem("broken_record", str(offset))


def _arc_record(stream: Stream, line: re.Match[bytes], offset: int, max_page_bytes: int) -> Capture | Problem | None:
    url, num_bytes = line.group(1).decode(errors="replace"), int(line.group(5))
    block = stream.read(min(num_bytes, max_page_bytes + _SLACK_BYTES))
    num_read = len(block) + stream.skip(num_bytes - len(block))
    if num_read < num_bytes:
        damage = stream.take_damage()
        return Problem("corrupt_gzip" if damage and damage.reason == "corrupt_gzip" else "truncated_record", str(offset))
    if stream.peek(1) not in (b"\n", b"\r", b""):
        stream.skip_to(_START)
        return Problem("bad_content_length", str(offset))
    if url.startswith("filedesc:"):
        return None
    capture = Capture(
        url=url,
        file_offset=offset,
        body=block,
        content_type=line.group(4).decode(errors="replace"),
        fetched_at=_date(line.group(3)),
        reason="too_large" if num_bytes > len(block) else None,
    )
    return with_response(capture, max_page_bytes)


def _date(digits: bytes) -> datetime | None:
    try:
        return datetime.strptime(digits[:14].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
