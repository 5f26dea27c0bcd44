"""What public ladders say about the error of a forecast before one's own hidden rungs have said anything.

The prior is five numbers. The scale s of the error of log loss at a target is

    s^2 = tau^2 ((form^2 spread^2 + sampling^2 bootstrap^2) x / ln 5 + scatter^2 / runs),

where `spread` is the disagreement of the candidate laws there, `bootstrap` their change when runs are drawn anew, x the log of the
factor of extrapolation, and scatter that of a run around the law. Disagreement grows with distance by itself, but errors grow faster,
as those of a random walk do; without x near targets were covered too often and far ones too seldom. tau^2 starts at 1 with the weight
of `freedom` degrees of freedom; every cut that hides the top of the user's own data adds `own` times the share of the points it kept,
with the mean squared error found there in units of s. The forecast is then Student's t with as many degrees of freedom: few cuts,
long tails.

How they were measured: `benchmarks/interval_prior.py` cuts public ladders below each of their budgets, forecasts all runs at 2 to 30
times the largest compute kept, and maximises the likelihood of the errors seen, every data set counting the same. Simulated ladders
were left out of it: no drawn law errs as real runs do, and with them the intervals came out too narrow for real ones. The
table of misses in `docs/forecasts.md` comes from the same run. No data set is contained.

What it costs: three public collections are few, and all are of language models trained with one recipe per ladder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy import optimize, special

from lm.law.points import Floats

SMALLEST = 1e-3
"""No forecast claims to be better than this on the log loss."""
PULL = 0.03
"""Weight of the squared log distance from where the search starts: three data sets do not fix five numbers well."""
USUAL_DISTANCE, NEAREST = float(np.log(5.0)), 0.3
"""Log of the factor of extrapolation at which `form` and `sampling` are stated, and the least that counts."""


@dataclass(frozen=True, slots=True)
class Prior:
    """The five numbers."""

    form: float
    scatter: float
    sampling: float
    freedom: float
    own: float


PRIOR = Prior(form=0.46, scatter=1.0, sampling=0.58, freedom=4.2, own=0.5)
"""Fitted to all public ladders at hand."""
START = Prior(form=0.4, scatter=1.0, sampling=0.7, freedom=4.0, own=0.5)
"""Where the search starts: a round guess, made after a first look at the same data."""

USUAL_WEIGHTS: Mapping[str, float] = {
    "chinchilla": 0.2,
    "equal_exponents": 0.2,
    "pulled": 0.2,
    "half": 0.2,
    "upper_half": 0.1,
    "loss_to_loss": 0.1,
    "data_only": 0.3,
    "recent": 0.1,
    "kaplan": 0.0,
    "no_floor": 0.0,
}
"""What a candidate counts before own hidden rungs are seen; laws without a floor have to earn it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known beforehand about the errors at some targets, each [targets] on the log loss."""

    spread: Floats
    sampling: Floats
    scatter: Floats
    distance: Floats
    """Log of the factor of extrapolation."""

    def growth(self) -> Floats:
        """By how much errors of the law are larger (above 1) or smaller at these distances than at the usual one."""
        factor: Floats = np.sqrt(np.maximum(self.distance, NEAREST) / USUAL_DISTANCE)
        return factor

    def variance(self, prior: Prior) -> Floats:
        """Expected squared error, before own cuts speak."""
        of_law = (prior.form * self.spread) ** 2 + (prior.sampling * self.sampling) ** 2
        return of_law * self.growth() ** 2 + (prior.scatter * self.scatter) ** 2 + SMALLEST**2


@dataclass(frozen=True, slots=True)
class Cut:
    """One hiding of the top of the data: the evidence there was, and the errors that came (observed minus predicted log loss)."""

    evidence: Evidence
    errors: Floats
    share: float
    """Points kept, as a share of all that are fitted in the end."""


@dataclass(frozen=True, slots=True)
class Case:
    """Targets of one backtest: what was known, which cuts the fitted part allowed, and what came out."""

    data_set: str
    cuts: tuple[Cut, ...]
    evidence: Evidence
    errors: Floats


def calibrate(cuts: Sequence[Cut], prior: Prior) -> tuple[float, float]:
    """tau and the degrees of freedom after the cuts have spoken."""
    weights = [prior.own * cut.share for cut in cuts]
    squares = [weight * float((cut.errors**2 / cut.evidence.variance(prior)).mean()) for weight, cut in zip(weights, cuts, strict=True)]
    freedom = prior.freedom + sum(weights)
    return float(np.sqrt((prior.freedom + sum(squares)) / freedom)), freedom


def fit_prior(cases: Sequence[Case], start: Prior = START, pull: float = PULL) -> Prior:
    """The prior under which the errors of all cases are most likely, each data set counting the same, each case the same within it."""
    first = np.log(astuple(start))
    groups = {name: [case for case in cases if case.data_set == name] for name in dict.fromkeys(case.data_set for case in cases)}

    def cost(logs: Floats) -> float:
        prior = Prior(*np.exp(logs).tolist())
        means = [np.mean([surprise(case, prior) for case in group]) for group in groups.values()]
        return float(np.mean(means) + pull * ((logs - first) ** 2).sum())

    found = optimize.minimize(cost, first, method="Nelder-Mead", options={"maxiter": 500, "xatol": 0.02, "fatol": 1e-3})
    return Prior(*np.exp(found.x).tolist())


def surprise(case: Case, prior: Prior) -> float:
    """Mean negative log density of the errors of a case."""
    tau, freedom = calibrate(case.cuts, prior)
    scale = tau * np.sqrt(case.evidence.variance(prior))
    half = (freedom + 1.0) / 2.0
    constant = special.gammaln(half) - special.gammaln(freedom / 2.0) - 0.5 * np.log(freedom * np.pi)
    return float((half * np.log1p((case.errors / scale) ** 2 / freedom) + np.log(scale) - constant).mean())


def leave_one_out(cases: Sequence[Case], fit: Callable[[Sequence[Case]], Prior] = fit_prior) -> dict[str, Prior]:
    """For each data set the prior that the others give."""
    names = list(dict.fromkeys(case.data_set for case in cases))
    return {name: fit([case for case in cases if case.data_set != name]) for name in names}
