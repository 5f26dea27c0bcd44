"""What is believed about a recipe's loss: many plausible curves, drawn jointly for all recipes that are compared.

A draw of one recipe is a bootstrap replicate of its law, tilted beyond the data by an error of the form. That error has two parts,
both measured by hiding the largest amounts of the same data: one that all recipes share (the form bends the same way for all, so it
leaves a ranking alone) and one of each recipe's own (which does not). Comparing intervals of single recipes instead would count the shared
part against every decision, and find ties where there are none; leaving the own part out would find winners where there are none.

The cost: a tilt that grows with the distance in log tokens or log compute is itself a form, and misses at hidden rungs are few, so they are
drawn from Student's t. Other decisions of this package (allocation, repetition, next runs) read the same draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from lm.law.fitting import require, solve
from lm.law.forecasting import headline_law
from lm.law.forms import Scale
from lm.law.points import SAME_SIZE, Floats, Points, distinct, same
from lm.law.records import Law

NUM_DRAWS = 2000
FLOPS_PER_PARAM_TOKEN = 6.0
"""C = 6 N D: forward and backward of a dense Transformer, attention left out (arXiv:2001.08361)."""
HIDDEN_SHARES = (0.15, 0.3, 0.45)
"""For points that are no grid: parts of the span that are hidden from the top."""
FEW_LEVELS = 12
SHORTEST = 0.02
"""Hidden points nearer than this share of the fitted span say nothing about extrapolation."""
LONGEST_FRONTIER = 64
"""Model sizes tried per budget on the frontier."""

Axis = Literal["tokens", "compute"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval. An end may be infinite: nothing on that side is ruled out."""

    value: float
    low: float
    high: float
    level: float

    @classmethod
    def of(cls, draws: Floats, level: float, value: float | None = None) -> "Estimate":
        """From draws; the value is their median unless it is given."""
        tail = 50.0 * (1.0 - level)
        low, middle, high = np.percentile(draws, [tail, 50.0, 100.0 - tail], method="inverted_cdf")
        return cls(float(middle) if value is None else value, float(low), float(high), level)


@dataclass(frozen=True, slots=True)
class Belief:
    """Plausible loss curves of one recipe."""

    name: str
    law: Law
    axis: Axis
    """What extrapolation is measured along."""
    replicate: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Bootstrap replicate behind each draw."""
    tilt: Floats
    """Log loss added per unit of extrapolation, in each draw."""
    slopes: tuple[float, float]
    """Standard deviation of the tilt: the part shared with the other recipes, and the recipe's own."""
    num_misses: int
    """Hidden cells behind the tilt; 0 means that it spans the whole change the law predicts beyond the data."""

    @property
    def num_draws(self) -> int:
        """How many curves."""
        return len(self.tilt)

    def log_losses(self, num_params: Floats | float, num_tokens: Floats | float) -> Floats:
        """Log loss of every draw at each point [draws, points]."""
        sizes, tokens = np.broadcast_arrays(np.atleast_1d(num_params).astype(float), np.atleast_1d(num_tokens).astype(float))
        far = distance(self.law.points, self.axis, sizes, tokens)
        found: Floats = self.fitted(sizes, tokens) + self.tilt[:, None] * far[None]
        return found

    def fitted(self, num_params: Floats, num_tokens: Floats) -> Floats:
        """The same without the error of the form: what the replicates of the law say [draws, points]."""
        return log_losses(self.law, self.law.samples, num_params, num_tokens)[self.replicate]

    def expected(self, num_params: float, num_tokens: float) -> float:
        """Loss of the fitted law itself."""
        return float(np.exp(log_losses(self.law, self.law.theta[None], np.array([num_params]), np.array([num_tokens]))[0, 0]))

    def loss(self, num_params: float, num_tokens: float, level: float = 0.9) -> Estimate:
        """Expected loss, without the noise of a single run."""
        draws = np.exp(self.log_losses(num_params, num_tokens)[:, 0])
        return Estimate.of(draws, level, self.expected(num_params, num_tokens))

    def frontier(self, flops: Floats) -> tuple[Floats, Floats]:
        """Lowest log loss at each budget [draws, budgets], and the model size that reaches it."""
        middle = self.law.scale.log_params
        sizes = np.exp(np.linspace(middle - 9.0, middle + 9.0, LONGEST_FRONTIER))
        losses, best = [], []
        for budget in flops:
            tried = self.log_losses(sizes, budget / (FLOPS_PER_PARAM_TOKEN * sizes))
            at = tried.argmin(axis=1)
            losses.append(tried[np.arange(len(tried)), at])
            best.append(sizes[at])
        return np.stack(losses, axis=1), np.stack(best, axis=1)


def log_losses(law: Law, theta: Floats, num_params: Floats, num_tokens: Floats) -> Floats:
    """Log loss of each row of internal constants at each point [fits, points]."""
    return _evaluate(law, theta, law.scale, num_params, num_tokens)


def _evaluate(law: Law, theta: Floats, scale: Scale, num_params: Floats, num_tokens: Floats) -> Floats:
    """The form of a law under other constants. A form that knows repetition is asked about data of which nothing repeats."""
    coordinates = np.log(num_params) - scale.log_params, *[np.log(num_tokens) - scale.log_tokens] * 2
    found: Floats = law.form_record.predict(theta, *coordinates[: len(law.form_record.columns)])[0] + scale.log_value
    return found


def position(axis: Axis, num_params: Floats, num_tokens: Floats) -> Floats:
    """Place on the axis of extrapolation: log D, or log ND."""
    found: Floats = np.log(num_tokens) if axis == "tokens" else np.log(num_params) + np.log(num_tokens)
    return found


def distance(points: Points, axis: Axis, num_params: Floats, num_tokens: Floats) -> Floats:
    """How far a target lies beyond the points, as a share of their span; 0 inside."""
    seen = position(axis, points.num_params, points.num_tokens)
    found: Floats = np.maximum(0.0, position(axis, num_params, num_tokens) - seen.max()) / max(float(np.ptp(seen)), SAME_SIZE)
    return found


def believe(
    laws: Mapping[str, Law | Sequence[Law]], num_params: float | None = None, *, seed: int = 0, num_draws: int = NUM_DRAWS
) -> dict[str, Belief]:
    """Joint draws for the laws of one or several recipes, by recipe.

    laws: each recipe's law, or all its laws: the one that forecasts `num_params` is taken (a joint one if no size is given).
    Raises: ValueError if no law covers the size.
    """
    chosen = {name: _choose(found, num_params) for name, found in laws.items()}
    by_data = num_params is not None and all(len(law.points.of_size(num_params).rungs()) >= 3 for law in chosen.values())
    axis: Axis = "tokens" if by_data else "compute"
    misses = {name: hidden_misses(law, axis) for name, law in chosen.items()}
    shared, own = _slopes(misses, {name: law.noise.run_sd**2 + law.noise.point_sd**2 for name, law in chosen.items()})
    rng = np.random.default_rng(seed)
    num_cuts = max((len({key[0] for key in found}) for found in misses.values()), default=0)
    common = rng.standard_t(max(2, num_cuts), num_draws)
    beliefs = {}
    for name, law in chosen.items():
        alone = rng.standard_t(max(2, num_cuts * max(1, len(chosen) - 1)), num_draws)
        slopes = (shared, own) if misses[name] else (0.0, _unseen(law, axis))
        tilt = slopes[0] * common + slopes[1] * alone
        beliefs[name] = Belief(name, law, axis, rng.integers(len(law.samples), size=num_draws), tilt, slopes, len(misses[name]))
    return beliefs


def _choose(laws: Law | Sequence[Law], num_params: float | None) -> Law:
    if isinstance(laws, Law):
        return laws
    if num_params is not None:
        return headline_law(laws, num_params)
    joint = [law for law in laws if law.num_params is None]
    if not joint:
        raise ValueError("a target without a model size needs a law over several sizes; train a second model size")
    return joint[0]


Misses = dict[tuple[int, int, int], tuple[float, float, int]]
"""(cut, cell by rounded log N and log D) -> distance, log observed minus log predicted, runs behind the mean."""


def hidden_misses(law: Law, axis: Axis) -> Misses:
    """Hide the top of the data in several ways, fit the rest, and note by how much each hidden cell is missed."""
    points = law.points
    at = position(axis, points.num_params, points.num_tokens)
    found: Misses = {}
    for cut, limit in enumerate(_limits(at)):
        rest, hidden = points.where(at <= limit + SAME_SIZE), points.where(at > limit + SAME_SIZE)
        try:
            require(rest, law.form_record)
        except ValueError:
            continue
        scale = Scale.of(rest)
        theta, _, _ = solve(rest, law.form_record, scale)
        errors = np.log(hidden.value) - _evaluate(law, theta[None], scale, hidden.num_params, hidden.num_tokens)[0]
        far = distance(rest, axis, hidden.num_params, hidden.num_tokens)
        for cell, index in _cells(hidden).items():
            if far[index[0]] >= SHORTEST:
                found[(cut, *cell)] = float(far[index[0]]), float(errors[index].mean()), len(index)
    return found


def _limits(at: Floats) -> list[float]:
    levels = sorted(np.log(value) + at.min() for value in distinct(np.exp(at - at.min())))
    if len(levels) <= FEW_LEVELS:
        return [float(level) for level in levels[len(levels) // 2 - 1 : -1][::-1]] if len(levels) > 2 else []
    return [float(at.max() - share * np.ptp(at)) for share in HIDDEN_SHARES]


def _cells(points: Points) -> dict[tuple[int, int], list[int]]:
    cells: dict[tuple[int, int], list[int]] = {}
    for i, (n, d) in enumerate(zip(np.log(points.num_params), np.log(points.num_tokens), strict=True)):
        cells.setdefault((round(n * 1e4), round(d * 1e4)), []).append(i)
    return cells


def _slopes(misses: Mapping[str, Misses], noise: Mapping[str, float]) -> tuple[float, float]:
    """Shared and own root-mean-square miss per unit of extrapolation, beyond seed noise.

    Cells that only some recipes have cannot be split into shared and own; where no cell is common, all of the miss counts as own.
    """
    names = [name for name in misses if misses[name]]
    common = set.intersection(*(set(misses[name]) for name in names)) if names else set()
    if not common or len(names) < 2:
        pooled = [(*miss, noise[name]) for name in names for miss in misses[name].values()]
        slope = _slope([(far, error**2 - variance / runs) for far, error, runs, variance in pooled])
        return (slope, 0.0) if len(names) < 2 else (0.0, slope)
    shared, own = [], []
    for key in sorted(common):
        far = float(np.mean([misses[name][key][0] for name in names]))
        errors = np.array([misses[name][key][1] for name in names])
        variance = float(np.mean([noise[name] / misses[name][key][2] for name in names]))
        spread = float(((errors - errors.mean()) ** 2).sum() / (len(names) - 1))
        own.append((far, spread - variance))
        shared.append((far, float(errors.mean()) ** 2 - max(spread, variance) / len(names)))
    return _slope(shared), _slope(own)


def _slope(squares: Sequence[tuple[float, float]]) -> float:
    total = sum(far**2 for far, _ in squares)
    return float(np.sqrt(max(0.0, sum(square for _, square in squares)) / total)) if total else 0.0


def _unseen(law: Law, axis: Axis) -> float:
    """Where nothing could be hidden: the change of log loss that the law predicts per unit of extrapolation at the end of its data."""
    points = law.points
    ends = [int(np.argmax(position(axis, points.num_params, points.num_tokens)))]
    span = max(float(np.ptp(position(axis, points.num_params, points.num_tokens))), SAME_SIZE)
    size, tokens = points.num_params[ends], points.num_tokens[ends]
    here, there = (log_losses(law, law.theta[None], size, tokens * factor)[0, 0] for factor in (1.0, float(np.exp(span))))
    return abs(float(there - here))


def largest_common(points: Sequence[Points]) -> tuple[float, float] | None:
    """The largest cell (size, tokens), by compute, at which every recipe was measured; None if there is none."""
    cells = [
        {(round(n * 1e4), round(d * 1e4)): (n, d) for n, d in zip(np.log(p.num_params), np.log(p.num_tokens), strict=True)} for p in points
    ]
    shared = set.intersection(*(set(found) for found in cells)) if cells else set()
    if not shared:
        return None
    n, d = max((cells[0][key] for key in shared), key=lambda cell: (cell[0] + cell[1], cell[1]))
    return float(np.exp(n)), float(np.exp(d))


def measured(points: Points, num_params: float, num_tokens: float) -> float:
    """Mean loss measured in a cell. Raises: ValueError if there is none."""
    here = same(points.num_params, num_params) & same(points.num_tokens, num_tokens)
    near = (np.abs(np.log(points.num_params / num_params)) < 2e-4) & (np.abs(np.log(points.num_tokens / num_tokens)) < 2e-4)
    values = points.value[here if here.any() else near]
    if not len(values):
        raise ValueError(f"nothing was measured at {num_params:,.0f} parameters and {num_tokens:,.0f} tokens")
    return float(values.mean())


def falling(values: Floats) -> Floats:
    """Each row made non-increasing: what more data can be used for is never worse than less of it."""
    found: Floats = np.minimum.accumulate(values, axis=1)
    return found


def first_below(grid: Floats, values: Floats, wanted: Floats) -> Floats:
    """Where each falling row of `values` [draws, grid] comes down to `wanted` [draws]: inf if never, the first if it starts there."""
    found = np.full(len(values), np.inf)
    logs = np.log(grid)
    for row, (line, level) in enumerate(zip(values, wanted, strict=True)):
        if line[0] <= level:
            found[row] = grid[0]
        elif line[-1] <= level:
            at = int(np.argmax(line <= level))
            left, right = line[at - 1], line[at]
            share = 0.0 if left == right else (left - level) / (left - right)
            found[row] = float(np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1])))
    return found


def sign_changes(grid: Floats, values: Floats) -> Floats:
    """Where each row of `values` [draws, grid] changes its sign for the last time; nan where it does not."""
    found = np.full(len(values), np.nan)
    logs = np.log(grid)
    for row, line in enumerate(values):
        changes = [i for i, (a, b) in enumerate(pairwise(line >= 0)) if a != b]
        if changes:
            i = changes[-1]
            share = line[i] / (line[i] - line[i + 1])
            found[row] = float(np.exp(logs[i] + share * (logs[i + 1] - logs[i])))
    return found
