"""WARC/1.1 records of fetched pages, one gzip member each.

The body is kept as the crawler decoded it, so the headers are made to agree: Content-Encoding, Transfer-Encoding and Content-Length as
they came are kept under X-Crawler-, and Content-Length says the stored length. A reader then never has to guess. Written by
hand, as the format is a dozen lines and the bytes must depend on the page alone.
"""

import base64
import hashlib
import uuid
import zlib
from collections.abc import Sequence
from http import HTTPStatus

Headers = Sequence[tuple[bytes, bytes]]

_CHANGED = {b"content-encoding", b"transfer-encoding", b"content-length"}


def response_record(url: str, status: int, headers: Headers, body: bytes, *, date: str, address: str | None) -> bytes:
    """A gzipped `response` record of a decoded body; date is ISO 8601 UTC, address the host's IP address."""
    http = _http_head(status, headers, len(body))
    fields = [
        ("WARC-Target-URI", url),
        ("WARC-Payload-Digest", _sha1(body)),
        ("WARC-Block-Digest", _sha1(http + body)),
    ]
    if address:
        fields.append(("WARC-IP-Address", address))
    return _record("response", "application/http; msgtype=response", date, fields, http + body)


def info_record(file_name: str, date: str, user_agent: str, robots: str) -> bytes:
    """A gzipped `warcinfo` record that opens a file."""
    lines = {"software": "dataladder", "format": "WARC File Format 1.1", "http-header-user-agent": user_agent, "robots": robots}
    block = "".join(f"{name}: {_line(value)}\r\n" for name, value in lines.items()).encode()
    return _record("warcinfo", "application/warc-fields", date, [("WARC-Filename", file_name)], block)


def _http_head(status: int, headers: Headers, num_bytes: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode()]
    for name, value in headers:
        name = b"X-Crawler-" + name if name.lower() in _CHANGED else name
        lines.append(name + b": " + b" ".join(value.splitlines()))
    lines.append(f"Content-Length: {num_bytes}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _record(kind: str, content_type: str, date: str, fields: list[tuple[str, str]], block: bytes) -> bytes:
    name = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([kind, date, *(f"{key}:{value}" for key, value in fields)]))
    head = [("WARC-Type", kind), ("WARC-Record-ID", f"<urn:uuid:{name}>"), ("WARC-Date", date), *fields]
    head += [("Content-Type", content_type), ("Content-Length", str(len(block)))]
    text = "WARC/1.1\r\n" + "".join(f"{key}: {_line(value)}\r\n" for key, value in head) + "\r\n"
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(text.encode() + block + b"\r\n\r\n") + packer.flush()


def _line(text: str) -> str:
    return " ".join(text.split())


def _sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
