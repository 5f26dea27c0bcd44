"""Minimise a robust loss of many fits at once: every start and every bootstrap replicate is a row of one batch.

Damped Newton steps (Levenberg-Marquardt) with analytic gradients, inside a box. The Huber loss is a parabola where errors are small
and straight elsewhere; its curvature therefore comes from the small errors alone, and the damping is measured by the
reweighted curvature of all errors, so that early steps are cautious and late ones converge fast: from nearby some 15 steps, where
reweighting alone takes a hundred. From far away `explore` first minimises a wide Huber loss, and carries starts that have met on
once. Fits are worked off in a small set that stays in the processor's cache; one that
has arrived makes room for the next. The cost: no guarantee of the global minimum, hence many starts.

Source of the objective: arXiv:2203.15556, appendix D.3; of its scale: the same and arXiv:2404.10102.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lm.law.points import Floats

HUBER_DELTA = 1e-3
"""Errors of the log loss up to this count squared, larger ones by their size."""
L1_DELTA = 1e-7
"""A Huber loss this narrow stands for absolute errors."""
MAX_STEPS = 400
TOLERANCE = 1e-11
"""A fit has arrived when a hardly damped step lowers its objective by less than this share, three times in a row."""
WIDE_DELTA, WIDE_STEPS, WIDE_TOLERANCE = 0.1, 100, 1e-6
"""From far away: a Huber scale at which nearly all errors are squared, and how long and how exactly it is followed."""
MET = 1e-3
"""Starts whose internal constants differ by less after that have met."""
LIGHT, HEAVY = 1e-4, 1e8
"""Damping below which a small gain means arrival, and above which no step can help."""
ZERO = 1e-20
"""An objective of this much per point is an exact fit."""
SET_ELEMENTS = 80_000
"""Fits x points x constants that are worked on together: some 640 kB."""

Indices = NDArray[np.int64]
Predict = Callable[[Floats], tuple[Floats, Floats]]
"""theta [fits, constants] -> log loss [fits, points], gradient [fits, constants, points]."""


@dataclass(frozen=True, slots=True)
class Box:
    """Bounds of the internal constants; a constant whose two bounds are equal is held there."""

    low: Floats
    high: Floats

    def clip(self, theta: Floats) -> Floats:
        """The nearest constants inside the box."""
        return np.clip(theta, self.low, self.high)


def huber(errors: Floats, delta: float = HUBER_DELTA) -> Floats:
    """Huber loss of each error: half its square up to delta, then straight. An infinite delta gives least squares."""
    size = np.abs(errors)
    small = np.minimum(size, delta)
    losses: Floats = small * (size - 0.5 * small)
    return losses


def minimise(
    predict: Predict,
    theta: Floats,
    target: Floats,
    weight: Floats,
    box: Box,
    max_steps: int = MAX_STEPS,
    *,
    delta: float = HUBER_DELTA,
    tolerance: float = TOLERANCE,
) -> tuple[Floats, Floats]:
    """Improve each row of theta [fits, constants] until it stands still.

    target, weight: log losses and weights [fits or 1, points]. Returns theta and the objective [fits].
    """
    num_fits, num_points = len(theta), target.shape[1]
    shape = (num_fits, num_points)
    work = _Work(predict, np.broadcast_to(target, shape), np.broadcast_to(weight, shape), box, delta, tolerance, box.clip(theta))
    work.run(max(1, SET_ELEMENTS // (num_points * theta.shape[1])), max_steps)
    return work.theta, work.value


def explore(
    predict: Predict, theta: Floats, target: Floats, weight: Floats, box: Box, *, delta: float = HUBER_DELTA
) -> tuple[Floats, Floats, Indices]:
    """Minimise one data set from many starts, near or far: distinct ends, their objectives, and for each start the number of its end.

    target, weight: log losses and weights [1, points].
    """
    near, _ = minimise(predict, theta, target, weight, box, WIDE_STEPS, delta=max(delta, WIDE_DELTA), tolerance=WIDE_TOLERANCE)
    _, first, which = np.unique(np.round(near / MET), axis=0, return_index=True, return_inverse=True)
    ends, values = minimise(predict, near[first], target, weight, box, delta=delta)
    return ends, values, which.reshape(-1)


class _Work:
    """The batch, and the set of fits being worked on: `fits` are their rows, `errors` and `gradient` are theirs alone."""

    def __init__(self, predict: Predict, target: Floats, weight: Floats, box: Box, delta: float, tolerance: float, theta: Floats) -> None:
        self.predict, self.target, self.weight, self.box, self.delta, self.tolerance = predict, target, weight, box, delta, tolerance
        self.theta, self.value = theta, np.empty(len(theta))
        self.zero = ZERO * target.shape[1]
        self.unweighted = bool((weight == 1.0).all())
        self.fits = np.zeros(0, dtype=np.int64)
        self.errors = np.empty((0, target.shape[1]))
        self.gradient = np.empty((0, theta.shape[1], target.shape[1]))
        self.damping, self.still, self.steps = np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def run(self, size: int, max_steps: int) -> None:
        waiting = 0
        while waiting < len(self.theta) or len(self.fits):
            if waiting < len(self.theta) and len(self.fits) <= size // 2:
                count = min(size - len(self.fits), len(self.theta) - waiting)
                self._admit(np.arange(waiting, waiting + count))
                waiting += count
            self._step()
            self._dismiss(max_steps)

    def _admit(self, rows: Indices) -> None:
        predicted, gradient = self.predict(self.theta[rows])
        errors = predicted - self.target[rows]
        self.value[rows] = self._objective(errors, rows)
        self.fits = np.concatenate([self.fits, rows])
        self.errors, self.gradient = np.concatenate([self.errors, errors]), np.concatenate([self.gradient, gradient])
        self.damping = np.concatenate([self.damping, np.full(len(rows), 0.1)])
        self.still, self.steps = (np.concatenate([old, np.zeros(len(rows), dtype=np.int64)]) for old in (self.still, self.steps))

    def _objective(self, errors: Floats, rows: Indices) -> Floats:
        losses = huber(errors, self.delta)
        total: Floats = losses.sum(axis=1) if self.unweighted else np.einsum("ij,ij->i", self.weight[rows], losses)
        return total

    def _step(self) -> None:
        theta, before = self.theta[self.fits], self.value[self.fits]
        trial = self.box.clip(theta + self._direction(theta))
        predicted, gradient = self.predict(trial)
        errors = predicted - self.target[self.fits]
        value = self._objective(errors, self.fits)
        better = value < before
        self.theta[self.fits[better]], self.value[self.fits[better]] = trial[better], value[better]
        self.errors[better], self.gradient[better] = errors[better], gradient[better]
        small = np.where(better, before - value <= self.tolerance * before, self.damping >= HEAVY)
        self.still = np.where(small & (~better | (self.damping <= LIGHT)), self.still + 1, np.where(better, 0, self.still))
        self.damping = np.where(better, np.maximum(self.damping * 0.3, 1e-9), self.damping * 3.0)
        self.steps += 1

    def _dismiss(self, max_steps: int) -> None:
        stay = (self.still < 3) & (self.steps < max_steps) & (self.value[self.fits] > self.zero) & (self.damping < HEAVY * 10)
        if stay.all():
            return
        self.fits, self.errors, self.gradient = self.fits[stay], self.errors[stay], self.gradient[stay]
        self.damping, self.still, self.steps = self.damping[stay], self.still[stay], self.steps[stay]

    def _direction(self, theta: Floats) -> Floats:
        """Damped step of each fit; a constant that is on a bound and pushed outwards stays there."""
        size, gradient = np.abs(self.errors), self.gradient
        pull = np.clip(self.errors, -self.delta, self.delta)
        inside, all_of = (size <= self.delta).astype(np.float64), np.minimum(1.0, self.delta / np.maximum(size, 1e-300))
        if not self.unweighted:
            weight = self.weight[self.fits]
            pull, inside, all_of = weight * pull, weight * inside, weight * all_of
        slope = (gradient @ pull[:, :, None])[:, :, 0]
        held = ((theta <= self.box.low) & (slope > 0)) | ((theta >= self.box.high) & (slope < 0)) | (self.box.low == self.box.high)
        free = ~held
        inside += np.minimum(1.0, np.sqrt(self.damping))[:, None] * all_of
        curvature = (gradient * inside[:, None]) @ gradient.transpose(0, 2, 1) * (free[:, :, None] & free[:, None, :])
        scale = np.einsum("ijk,ijk,ik->ij", gradient, gradient, all_of)
        floor = 1e-12 * scale.max(axis=1, keepdims=True) + 1e-300
        added = np.where(held, 1.0, self.damping[:, None] * scale + floor)
        damped = curvature + added[:, :, None] * np.eye(theta.shape[1])
        return np.asarray(-np.linalg.solve(damped, (slope * free)[:, :, None])[:, :, 0], dtype=np.float64)
