"""Reading an archive span by span, as `spans` tells them.

Reading never crosses a span, so a record with a wrong length cannot swallow the next one. Bytes are looked at before they are taken, and
pieces are joined only where more are asked for than one holds; the cost is that a block of a wrong length is held as far as it claims.
"""

import re
from typing import BinaryIO

from lm.corpus.spans import Break, Damage, events, packing_of

_OUT_BYTES = 1 << 18


class Stream:
    """Reads spans one after the other: `while stream.next_span(): stream.read(...)`."""

    def __init__(self, raw: BinaryIO) -> None:
        self._size, self._packing = raw.seek(0, 2), packing_of(raw)
        self._events = events(raw, self._packing)
        self._data, self._at = b"", 0
        self._pending: Break | None = Break(0)
        self._consumed = 0
        self._span_offset = 0

    @property
    def offset(self) -> int:
        """Offset in the file of the next byte, or of the gzip member it is in."""
        return self._span_offset if self._packing == "gzip" else self._span_offset + self._consumed

    @property
    def damage(self) -> Damage | None:
        """The damage that ends this span, once reading has come to it."""
        return self._pending.damage if self._pending else None

    def may_hold(self, num_bytes: int) -> bool:
        """Whether so many bytes may follow; told by its size where the file is not compressed, and otherwise not known."""
        return self._packing != "plain" or num_bytes <= self._size - self._consumed

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
