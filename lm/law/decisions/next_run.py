"""Which run to pay for next: the one that narrows a forecast, or settles a decision, most for its cost.

Every candidate is asked, before it is run, how much its outcome would tell: over the draws of a belief its loss and the target's loss vary
together, and the stronger they do, the more of the target's variance one measurement removes. Sets are built greedily, each choice made
on what the ones before it leave open. That is linear and Gaussian where the truth is neither; `benchmarks/decisions.py` compares the
advice with random and with largest-affordable choices on published runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, Belief
from lm.law.decisions.comparison import Target, probability_lower
from lm.law.points import Floats

TAILS = 0.01
"""Draws are pulled in to these quantiles before covariances are taken: Student's t has too much in its ends for them."""
MOST_RUNS = 8
ENOUGH = 0.01
"""A run that removes less than this share of the variance there was at first is not worth naming."""
NUM_OUTCOMES = 33


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that could be paid for."""

    recipe: str
    num_params: float
    num_tokens: float
    flops: float
    kind: str
    """another_seed, more_data, another_size or larger: what it adds to what was measured."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A run of the advised set, in order, and what is expected of it."""

    candidate: Candidate
    width_left: float
    """Share of the target's present interval that is expected to be left after this run and those before it."""
    probability_right: float | None
    """Expected probability that the decision is right after it; None where no decision is asked."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The set of runs to pay for."""

    choices: tuple[Choice, ...]
    budget: float
    spent: float
    half_width: float
    """Present half-width of the target: of the log loss, or of the log of the ratio of two losses."""
    probability_right: float | None
    """Probability of deciding right today."""
    num_candidates: int
    alternatives: tuple[Choice, ...]
    """The best single runs, with what each would do alone."""


def sharpen(
    beliefs: Mapping[str, Belief], recipe: str, target: Target, candidates: Sequence[Candidate], budget: float, *, level: float = 0.9
) -> Advice:
    """Runs under a budget that narrow the forecast of one recipe at a target most.

    Raises: ValueError if no candidate is affordable.
    """
    wanted = target.scaled(beliefs[recipe], np.ones(1))[:, 0]
    return _advise(beliefs, wanted, candidates, budget, level, decides=False)


def settle_comparison(
    beliefs: Mapping[str, Belief], a: str, b: str, target: Target, candidates: Sequence[Candidate], budget: float, *, level: float = 0.9
) -> Advice:
    """Runs under a budget that settle A against B at a target most surely.

    Raises: ValueError if no candidate is affordable.
    """
    wanted = target.scaled(beliefs[b], np.ones(1))[:, 0] - target.scaled(beliefs[a], np.ones(1))[:, 0]
    return _advise(beliefs, wanted, [c for c in candidates if c.recipe in (a, b)], budget, level, decides=True)


def candidates_for(
    beliefs: Mapping[str, Belief], *, most_tokens: Mapping[str, float] | None = None, factors: Iterable[float] = (2.0, 4.0, 8.0)
) -> list[Candidate]:
    """Runs next to what was measured: another seed at each cell, more data at each size, and sizes half and twice as large.

    most_tokens: tokens a recipe has at most; larger runs are not proposed.
    """
    found: list[Candidate] = []
    for name, belief in beliefs.items():
        points = belief.law.points
        sizes, rungs = points.sizes(), points.rungs()
        most = (most_tokens or {}).get(name, np.inf)
        cells = {(n, d) for n in sizes for d in points.of_size(n).rungs()}
        further = [rungs[-1] * factor for factor in factors]
        found += [_candidate(name, n, d, "another_seed") for n, d in sorted(cells)]
        found += [
            _candidate(name, n, d, "more_data" if d <= rungs[-1] else "larger")
            for n in sizes
            for d in [*rungs, *further]
            if (n, d) not in cells and d > min(points.of_size(n).rungs())
        ]
        if belief.law.num_params is None:
            found += [_candidate(name, n, d, "another_size") for n in (sizes[0] / 2.0, sizes[-1] * 2.0) for d in [*rungs[-3:], *further]]
        found = [c for c in found if c.recipe != name or c.num_tokens <= most * 1.0001]
    return found


def _candidate(recipe: str, num_params: float, num_tokens: float, kind: str) -> Candidate:
    return Candidate(recipe, num_params, num_tokens, FLOPS_PER_PARAM_TOKEN * num_params * num_tokens, kind)


@dataclass(frozen=True, slots=True)
class _Joint:
    """Covariance of the target (index 0) and of every candidate's loss, with each candidate's noise."""

    covariance: Floats
    noise: Floats

    def left(self) -> Floats:
        """Target variance left after each candidate."""
        with_target = self.covariance[0, 1:]
        found: Floats = self.covariance[0, 0] - with_target**2 / (np.diag(self.covariance)[1:] + self.noise)
        return found

    def after(self, i: int) -> "_Joint":
        """The covariance once candidate i is measured."""
        column = self.covariance[:, 1 + i]
        return replace(self, covariance=self.covariance - np.outer(column, column) / (column[1 + i] + self.noise[i]))


def _advise(
    beliefs: Mapping[str, Belief], wanted: Floats, candidates: Sequence[Candidate], budget: float, level: float, *, decides: bool
) -> Advice:
    affordable = [c for c in candidates if c.flops <= budget * 1.0001]
    if not affordable:
        cheapest = min((c.flops for c in candidates), default=float("nan"))
        raise ValueError(f"no run fits a budget of {budget:.3g} FLOPs; the cheapest of {len(candidates)} costs {cheapest:.3g}")
    joint = _joint(beliefs, wanted, affordable)
    start, mean = joint.covariance[0, 0], float(np.median(wanted))
    sets = [_greedy(joint, affordable, budget, per_cost) for per_cost in (False, True)]
    chosen = min(sets, key=lambda found: found[-1][1] if found else np.inf)
    tell = _teller(start, mean, decides)
    singles = joint.left()
    order = np.argsort(singles, kind="stable")[:5]
    return Advice(
        tuple(Choice(affordable[i], *tell(left)) for i, left in chosen),
        budget,
        sum(affordable[i].flops for i, _ in chosen),
        float(np.sqrt(start) * stats.norm.ppf(0.5 + level / 2.0)),
        max(p := probability_lower(wanted), 1.0 - p) if decides else None,
        len(candidates),
        tuple(Choice(affordable[i], *tell(float(singles[i]))) for i in order),
    )


def _joint(beliefs: Mapping[str, Belief], wanted: Floats, candidates: Sequence[Candidate]) -> _Joint:
    columns = [wanted]
    by_recipe: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        by_recipe.setdefault(candidate.recipe, []).append(i)
    found = np.empty((len(wanted), len(candidates)))
    for name, index in by_recipe.items():
        sizes = np.array([candidates[i].num_params for i in index])
        found[:, index] = beliefs[name].log_losses(sizes, np.array([candidates[i].num_tokens for i in index]))
    draws = np.concatenate([columns[0][:, None], found], axis=1)
    pulled = np.clip(draws, *np.quantile(draws, [TAILS, 1.0 - TAILS], axis=0))
    noise = [beliefs[c.recipe].law.noise.run_sd ** 2 + beliefs[c.recipe].law.noise.point_sd ** 2 for c in candidates]
    return _Joint(np.atleast_2d(np.cov(pulled, rowvar=False)) + 1e-18 * np.eye(draws.shape[1]), np.maximum(np.array(noise), 1e-12))


def _greedy(joint: _Joint, candidates: Sequence[Candidate], budget: float, per_cost: bool) -> list[tuple[int, float]]:
    """Candidates in order of choice with the variance each leaves; by what is removed, or by what is removed per FLOP."""
    costs = np.array([c.flops for c in candidates])
    chosen: list[tuple[int, float]] = []
    money, variance = budget * 1.0001, float(joint.covariance[0, 0])
    while len(chosen) < MOST_RUNS:
        removed = variance - joint.left()
        removed[costs > money] = -np.inf
        best = int(np.argmax(removed / costs if per_cost else removed))
        if removed[best] <= ENOUGH * float(joint.covariance[0, 0]):
            break
        joint, variance, money = joint.after(best), variance - float(removed[best]), money - costs[best]
        chosen.append((best, variance))
    return chosen


def _teller(start: float, mean: float, decides: bool) -> Callable[[float], tuple[float, float | None]]:
    def tell(left: float) -> tuple[float, float | None]:
        share = float(np.sqrt(max(left, 0.0) / start)) if start > 0 else 1.0
        return share, expected_right(mean, start, max(left, 0.0)) if decides else None

    return tell


def expected_right(mean: float, variance: float, left: float) -> float:
    """Expected probability that the sign of the mean is the right one, once all but `left` of the variance is known."""
    if left <= 0.0:
        return 1.0
    learned = np.sqrt(max(0.0, variance - left))
    outcomes = mean + learned * stats.norm.ppf((np.arange(NUM_OUTCOMES) + 0.5) / NUM_OUTCOMES)
    return float(stats.norm.cdf(np.abs(outcomes) / np.sqrt(left)).mean())
