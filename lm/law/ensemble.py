"""The average of candidate laws that a forecast is made with, and the error it should be given credit for.

The top of the data is hidden at every level (a rung, a budget, or a doubling of compute where the data is a scatter); all candidates are
fitted to what is left and asked for what was hidden. Their errors there do two things. They weigh the candidates: the weights,
none negative, minimise the squared error of the average on the hidden points (stacking), with a pull towards the usual ones, and cuts
with more points count more. And they say how far off such an average was, compared with what was to be expected
(`lm.law.prior`), which widens or narrows the interval.

The choice against picking the best form: nobody can tell forms apart inside the data, and the candidates err to both sides. The cost:
the point forecast is no longer one formula; its weights are stored with it. Cuts share points, so that ten of them count as
about three.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from lm.law import candidates
from lm.law.candidates import Fitted
from lm.law.points import SAME_SIZE, Floats, Points, distinct
from lm.law.predictive import Predictive
from lm.law.prior import PRIOR, USUAL_WEIGHTS, Cut, Evidence, Prior, calibrate

FEW_LEVELS = 12
"""Up to this many levels each is a cut; more make a scatter, which is cut at doublings of compute."""
MOST_LADDER_SIZES = 4
LEAST_POINTS = 8
LEAST_RUNGS = 3
RUNGS_ALONE = 4
"""A size with this many amounts of data speaks for itself."""
CLOSEST = 0.3
"""Hidden points nearer than this beyond the fitted ones, in log compute, say little about extrapolation and are not used."""
SHRINKAGE = 0.3
"""Pull of stacking towards the usual weights, as a share of the median candidate's squared error."""
RECENCY = 2.0
"""A cut that keeps a share p of the points counts p to this power."""

Memo = dict[bytes, Fitted]
"""Fits by the points they saw, to be shared between forecasts whose cuts are the same."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """Candidates fitted to what lies at or below a limit, and the points clearly above it."""

    limit: float
    top: float
    """Where what was kept ends."""
    fitted: Fitted
    hidden: Points


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Candidates fitted to all points, their weights, and the record behind both."""

    points: Points
    fitted: Fitted
    weights: Floats
    """Weight of each candidate, summing to 1."""
    cuts: tuple[Cut, ...]
    seed_sd: float
    """Scatter of the log loss between runs of one size and amount of data."""
    by_data: bool
    """Whether extrapolation is counted in data rather than in compute."""

    @property
    def weight_by_name(self) -> dict[str, float]:
        """Weight of each candidate that has any."""
        return {name: float(weight) for name, weight in zip(self.fitted.names, self.weights, strict=True) if weight > 0.0005}

    def evidence(self, targets: Points, num_seeds: int = 1) -> tuple[Floats, Evidence]:
        """The average log loss and what speaks about its error [targets]."""
        distance = extent(targets, self.by_data) - float(extent(self.points, self.by_data).max())
        return _evidence(self.fitted, self.weights, targets, self.seed_sd / np.sqrt(num_seeds), distance)

    def predictive(self, targets: Points, num_seeds: int = 1, prior: Prior = PRIOR) -> Predictive:
        """The forecast of the mean loss of `num_seeds` runs at the places of `targets` (their losses are not looked at)."""
        centre, evidence = self.evidence(targets, num_seeds)
        tau, freedom = calibrate(self.cuts, prior)
        scale = tau * np.sqrt(evidence.variance(prior))
        parts = {
            "form_error": tau * prior.form * evidence.spread * evidence.growth(),
            "sampling": tau * prior.sampling * evidence.sampling * evidence.growth(),
            "seed_noise": tau * prior.scatter * evidence.scatter,
        }
        if not self.cuts:
            unknown = np.abs(centre - self._last(targets)) / STUDENT_90
            parts["form_error"] = np.hypot(parts["form_error"], unknown)
            scale = np.hypot(scale, unknown)
        return Predictive(centre, scale, freedom, parts)

    def own_record(self, prior: Prior = PRIOR) -> float:
        """How much wider (above 1) or narrower the own hidden rungs made the interval than the prior alone."""
        return calibrate(self.cuts, prior)[0]

    def _last(self, targets: Points) -> Floats:
        """What the average says where the data ends on the way to each target."""
        x, y = candidates.coordinates(targets)
        seen_x, seen_y = candidates.coordinates(self.points)
        return _average(self.fitted, self.weights, np.minimum(x, seen_x.max()), np.minimum(y, seen_y.max()))


STUDENT_90 = 1.645
"""Without any hidden rung the whole change predicted beyond the data is taken for a 90% half-width."""


def build(points: Points, *, seed: int = 0, num_bootstrap: int = 24, memo: Memo | None = None) -> Ensemble:
    """Fit, hide, weigh. Raises: ValueError with fewer than 3 points or 3 amounts of data."""
    if len(points) < 3 or (len(points.rungs()) < LEAST_RUNGS and len(points.sizes()) < LEAST_RUNGS):
        raise ValueError(
            f"a forecast needs at least 3 amounts of data or 3 model sizes; came {len(points)} points at {len(points.sizes())} sizes "
            f"and {len(points.rungs())} amounts of data: train more rungs"
        )
    memo = {} if memo is None else memo
    by_data = is_ladder(points)
    axis = extent(points, by_data)
    whole = _fit(points, seed, num_bootstrap, memo)
    record = [
        Hiding(
            limit,
            float(axis[axis <= limit].max()),
            _fit(points.where(axis <= limit), seed, num_bootstrap, memo),
            points.where(axis > limit + CLOSEST),
        )
        for limit in limits(points, by_data)
        if (axis > limit + CLOSEST).any()
    ]
    cuts = tuple(_cut(record[:number], hiding, by_data, whole.num_points) for number, hiding in enumerate(record))
    return Ensemble(points, whole, _weights(record, whole), cuts, _seed_sd(points, whole), by_data)


def is_ladder(points: Points) -> bool:
    """Whether a few sizes were trained on the same amounts of data, so that the next rung is one of data and not of compute."""
    rungs = points.rungs()
    return 2 <= len(points.sizes()) <= MOST_LADDER_SIZES and all(points.of_size(size).rungs() == rungs for size in points.sizes())


def speaking_for(points: Points, num_params: float) -> Points:
    """The points that a forecast for a size is made from: on a ladder those of the size itself, if it has enough rungs, else all.

    Small models on little data do not obey the laws of sizes: there the larger one is behind at first and overtakes the smaller, so that
    a joint law bends both curves into one.
    """
    own = points.of_size(num_params)
    return own if is_ladder(points) and len(own.rungs()) >= RUNGS_ALONE else points


def extent(points: Points, by_data: bool) -> Floats:
    """How far out each point is: log D on a ladder, else log of N D (for one model size that is log D up to a constant)."""
    extents: Floats = np.log(points.num_tokens) + (0.0 if by_data else np.log(points.num_params))
    return extents


def limits(points: Points, by_data: bool) -> list[float]:
    """Where the data may be cut, lowest first: what lies at or below a limit is kept."""
    axis = extent(points, by_data)
    levels = np.log(distinct(np.exp(axis - axis.min()))) + axis.min()
    levels = levels[np.concatenate([np.diff(levels) > 0.05, [True]])]
    if len(levels) <= FEW_LEVELS:
        places = [float(level) + SAME_SIZE for level in levels[:-1]]
    else:
        step = np.log(2.0) * 2.0 ** max(0, int(np.ceil(np.log2(np.ptp(axis) / np.log(2.0) / FEW_LEVELS))))
        places = [float(place) + SAME_SIZE for place in np.arange(axis.min() + step, axis.max() - 1e-6, step)]
    enough = min(LEAST_POINTS, max(LEAST_RUNGS, len(points) // 2))
    found: dict[int, float] = {}
    for place in places:
        kept = points.where(axis <= place)
        if len(kept) >= enough and max(len(kept.rungs()), len(kept.sizes())) >= LEAST_RUNGS:
            found[len(kept)] = place
    return list(found.values())


def _fit(points: Points, seed: int, num_bootstrap: int, memo: Memo) -> Fitted:
    key = points.num_params.tobytes() + points.num_tokens.tobytes() + points.value.tobytes()
    if key not in memo:
        memo[key] = candidates.fit(points, seed=seed, num_bootstrap=num_bootstrap)
    return memo[key]


def _average(fitted: Fitted, weights: Floats, x: Floats, y: Floats) -> Floats:
    average: Floats = weights @ fitted.log_losses(x, y)
    return average


def _evidence(fitted: Fitted, weights: Floats, targets: Points, scatter: float, distance: Floats) -> tuple[Floats, Evidence]:
    x, y = candidates.coordinates(targets)
    each = fitted.log_losses(x, y)
    centre = weights @ each
    shares = 0.5 * (weights + _usual(fitted))
    spread = np.sqrt(shares @ (each - centre) ** 2)
    return centre, Evidence(spread, fitted.sampling_sd(x, y), np.full(len(x), scatter), distance)


def _usual(fitted: Fitted) -> Floats:
    usual = np.array([USUAL_WEIGHTS[name] for name in fitted.names])
    shares: Floats = usual / usual.sum()
    return shares


def _cut(below: Sequence[Hiding], hiding: Hiding, by_data: bool, num_points: int) -> Cut:
    """The errors of the average that was possible with what a cut kept, its weights coming from the cuts below it."""
    seen = [Hiding(one.limit, one.top, one.fitted, one.hidden.where(extent(one.hidden, by_data) <= hiding.limit)) for one in below]
    weights = _weights([one for one in seen if len(one.hidden)], hiding.fitted)
    distance = extent(hiding.hidden, by_data) - hiding.top
    centre, evidence = _evidence(hiding.fitted, weights, hiding.hidden, hiding.fitted.residual_sd, distance)
    return Cut(evidence, np.log(hiding.hidden.value) - centre, hiding.fitted.num_points / num_points)


def _weights(record: Sequence[Hiding], whole: Fitted) -> Floats:
    """Stacking: weights >= 0 with sum 1 and the least squared error of the average over all hidden points."""
    usual = _usual(whole)
    rows = [_errors(hiding, whole) for hiding in record if hiding.fitted.names == whole.names]
    if not rows:
        return usual
    errors = np.concatenate(rows)
    typical = float(np.sqrt(np.median((errors**2).sum(axis=0)))) + 1e-12
    pull, total = np.sqrt(SHRINKAGE) * typical, 1e3 * typical
    system = np.concatenate([errors, pull * np.eye(len(usual)), np.full((1, len(usual)), total)])
    wanted = np.concatenate([np.zeros(len(errors)), pull * usual, [total]])
    found, _ = optimize.nnls(system, wanted)
    weights: Floats = found / found.sum()
    return weights


def _errors(hiding: Hiding, whole: Fitted) -> Floats:
    """Errors [hidden points, candidates], scaled so that each cut counts by the share of the points it kept."""
    x, y = candidates.coordinates(hiding.hidden)
    errors = (hiding.fitted.log_losses(x, y) - np.log(hiding.hidden.value)).T
    scaled: Floats = errors * np.sqrt((hiding.fitted.num_points / whole.num_points) ** RECENCY / len(hiding.hidden))
    return scaled


def _seed_sd(points: Points, whole: Fitted) -> float:
    """Scatter between seeds where at least 3 degrees of freedom show it, else that around the law."""
    cells: dict[tuple[float, float], list[float]] = {}
    unique = getattr(points, "unique_tokens", None)
    for i, (n, d) in enumerate(zip(points.num_params, points.num_tokens, strict=True)):
        place = (round(float(np.log(n)), 9), round(float(np.log(d)), 9), 0.0 if unique is None else float(unique[i]))
        cells.setdefault(place, []).append(float(np.log(points.value[i])))  # type: ignore[arg-type]
    freedom = sum(len(values) - 1 for values in cells.values())
    if freedom < 3:
        return whole.residual_sd
    squares = sum(float(np.var(values)) * len(values) for values in cells.values())
    return float(np.sqrt(squares / freedom))
