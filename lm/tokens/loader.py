"""Tokens of a selection for training and evaluation.

`load` gathers a selection's documents from any number of token files into one flat array in rank order, so position in the array
is position in the ladder: the rung of T tokens is its first T tokens, whatever the files and their number. A batch is a slice at
step x batch tokens, so any step is reached at once and nothing of the loader needs saving; workers of a larger world take their
part of the same batch. Up to `IN_MEMORY_TOKENS` a stream holds its tokens in memory (two bytes each up to a vocabulary of 65,536);
beyond, it reads them window by window as they are wanted (lm/tokens/windows.py), and the batches are the same.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from lm.tokens.gather import Array, Gatherer, MissingTokensError, TokenArray, strings
from lm.tokens.selection import TokenData
from lm.tokens.windows import WINDOW_TOKENS, Epochs, FromFiles, InMemory, Windows

__all__ = ["Documents", "MissingTokensError", "Stream", "TokenStream", "load"]

MAX_BYTES = 8 << 30
IN_MEMORY_TOKENS = 1 << 28
Rows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents, long ones in parts, in rank order. Row i is tokens[offsets[i] : offsets[i + 1]], closed by `end_of_document`."""

    ids: list[str]
    hosts: list[str]
    num_bytes: Array
    offsets: Array
    tokens: TokenArray
    end_of_document: int


def load(data: TokenData, split: str, num_tokens: int | None = None, max_bytes: int = MAX_BYTES) -> Documents:
    """The documents of a split, or the shortest prefix of them with at least `num_tokens` tokens.

    Raises: FileNotFoundError for a missing file, MissingTokensError if files and selection disagree, MemoryError over `max_bytes`.
    """
    wanted = _wanted(data, split, num_tokens)
    offsets = np.concatenate([[0], np.cumsum(wanted.column("num_tokens").to_numpy())]).astype(np.int64)
    if (needed := int(offsets[-1]) * 4) > max_bytes:
        raise MemoryError(
            f"{offsets[-1]} tokens need {needed} bytes while loading, above the limit of {max_bytes}; raise max_bytes or lower the rung"
        )
    tokens, num_bytes = Gatherer(data.files).gather(wanted)
    return Documents(strings(wanted, "id"), strings(wanted, "host"), num_bytes, offsets, tokens, int(tokens[-1]))


def _wanted(data: TokenData, split: str, num_tokens: int | None) -> pa.Table:
    wanted = data.read(split, num_tokens)
    if not len(wanted):
        raise MissingTokensError(f'{data.selection} has no document with split {split!r}; run "ladder rungs" again')
    return wanted


class Stream(Protocol):
    """Training tokens by step."""

    num_tokens: int
    end_of_document: int
    max_token: int
    """Largest id, or a bound on it."""
    seconds_waiting: float
    """Time callers spent in `batch`: over the time of training, the share in which the device waited for data."""

    def batch(self, step: int, batch_tokens: int, context_tokens: int, worker: tuple[int, int] = (0, 1)) -> tuple[Rows, Rows]:
        """Inputs and targets of a step, each (rows, context_tokens); `worker` (number, count) takes its part of the rows."""
        ...

    def raw(self, start: int, stop: int) -> bytes:
        """Tokens start to stop as 32-bit numbers, for a digest of what a run has seen."""
        ...


class TokenStream:
    """Training tokens in rank order, cut into batches by step alone.

    The stream starts with an end-of-document token, so every token, the first too, is predicted once and a rung of T tokens is
    exactly T / batch_tokens steps over exactly T tokens. With `unique_tokens` the first so many tokens are all there is: they come
    again in epochs, each after the first in an order that `seed` decides, and the last of them is an end-of-document token.
    """

    def __init__(
        self,
        documents: Documents | Windows,
        num_tokens: int,
        *,
        unique_tokens: int | None = None,
        seed: int = 0,
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        if isinstance(documents, Documents):
            documents = InMemory(documents.tokens, documents.offsets, documents.end_of_document, window_tokens)
        unique = num_tokens if unique_tokens is None else unique_tokens
        have = int(documents.offsets[-1])
        if have < unique:
            raise MissingTokensError(
                f"the rung needs {unique} training tokens, the selection has {have}: {unique - have} are missing; "
                "add data, loosen the recipe or lower the largest rung"
            )
        if unique < 1:
            raise ValueError(f"a stream needs at least one token, got {unique}")
        self.num_tokens = num_tokens
        self.end_of_document = documents.end_of_document
        self.max_token = documents.max_token
        self.seconds_waiting = 0.0
        self._epochs = Epochs(documents, unique, seed, closed=unique_tokens is not None)

    @classmethod
    def open(
        cls,
        data: TokenData,
        num_tokens: int,
        *,
        unique_tokens: int | None = None,
        seed: int = 0,
        in_memory_tokens: int = IN_MEMORY_TOKENS,
        window_tokens: int = WINDOW_TOKENS,
    ) -> "TokenStream":
        """The first `num_tokens` training tokens, read at once or as they are wanted.

        Raises: MissingTokensError saying how many are missing.
        """
        unique = num_tokens if unique_tokens is None else unique_tokens
        options: dict[str, Any] = {"unique_tokens": unique_tokens, "seed": seed, "window_tokens": window_tokens}
        if unique <= in_memory_tokens:
            return cls(load(data, "train", unique), num_tokens, **options)
        windows = FromFiles(Gatherer(data.files), _wanted(data, "train", unique), window_tokens)
        return cls(windows, num_tokens, **options)

    def batch(self, step: int, batch_tokens: int, context_tokens: int, worker: tuple[int, int] = (0, 1)) -> tuple[Rows, Rows]:
        """Inputs and targets of a step, each (batch_tokens / context_tokens, context_tokens); targets are one token ahead.

        `worker` (number, count): only its part of the rows, for a batch that several processes share.
        """
        started = time.perf_counter()
        first, last = worker_rows(step, batch_tokens, context_tokens, worker)
        if (step + 1) * batch_tokens > self.num_tokens:
            raise MissingTokensError(f"step {step} of {batch_tokens} tokens ends beyond the {self.num_tokens} tokens loaded")
        rows = self.rows(first, last, context_tokens)
        self.seconds_waiting += time.perf_counter() - started
        return rows

    def rows(self, first: int, last: int, context_tokens: int) -> tuple[Rows, Rows]:
        """Inputs and targets of rows of `context_tokens`, counted from the start of the stream."""
        piece = self._read(first * context_tokens - 1, last * context_tokens).astype(np.int64)
        return piece[:-1].reshape(-1, context_tokens), piece[1:].reshape(-1, context_tokens)

    def raw(self, start: int, stop: int) -> bytes:
        """Tokens start to stop as 32-bit numbers, for a digest of what a run has seen."""
        return self._read(start, stop).astype("<u4").tobytes()

    def _read(self, start: int, stop: int) -> TokenArray:
        if start >= stop:
            return np.empty(0, dtype=np.uint16)
        if start >= 0:
            return self._epochs.read(start, stop)
        first = np.array([self.end_of_document], dtype=np.uint32)
        return np.concatenate([first, self._epochs.read(0, stop)]) if stop > 0 else first


def worker_rows(step: int, batch_tokens: int, context_tokens: int, worker: tuple[int, int]) -> tuple[int, int]:
    """First and last row, counted over all steps, of one worker's part of a batch.

    Raises: ValueError if the rows do not divide among the workers.
    """
    num_rows, (number, count) = batch_tokens // context_tokens, worker
    if num_rows % count or not 0 <= number < count:
        raise ValueError(f"{num_rows} rows of a batch must divide among {count} workers numbered from 0, got worker {number}")
    first = step * num_rows + number * num_rows // count
    return first, first + num_rows // count
