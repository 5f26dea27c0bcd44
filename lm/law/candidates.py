"""Candidate laws of a forecast: eight ways the same losses may go on, fitted together and asked together.

Which form is true nobody knows, and the fit inside the data does not say: forms that agree within 0.2% there part by 5% at twenty times
the compute. So a forecast asks several. All of them are one family,

    L = E + ((A/N)^(a/k) + (B/D)^(b/k))^k

with k = 1 (Chinchilla), k = 1/2, k = b (the loss-to-loss form) and, without E, k = b (Kaplan) or k = 1. Beside these: equal exponents;
exponents pulled towards 0.35, which costs nothing where the data fixes them and keeps a fit of a dozen points sane; and the same on
the upper half of the compute alone, because a law of the whole range may bend. With one model size the term in N goes, and a line through
the upper half in logarithms is asked too: small models on little data get better ever faster at first, which no law with a floor can say.

They are made for averaging, not for reading constants off: that is what `lm.law.forms` is for. Data that was repeated counts as the
amount of new data it is worth, with the published constant (arXiv:2305.16264); fitting that constant as well gained nothing.

The cost: eight fits where one was, 20 to 100 ms together.
"""

from dataclasses import dataclass

import numpy as np

from lm.law import descent
from lm.law.forms import nonnegative_least_squares
from lm.law.intervals import draw, noise_of
from lm.law.points import Floats, Points
from lm.law.records import Noise

REPEATS_THAT_HELP = 15.387756
"""R_D* of arXiv:2305.16264: epochs beyond the first are worth 1 - exp(-R/R_D*) of this many."""
EXPONENTS = (0.08, 0.15, 0.22, 0.3, 0.4, 0.5, 0.7, 1.0)
NUM_STARTS = 8
USUAL_EXPONENT, USUAL_SPREAD = 0.35, 0.08
"""Exponents of published laws of loss lie about here."""
LEAST_UPPER, LEAST_RECENT = 8, 3
"""Points that the upper half must hold to be fitted by itself: with a floor and two powers, and as a line in logarithms."""
LEAST_RESIDUAL = 5e-4
MAX_STEPS, TOLERANCE = 150, 1e-8
LOW, HIGH = np.array([-16.0, -40.0, -40.0, 0.02, 0.02]), np.array([1.0, 40.0, 40.0, 3.0, 3.0])
"""Bounds of log E, log A, log B, a, b, measured from the middle of the fitted points."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One member of the family."""

    name: str
    kappa: float | None = 1.0
    """k; None where it is b."""
    has_floor: bool = True
    tied: bool = False
    """Whether a = b."""
    pulled: bool = False
    """Whether exponents are pulled towards the usual one."""
    upper_half: bool = False
    """Whether only the upper half of the compute is fitted."""
    one_size: bool = False


JOINT = (
    Candidate("chinchilla"),
    Candidate("equal_exponents", tied=True),
    Candidate("loss_to_loss", kappa=None),
    Candidate("half", kappa=0.5),
    Candidate("pulled", pulled=True),
    Candidate("upper_half", pulled=True, upper_half=True),
    Candidate("kaplan", kappa=None, has_floor=False),
    Candidate("no_floor", has_floor=False),
)
ONE_SIZE = (
    Candidate("data_only", one_size=True),
    Candidate("pulled", pulled=True, one_size=True),
    Candidate("upper_half", pulled=True, upper_half=True, one_size=True),
    Candidate("no_floor", has_floor=False, one_size=True),
    Candidate("recent", has_floor=False, upper_half=True, one_size=True),
)


def num_constants(one_size: bool) -> int:
    """Constants of the plain law: E, B, b and, over several sizes, A, a."""
    return 3 if one_size else 5


def coordinates(points: Points) -> tuple[Floats, Floats]:
    """Log parameters and log of the new data that the training data is worth, for each point."""
    tokens = points.num_tokens
    unique = getattr(points, "unique_tokens", None)
    if unique is not None:
        fresh = np.minimum(np.where(np.isfinite(unique), unique, tokens), tokens)
        tokens = fresh * (1.0 - REPEATS_THAT_HELP * np.expm1(-(tokens / fresh - 1.0) / REPEATS_THAT_HELP))
    return np.log(points.num_params), np.log(tokens)


def predict(member: Candidate, theta: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Log loss [fits, points] and its gradient [fits, 5, points] at log N `x` and log D `y`, both from the middle."""
    floor, coefficient_n, coefficient_d, a, b = (theta[:, i, None] for i in range(5))
    b = a if member.tied else b
    kappa = b if member.kappa is None else member.kappa
    in_n = np.full((len(theta), len(x)), -60.0) if member.one_size else coefficient_n - (a / kappa) * x
    in_d = coefficient_d - (b / kappa) * y
    inner = np.logaddexp(in_n, in_d)
    share_n, share_d = np.exp(in_n - inner), np.exp(in_d - inner)
    outer = kappa * inner
    total = np.logaddexp(floor, outer) if member.has_floor else outer + 0.0 * floor
    reducible = np.exp(outer - total)
    slope_a = -reducible * share_n * x
    slope_b = reducible * (inner + share_n * (a / kappa) * x) if member.kappa is None else -reducible * share_d * y
    gradient = np.zeros((len(theta), 5, len(x)))
    gradient[:, 0] = np.exp(floor - total) if member.has_floor else 0.0
    gradient[:, 1] = 0.0 if member.one_size else reducible * kappa * share_n
    gradient[:, 2] = reducible * kappa * share_d
    gradient[:, 3] = slope_a + slope_b if member.tied else (0.0 if member.one_size else slope_a)
    gradient[:, 4] = 0.0 if member.tied else slope_b
    return total, gradient


def _starts(member: Candidate, x: Floats, y: Floats, target: Floats) -> Floats:
    """The best of a grid of exponents, each with the coefficients that suit it, as for a sum of powers."""
    a, b = (side.ravel() for side in np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij"))
    if member.tied or member.one_size:
        a = b = np.array(EXPONENTS)
    design = np.ones((len(a), 3, len(x)))
    design[:, 1] = 1e-9 if member.one_size else np.exp(-a[:, None] * x)
    design[:, 2] = np.exp(-b[:, None] * y)
    design[:, 0] *= 1.0 if member.has_floor else 1e-9
    design /= np.exp(target)
    coefficients = nonnegative_least_squares(design)
    misfit = ((np.einsum("gk,gkp->gp", coefficients, design) - 1.0) ** 2).sum(axis=1)
    best = np.argsort(misfit, kind="stable")[:NUM_STARTS]
    theta = np.concatenate([np.clip(np.log(np.maximum(coefficients[best], 1e-6)), -14.0, 1.0), np.stack([a, b], axis=1)[best]], axis=1)
    theta[:, 1:3] /= theta[:, 4:5] if member.kappa is None else member.kappa
    return theta


@dataclass(frozen=True, slots=True)
class Fitted:
    """All candidates fitted to the same points."""

    names: tuple[str, ...]
    members: tuple[Candidate, ...]
    theta: tuple[Floats, ...]
    """For each candidate its constants [5]."""
    replicates: Floats
    """The pulled candidate fitted to redrawn runs [replicates, 5]."""
    middle: tuple[float, float, float]
    """Log N, log D and log loss from which the constants are measured."""
    noise: Noise
    """Scatter of log losses around the plain law."""
    residual_sd: float
    """Scatter of a point around the plain law, with a prior of two points at 0.3%."""
    num_points: int

    def log_losses(self, x: Floats, y: Floats) -> Floats:
        """Log losses that each candidate expects [candidates, points] at log N `x`, log D `y`."""
        each = [predict(m, t[None], x - self.middle[0], y - self.middle[1])[0][0] for m, t in zip(self.members, self.theta, strict=True)]
        return np.stack(each) + self.middle[2]

    def sampling_sd(self, x: Floats, y: Floats) -> Floats:
        """Root mean square distance of the replicates from the fit at each point."""
        at = self.names.index("pulled")
        rows = np.concatenate([self.theta[at][None], self.replicates])
        drawn = predict(self.members[at], rows, x - self.middle[0], y - self.middle[1])[0]
        spread: Floats = np.sqrt(((drawn[1:] - drawn[0]) ** 2).mean(axis=0))
        return spread


LEAST_SCATTER, LEAST_SCATTER_POINTS = 0.003, 2.0
"""Scatter that is assumed before any is seen, and how many points that counts for."""


def fit(points: Points, *, seed: int = 0, num_bootstrap: int = 24) -> Fitted:
    """Fit every candidate. Points: at least 3, at amounts of data that differ."""
    x, y = coordinates(points)
    target = np.log(points.value)
    middle = (float(x.mean()), float(y.mean()), float(target.mean()))
    x, y, target = x - middle[0], y - middle[1], target - middle[2]
    one_size = len(points.sizes()) == 1
    members = ONE_SIZE if one_size else JOINT
    plain = _solve(members[0], x, y, target, 0.0)
    errors = predict(members[0], plain[None], x, y)[0][0] - target
    residual = max(float(np.abs(errors).mean()), LEAST_RESIDUAL)
    theta = [plain] + [_member(member, x, y, target, residual) for member in members[1:]]
    constants = num_constants(one_size)
    sd = _residual_sd(errors, constants)
    noise = noise_of(points, errors, constants)
    at = [member.pulled for member in members].index(True)
    weight, shift = draw(points, noise, np.random.default_rng(seed), num_bootstrap)
    rows = _minimise(members[at], np.tile(theta[at], (num_bootstrap, 1)), x, y, target + shift, weight, residual)[0]
    return Fitted(tuple(m.name for m in members), members, tuple(theta), rows, middle, noise, sd, len(points))


def _residual_sd(errors: Floats, constants: int) -> float:
    """Root mean square residual for the degrees of freedom left, but no more than half above what the median says."""
    left = max(1.0, len(errors) - constants)
    squares = float((errors**2).sum()) / left
    usual = 1.5 * 1.4826 * float(np.median(np.abs(errors))) * np.sqrt(len(errors) / left)
    seen = min(squares, usual**2) if usual > 0 else squares
    prior = LEAST_SCATTER_POINTS
    return float(np.sqrt((left * seen + prior * LEAST_SCATTER**2) / (left + prior)))


def _member(member: Candidate, x: Floats, y: Floats, target: Floats, residual: float) -> Floats:
    if member.upper_half:
        keep = x + y >= np.quantile(x + y, 0.5)
        if keep.sum() >= (LEAST_UPPER if member.has_floor else LEAST_RECENT):
            x, y, target = x[keep], y[keep], target[keep]
    return _solve(member, x, y, target, residual)


def _solve(member: Candidate, x: Floats, y: Floats, target: Floats, residual: float) -> Floats:
    ends, values = _minimise(member, _starts(member, x, y, target), x, y, target[None], np.ones((1, len(x))), residual)
    best: Floats = ends[int(np.argmin(values))]
    return best


def _minimise(
    member: Candidate, theta: Floats, x: Floats, y: Floats, target: Floats, weight: Floats, residual: float
) -> tuple[Floats, Floats]:
    """Least Huber loss. A pull on an exponent is one more point: an exponent off by USUAL_SPREAD costs as much as one residual."""
    box = descent.Box(LOW, HIGH)
    if not member.pulled:
        return descent.minimise(
            lambda rows: predict(member, rows, x, y), theta, target, weight, box, max_steps=MAX_STEPS, tolerance=TOLERANCE
        )
    unit = residual / USUAL_SPREAD
    count = len(target)
    wanted = np.concatenate([target, np.full((count, 2), USUAL_EXPONENT * unit)], axis=1)
    weights = np.concatenate([weight, np.ones((len(weight), 2))], axis=1)

    def with_pull(rows: Floats) -> tuple[Floats, Floats]:
        predicted, gradient = predict(member, rows, x, y)
        pull = np.zeros((len(rows), 5, 2))
        pull[:, 3, 0] = pull[:, 4, 1] = unit
        return np.concatenate([predicted, rows[:, 3:] * unit], axis=1), np.concatenate([gradient, pull], axis=2)

    return descent.minimise(with_pull, theta, wanted, weights, box, max_steps=MAX_STEPS, tolerance=TOLERANCE)
