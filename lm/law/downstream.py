"""From loss to task score: a curve over measured losses, and two steps from size and data to a score.

The first step is a law for the loss (bits per byte, so that tokenizers do not matter); the second a curve from loss to score, either
score = b + a / (1 + exp(-k (loss - L0))) or error = eps - k exp(-g loss). Both are linear in two constants once the others are given, so
the two-dimensional search is a grid with exact coefficients and a few damped steps. A score at chance level for all small models
leaves the curve undetermined however well it fits; the range of scores seen is therefore part of the result, and a score outside
it is marked.

Errors of the two steps are joined by sending the loss law's replicates through the curve's. Sources: arXiv:2412.04403 (two steps);
arXiv:2403.08540 (error of loss).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm.law.descent import Box, Predict, huber, minimise
from lm.law.points import Floats
from lm.law.records import Law

Kind = Literal["sigmoid", "exponential"]
SCORE_DELTA = 0.01
"""Scale of the Huber loss on scores: errors of up to a percentage point count squared."""
LEAST_POINTS = 6
NAMES: Mapping[Kind, tuple[str, ...]] = {"sigmoid": ("a", "k", "L0", "b"), "exponential": ("eps", "k", "g")}
FORMULAS: Mapping[Kind, str] = {"sigmoid": "score = b + a / (1 + exp(-k (loss - L0)))", "exponential": "error = eps - k exp(-g loss)"}


@dataclass(frozen=True, slots=True)
class Curve:
    """A fitted curve from loss to score."""

    kind: Kind
    constants: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    """90%, from resampled points."""
    objective: float
    estimator: Mapping[str, object]
    residuals: Floats
    """Score minus curve, in the order of the points."""
    losses_seen: tuple[float, float]
    scores_seen: tuple[float, float]
    warnings: tuple[str, ...]
    samples: Floats
    """Constants of each replicate [replicates, constants]."""

    def predict(self, loss: float | Floats) -> Floats:
        """Score at these losses."""
        at = np.atleast_1d(np.asarray(loss, dtype=np.float64))
        scores: Floats = _value(self.kind, np.array([list(self.constants.values())]), at)[0][0]
        return scores


@dataclass(frozen=True, slots=True)
class ScoreForecast:
    """A score at a size and amount of data, with the loss it comes from."""

    loss: float
    score: float
    low: float
    high: float
    level: float
    warnings: tuple[str, ...]


def fit_curve(
    losses: Sequence[float] | Floats, scores: Sequence[float] | Floats, kind: Kind = "sigmoid", *, seed: int = 0, num_bootstrap: int = 200
) -> Curve:
    """Fit a curve to losses and scores of the same runs [points].

    Raises: ValueError if the kind is unknown, a number is not finite, or there are fewer than 6 points.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (losses, scores))
    if kind not in NAMES:
        raise ValueError(f"a curve is sigmoid or exponential; came {kind!r}")
    if x.shape != y.shape or x.ndim != 1 or len(x) < LEAST_POINTS or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"a curve needs at least {LEAST_POINTS} finite losses and as many scores; came {x.shape} and {y.shape}")
    if y.min() < -1.0 or y.max() > 1.5:
        raise ValueError(f"scores are shares between 0 and 1; came {y.min():.4g} to {y.max():.4g}. Divide percentages by 100")
    order = np.lexsort((y, x))
    starts, box = _starts(kind, x, y)
    ends, values = _descend(kind, x[order], y[order][None], np.ones((1, len(x))), starts, box)
    best = ends[int(np.argmin(values))]
    drawn = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1.0 / len(x)), size=num_bootstrap).astype(np.float64)
    samples, _ = _descend(kind, x[order], y[order][None], drawn, np.tile(best, (num_bootstrap, 1)), box)
    low, high = np.percentile(samples, [5.0, 95.0], axis=0)
    agreed = int((values <= values.min() * 1.001 + 1e-15).sum())
    return Curve(
        kind=kind,
        constants=dict(zip(NAMES[kind], best.tolist(), strict=True)),
        intervals={name: (float(a), float(b)) for name, a, b in zip(NAMES[kind], low, high, strict=True)},
        objective=float(values.min()),
        estimator={
            "objective": f"sum of Huber losses (delta {SCORE_DELTA:g}) of fitted - observed score",
            "num_starts": len(starts),
            "num_starts_agreed": agreed,
            "num_bootstrap": num_bootstrap,
            "seed": seed,
        },
        residuals=y - _value(kind, best[None], x)[0][0],
        losses_seen=(float(x.min()), float(x.max())),
        scores_seen=(float(y.min()), float(y.max())),
        warnings=_warnings(kind, x, y, best, box),
        samples=samples,
    )


def forecast_score(law: Law, curve: Curve, num_params: float, num_tokens: float, *, level: float = 0.9) -> ScoreForecast:
    """The score that the two steps expect.

    The interval holds the sampling errors of both and the scatter around the curve, but no form error.
    """
    losses = np.exp(law.log_losses(law.samples, num_params, num_tokens))
    rows = curve.samples[np.arange(len(losses)) % len(curve.samples)]
    drawn = np.array([_value(curve.kind, row[None], np.array([loss]))[0][0, 0] for row, loss in zip(rows, losses, strict=True)])
    scatter = curve.residuals[np.random.default_rng(0).integers(0, len(curve.residuals), len(drawn))]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(drawn + scatter, [tail, 100.0 - tail])
    loss = law.predict(num_params, num_tokens)
    score = float(curve.predict(loss)[0])
    beyond = not curve.losses_seen[0] <= loss <= curve.losses_seen[1]
    said = [f"the loss {loss:.4g} lies outside the losses seen, {curve.losses_seen[0]:.4g} to {curve.losses_seen[1]:.4g}"] if beyond else []
    return ScoreForecast(loss, score, float(min(low, score)), float(max(high, score)), level, (*curve.warnings, *law.warnings, *said))


def _value(kind: Kind, theta: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Scores [fits, points] and gradient [fits, constants, points]."""
    if kind == "sigmoid":
        a, k, middle, b = (theta[:, i, None] for i in range(4))
        share = 0.5 * (1.0 + np.tanh(0.5 * k * (x - middle)))
        steep = a * share * (1.0 - share)
        return b + a * share, np.stack([share, steep * (x - middle), -steep * k, np.ones_like(share)], axis=1)
    eps, k, g = (theta[:, i, None] for i in range(3))
    fall = np.exp(np.minimum(-g * x, 700.0))
    return eps - k * fall, np.stack([np.ones_like(fall), -fall, k * x * fall], axis=1)


def _starts(kind: Kind, x: Floats, y: Floats) -> tuple[Floats, Box]:
    """A grid over the constants that are not linear, with the least-squares values of the two that are; bounds that keep scores sane."""
    span, spread = max(float(np.ptp(x)), 1e-9), max(float(np.ptp(y)), 1e-9)
    rows = []
    if kind == "sigmoid":
        for k in (1.0, 3.0, 8.0, 20.0):
            for place in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5):
                middle = float(x.min()) + place * span
                a, b = _linear(0.5 * (1.0 + np.tanh(0.5 * k / span * (x - middle))), y)
                rows.append([a, k / span, middle, b])
        low = [-2.0, 1e-3 / span, x.min() - 3.0 * span, min(0.0, y.min()) - 0.5 * spread]
        high = [2.0, 60.0 / span, x.max() + 3.0 * span, max(1.0, y.max()) + 0.5 * spread]
    else:
        for g in (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0):
            slope, eps = _linear(-np.exp(-g / span * (x - x.min())), y)
            rows.append([eps, slope * float(np.exp(g / span * x.min())), g / span])
        low, high = [-1.0, -1e6, 1e-3 / span], [2.0 + abs(float(y.max())), 1e12, 40.0 / span]
    return np.array(rows), Box(np.array(low, dtype=np.float64), np.array(high, dtype=np.float64))


def _linear(shape: Floats, y: Floats) -> tuple[float, float]:
    slope, constant = np.linalg.lstsq(np.stack([shape, np.ones_like(shape)], axis=1), y, rcond=None)[0]
    return float(slope), float(constant)


def _descend(kind: Kind, x: Floats, y: Floats, weight: Floats, starts: Floats, box: Box) -> tuple[Floats, Floats]:
    predict: Predict = _bound(kind, x)
    near, _ = minimise(predict, starts, y, weight, box, 60, delta=1.0, tolerance=1e-6)
    return minimise(predict, near, y, weight, box, delta=SCORE_DELTA)


def _bound(kind: Kind, x: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    return lambda theta: _value(kind, theta, x)


def _warnings(kind: Kind, x: Floats, y: Floats, theta: Floats, box: Box) -> tuple[str, ...]:
    found = []
    best = theta[None]
    explained = 1.0 - float(huber(y - _value(kind, best, x)[0][0], np.inf).sum() / max(huber(y - y.mean(), np.inf).sum(), 1e-300))
    if explained < 0.5:
        found.append(f"the curve explains {max(explained, 0.0):.0%} of the variance of the scores: they may all be at chance level")
    edge = [name for name, value, low, high in zip(NAMES[kind], theta, box.low, box.high, strict=True) if not low < value < high]
    if edge:
        found.append(f"{', '.join(edge)} ended on the edge of the range searched: the points do not fix the curve")
    if np.corrcoef(x, y)[0, 1] > 0 and kind == "sigmoid":
        found.append("scores rise with loss: is this an error, or a loss that is not what the task needs?")
    return tuple(found)
