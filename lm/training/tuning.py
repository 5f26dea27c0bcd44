"""A small grid of learning rates: which to try, when to try more, and what the losses say.

Loss over the logarithm of the rate is a bowl with a flat floor, so a coarse grid finds it and a parabola through the best point and
its two neighbours says where the floor is. A grid whose best point is its first or last says only that the optimum lies beyond: it is
extended, and if it still ends at an edge after a bounded number of points, that is said and the edge is taken.

The uncertainty comes from the noise between seeds, propagated through the parabola. The error over validation documents would be the
wrong one: all rates are measured on the same documents, and what moves the optimum is what another seed would have changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SEED_NOISE_NATS = 0.02
"""Standard deviation between seeds where it was not measured: two seeds differ by 0.01 to 0.04 at demo scale (lm/training/defaults.py)."""
MAX_RATE = 0.5
"""No rate above it is tried: a peak rate must lie below 1."""


@dataclass(frozen=True, slots=True)
class Point:
    """One rate of the grid. A training that diverged has an infinite loss."""

    learning_rate: float
    loss_nats: float


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where the loss is lowest."""

    learning_rate: float
    low: float
    """Rate minus one standard error, on the log scale; not below the neighbour of the best point."""
    high: float
    loss_nats: float
    """Loss at the optimum by the parabola; the best point's where there is none."""
    at_edge: bool
    """The best point has no better neighbour on one side: the optimum may lie beyond."""


def grid(center: float, num_points: int, factor: float = 2.0) -> list[float]:
    """Rates around a centre, each `factor` times the one before, at two significant digits.

    Raises: ValueError for a grid that is none.
    """
    if num_points < 1 or factor <= 1 or not 0 < center < 1:
        raise ValueError(f"a grid needs a point, a factor above 1 and a rate between 0 and 1; got {num_points}, {factor}, {center}")
    return [rounded(center * factor ** (k - (num_points - 1) / 2)) for k in range(num_points)]


def rounded(rate: float) -> float:
    """Two significant digits, so that equal rates have equal names; a rate is not known better."""
    return float(f"{min(rate, MAX_RATE):.2g}")


def beyond(points: Sequence[Point], factor: float = 2.0) -> float | None:
    """The rate to try next where the best point is at the edge of what was tried; None where it has neighbours on both sides."""
    found = _sorted(points)
    best = _best(found)
    if best == 0:
        return rounded(found[0].learning_rate / factor)
    if best == len(found) - 1:
        further = rounded(found[-1].learning_rate * factor)
        return further if further > found[-1].learning_rate else None
    return None


def optimum(points: Sequence[Point], noise_nats: float = SEED_NOISE_NATS) -> Optimum:
    """The rate with the lowest loss, and one standard error around it. `noise_nats`: SD of a loss between seeds.

    Where the three points bend by less than the noise, the best point is taken and its neighbours are the interval.
    Raises: ValueError if no rate gave a finite loss.
    """
    found = _sorted(points)
    best = _best(found)
    if not math.isfinite(found[best].loss_nats):
        raise ValueError(f"every rate diverged: {[point.learning_rate for point in found]}; try lower ones")
    neighbours = found[max(0, best - 1) : best + 2]
    at_edge = len(neighbours) < 3
    if at_edge or not all(math.isfinite(point.loss_nats) for point in neighbours):
        ends = [point.learning_rate for point in neighbours]
        return Optimum(found[best].learning_rate, min(ends), max(ends), found[best].loss_nats, at_edge)
    return _parabola(neighbours, noise_nats)


def _parabola(points: Sequence[Point], noise_nats: float) -> Optimum:
    """Vertex of the parabola through three points, its middle one lowest, over the log of the rate."""
    (x0, y0), (x1, y1), (x2, y2) = ((math.log(point.learning_rate), point.loss_nats) for point in points)
    # Newton's divided differences: y = y1 + slope (x - x1) + bend (x - x1)^2, with x1 as the origin
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = (right - left) / (x2 - x0)
    if bend <= 0 or bend * (x2 - x0) ** 2 / 4 < noise_nats:
        return Optimum(points[1].learning_rate, points[0].learning_rate, points[2].learning_rate, y1, False)
    vertex = _vertex(points, (0.0, 0.0, 0.0))
    moves = [_vertex(points, tuple(noise_nats / 100 * (i == j) for i in range(3))) - vertex for j in range(3)]  # type: ignore[arg-type]
    error = 100 * math.sqrt(sum(move**2 for move in moves))
    slope = left + bend * (x1 - x0)
    lowest = y1 + slope * (vertex - x1) + bend * (vertex - x1) ** 2
    low, high = max(x0, vertex - error), min(x2, vertex + error)
    return Optimum(rounded(math.exp(vertex)), math.exp(low), math.exp(high), lowest, False)


def _vertex(points: Sequence[Point], shift: tuple[float, float, float]) -> float:
    (x0, y0), (x1, y1), (x2, y2) = (
        (math.log(point.learning_rate), point.loss_nats + moved) for point, moved in zip(points, shift, strict=True)
    )
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    return (x0 + x1) / 2 - left * (x2 - x0) / (2 * (right - left))


def _sorted(points: Sequence[Point]) -> list[Point]:
    found = sorted(points, key=lambda point: point.learning_rate)
    if not found or any(a.learning_rate == b.learning_rate for a, b in pairwise(found)):
        raise ValueError(f"need at least one rate and each once, got {[point.learning_rate for point in found]}")
    return [Point(point.learning_rate, point.loss_nats if math.isfinite(point.loss_nats) else math.inf) for point in found]


def _best(found: Sequence[Point]) -> int:
    return min(range(len(found)), key=lambda i: (found[i].loss_nats, found[i].learning_rate))
