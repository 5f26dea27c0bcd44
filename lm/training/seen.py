"""Which tokens a run has seen, as a digest that stands in each of its states.

A run may only go on with the tokens it began with. The digest of all tokens before a step says so; it is taken along while the tokens are
still at hand, and from the last place before that where it is asked for another step, as when the trunk goes on after a branch. The cost
is about six nanoseconds a token; a run that is taken up again reads all its tokens once more.
"""

import hashlib
from bisect import bisect_right

from lm.tokens.loader import Stream

PIECE_TOKENS = 1 << 22
"""So many tokens are digested at a time, so that a long run needs no memory for it."""


class Seen:
    """Digests of the tokens before a step."""

    def __init__(self, stream: Stream, batch_tokens: int) -> None:
        self._stream, self._batch_tokens = stream, batch_tokens
        self._marks = {0: hashlib.blake2b(digest_size=16)}
        self._front = 0, self._marks[0].copy()

    def follow(self, step: int) -> None:
        """Take the digest along to a step; nothing happens for an earlier one."""
        start, hasher = self._front
        if start < step:
            self._front = step, self._extended(hasher, start, step)

    def digest(self, step: int) -> str:
        """Digest of all tokens before a step, as raw 32-bit numbers."""
        start, hasher = self._before(step)
        hasher = self._extended(hasher.copy(), start, step)
        self._marks[step] = hasher
        self._front = step, hasher.copy()
        return hasher.hexdigest()

    def _before(self, step: int) -> "tuple[int, hashlib.blake2b]":
        steps = sorted(self._marks)
        mark = steps[bisect_right(steps, step) - 1]
        return self._front if mark <= self._front[0] <= step else (mark, self._marks[mark])

    def _extended(self, hasher: "hashlib.blake2b", start: int, stop: int) -> "hashlib.blake2b":
        piece = max(1, PIECE_TOKENS // self._batch_tokens)
        for first in range(start, stop, piece):
            last = min(stop, first + piece)
            hasher.update(self._stream.raw(first * self._batch_tokens, last * self._batch_tokens))
        return hasher
