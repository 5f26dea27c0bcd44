"""Training tokens from memory, or from files one window at a time.

A **window** is some four million tokens of consecutive parts in rank order. What fits into memory is read at once. What does not is
read window by window, each from all files at its ranks, while a thread fetches the one that will be wanted next; three windows are
held at most. Both give the same tokens, so how much memory a machine has decides no weights. The cost: row groups that reach over
the end of a window are read for both.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from lm.tokens.gather import Array, Gatherer, TokenArray
from lm.tokens.rank import rank

K = TypeVar("K")
V = TypeVar("V")

WINDOW_TOKENS = 1 << 22
WINDOWS_HELD = 3


class Windows(Protocol):
    """Tokens of the parts of a split by window."""

    bounds: Array
    """Window w holds the parts bounds[w] to bounds[w + 1]."""
    offsets: Array
    """Part i holds the tokens offsets[i] to offsets[i + 1]."""
    end_of_document: int
    max_token: int

    def window(self, number: int, following: int | None = None) -> TokenArray:
        """Tokens of a window; `following` is the one that will be wanted next, if that is known."""
        ...


def window_bounds(offsets: Array, window_tokens: int) -> Array:
    """Where windows end: at the part that first fills each. They do not depend on how many follow."""
    bounds = [0]
    while bounds[-1] < len(offsets) - 1:
        bounds.append(int(min(len(offsets) - 1, np.searchsorted(offsets, offsets[bounds[-1]] + window_tokens, side="left"))))
    return np.array(bounds, dtype=np.int64)


class InMemory:
    """Windows of an array."""

    def __init__(self, tokens: TokenArray, offsets: Array, end_of_document: int, window_tokens: int = WINDOW_TOKENS) -> None:
        self.tokens, self.offsets, self.end_of_document = tokens, offsets, end_of_document
        self.bounds = window_bounds(offsets, window_tokens)
        self.max_token = int(tokens[: offsets[-1]].max(initial=0))

    def window(self, number: int, following: int | None = None) -> TokenArray:
        first, last = self.offsets[self.bounds[number]], self.offsets[self.bounds[number + 1]]
        found: TokenArray = self.tokens[first:last]
        return found


class FromFiles:
    """Windows read when they are wanted, or a little before."""

    def __init__(self, gatherer: Gatherer, wanted: pa.Table, window_tokens: int = WINDOW_TOKENS) -> None:
        ranks = wanted.column("rank").to_numpy()
        self._gatherer, self._wanted = gatherer, wanted
        self.offsets = np.concatenate([[0], np.cumsum(wanted.column("num_tokens").to_numpy())]).astype(np.int64)
        self.bounds = window_bounds(self.offsets, window_tokens)
        self.max_token = gatherer.largest_token(ranks[0], ranks[-1])
        self._held: OrderedDict[int, Future[TokenArray]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self.end_of_document = int(self.window(0)[-1])

    def window(self, number: int, following: int | None = None) -> TokenArray:
        found = self._fetch(number)
        if following is not None:
            self._fetch(following)
        return found.result()

    def _fetch(self, number: int) -> Future[TokenArray]:
        if number in self._held:
            self._held.move_to_end(number)
        else:
            while len(self._held) >= WINDOWS_HELD:
                self._held.popitem(last=False)[1].cancel()
            self._held[number] = self._thread.submit(self._read, number)
        return self._held[number]

    def _read(self, number: int) -> TokenArray:
        first, last = int(self.bounds[number]), int(self.bounds[number + 1])
        return self._gatherer.gather(self._wanted.slice(first, last - first))[0]


class Epochs:
    """The tokens of a limited set again and again: first in rank order, then in an order of each epoch's own.

    Later epochs permute windows, and parts within a window, by draws that seed and epoch decide alone; so a window is enough to hold,
    and sets of up to a window are shuffled whole. With `closed` the last token of the set, which may be cut from a document, is
    replaced by an end-of-document token, for another document follows it.
    """

    def __init__(self, windows: Windows, unique_tokens: int, seed: int = 0, *, closed: bool = False) -> None:
        self._windows, self._unique, self._seed, self._closed = windows, unique_tokens, seed, closed
        self._num_windows = int(np.searchsorted(windows.offsets[windows.bounds], unique_tokens, side="left"))
        ends = np.minimum(windows.offsets[windows.bounds[: self._num_windows + 1]], unique_tokens)
        self._sizes = np.diff(ends)
        self._order = _remembered(self._epoch_order, 4)
        self._arranged = _remembered(self._arrange, 2)

    def read(self, start: int, stop: int) -> TokenArray:
        """Tokens start to stop, counted through all epochs."""
        pieces = []
        while start < stop:
            epoch, within = divmod(start, self._unique)
            _, ends = self._order(epoch)
            place = int(np.searchsorted(ends, within, side="right"))
            window = self._arranged((epoch, place))
            skip = within - (int(ends[place - 1]) if place else 0)
            piece = window[skip : skip + stop - start]
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _epoch_order(self, epoch: int) -> tuple[Array, Array]:
        """Windows in the order of an epoch, and where each ends."""
        order = np.arange(self._num_windows)
        if epoch:
            order = self._permutation(self._num_windows, f"{epoch}")
        return order, np.cumsum(self._sizes[order])

    def _arrange(self, key: tuple[int, int]) -> TokenArray:
        """Tokens of the window at a place of an epoch, in that epoch's order."""
        epoch, place = key
        order, _ = self._order(epoch)
        number = int(order[place])
        following = int(order[place + 1]) if place + 1 < len(order) else int(self._order(epoch + 1)[0][0])
        tokens = self._windows.window(number, following)[: self._sizes[number]]
        if self._closed and number == self._num_windows - 1:
            tokens = tokens.copy()
            tokens[-1] = self._windows.end_of_document
        return tokens if epoch == 0 else self._shuffled(tokens, number, epoch)

    def _shuffled(self, tokens: TokenArray, number: int, epoch: int) -> TokenArray:
        first, last = self._windows.bounds[number], self._windows.bounds[number + 1]
        cuts = np.unique(np.minimum(self._windows.offsets[first : last + 1] - self._windows.offsets[first], len(tokens)))
        order = self._permutation(len(cuts) - 1, f"{epoch}/{number}")
        return np.concatenate([tokens[cuts[i] : cuts[i + 1]] for i in order])

    def _permutation(self, num: int, name: str) -> Array:
        """An order by hashes, which no version of a library changes."""
        return np.argsort(rank((f"{name}/{i}" for i in range(num)), f"epochs {self._seed}"), kind="stable")


def _remembered(compute: Callable[[K], V], size: int) -> Callable[[K], V]:
    """The function with its last results kept, per object, unlike functools.lru_cache on a method, which would keep the object."""
    kept: OrderedDict[K, V] = OrderedDict()

    def remembered(key: K) -> V:
        if key not in kept:
            kept[key] = compute(key)
            if len(kept) > size:
                kept.popitem(last=False)
        return kept[key]

    return remembered
