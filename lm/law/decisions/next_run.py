"""Which run to pay for next: the one that narrows a forecast, or settles a decision, most for its cost.

Two things make a forecast uncertain, and a run helps against both. It fixes the constants of the law: over the replicates of the fit its
loss and the target's vary together, and the stronger they do, the more of the target's variance one measurement removes. And it
carries the data nearer to the target, which shrinks the error of the form in proportion. Sets are built greedily, each
choice on what the ones before it leave open. That is linear and Gaussian where the truth is neither; `benchmarks/decisions.py`
holds the advice against chance and against the largest affordable run on published runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, Belief, position
from lm.law.decisions.comparison import Target
from lm.law.points import SAME_SIZE, Floats

TAILS = 0.01
"""Draws are pulled in to these quantiles before covariances are taken: Student's t has too much in its ends for them."""
MOST_RUNS = 8
ENOUGH = 0.003
"""A run that removes less than this share of the variance there was at first is not worth naming."""
PARTS = (1, 2, 4)
"""Sets are also sought among runs that cost at most such a part of the budget: one large run is not always best."""
CLOSE = 1.3
"""Sets that leave up to this many times the least variance count as equally good."""
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
    return _advise(_Question(beliefs, (recipe,), target), candidates, budget, level)


def settle_comparison(
    beliefs: Mapping[str, Belief], a: str, b: str, target: Target, candidates: Sequence[Candidate], budget: float, *, level: float = 0.9
) -> Advice:
    """Runs under a budget that settle A against B at a target most surely.

    Raises: ValueError if no candidate is affordable.
    """
    return _advise(_Question(beliefs, (a, b), target), candidates, budget, level)


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
class _Open:
    """What is still open about a target: what more runs would fix of the laws' constants, and how far out the target lies."""

    covariance: Floats
    """Of the target (index 0) and of every candidate's loss, over the replicates of the laws."""
    noise: Floats
    """Variance of one run's log loss, for each candidate."""
    reach: Mapping[str, tuple[float, float]]
    """Smallest and largest place measured on the axis of extrapolation, by recipe of the target."""

    def sampling_left(self) -> Floats:
        """Variance of the target's fitted value that is left after each candidate."""
        with_target = self.covariance[0, 1:]
        found: Floats = self.covariance[0, 0] - with_target**2 / (np.diag(self.covariance)[1:] + self.noise)
        return found

    def after(self, i: int, recipe: str, place: float) -> "_Open":
        """What is open once candidate i is measured."""
        column = self.covariance[:, 1 + i]
        covariance = self.covariance - np.outer(column, column) / (column[1 + i] + self.noise[i])
        return replace(self, covariance=covariance, reach=self.reached(recipe, place))

    def reached(self, recipe: str, place: float) -> dict[str, tuple[float, float]]:
        """The reach with one more place measured."""
        return {name: (min(low, place), max(high, place)) if name == recipe else (low, high) for name, (low, high) in self.reach.items()}


@dataclass(frozen=True, slots=True)
class _Question:
    """A target, the recipes it is about, and what its form error is made of."""

    beliefs: Mapping[str, Belief]
    recipes: tuple[str, ...]
    """One, or the two whose difference is wanted."""
    target: Target

    def fitted(self) -> Floats:
        """Log loss, or log ratio of two losses, in every draw, without the error of the form."""
        at = [_fitted_at(self.beliefs[name], self.target) for name in self.recipes]
        return at[0] if len(at) == 1 else at[1] - at[0]

    def place(self, recipe: str) -> float:
        """The target on the axis of extrapolation."""
        belief, amount = self.beliefs[recipe], self.target.amount
        if self.target.num_params is None:
            return float(np.log(amount / FLOPS_PER_PARAM_TOKEN))
        return float(position(belief.axis, np.array([self.target.num_params]), np.array([amount]))[0])

    def form_variance(self, reach: Mapping[str, tuple[float, float]]) -> float:
        """Variance that the form's error adds when so much is measured; what two recipes share drops out of their difference."""
        far = [max(0.0, self.place(n) - reach[n][1]) / max(reach[n][1] - reach[n][0], SAME_SIZE) for n in self.recipes]
        own = sum((self.beliefs[n].slopes[1] * d) ** 2 for n, d in zip(self.recipes, far, strict=True))
        shared = self.beliefs[self.recipes[0]].slopes[0] * (far[0] if len(far) == 1 else far[1] - far[0])
        return float(own + shared**2)


def _fitted_at(belief: Belief, target: Target) -> Floats:
    if target.num_params is not None:
        return belief.fitted(np.array([target.num_params]), np.array([target.amount]))[:, 0]
    sizes = np.array([float(np.median(belief.frontier(np.array([target.amount]))[1]))])
    return belief.fitted(sizes, target.amount / (FLOPS_PER_PARAM_TOKEN * sizes))[:, 0]


def _advise(question: _Question, candidates: Sequence[Candidate], budget: float, level: float) -> Advice:
    affordable = [c for c in candidates if c.flops <= budget * 1.0001 and c.recipe in question.recipes]
    if not affordable:
        cheapest = min((c.flops for c in candidates), default=float("nan"))
        raise ValueError(f"no run fits a budget of {budget:.3g} FLOPs; the cheapest of {len(candidates)} costs {cheapest:.3g}")
    decides = len(question.recipes) == 2
    wanted = question.fitted()
    now = _open(question, wanted, affordable)
    start, mean = _variance(question, now), float(np.median(wanted))
    ways = [(False, budget / parts) for parts in PARTS] + [(True, budget)]
    sets = [_greedy(question, now, affordable, budget, per_cost, dearest) for per_cost, dearest in ways]
    chosen = _furthest([found for found in [*sets, _largest_first(question, now, affordable, budget)] if found], affordable)

    def tell(left: float) -> tuple[float, float | None]:
        return float(np.sqrt(left / start)) if start > 0 else 1.0, expected_right(mean, start, left) if decides else None

    singles = _left(question, now, affordable)
    return Advice(
        tuple(Choice(affordable[i], *tell(left)) for i, left in chosen),
        budget,
        sum(affordable[i].flops for i, _ in chosen),
        float(np.sqrt(start) * special.ndtri(0.5 + level / 2.0)),
        float(special.ndtr(abs(mean) / np.sqrt(max(start, 1e-18)))) if decides else None,
        len(candidates),
        tuple(Choice(affordable[i], *tell(float(singles[i]))) for i in np.argsort(singles, kind="stable")[:5]),
    )


def _open(question: _Question, wanted: Floats, candidates: Sequence[Candidate]) -> _Open:
    draws = np.empty((len(wanted), 1 + len(candidates)))
    draws[:, 0] = wanted
    for name in question.recipes:
        index = [i for i, candidate in enumerate(candidates) if candidate.recipe == name]
        if index:
            sizes, tokens = (np.array([getattr(candidates[i], what) for i in index]) for what in ("num_params", "num_tokens"))
            draws[:, [1 + i for i in index]] = question.beliefs[name].fitted(sizes, tokens)
    pulled = np.clip(draws, *np.quantile(draws, [TAILS, 1.0 - TAILS], axis=0))
    covariance = np.atleast_2d(np.cov(pulled, rowvar=False)) + 1e-18 * np.eye(draws.shape[1])
    noise = [question.beliefs[c.recipe].law.noise for c in candidates]
    return _Open(
        covariance,
        np.maximum(np.array([found.run_sd**2 + found.point_sd**2 for found in noise]), 1e-12),
        {name: _reach(question.beliefs[name]) for name in question.recipes},
    )


def _reach(belief: Belief) -> tuple[float, float]:
    seen = position(belief.axis, belief.law.points.num_params, belief.law.points.num_tokens)
    return float(seen.min()), float(seen.max())


def _place(question: _Question, candidate: Candidate) -> float:
    axis = question.beliefs[candidate.recipe].axis
    return float(position(axis, np.array([candidate.num_params]), np.array([candidate.num_tokens]))[0])


def _variance(question: _Question, now: _Open) -> float:
    return float(now.covariance[0, 0]) + question.form_variance(now.reach)


def _left(question: _Question, now: _Open, candidates: Sequence[Candidate]) -> Floats:
    """Variance of the target that each candidate leaves."""
    form = [question.form_variance(now.reached(c.recipe, _place(question, c))) for c in candidates]
    found: Floats = now.sampling_left() + np.array(form)
    return found


def _greedy(
    question: _Question, now: _Open, candidates: Sequence[Candidate], budget: float, per_cost: bool, dearest: float
) -> list[tuple[int, float]]:
    """Candidates that cost `dearest` at most, by what they remove, in all or per FLOP, with the variance that is left after each."""
    costs = np.array([c.flops for c in candidates])
    chosen: list[tuple[int, float]] = []
    money, start = budget * 1.0001, _variance(question, now)
    variance = start
    while len(chosen) < MOST_RUNS:
        left = _left(question, now, candidates)
        removed = np.where(costs > min(money, dearest * 1.0001), -np.inf, variance - left)
        best = int(np.argmax(removed / costs if per_cost else removed))
        if removed[best] <= ENOUGH * start:
            break
        now = now.after(best, candidates[best].recipe, _place(question, candidates[best]))
        variance, money = float(left[best]), money - costs[best]
        chosen.append((best, variance))
    return chosen


def _largest_first(question: _Question, now: _Open, candidates: Sequence[Candidate], budget: float) -> list[tuple[int, float]]:
    """The dearest runs that the money pays for, with the variance each leaves."""
    chosen: list[tuple[int, float]] = []
    money = budget * 1.0001
    for i in sorted(range(len(candidates)), key=lambda i: -candidates[i].flops):
        if candidates[i].flops <= money and len(chosen) < MOST_RUNS:
            chosen.append((i, float(_left(question, now, candidates)[i])))
            now, money = now.after(i, candidates[i].recipe, _place(question, candidates[i])), money - candidates[i].flops
    return chosen


def _furthest(sets: Sequence[list[tuple[int, float]]], candidates: Sequence[Candidate]) -> list[tuple[int, float]]:
    """Of the sets that leave about the least, the one with the largest run: it rests least on the form."""
    if not sets:
        return []
    least = min(found[-1][1] for found in sets)
    close = [found for found in sets if found[-1][1] <= least * CLOSE]
    return max(close, key=lambda found: (max(candidates[i].flops for i, _ in found), -found[-1][1]))


def expected_right(mean: float, variance: float, left: float) -> float:
    """Expected probability that the sign of the mean is the right one, once all but `left` of the variance is known."""
    if left <= 0.0:
        return 1.0
    learned = np.sqrt(max(0.0, variance - left))
    outcomes = mean + learned * special.ndtri((np.arange(NUM_OUTCOMES) + 0.5) / NUM_OUTCOMES)
    return float(special.ndtr(np.abs(outcomes) / np.sqrt(left)).mean())
