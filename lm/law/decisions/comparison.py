"""Recipe A or B at a target: how likely, what a token of B is worth in tokens of A, and where the two swap.

The ranking at the largest amount that both were measured at stands beside the answer: it is what people do without laws, and the
baseline to beat. A probability is about the expected loss; which of two single runs comes out lower also depends on their seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, Belief, Estimate, falling, first_below, largest_common, measured, sign_changes
from lm.law.points import Floats

WIDEST_MULTIPLIER = 1000.0
"""Multipliers beyond this (or below its inverse) are given as unbounded."""
NUM_GRID = 121
SETTLED = 0.9
"""Probability from which a comparison counts as settled; below it the answer is a tie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a decision is wanted: a model size and tokens, or a budget of compute with the best size for it."""

    num_tokens: float | None = None
    num_params: float | None = None
    flops: float | None = None

    def __post_init__(self) -> None:
        by_data = self.num_tokens is not None and self.num_params is not None and self.flops is None
        by_compute = self.flops is not None and self.num_tokens is None and self.num_params is None
        values = [value for value in (self.num_tokens, self.num_params, self.flops) if value is not None]
        if not (by_data or by_compute) or not all(np.isfinite(value) and value > 0 for value in values):
            raise ValueError(
                "a target is a model size with an amount of tokens, or a budget in FLOPs, all positive; came "
                f"num_params {self.num_params}, num_tokens {self.num_tokens}, flops {self.flops}"
            )

    @property
    def amount(self) -> float:
        """Tokens, or FLOPs."""
        return float(self.num_tokens if self.num_tokens is not None else self.flops or 0.0)

    def scaled(self, belief: Belief, factors: Floats) -> Floats:
        """Log losses of a recipe with so many times the target's tokens (or FLOPs) [draws, factors]."""
        if self.num_params is not None:
            return belief.log_losses(self.num_params, self.amount * factors)
        return belief.frontier(self.amount * factors)[0]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where two recipes swap places."""

    probability: float
    """Share of plausible curves that cross between the smallest amount measured and a hundred times the target."""
    amount: Estimate | None
    """Tokens (or FLOPs) of the last crossing, over the curves that cross; None if fewer than one in ten does."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The ranking at one amount of data: the lower measured loss wins."""

    num_params: float
    num_tokens: float
    loss_a: float
    loss_b: float

    @property
    def b_wins(self) -> bool:
        """Whether B had the lower loss there."""
        return self.loss_b < self.loss_a


@dataclass(frozen=True, slots=True)
class Comparison:
    """Recipe B against recipe A at a target."""

    a: str
    b: str
    target: Target
    loss_a: Estimate
    loss_b: Estimate
    gain: Estimate
    """Loss of A minus loss of B: positive where B is better."""
    probability: float
    """That B has the lower expected loss."""
    multiplier: Estimate
    """Tokens (or FLOPs) of A that one token of B is worth at the target."""
    crossing: Crossing
    baseline: Baseline | None
    warnings: tuple[str, ...]

    @property
    def winner(self) -> str | None:
        """The better recipe, or None for a tie: neither is better with a probability of at least SETTLED."""
        return self.b if self.probability >= SETTLED else self.a if self.probability <= 1.0 - SETTLED else None


def compare(beliefs: Mapping[str, Belief], a: str, b: str, target: Target, *, level: float = 0.9) -> Comparison:
    """Compare two recipes that were drawn together by `believe`.

    Raises: ValueError if a recipe is unknown.
    """
    first, second = _of(beliefs, a), _of(beliefs, b)
    factors = np.geomspace(1.0 / WIDEST_MULTIPLIER, WIDEST_MULTIPLIER, NUM_GRID)
    curve_a, curve_b = target.scaled(first, factors), target.scaled(second, factors)
    middle = NUM_GRID // 2
    at_a, at_b = curve_a[:, middle], curve_b[:, middle]
    lost_a, lost_b = np.exp(at_a), np.exp(at_b)
    return Comparison(
        a,
        b,
        target,
        Estimate.of(lost_a, level),
        Estimate.of(lost_b, level),
        Estimate.of(lost_a - lost_b, level),
        probability_lower(at_b - at_a),
        _open_ended(first_below(factors, falling(curve_a), at_b), level),
        _crossing(first, second, target, factors, curve_b - curve_a, level),
        _baseline(first, second),
        _warnings(first, second),
    )


def probability_lower(difference: Floats) -> float:
    """Share of draws below zero, pulled in by half a draw: no finite number of draws makes a certainty."""
    below = float((difference < 0).sum() + 0.5 * (difference == 0).sum())
    return (below + 0.5) / (len(difference) + 1.0)


def _of(beliefs: Mapping[str, Belief], name: str) -> Belief:
    if name not in beliefs:
        raise ValueError(f"recipe {name!r} has no law here; those with one: {', '.join(beliefs) or 'none'}")
    return beliefs[name]


def _open_ended(draws: Floats, level: float) -> Estimate:
    return Estimate.of(np.where(draws <= 1.0 / WIDEST_MULTIPLIER, 0.0, draws), level)


def _crossing(a: Belief, b: Belief, target: Target, factors: Floats, difference: Floats, level: float) -> Crossing:
    measured_from = max(_smallest(a, target), _smallest(b, target))
    inside = (target.amount * factors >= measured_from * 0.999) & (factors <= 100.001)
    at = sign_changes(target.amount * factors[inside], difference[:, inside]) if inside.sum() > 1 else np.full(len(difference), np.nan)
    crossed = at[np.isfinite(at)]
    share = len(crossed) / len(at)
    return Crossing(share, Estimate.of(crossed, level) if share >= 0.1 else None)


def _smallest(belief: Belief, target: Target) -> float:
    points = belief.law.points
    if target.num_params is not None:
        return float(points.num_tokens.min())
    return FLOPS_PER_PARAM_TOKEN * float((points.num_params * points.num_tokens).min())


def _baseline(a: Belief, b: Belief) -> Baseline | None:
    cell = largest_common([a.law.points, b.law.points])
    return None if cell is None else Baseline(*cell, measured(a.law.points, *cell), measured(b.law.points, *cell))


def _warnings(a: Belief, b: Belief) -> tuple[str, ...]:
    found = [f"{belief.name}: {warning}" for belief in (a, b) for warning in belief.law.warnings]
    unseen = [belief.name for belief in (a, b) if not belief.num_misses]
    if unseen:
        found.append(
            f"too few rungs to hide one ({', '.join(unseen)}): how far the form misses is not known and is taken as all it predicts"
        )
    return tuple(found)
