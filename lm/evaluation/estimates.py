"""A value, how sure it is, and over how many items: means, ratios of sums, and the exponential of either.

A ratio of sums R = sum a / sum b, such as bits per byte, has the standard error of the delta method over items,
sqrt(n / (n - 1) sum (a_i - R b_i)^2) / sum b_i. Items count as independent draws: documents of one host, or pairs of one grammar, may
hang together, and then the error is too small. One item has a value and no error.
"""

import math
from dataclasses import dataclass

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value in the unit of its metric, its standard error (None where it has none), and the items behind it."""

    value: float
    stderr: float | None
    num_items: int


def ratio(numerators: Floats, denominators: Floats) -> Estimate:
    """Sum over sum, with the standard error of the delta method.

    Raises: ValueError if there is no item, or the denominators add up to nothing. Source: Cochran, Sampling Techniques, 1977, 2.11.
    """
    num_items, whole = len(numerators), float(denominators.sum())
    if not num_items or whole <= 0:
        raise ValueError(f"a ratio needs items whose denominators add up to more than 0, got {num_items} that add up to {whole}")
    value = float(numerators.sum()) / whole
    if num_items == 1:
        return Estimate(value, None, 1)
    spread = float(((numerators - value * denominators) ** 2).sum())
    return Estimate(value, math.sqrt(num_items / (num_items - 1) * spread) / whole, num_items)


def mean(values: Floats) -> Estimate:
    """Mean and its standard error. Raises: ValueError if there is no item."""
    return ratio(values, np.ones(len(values)))


def exponential(estimate: Estimate) -> Estimate:
    """exp of a value, such as a perplexity of a loss; its standard error to first order."""
    value = math.exp(min(estimate.value, 700.0))
    return Estimate(value, None if estimate.stderr is None else value * estimate.stderr, estimate.num_items)
