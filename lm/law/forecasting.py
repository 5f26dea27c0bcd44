"""Say what a larger run will score, and how far off that may be.

The interval joins three errors on the log loss, in quadrature:

- *sampling*: the spread of the bootstrap replicates at the target;
- *seed noise*: the scatter of the mean of `num_seeds` runs around a law;
- *form error*: no form is true. The largest rungs of the user's own data are hidden, the form is fitted to the rest and asked for
  the hidden ones; the worst root-mean-square miss beyond seed noise, per unit of extrapolation, is scaled to the target and widened
  by Student's t for the number of misses seen. If too few rungs exist to hide one, the term is the whole change the law
  predicts beyond the data.

Why the third: bootstrap intervals alone, at a nominal 90%, cover 9-48% of later runs on published data. What it costs: with four rungs
the interval is wide, and a change of regime beyond the data (a learning rate that stops working, data that repeats) is
still not in it. Hidden refits cost a few milliseconds each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from lm.law.fitting import require, solve
from lm.law.forms import Form, Scale
from lm.law.points import SAME_SIZE, Floats, Points, distinct, same
from lm.law.records import Forecast, Law, Noise, Score
from storage.digest import digest

MIN_RUNGS_ALONE = 4
"""A size with this many amounts of data is forecast from its own law; with fewer, from the joint law."""
FEW_LEVELS = 12
HIDDEN_SHARES = (0.125, 0.25, 0.375, 0.5)
"""For points that are no grid: parts of the span (in log) that are hidden from the top."""
SHORTEST = 0.05
"""Hidden points closer than this share of the fitted span say little about extrapolation and are not used."""


@dataclass(frozen=True, slots=True)
class Miss:
    """The error at one hidden point: log observed minus log predicted, and how far out it was."""

    cut: int
    extrapolation: float
    """Distance beyond the fitted points as a share of their span, both in log."""
    error: float
    num_runs: int
    """Runs behind the observed mean."""


def headline_law(laws: Iterable[Law], num_params: float) -> Law:
    """The law to forecast a size with: its own data_only law if that has at least 4 rungs, else a joint law, else its own.

    The size's own law carries no assumption about other sizes; the joint one borrows from them where a size has too little.
    Raises: ValueError if no law covers the size.
    """
    candidates = list(laws)
    own = [law for law in candidates if law.num_params is not None and abs(np.log(law.num_params / num_params)) < SAME_SIZE]
    joint = [law for law in candidates if law.num_params is None]
    ranked = [law for law in own if len(law.points.rungs()) >= MIN_RUNGS_ALONE] + joint + own
    if not ranked:
        sizes = ", ".join(f"{law.num_params:,.0f}" for law in candidates if law.num_params) or "none"
        raise ValueError(
            f"no law covers {num_params:,.0f} parameters; laws at hand are for: {sizes}. Fit chinchilla over two sizes or more"
        )
    return ranked[0]


def forecast(laws: Law | Sequence[Law], num_params: float, num_tokens: float, level: float = 0.9, *, num_seeds: int = 1) -> Forecast:
    """Forecast the mean loss of `num_seeds` runs at a size and an amount of data.

    laws: one law, or several of one ladder: the one of `headline_law` predicts, and misses of the same form at other sizes help to
    calibrate it.
    Raises: ValueError if no law covers the size or an argument is out of range.
    """
    if not (0.0 < level < 1.0 and num_seeds >= 1 and num_params > 0 and num_tokens > 0):
        raise ValueError(
            f"a forecast needs 0 < level < 1, num_seeds >= 1 and a positive target; "
            f"came level {level}, {num_seeds} seeds, N {num_params}, D {num_tokens}"
        )
    at_hand = [laws] if isinstance(laws, Law) else list(laws)
    law = headline_law(at_hand, num_params)
    peers = [peer for peer in at_hand if peer.form == law.form]
    return _forecast(law, _misses_of(peers, num_params), num_params, num_tokens, level, num_seeds)


def score(prediction: Forecast, outcomes: Sequence[float]) -> Score:
    """Compare a forecast with the losses measured, one per seed. Raises: ValueError if there is none or one is not finite."""
    if not len(outcomes) or not all(np.isfinite(outcomes)):
        raise ValueError(f"a forecast is scored by one finite loss per seed; came {list(outcomes)}")
    outcome = float(np.mean(outcomes))
    return Score(outcome, prediction.low <= outcome <= prediction.high)


def curve(
    laws: Law | Sequence[Law], *, beyond: float = 4.0, num_points: int = 48, level: float = 0.9, num_seeds: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Each law drawn: by law_id, points {num_params, num_tokens, fitted, low, high} from its smallest to `beyond` times its largest rung.

    The band is that of a forecast of `num_seeds` runs (None: as many as the size was trained with), for amounts inside the data as well.
    """
    at_hand = [laws] if isinstance(laws, Law) else list(laws)
    return {
        law.law_id: _curve(law, [peer for peer in at_hand if peer.form == law.form], beyond, num_points, level, num_seeds)
        for law in at_hand
    }


def _curve(law: Law, peers: list[Law], beyond: float, num_points: int, level: float, num_seeds: int | None) -> list[dict[str, Any]]:
    rows = []
    for size in law.points.sizes()[:16]:
        amounts = law.points.of_size(size).num_tokens
        misses = _misses_of(peers, size)
        seeds = num_seeds or len(set(law.points.of_size(size).seed))
        for num_tokens in np.geomspace(amounts.min(), amounts.max() * beyond, num_points):
            drawn = _forecast(law, misses, size, float(num_tokens), level, seeds)
            rows.append(
                {
                    "num_params": round(size),
                    "num_tokens": round(float(num_tokens)),
                    "fitted": drawn.predicted,
                    "low": drawn.low,
                    "high": drawn.high,
                }
            )
    return rows


def _forecast(law: Law, misses: Sequence[Miss], num_params: float, num_tokens: float, level: float, num_seeds: int) -> Forecast:
    middle = float(law.log_losses(law.theta[None], num_params, num_tokens)[0])
    tail = 50.0 * (1.0 - level)
    bottom, top = np.percentile(law.log_losses(law.samples, num_params, num_tokens), [tail, 100.0 - tail])
    sampling_low, sampling_high = max(0.0, middle - float(bottom)), max(0.0, float(top) - middle)
    seed_noise = _student(level, law.noise.degrees_of_freedom) * float(np.hypot(law.noise.run_sd, law.noise.point_sd)) / np.sqrt(num_seeds)
    form_error = _form_error(law, misses, num_params, num_tokens, level, middle)
    below, above = (float(np.sqrt(side**2 + seed_noise**2 + form_error**2)) for side in (sampling_low, sampling_high))
    return Forecast(
        forecast_id=digest("forecast", law.law_id, repr(float(num_params)), repr(float(num_tokens)), repr(level), str(num_seeds)),
        law_id=law.law_id,
        num_params=float(num_params),
        num_tokens=float(num_tokens),
        predicted=float(np.exp(middle)),
        low=float(np.exp(middle - below)),
        high=float(np.exp(middle + above)),
        level=level,
        num_seeds=num_seeds,
        components={
            "sampling_low": sampling_low,
            "sampling_high": sampling_high,
            "seed_noise": float(seed_noise),
            "form_error": form_error,
            "num_hidden_errors": float(len(misses)),
        },
        warnings=law.warnings,
    )


def _student(level: float, freedom: int) -> float:
    return float(stats.t.ppf(0.5 + level / 2.0, max(1, freedom)))


def _form_error(law: Law, misses: Sequence[Miss], num_params: float, num_tokens: float, level: float, middle: float) -> float:
    axis = _axis(law.points, num_params)
    target = float(_position(law.points, num_params, num_params, num_tokens))
    distance = max(0.0, target - float(axis.max())) / max(float(np.ptp(axis)), SAME_SIZE)
    if misses:
        return _worst_slope(misses, law.noise) * distance * _student(level, len({miss.cut for miss in misses}))
    if distance == 0.0:
        return 0.0
    largest = law.points.where(axis >= axis.max() - SAME_SIZE)
    return abs(middle - float(np.log(law.predict(float(largest.num_params[0]), float(largest.num_tokens[0])))))


def _worst_slope(misses: Sequence[Miss], noise: Noise) -> float:
    """The largest, over the cuts, of root-mean-square miss over root-mean-square extrapolation.

    A miss holds seed noise too, which the interval counts already; the lower end of that noise's 90% interval is taken off.
    """
    certain = noise.degrees_of_freedom / float(stats.chi2.ppf(0.95, noise.degrees_of_freedom))
    variance = (noise.run_sd**2 + noise.point_sd**2) * certain
    slopes: list[float] = []
    for cut in {miss.cut for miss in misses}:
        of_cut = [miss for miss in misses if miss.cut == cut]
        excess = max(0.0, sum(miss.error**2 - variance / miss.num_runs for miss in of_cut))
        slopes.append(float(np.sqrt(excess / sum(miss.extrapolation**2 for miss in of_cut))))
    return max(slopes)


def _position(points: Points, target_params: float, num_params: float | Floats, num_tokens: float | Floats) -> Any:
    """Place on the axis of extrapolation: log D for a size that was trained on at least 3 amounts of data, else log ND (compute)."""
    trained = points.where(same(points.num_params, target_params))
    by_data = len(trained) > 0 and len(trained.rungs()) >= 3
    return np.log(num_tokens) if by_data else np.log(num_params) + np.log(num_tokens)


def _axis(points: Points, target_params: float) -> Floats:
    axis: Floats = _position(points, target_params, points.num_params, points.num_tokens)
    return axis


def _misses_of(laws: Sequence[Law], num_params: float) -> list[Miss]:
    found: list[Miss] = []
    for number, law in enumerate(laws):
        misses = hidden_misses(law.points, law.form_record, num_params if law.num_params is None else law.num_params)
        found += [replace(miss, cut=number * len(misses) + miss.cut) for miss in misses]
    return found


def hidden_misses(points: Points, form: Form, target_params: float) -> list[Miss]:
    """Hide the top of the data in several ways, fit the rest, and note by how much each hidden cell is missed (mean over seeds)."""
    axis = _axis(points, target_params)
    found = []
    for cut, limit in enumerate(_limits(axis)):
        rest, hidden = points.where(axis <= limit + SAME_SIZE), points.where(axis > limit + SAME_SIZE)
        try:
            require(rest, form)
        except ValueError:
            continue
        fitted_axis = _axis_like(rest, axis[axis <= limit + SAME_SIZE])
        found += _misses(cut, rest, hidden, form, axis[axis > limit + SAME_SIZE], fitted_axis)
    return found


def _axis_like(points: Points, axis: Floats) -> tuple[float, float]:
    assert len(points) == len(axis)
    return float(axis.max()), float(np.ptp(axis))


def _limits(axis: Floats) -> list[float]:
    """Where to cut: below each of the upper rungs of a grid, or at shares of the span of a scatter."""
    levels = np.log(distinct(np.exp(axis - axis.min()))) + axis.min()
    if len(levels) <= FEW_LEVELS:
        return [float(level) for level in levels[len(levels) - len(levels) // 2 - 1 : -1][::-1]] if len(levels) > 2 else [float(levels[0])]
    return [float(axis.max() - share * np.ptp(axis)) for share in HIDDEN_SHARES]


def _misses(cut: int, rest: Points, hidden: Points, form: Form, hidden_axis: Floats, fitted_axis: tuple[float, float]) -> list[Miss]:
    scale = Scale.of(rest)
    theta, _, _ = solve(rest, form, scale)
    coordinates = np.log(hidden.num_params) - scale.log_params, np.log(hidden.num_tokens) - scale.log_tokens
    predicted = form.predict(theta[None], *coordinates)[0][0] + scale.log_value
    errors = np.log(hidden.value) - predicted
    top, span = fitted_axis
    cells: dict[tuple[float, float], list[int]] = {}
    for i, (n, d) in enumerate(zip(hidden.num_params, hidden.num_tokens, strict=True)):
        cells.setdefault((round(float(np.log(n)), 9), round(float(np.log(d)), 9)), []).append(i)
    found = [
        Miss(cut, float(hidden_axis[index[0]] - top) / max(span, SAME_SIZE), float(errors[index].mean()), len(index))
        for index in cells.values()
    ]
    return [miss for miss in found if miss.extrapolation >= SHORTEST]
