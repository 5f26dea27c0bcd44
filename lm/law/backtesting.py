"""Would the intervals have held? Data is cut below each budget it has, the rest is forecast, and what came is compared.

    found = backtest({"run_id": ..., "num_params": ..., "num_tokens": ..., "seed": ..., "value": ...})
    print(found.summary())

A target is one run at 2 to 30 times the largest compute that was kept (on a ladder of a few sizes: the largest amount of data). Beside
each forecast stands the naive one of the same data: the Chinchilla form (the data-only form for one size), with the percentiles of a
bootstrap over runs as its interval.

Targets of one cut are missed together, and cuts share points, so a hundred targets are far fewer independent trials: coverage of one
ladder is a rough number, and only that over many ladders says something. The cost is some fits per cut, shared between cuts: about
two seconds for 240 runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.law import candidates, descent, ensemble
from lm.law.ensemble import Memo
from lm.law.points import Columns, Floats, Points, gather, same
from lm.law.predictive import Predictive, crps
from lm.law.prior import PRIOR, Case, Prior, calibrate

NEAREST, FARTHEST = 2.0, 30.0
"""Factors of extrapolation that are scored."""
LEAST_POINTS = 12
"""Fewer fitted points than twice the constants of the plain law, and a cut is not scored."""
NUM_NAIVE = 100
FACTORS = ((2.0, 4.0), (4.0, 10.0), (10.0, 30.0))


@dataclass(frozen=True, slots=True)
class Trial:
    """One cut of one ladder: what was kept, what was forecast, what came."""

    data_set: str
    ladder: str
    num_kept: int
    targets: Points
    factor: Floats
    case: Case
    centre: Floats
    weights: Mapping[str, float]
    naive: Floats
    """Log losses of the naive bootstrap [replicates, targets]."""
    naive_centre: Floats

    def predictive(self, prior: Prior = PRIOR) -> Predictive:
        """The forecast under a prior."""
        tau, freedom = calibrate(self.case.cuts, prior)
        return Predictive(self.centre, tau * np.sqrt(self.case.evidence.variance(prior)), freedom, {})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target: how far off forecast and naive forecast were, and whether their intervals held."""

    data_set: str
    ladder: str
    num_kept: int
    factor: float
    error: float
    """Predicted over observed, minus 1."""
    inside80: bool
    inside90: bool
    width80: float
    width90: float
    """Width of the interval as a share of the forecast."""
    crps: float
    """As a share of the observed loss."""
    naive_error: float
    naive_inside80: bool
    naive_inside90: bool
    naive_width90: float


def backtest(
    data: Points | Columns,
    *,
    data_set: str = "runs",
    ladder: str = "all",
    seed: int = 0,
    least_points: int = LEAST_POINTS,
    priors: Mapping[str, Prior] | None = None,
) -> "Record":
    """Cut a user's own runs below each of their budgets and score the forecasts. Raises: ValueError as `lm.law.gather` does."""
    points = data if isinstance(data, Points) else gather(data)
    return score(trials(points, data_set=data_set, ladder=ladder, seed=seed, least_points=least_points), priors)


def trials(points: Points, *, data_set: str = "runs", ladder: str = "all", seed: int = 0, least_points: int = LEAST_POINTS) -> list[Trial]:
    """All cuts of one ladder that leave enough to fit and something to forecast."""
    memo: Memo = {}
    found: list[Trial] = []
    by_data = ensemble.is_ladder(points)
    axis = ensemble.extent(points, by_data)
    for limit in ensemble.limits(points, by_data):
        kept = points.where(axis <= limit)
        factor = np.exp(axis - float(axis[axis <= limit].max()))
        ahead = (factor >= NEAREST * 0.98) & (factor <= FARTHEST * 1.02)
        if len(kept) < least_points or not ahead.any():
            continue
        for view, chosen in _views(kept, points, ahead, by_data):
            found.append(_trial(data_set, ladder, view, points.where(chosen), factor[chosen], seed, memo))
    return found


def _views(kept: Points, points: Points, ahead: NDArray[np.bool_], by_data: bool) -> Iterator[tuple[Points, NDArray[np.bool_]]]:
    """What a forecast is made from, and the targets it is made for: size by size on a ladder."""
    if not by_data:
        yield kept, ahead
        return
    for size in points.sizes():
        chosen = ahead & same(points.num_params, size)
        if chosen.any():
            yield ensemble.speaking_for(kept, size), chosen


def _trial(data_set: str, ladder: str, kept: Points, targets: Points, factor: Floats, seed: int, memo: Memo) -> Trial:
    built = ensemble.build(kept, seed=seed, memo=memo)
    x, y = candidates.coordinates(targets)
    centre, evidence = built.evidence(targets)
    case = Case(data_set, built.cuts, evidence, np.log(targets.value) - centre)
    naive_centre, naive = _naive(built, kept, x, y, seed)
    return Trial(data_set, ladder, len(kept), targets, factor, case, centre, built.weight_by_name, naive, naive_centre)


def _naive(built: ensemble.Ensemble, kept: Points, x: Floats, y: Floats, seed: int) -> tuple[Floats, Floats]:
    """The plain law and its bootstrap over runs."""
    fitted = built.fitted
    plain, theta, middle = fitted.members[0], fitted.theta[0], fitted.middle
    seen_x, seen_y = candidates.coordinates(kept)
    names = {name: number for number, name in enumerate(dict.fromkeys(kept.run_id))}
    runs = np.array([names[name] for name in kept.run_id])
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=NUM_NAIVE)
    rows, _ = descent.minimise(
        lambda rows: candidates.predict(plain, rows, seen_x - middle[0], seen_y - middle[1]),
        np.tile(theta, (NUM_NAIVE, 1)),
        (np.log(kept.value) - middle[2])[None],
        drawn[:, runs].astype(np.float64),
        descent.Box(candidates.LOW, candidates.HIGH),
        max_steps=candidates.MAX_STEPS,
        tolerance=candidates.TOLERANCE,
    )
    each = candidates.predict(plain, np.concatenate([theta[None], rows]), x - middle[0], y - middle[1])[0] + middle[2]
    return each[0], each[1:]


@dataclass(frozen=True, slots=True)
class Record:
    """Scored forecasts of past data."""

    outcomes: tuple[Outcome, ...]

    def summary(self, keep: Callable[[Outcome], bool] = lambda _: True) -> dict[str, Any]:
        """Coverage, widths and errors over the outcomes for which `keep` holds; None where there are none."""
        kept = [outcome for outcome in self.outcomes if keep(outcome)]
        return {"num_targets": len(kept), **{name: _mean(kept, of) for name, of in MEANS.items()}}

    def by_data_set(self) -> dict[str, dict[str, Any]]:
        """The summary of each data set."""
        return {name: self.summary(lambda o, n=name: o.data_set == n) for name in dict.fromkeys(o.data_set for o in self.outcomes)}  # type: ignore[misc]

    def by_factor(self, factors: Iterable[tuple[float, float]] = FACTORS) -> dict[tuple[float, float], dict[str, Any]]:
        """The summary of each range of extrapolation factors."""
        ends = list(factors)
        return {
            (low, high): self.summary(lambda o, a=low, b=high: a * 0.98 <= o.factor < b * (1.02 if b == ends[-1][1] else 0.98))  # type: ignore[misc]
            for low, high in ends
        }


MEANS: Mapping[str, Callable[[Outcome], float]] = {
    "coverage80": lambda o: o.inside80,
    "coverage90": lambda o: o.inside90,
    "mean_width": lambda o: o.width90,
    "mean_width80": lambda o: o.width80,
    "mean_error": lambda o: abs(o.error),
    "mean_bias": lambda o: o.error,
    "mean_crps": lambda o: o.crps,
    "naive_coverage80": lambda o: o.naive_inside80,
    "naive_coverage90": lambda o: o.naive_inside90,
    "naive_mean_width": lambda o: o.naive_width90,
    "naive_mean_error": lambda o: abs(o.naive_error),
}


def _mean(outcomes: Sequence[Outcome], of: Callable[[Outcome], float]) -> float | None:
    return float(np.mean([of(outcome) for outcome in outcomes])) if outcomes else None


def score(found: Iterable[Trial], priors: Mapping[str, Prior] | None = None) -> Record:
    """Outcomes of trials. priors: for a data set another prior than the usual one, e.g. the one that was fitted without it."""
    return Record(tuple(outcome for trial in found for outcome in _outcomes(trial, (priors or {}).get(trial.data_set, PRIOR))))


def _outcomes(trial: Trial, prior: Prior) -> list[Outcome]:
    forecast, observed = trial.predictive(prior), trial.targets.value
    predicted = np.exp(trial.centre)
    low80, high80 = forecast.interval(0.8)
    low90, high90 = forecast.interval(0.9)
    quantiles = forecast.quantiles()
    naive = np.exp(np.percentile(trial.naive, [5.0, 10.0, 90.0, 95.0], axis=0))
    naive_predicted = np.exp(trial.naive_centre)
    return [
        Outcome(
            data_set=trial.data_set,
            ladder=trial.ladder,
            num_kept=trial.num_kept,
            factor=float(trial.factor[i]),
            error=float(predicted[i] / observed[i] - 1.0),
            inside80=bool(low80[i] <= observed[i] <= high80[i]),
            inside90=bool(low90[i] <= observed[i] <= high90[i]),
            width80=float((high80[i] - low80[i]) / predicted[i]),
            width90=float((high90[i] - low90[i]) / predicted[i]),
            crps=crps(quantiles[:, i], float(observed[i])) / float(observed[i]),
            naive_error=float(naive_predicted[i] / observed[i] - 1.0),
            naive_inside80=bool(naive[1, i] <= observed[i] <= naive[2, i]),
            naive_inside90=bool(naive[0, i] <= observed[i] <= naive[3, i]),
            naive_width90=float((naive[3, i] - naive[0, i]) / naive_predicted[i]),
        )
        for i in range(len(observed))
    ]
