"""Two runs on the same items: the difference, its interval, and how likely chance alone is, by paired bootstrap.

Both sides are scored on the same items, so most of what makes an item hard is the same for both and drops out of the difference. Items
are drawn again with replacement, the same draw for both sides, and the metric of each side is made anew: a ratio of sums, so bits per
byte are bits over bytes. Where a side is several seeds, its value is their mean and the seeds are drawn again too, each side its own; with
two or three seeds this still says little about a fourth, and the number of seeds is told beside the interval. The same seed of the
bootstrap gives the same numbers. Source: Koehn, 2004 (paired bootstrap); Efron and Tibshirani, 1993, chapters 13 and 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_SAMPLES = 2000
LEVEL = 0.95
_BATCH_DRAWS = 1 << 21
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Side:
    """Values and weights of one side, both (seeds, items), items in the order of the other side."""

    values: Matrix
    weights: Matrix


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A in the unit of the metric, its interval, and the two-sided p of no difference."""

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p: float
    num_items: int
    num_seeds_a: int
    num_seeds_b: int


def paired_bootstrap(a: Side, b: Side, *, num_samples: int = NUM_SAMPLES, level: float = LEVEL, seed: int = 0) -> Difference:
    """The difference of two sides on the same items.

    `p` is twice the smaller share of samples at or beyond zero, one sample added, so it never is zero.
    Raises: ValueError if the sides differ in their number of items, or there are fewer than two.
    """
    num_items = a.values.shape[1]
    if num_items != b.values.shape[1] or num_items < 2:
        raise ValueError(f"both sides need the same items, at least 2; got {num_items} and {b.values.shape[1]}")
    draw = np.random.default_rng(seed)
    size = max(1, min(num_samples, _BATCH_DRAWS // num_items))
    counts = [min(size, num_samples - done) for done in range(0, num_samples, size)]
    samples = np.concatenate([_samples(a, b, count, draw) for count in counts])
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2]).tolist()
    beyond = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    p = min(1.0, 2 * (1 + beyond) / (num_samples + 1))
    value_a, value_b = _value(a), _value(b)
    return Difference(value_a, value_b, value_b - value_a, low, high, p, num_items, len(a.values), len(b.values))


def _value(side: Side) -> float:
    return float(((side.values * side.weights).sum(1) / side.weights.sum(1)).mean())


def _samples(a: Side, b: Side, count: int, draw: np.random.Generator) -> Matrix:
    """Differences of `count` samples."""
    items = draw.integers(0, a.values.shape[1], (count, a.values.shape[1]), dtype=np.int32)
    found: Matrix = _sampled(b, items, draw) - _sampled(a, items, draw)
    return found


def _sampled(side: Side, items: np.ndarray, draw: np.random.Generator) -> Matrix:
    """The side's value in each sample: mean over drawn seeds of the ratio over drawn items."""
    num_seeds = len(side.values)
    ratios = np.stack([_ratios(side.values[i], side.weights[i], items) for i in range(num_seeds)], axis=1)
    if num_seeds == 1:
        found: Matrix = ratios[:, 0]
        return found
    seeds = draw.integers(0, num_seeds, ratios.shape)
    drawn: Matrix = np.take_along_axis(ratios, seeds, axis=1).mean(1)
    return drawn


def _ratios(values: np.ndarray, weights: np.ndarray, items: np.ndarray) -> np.ndarray:
    if (weights == weights[0]).all():
        return np.asarray(values[items].mean(1))
    return np.asarray((values * weights)[items].sum(1) / weights[items].sum(1))


def align(keys: Sequence[Sequence[object]]) -> tuple[list[object], int]:
    """Items that every run has, sorted, and how many others there are. Each list holds the items of one run, each once."""
    everywhere = set(keys[0]).intersection(*keys[1:])
    return sorted(everywhere, key=str), len(set().union(*keys)) - len(everywhere)
