"""Several sources in one stream, by weight, with exact counts.

Each row of a batch, one context long, comes from one source. Which one is read from a fixed pattern that spreads every source
evenly: after any number of rows each has had its share to within a row, and after a whole pattern exactly. So counts are
known before training, any step is reached at once, and the share of a source does not drift, as it would with draws. The k-th row
of a source is the k-th row of its own stream: what it contributes does not depend on the others.
"""

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from lm.tokens.gather import Array, MissingTokensError
from lm.tokens.loader import Rows, TokenStream, worker_rows

MAX_PATTERN = 10_000


def pattern(weights: Sequence[float]) -> Array:
    """Source of each row of one period: 3 and 1 give [0, 0, 1, 0].

    The next row goes to the source that is furthest behind the middle of its next row; of equals to the first.
    Raises: ValueError for weights that are not positive, or whose smallest common period is longer than 10,000 rows.
    """
    shares = [Fraction(str(weight)) for weight in weights]
    if not shares or min(shares) <= 0:
        raise ValueError(f"weights must be positive, at least one, got {list(weights)}; leave out sources of weight zero")
    scale = lcm(*(share.denominator for share in shares))
    counts = [int(share * scale) for share in shares]
    counts = [count // gcd(*counts) for count in counts]
    if (period := sum(counts)) > MAX_PATTERN:
        raise ValueError(f"weights {list(weights)} repeat after {period} rows only; round them so that it is at most {MAX_PATTERN}")
    # row k of a source of c rows is due at (k + 1/2) period / c
    due = np.concatenate([(np.arange(count) + 0.5) * period / count for count in counts])
    source = np.repeat(np.arange(len(counts)), counts)
    return source[np.lexsort((source, due))]


def token_counts(weights: Sequence[float], num_tokens: int, context_tokens: int) -> list[int]:
    """Tokens of each source among the first `num_tokens` of a mix, exactly; a row that has begun counts whole."""
    period = pattern(weights)
    periods, rest = divmod(-(-num_tokens // context_tokens), len(period))
    whole, part = (np.bincount(rows, minlength=len(weights)) for rows in (period, period[:rest]))
    return [int(rows) * context_tokens for rows in periods * whole + part]


class MixedStream:
    """Rows of several streams by weight. Sources are taken in the order of the mapping."""

    def __init__(self, sources: Mapping[str, tuple[TokenStream, float]], num_tokens: int, context_tokens: int) -> None:
        self.names = list(sources)
        self._streams = [stream for stream, _ in sources.values()]
        self._pattern = pattern([weight for _, weight in sources.values()])
        before = self._pattern[:, None] == np.arange(len(self._streams))
        self._before = np.concatenate([np.zeros((1, len(self._streams)), dtype=np.int64), np.cumsum(before, axis=0)])
        self.num_tokens, self._context = num_tokens, context_tokens
        self.seconds_waiting = 0.0
        self.max_token = max(stream.max_token for stream in self._streams)
        ends = {stream.end_of_document for stream in self._streams}
        if len(ends) != 1:
            raise ValueError(f"sources of a mix must share one tokenizer, but documents end with the tokens {sorted(ends)}")
        self.end_of_document = ends.pop()
        for name, tokens, stream in zip(self.names, self.counts(num_tokens).values(), self._streams, strict=True):
            if tokens > stream.num_tokens:
                raise MissingTokensError(
                    f"the mix takes {tokens} tokens of {name}, its stream has {stream.num_tokens}; add data, lower its weight, or "
                    "repeat it by opening it with unique_tokens"
                )

    def counts(self, num_tokens: int) -> dict[str, int]:
        """Tokens of each source among the first `num_tokens` of the mix, exactly; a row that has begun counts whole."""
        rows = self._rows_before(-(-num_tokens // self._context))
        return {name: int(number) * self._context for name, number in zip(self.names, rows, strict=True)}

    def batch(self, step: int, batch_tokens: int, context_tokens: int, worker: tuple[int, int] = (0, 1)) -> tuple[Rows, Rows]:
        """Inputs and targets of a step, as `TokenStream.batch`."""
        started = time.perf_counter()
        if context_tokens != self._context:
            raise ValueError(f"the mix was made for rows of {self._context} tokens, got {context_tokens}")
        if (step + 1) * batch_tokens > self.num_tokens:
            raise MissingTokensError(f"step {step} of {batch_tokens} tokens ends beyond the {self.num_tokens} tokens of the mix")
        rows = self._rows(*worker_rows(step, batch_tokens, context_tokens, worker))
        self.seconds_waiting += time.perf_counter() - started
        return rows

    def raw(self, start: int, stop: int) -> bytes:
        """Tokens start to stop, both whole rows, as 32-bit numbers. Raises: ValueError inside a row."""
        if start % self._context or stop % self._context:
            raise ValueError(f"a mix is cut between rows of {self._context} tokens, got {start} to {stop}")
        return self._rows(start // self._context, stop // self._context)[1].astype("<u4").tobytes()

    def _rows(self, first: int, last: int) -> tuple[Rows, Rows]:
        inputs, targets = (np.empty((last - first, self._context), dtype=np.int64) for _ in range(2))
        source = self._pattern[np.arange(first, last) % len(self._pattern)]
        starts, ends = self._rows_before(first), self._rows_before(last)
        for number, stream in enumerate(self._streams):
            if ends[number] > starts[number]:
                inputs[source == number], targets[source == number] = stream.rows(int(starts[number]), int(ends[number]), self._context)
        return inputs, targets

    def _rows_before(self, row: int) -> Array:
        """Rows of each source before a row of the mix."""
        periods, rest = divmod(row, len(self._pattern))
        found: Array = periods * self._before[-1] + self._before[rest]
        return found
