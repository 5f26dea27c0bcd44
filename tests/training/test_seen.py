"""The digest of what a run has seen: the same whatever was asked for before, and read once."""

import hashlib

import pytest
from training_data import CONFIG

from lm.tokens.selection import TokenData
from lm.training import seen
from lm.training.seen import Seen
from lm.training.streams import open_stream


class Counting:
    """A stream that counts the tokens asked of it."""

    def __init__(self, data: TokenData) -> None:
        self._stream = open_stream(CONFIG, data, 6400)
        self.num_read = self.most = 0

    def raw(self, start: int, stop: int) -> bytes:
        self.num_read += stop - start
        self.most = max(self.most, stop - start)
        return self._stream.raw(start, stop)


def test_a_digest_does_not_depend_on_the_way(data: TokenData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "PIECE_TOKENS", 200)
    stream = Counting(data)
    found = Seen(stream, 64)  # type: ignore[arg-type]
    for step in (5, 10, 20):
        found.follow(step)
    for step in (16, 20, 40, 16, 30, 0, 100):
        assert found.digest(step) == hashlib.blake2b(stream._stream.raw(0, 64 * step), digest_size=16).hexdigest()
    assert stream.most == 192
    assert stream.num_read == 64 * (20 + 16 + 4 + 20 + 10 + 60)


def test_a_trunk_that_goes_on_after_a_branch_reads_nothing_again(data: TokenData) -> None:
    stream = Counting(data)
    found = Seen(stream, 64)  # type: ignore[arg-type]
    found.follow(16)
    found.digest(16)
    found.follow(20)
    found.digest(20)
    found.digest(16)
    found.follow(32)
    found.digest(32)
    assert stream.num_read == 64 * (20 + 16)
