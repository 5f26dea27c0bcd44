"""What the bytes of an archive are once unpacked: stretches of clean bytes, and breaks where damage or a new record starts another.

A span ends where a gzip member starts with a new record, where the compressed data is broken, and at the end of the file. After damage
it goes on at the next gzip member that decompresses. FastWARC's own iterator stops for good at the first bad header, or in its lenient
mode skips over damage without a word; here every loss has a place and a reason. The cost is Python code per gzip member (some 10
microseconds), which is small beside the extraction of a page, and that damage inside LZ4 or Zstandard ends the file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from fastwarc.stream_io import Lz4Reader, ZstdReader

from lm.corpus.inflate import GZIP, MEMBER, MEMBER_HEAD_BYTES, InflateError, decompressor, may_open

Packing = Literal["gzip", "lz4", "zstd", "plain"]
_CHUNK_BYTES = 1 << 16
_OUT_BYTES = 1 << 18
_SCAN_BYTES = 1 << 20
_HEAD_BYTES = 512
_RECORD_START = b"WARC/"
_AGAIN_BYTES, _AGAIN_TIMES = 1 << 26, 4
"""Bytes read again, after damage, in search of members that a broken one ran over: so many, and so many times what was read. Then the
search goes on behind the place where decoding failed. A file can be made in which a member seems to start at every fifteenth byte."""
_FRAMED: Mapping[bytes, Packing] = {b"\x04\x22\x4d\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True, slots=True)
class Damage:
    """Where compressed data broke, and how."""

    reason: str
    offset: int


@dataclass(frozen=True, slots=True)
class Break:
    """A new span starts at this offset of the file; the one before ended in this damage, if any."""

    offset: int
    damage: Damage | None = None


Events = Iterator[bytes | Break]


def packing_of(raw: BinaryIO) -> Packing:
    """How a file is packed, by its first bytes."""
    raw.seek(0)
    magic = raw.read(4)
    raw.seek(0)
    return "gzip" if magic.startswith(MEMBER[:2]) else _FRAMED.get(magic, "plain")


def events(raw: BinaryIO, packing: Packing) -> Events:
    """Bytes and breaks of a file that is packed so."""
    if packing == "gzip":
        return _gzip_events(raw)
    if packing == "lz4":
        return _framed_events(Lz4Reader(raw), "corrupt_lz4")
    if packing == "zstd":
        return _framed_events(ZstdReader(raw), "corrupt_zstd")
    return _plain_events(raw)


def _plain_events(raw: BinaryIO) -> Events:
    while data := raw.read(_CHUNK_BYTES):
        yield data


def _framed_events(reader: Any, reason: str) -> Events:
    """LZ4 and Zstandard by FastWARC's readers, which join frames, so that offsets are those of the decompressed bytes."""
    num_bytes = 0
    while True:
        try:
            data = reader.read(_CHUNK_BYTES)
        except OSError:
            yield Break(num_bytes, Damage(reason, num_bytes))
            return
        if not data:
            return
        num_bytes += len(data)
        yield data


class _Raw:
    """Raw bytes with the offset of the next one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._left, self._end = raw, b"", 0

    @property
    def offset(self) -> int:
        return self._end - len(self._left)

    def take(self, least: int = 1) -> bytes:
        """Whatever is at hand if it has so many bytes, else the next piece too; fewer only at the end of the file."""
        while len(self._left) < least and (data := self._raw.read(_CHUNK_BYTES)):
            self._left += data
            self._end += len(data)
        data, self._left = self._left, b""
        return data

    def give_back(self, data: bytes) -> None:
        self._left = data + self._left

    def seek(self, offset: int) -> None:
        self._raw.seek(offset)
        self._left, self._end = b"", offset

    def skip_padding(self) -> bool:
        """Skip the zeros that some writers leave between members; False at the end of the file."""
        while data := self.take():
            if rest := data.lstrip(b"\0"):
                self.give_back(rest)
                return True
        return False


def _gzip_events(raw: BinaryIO) -> Events:
    """Members of a gzip file. A break comes before each member that starts a record, and after each that is damaged."""
    source, damage, is_first, num_again = _Raw(raw), None, True, 0
    while source.skip_padding():
        start, is_opening, failed = source.offset, True, False
        for piece in _joined(_member(source, start)):
            if isinstance(piece, Damage):
                damage, failed = damage or piece, True
                continue
            if is_opening and (damage or (not is_first and piece.startswith(_RECORD_START))):
                yield Break(start, damage)
                damage = None
            is_opening = is_first = False
            yield piece
        if failed:
            stop = source.offset
            is_allowed = num_again + stop - start <= _AGAIN_BYTES + _AGAIN_TIMES * stop
            num_again += stop - start if is_allowed else 0
            following = _find_member(raw, start + 1 if is_allowed else stop)
            if following is None:
                break
            source.seek(following)
    if damage:
        yield Break(source.offset, damage)


def _member(source: _Raw, start: int) -> Iterator[bytes | Damage]:
    """Decompressed pieces of one gzip member; a Damage, last, if it is broken."""
    decoder, is_opening = decompressor(GZIP), True
    while not decoder.eof:
        data = source.take(MEMBER_HEAD_BYTES if is_opening else 1)
        try:
            piece = decoder.decompress(data, _OUT_BYTES) if not is_opening or may_open(data) else None
        except InflateError:
            piece = None
        if piece is None:
            yield Damage("corrupt_gzip", start)
            return
        is_opening = False
        source.give_back(decoder.unused_data or decoder.unconsumed_tail)
        if piece:
            yield piece
        elif not data and not decoder.eof:
            yield Damage("truncated_gzip", start)
            return


def _joined(pieces: Iterator[bytes | Damage]) -> Iterator[bytes | Damage]:
    """The same pieces, the first long enough to tell whether a record starts."""
    head = b""
    for piece in pieces:
        if isinstance(piece, bytes) and len(head) < len(_RECORD_START):
            head += piece
            if len(head) >= len(_RECORD_START):
                yield head
            continue
        if head and len(head) < len(_RECORD_START):
            yield head
            head = _RECORD_START
        yield piece
    if head and len(head) < len(_RECORD_START):
        yield head


def _find_member(raw: BinaryIO, offset: int) -> int | None:
    """Offset of the next gzip member that decompresses, from here on."""
    while True:
        raw.seek(offset)
        window = raw.read(_SCAN_BYTES + _HEAD_BYTES)
        at = window.find(MEMBER)
        while 0 <= at < _SCAN_BYTES:
            if _opens(window[at : at + _HEAD_BYTES]):
                return offset + at
            at = window.find(MEMBER, at + 1)
        if len(window) <= _SCAN_BYTES:
            return None
        offset += _SCAN_BYTES


def _opens(head: bytes) -> bool:
    """Whether these bytes start a gzip member that gives data."""
    try:
        return len(head) > 18 and may_open(head) and bool(decompressor(GZIP).decompress(head, 64))
    except InflateError:
        return False
