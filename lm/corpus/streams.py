"""Decompressed bytes of an archive, as spans that survive damage.

A span is a stretch of clean bytes; it ends where a gzip member starts with a new record, where the compressed data is broken, and
at the end of the file. Reading never crosses a span, so a record with a wrong length cannot swallow the next one, and after
damage reading goes on at the next gzip member that decompresses. FastWARC's own iterator stops for good at the first bad header,
or in its lenient mode skips over damage without a word; here every loss has a place and a reason. The cost is Python code per
gzip member (some 10 microseconds), which is small beside the extraction of a page, and that damage inside LZ4 or Zstandard ends
the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastwarc.stream_io import Lz4Reader, ZstdReader

from lm.corpus.inflate import GZIP, MEMBER, MEMBER_HEAD_BYTES, InflateError, decompressor, may_open

_CHUNK_BYTES = 1 << 16
_OUT_BYTES = 1 << 18
_SCAN_BYTES = 1 << 20
_HEAD_BYTES = 512
_RECORD_START = b"WARC/"
_AGAIN_BYTES, _AGAIN_TIMES = 1 << 26, 4
"""Bytes read again, after damage, in search of members that a broken one ran over: so many, and so many times what was read. Then the
search goes on behind the place where decoding failed. A file can be made in which a member seems to start at every fifteenth byte."""
_LZ4, _ZSTD = b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"


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


class Stream:
    """Reads spans one after the other: `while stream.next_span(): stream.read(...)`."""

    def __init__(self, raw: BinaryIO) -> None:
        self._size = raw.seek(0, 2)
        raw.seek(0)
        magic = raw.read(4)
        raw.seek(0)
        self._is_plain = magic[:2] != MEMBER[:2] and magic not in (_LZ4, _ZSTD)
        self._has_members, self._events = _events(raw, magic)
        self._data, self._at = b"", 0
        self._pending: Break | None = Break(0)
        self._consumed = 0
        self._span_offset = 0

    @property
    def offset(self) -> int:
        """Offset in the file of the next byte, or of the gzip member it is in."""
        return self._span_offset if self._has_members else self._span_offset + self._consumed

    @property
    def damage(self) -> Damage | None:
        """The damage that ends this span, once reading has come to it."""
        return self._pending.damage if self._pending else None

    def may_hold(self, num_bytes: int) -> bool:
        """Whether so many bytes may follow; told by its size where the file is not compressed, and otherwise not known."""
        return not self._is_plain or num_bytes <= self._size - self._consumed

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, in this span or after it."""
        return not self.peek(1) and self._pending is None

    def take_damage(self) -> Damage | None:
        """The damage that ends this span, which is then accounted for."""
        damage = self.damage
        if self._pending and damage:
            self._pending = Break(self._pending.offset)
        return damage

    def peek(self, num_bytes: int) -> bytes:
        """Up to this many bytes, fewer only at the end of the span."""
        if len(self._data) - self._at < num_bytes:
            self._fill(num_bytes)
        return self._data[self._at : self._at + num_bytes]

    def behind(self, num_bytes: int, length: int) -> bytes | None:
        """What follows after so many bytes, up to so many; None if the span ends before."""
        if len(self._data) - self._at < num_bytes + length:
            self._fill(num_bytes + length)
        start = self._at + num_bytes
        return self._data[start : start + length] if start <= len(self._data) else None

    def find(self, pattern: re.Pattern[bytes], num_bytes: int) -> int | None:
        """How far away the first match of the pattern's group 1 is, if all of it is among so many bytes at hand. Nothing is copied."""
        match = pattern.search(self._data, self._at, self._at + num_bytes)
        return match.start(1) - self._at if match else None

    def read(self, num_bytes: int) -> bytes:
        """Up to this many bytes, fewer only at the end of the span."""
        data = self.peek(num_bytes)
        self._at += len(data)
        self._consumed += len(data)
        return data

    def skip(self, num_bytes: int) -> int:
        """Skip bytes in bounded memory; returns how many there were."""
        left = num_bytes
        while left and (data := self.read(min(left, _OUT_BYTES))):
            left -= len(data)
        return num_bytes - left

    def skip_newlines(self) -> None:
        """Skip the empty lines between records."""
        while (ahead := self.peek(64)) and (num_blank := len(ahead) - len(ahead.lstrip(b"\r\n"))):
            self.read(num_blank)

    def skip_to(self, pattern: re.Pattern[bytes], window: int = 4096) -> bool:
        """Skip to the first match of the pattern's group 1 inside the span; False, and at its end, if there is none."""
        while data := self.peek(_OUT_BYTES):
            if match := pattern.search(data):
                self.read(match.start(1))
                return True
            self.read(len(data) - window if len(data) == _OUT_BYTES else len(data))
        return False

    def next_span(self) -> bool:
        """Leave the rest of this span and go to the next; False at the end of the file."""
        while self.read(_OUT_BYTES):
            pass
        if self._pending is None:
            return False
        self._span_offset, self._consumed, self._pending = self._pending.offset, 0, None
        return True

    def _fill(self, num_bytes: int) -> None:
        """Have so many bytes at hand, or all up to the end of the span; pieces are joined once, so a page of one piece is never copied."""
        pieces, num_left = list[bytes](), num_bytes - (len(self._data) - self._at)
        while num_left > 0 and self._pending is None and (event := next(self._events, None)) is not None:
            if isinstance(event, Break):
                self._pending = event
            else:
                pieces.append(event)
                num_left -= len(event)
        if pieces:
            rest = [self._data[self._at :]] if self._at < len(self._data) else []
            self._data, self._at = b"".join([*rest, *pieces]), 0


def _events(raw: BinaryIO, magic: bytes) -> tuple[bool, Events]:
    """Whether offsets are those of gzip members, and the bytes and breaks of the file."""
    if magic.startswith(MEMBER[:2]):
        return True, _gzip_events(raw)
    if magic == _LZ4:
        return False, _framed_events(Lz4Reader(raw), "corrupt_lz4")
    if magic == _ZSTD:
        return False, _framed_events(ZstdReader(raw), "corrupt_zstd")
    return False, _plain_events(raw)


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
