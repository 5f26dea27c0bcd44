"""The body of a stored HTTP response as the page's own bytes: transfer and content encodings removed, within a bound.

Archives differ in what they store: some crawlers keep the body as it came over the wire, others decode it and leave the headers
as they were. So a header is believed only where the body agrees: a body without chunk sizes is not chunked, one without gzip's
magic is not gzip. Decompression stops at a bound, so a small body that unpacks to gigabytes costs no more than a large page. The
cost: a body that merely looks encoded is taken at its word.
"""

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastwarc.stream_io import BrotliReader, ZstdReader

from lm.corpus.inflate import GZIP, RAW, ZLIB, InflateError, decompressor

_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")
_LOOKS_LIKE_TEXT = re.compile(rb"\s*(?:\xef\xbb\xbf)?<[!?a-zA-Z]")


class BodyError(ValueError):
    """A body that cannot be decoded; `reason` is the fixed word it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode_body(body: bytes, transfer_encoding: str, content_encoding: str, max_bytes: int) -> bytes:
    """The page's bytes.

    Raises: BodyError with reason bad_chunking, bad_content_encoding, unknown_content_encoding or too_large.
    """
    if "chunked" in transfer_encoding.lower():
        body = _join_chunks(body)
    for name in reversed([part.strip().lower() for part in content_encoding.split(",")]):
        if name in _IDENTITY:
            continue
        if name not in _DECODERS:
            raise BodyError("unknown_content_encoding")
        body = _DECODERS[name](body, max_bytes)
        if len(body) > max_bytes:
            raise BodyError("too_large")
    if len(body) > max_bytes:
        raise BodyError("too_large")
    return body


def _join_chunks(body: bytes) -> bytes:
    """Undo chunked transfer; the body itself if it is not chunked after all."""
    first = _CHUNK_SIZE.match(body)
    if first is None:
        return body
    pieces, at, match = [], 0, first
    while size := int(match.group(1), 16):
        start, end = match.end(), match.end() + size
        if end > len(body):
            raise BodyError("bad_chunking")
        pieces.append(body[start:end])
        at = end + (2 if body.startswith(b"\r\n", end) else 1 if body.startswith(b"\n", end) else 0)
        following = _CHUNK_SIZE.match(body, at) if at > end else None
        if following is None:
            raise BodyError("bad_chunking")
        match = following
    return b"".join(pieces)


def _inflate(body: bytes, max_bytes: int, wrapping: int) -> bytes:
    """Inflate up to one byte above the bound."""
    decoder = decompressor(wrapping)
    try:
        data: bytes = decoder.decompress(body, max_bytes + 1)
    except InflateError as error:
        raise BodyError("bad_content_encoding") from error
    if not decoder.eof and len(data) <= max_bytes:
        raise BodyError("bad_content_encoding")
    return data


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    return _inflate(body, max_bytes, GZIP) if body.startswith(b"\x1f\x8b") else body


def _undeflate(body: bytes, max_bytes: int) -> bytes:
    """With zlib's wrapper or, as many servers send it, without."""
    if _LOOKS_LIKE_TEXT.match(body):
        return body
    try:
        return _inflate(body, max_bytes, ZLIB)
    except BodyError:
        return _inflate(body, max_bytes, RAW)


def _through(reader_type: Callable[[Any], Any]) -> Callable[[bytes, int], bytes]:
    """A decoder that reads through one of FastWARC's readers, piece by piece, up to one byte above the bound."""

    def decode(body: bytes, max_bytes: int) -> bytes:
        if not body or _LOOKS_LIKE_TEXT.match(body):
            return body
        reader, data = reader_type(io.BytesIO(body)), bytearray()
        try:
            while len(data) <= max_bytes and (piece := reader.read(min(1 << 16, max_bytes + 1 - len(data)))):
                data += piece
        except OSError as error:
            raise BodyError("bad_content_encoding") from error
        return bytes(data)

    return decode


_IDENTITY = frozenset({"", "identity", "none", "utf-8", "binary", "8bit"})
"""The last four are mistakes of servers that mean nothing."""
_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "br": _through(BrotliReader),
    "zstd": _through(ZstdReader),
}
