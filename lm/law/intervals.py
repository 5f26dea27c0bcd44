"""How far a law could have come out otherwise: the scatter of runs, and replicates of the fit.

Runs are drawn, not points: the rungs of one trunk share its weights, so its losses shift together. They are drawn within a
model size, so that every replicate has every size. With two seeds that alone gives three outcomes and half the true
variance, so each drawn run is also shifted by noise with 1/n of the measured variance, where n is the number of runs
of its size: exactly what drawing n runs loses. For one run the noise does all the work, for hundreds it vanishes and the
plain bootstrap remains. The cost is the assumption that the noise is normal on the log loss.

If most sizes have a single run (a scatter of sizes rather than a grid), runs are drawn from all of them together.
"""

import numpy as np
from numpy.typing import NDArray

from lm.law import descent
from lm.law.forms import Form, Scale
from lm.law.points import Floats, Points, same
from lm.law.records import Noise

NUM_SPREAD_STARTS = 3
ONE_MINIMUM = 0.9
"""If this share of starts met the same minimum, replicates start from the fit alone; otherwise from other places too."""

Indices = NDArray[np.int64]


def noise_of(points: Points, errors: Floats, num_constants: int) -> Noise:
    """Split log errors [points] into a shift per run and scatter within runs, each corrected for the constants fitted."""
    runs, num_runs = run_indices(points)
    num_points, num_sizes = len(points), len(points.sizes())
    freedom = max(1, num_points - num_constants)
    if num_runs == num_points:
        return Noise(_sd(errors, freedom), 0.0, freedom, _seeds_seen(points))
    means = np.bincount(runs, errors, num_runs) / np.bincount(runs, minlength=num_runs)
    point_sd = _sd(errors - means[runs], num_points - num_runs - (num_constants - num_sizes))
    if num_runs == num_sizes:
        return Noise(point_sd, point_sd, freedom, False)
    strata = _sizes_of_runs(points, runs, num_runs)
    centred = means - (np.bincount(strata, means) / np.bincount(strata))[strata]
    return Noise(_sd(centred, num_runs - num_sizes), point_sd, freedom, True)


def _sd(errors: Floats, freedom: int) -> float:
    return float(np.sqrt((errors**2).sum() / max(1, freedom)))


def _seeds_seen(points: Points) -> bool:
    cells = {(round(float(np.log(n)), 9), round(float(np.log(d)), 9)) for n, d in zip(points.num_params, points.num_tokens, strict=True)}
    return len(cells) < len(points) or len(points) >= 30


def run_indices(points: Points) -> tuple[Indices, int]:
    """For each point the number of its run, and how many runs there are."""
    names = {name: i for i, name in enumerate(dict.fromkeys(points.run_id))}
    return np.array([names[name] for name in points.run_id], dtype=np.int64), len(names)


def _sizes_of_runs(points: Points, runs: Indices, num_runs: int) -> Indices:
    sizes = np.zeros(num_runs, dtype=np.int64)
    for i, size in enumerate(points.sizes()):
        sizes[runs[same(points.num_params, size)]] = i
    return sizes


def draw(points: Points, noise: Noise, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Weights and shifts of the log losses of `count` replicates, each [replicates, points]."""
    runs, num_runs = run_indices(points)
    strata = _sizes_of_runs(points, runs, num_runs)
    if len(points.sizes()) * 2 > num_runs:
        strata = np.zeros(num_runs, dtype=np.int64) if len(points.sizes()) > 8 else strata
    members = np.bincount(strata)
    drawn = np.zeros((count, num_runs))
    for stratum, size in enumerate(members):
        drawn[:, strata == stratum] = rng.multinomial(size, np.full(size, 1.0 / size), size=count)
    share = np.sqrt(1.0 / members[strata])
    shifts = rng.standard_normal((count, num_runs)) * (noise.run_sd * share)
    scatter = rng.standard_normal((count, len(points))) * (noise.point_sd * share[runs])
    return drawn[:, runs], shifts[:, runs] + scatter


def replicates(
    points: Points, form: Form, scale: Scale, theta: Floats, noise: Noise, agreement: float, *, seed: int, num_bootstrap: int
) -> Floats:
    """Internal constants fitted to `num_bootstrap` redrawn data sets [replicates, constants]."""
    weight, shift = draw(points, noise, np.random.default_rng(seed), num_bootstrap)
    log_params, log_tokens = np.log(points.num_params) - scale.log_params, np.log(points.num_tokens) - scale.log_tokens
    log_value = np.log(points.value) - scale.log_value
    target = log_value + shift

    def predict(rows: Floats) -> tuple[Floats, Floats]:
        return form.predict(rows, log_params, log_tokens)

    starts = [theta]
    if agreement < ONE_MINIMUM:
        others = form.starts(log_params, log_tokens, log_value)
        starts += list(others[np.linspace(0, len(others) - 1, NUM_SPREAD_STARTS).astype(int)])
    box = descent.Box(np.array(form.low), np.array(form.high))
    ends = [descent.minimise(predict, np.tile(start, (num_bootstrap, 1)), target, weight, box) for start in starts]
    best = np.argmin(np.stack([values for _, values in ends]), axis=0)
    samples: Floats = np.stack([rows for rows, _ in ends])[best, np.arange(num_bootstrap)]
    return samples
