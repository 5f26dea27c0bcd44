"""The best size for a budget without a form for the loss: Chinchilla's approaches 1 (envelope) and 2 (isoFLOP parabolas).

Approach 1 follows training curves: at each budget the run with the lowest loss, then a power law through their sizes. Approach 2 takes
runs of equal budget: a parabola in log N through each slice, its vertex, then a power law through the vertices. Neither assumes how loss
depends on N and D; the price is that each needs runs on both sides of the optimum, and that a slice whose vertex lies outside its
sizes says nothing and is left out, with its reason.

Budgets are C = 6 N D. Intervals: runs (approach 1) or points within slices (approach 2) are redrawn.
Source: arXiv:2203.15556, sections 3.1 and 3.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lm.law.points import Floats, Points

FLOPS_PER_PARAM_TOKEN = 6.0
SAME_BUDGET = 0.05
"""Runs are one slice if neighbouring budgets differ by less than this share."""
LEAST_PER_SLICE, LEAST_SLICES = 4, 3
NUM_BUDGETS = 60
"""Budgets at which the envelope is read off, evenly in log C."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best size at one budget."""

    flops: float
    num_params: float
    num_tokens: float
    loss: float
    num_points: int


@dataclass(frozen=True, slots=True)
class Frontier:
    """N_opt = factor_n C^exponent_n and D_opt = C / (6 N_opt), with 90% intervals and what it rests on."""

    approach: int
    factor_n: float
    exponent_n: float
    exponent_d: float
    intervals: Mapping[str, tuple[float, float]]
    """Of exponent_n, exponent_d."""
    optima: tuple[Optimum, ...]
    left_out: Mapping[str, str]
    """Budgets that say nothing, with the reason."""
    residuals: Floats
    """Log of each optimum's size minus the power law."""
    warnings: tuple[str, ...]

    def allocation(self, flops: float) -> tuple[float, float]:
        """Best parameters and tokens for a budget."""
        num_params = self.factor_n * flops**self.exponent_n
        return num_params, flops / (FLOPS_PER_PARAM_TOKEN * num_params)


def isoflop(points: Points, *, seed: int = 0, num_bootstrap: int = 200) -> Frontier:
    """Approach 2. Raises: ValueError if fewer than 3 budgets have 4 runs and a minimum inside their sizes."""
    slices = _slices(points)
    optima, left_out = _vertices(points, slices)
    rng = np.random.default_rng(seed)

    def redraw() -> list[Optimum]:
        return _vertices(points, [rng.choice(index, len(index)) for index in slices])[0]

    return _frontier(2, optima, left_out, redraw, num_bootstrap)


def envelope(points: Points, *, seed: int = 0, num_bootstrap: int = 200) -> Frontier:
    """Approach 1, from training curves: several amounts of data per run_id.

    Raises: ValueError if fewer than 3 runs have 2 points or more, or their budgets do not overlap.
    """
    curves = _curves(points)
    if len(curves) < LEAST_SLICES:
        raise ValueError(f"an envelope needs training curves of at least {LEAST_SLICES} runs with 2 points each; came {len(curves)}")
    optima, left_out = _lowest(curves)
    rng = np.random.default_rng(seed)

    def redraw() -> list[Optimum]:
        return _lowest([curves[i] for i in rng.integers(0, len(curves), len(curves))])[0]

    return _frontier(1, optima, left_out, redraw, num_bootstrap)


def _slices(points: Points) -> list[Floats]:
    """Indices of the points of each budget, smallest budget first."""
    log_flops = np.log(points.num_params) + np.log(points.num_tokens)
    order = np.argsort(log_flops, kind="stable")
    cuts = np.flatnonzero(np.diff(log_flops[order]) > SAME_BUDGET) + 1
    return list(np.split(order, cuts))


def _vertices(points: Points, slices: list[Floats]) -> tuple[list[Optimum], dict[str, str]]:
    optima, left_out = [], {}
    for index in slices:
        params, value = np.log(points.num_params[index]), points.value[index]
        flops = FLOPS_PER_PARAM_TOKEN * float(np.exp(np.median(np.log(points.num_params[index] * points.num_tokens[index]))))
        found = _vertex(params, value)
        if isinstance(found, str):
            left_out[f"{flops:.3g} FLOPs"] = found
        else:
            size, loss = found
            optima.append(Optimum(flops, size, flops / (FLOPS_PER_PARAM_TOKEN * size), loss, len(index)))
    return optima, left_out


def _vertex(params: Floats, value: Floats) -> tuple[float, float] | str:
    """Size and loss at the lowest point of a parabola in log N, or why there is none."""
    if len(np.unique(np.round(params, 9))) < LEAST_PER_SLICE:
        return f"fewer than {LEAST_PER_SLICE} model sizes"
    middle = params.mean()
    bend, slope, level = np.polyfit(params - middle, value, 2)
    if bend <= 0:
        return "losses do not bend upwards"
    place = -slope / (2.0 * bend)
    if not params.min() <= middle + place <= params.max():
        return "the lowest point lies outside the sizes"
    return float(np.exp(middle + place)), float(level - slope**2 / (4.0 * bend))


_Curve = tuple[float, Floats, Floats]
"""Size, log budgets, losses."""


def _curves(points: Points) -> list[_Curve]:
    found = []
    names = np.array(points.run_id)
    for name in dict.fromkeys(points.run_id):
        index = np.flatnonzero(names == name)
        if len(index) >= 2:
            index = index[np.argsort(points.num_tokens[index])]
            log_flops = np.log(FLOPS_PER_PARAM_TOKEN * points.num_params[index] * points.num_tokens[index])
            found.append((float(points.num_params[index[0]]), log_flops, points.value[index]))
    return found


def _lowest(curves: list[_Curve]) -> tuple[list[Optimum], dict[str, str]]:
    """The run with the lowest loss at each of many budgets; where the smallest or largest size wins, the best may lie beyond it."""
    low, high = min(float(c[1].min()) for c in curves), max(float(c[1].max()) for c in curves)
    optima, left_out = [], {}
    for budget in np.linspace(low, high, NUM_BUDGETS):
        here = [(float(np.interp(budget, c[1], c[2])), c[0]) for c in curves if c[1][0] <= budget <= c[1][-1]]
        sizes = {size for _, size in here}
        if len(sizes) < LEAST_SLICES:
            left_out[f"{np.exp(budget):.3g} FLOPs"] = f"fewer than {LEAST_SLICES} sizes have curves there"
            continue
        loss, size = min(here)
        if size in (min(sizes), max(sizes)):
            left_out[f"{np.exp(budget):.3g} FLOPs"] = "the best size is the smallest or the largest there"
            continue
        flops = float(np.exp(budget))
        optima.append(Optimum(flops, size, flops / (FLOPS_PER_PARAM_TOKEN * size), loss, len(here)))
    return optima, left_out


def _power_law(optima: list[Optimum]) -> tuple[float, float]:
    """Log of the factor, and the exponent, of N_opt over C."""
    log_flops = np.log([o.flops for o in optima])
    exponent, factor = np.polyfit(log_flops, np.log([o.num_params for o in optima]), 1)
    return float(factor), float(exponent)


def _frontier(
    approach: int, optima: list[Optimum], left_out: dict[str, str], redraw: Callable[[], list[Optimum]], num_bootstrap: int
) -> Frontier:
    if len(optima) < LEAST_SLICES:
        reasons = "; ".join(f"{budget}: {reason}" for budget, reason in list(left_out.items())[:6])
        raise ValueError(f"a frontier needs the best size at {LEAST_SLICES} budgets or more; came {len(optima)} ({reasons})")
    factor, exponent = _power_law(optima)
    drawn = [_power_law(found)[1] for found in (redraw() for _ in range(num_bootstrap)) if len({o.flops for o in found}) >= LEAST_SLICES]
    low, high = np.percentile(drawn, [5.0, 95.0]) if drawn else (-np.inf, np.inf)
    log_sizes = np.log([o.num_params for o in optima])
    lost = num_bootstrap - len(drawn)
    return Frontier(
        approach=approach,
        factor_n=float(np.exp(factor)),
        exponent_n=exponent,
        exponent_d=1.0 - exponent,
        intervals={"exponent_n": (float(low), float(high)), "exponent_d": (1.0 - float(high), 1.0 - float(low))},
        optima=tuple(optima),
        left_out=left_out,
        residuals=log_sizes - (factor + exponent * np.log([o.flops for o in optima])),
        warnings=(f"{lost} of {num_bootstrap} replicates had too few optima for a power law",) if lost else (),
    )
