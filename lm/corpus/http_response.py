"""An HTTP response inside an archive record: status, headers worth keeping, and the page's own bytes."""

from dataclasses import replace
from typing import Any

from fastwarc.warc import WarcRecord

from lm.corpus.extraction import is_text
from lm.corpus.http_body import BodyError, decode_body
from lm.corpus.records import Capture, Problem

_RECORD = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n"
MAX_STATUS = 999
_HEAD_BYTES = 1 << 13


def with_response(capture: Capture, max_page_bytes: int) -> Capture | Problem:
    """The capture with its body taken out of the HTTP response, and the reason if no document can come of it.

    A response that cannot be used (not 200, not text, not decodable, too large) is still a capture; what is no HTTP is a problem.
    """
    if not capture.body.startswith(b"HTTP/"):
        return Problem("not_http", capture.url)
    try:
        headers, stored = _parted(capture.body)
    except OSError:
        return Problem("invalid_http", capture.url)
    status = headers.status_code if headers is not None else None
    if status is None or not 100 <= status <= MAX_STATUS:
        return Problem("invalid_http", capture.url)
    body, body_reason = _body(stored, headers.get("Transfer-Encoding"), headers.get("Content-Encoding"), max_page_bytes)
    content_type = headers.get("Content-Type")
    return replace(
        capture,
        body=body,
        status=status,
        content_type=content_type,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        reason=_reason(status, content_type, body) or capture.reason or body_reason,
    )


def _parted(response: bytes) -> tuple[Any, bytes]:
    """Headers and stored body of a response. The parser is given the beginning only, unless the headers are longer: it copies what it is
    given, twice. Raises: OSError if it is no HTTP."""
    for num_bytes in (_HEAD_BYTES, len(response)):
        head = response[:num_bytes]
        record = WarcRecord.from_bytes(_RECORD % len(head) + head)
        record.parse_http(quirks_mode=True)
        rest = record.reader.read()
        if rest or num_bytes >= len(response):
            break
    return record.http_headers, response[len(head) - len(rest) :]


def _body(stored: bytes, transfer_encoding: str | None, content_encoding: str | None, max_page_bytes: int) -> tuple[bytes, str | None]:
    """The decoded body, or the stored one and the reason why it cannot be decoded."""
    try:
        return decode_body(stored, transfer_encoding or "", content_encoding or "", max_page_bytes), None
    except BodyError as error:
        return stored, error.reason


def _reason(status: int, content_type: str | None, body: bytes) -> str | None:
    if status != 200:
        return "http_status"
    return None if is_text(content_type, body) else "not_text"
