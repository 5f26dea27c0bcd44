"""Fit a law to measured losses: Huber loss on the log loss, many starts, and honesty about what few points can tell.

`fit` refuses data that cannot carry the form at all, and otherwise hands back a law with its warnings: a loss that rises with
data, constants that the data does not fix, seeds that were not varied. A wrong form is not noticed here; that is what the
forecast's form-error term and the scored forecasts are for.

Cost: a fit of 240 points from 100 starts takes about 0.2 s on one core, 1,000 bootstrap replicates of it another 1-2 s; all
laws of a ladder of twenty points with 500 replicates take 0.3 s.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lm.law import descent
from lm.law.forms import FORMS, Form, Scale, get
from lm.law.identifiability import unidentified
from lm.law.intervals import noise_of, replicates
from lm.law.points import Columns, Floats, Points, distinct, gather
from lm.law.records import Law, Residual, law_id

INTERVAL_LEVEL = 0.9


def fit(points: Points | Columns, form: str, *, seed: int = 0, num_bootstrap: int = 500, drop_highest: int = 0) -> Law:
    """Fit one form.

    points: columns run_id, num_params, num_tokens, seed, value (and perhaps validation_id); value is a loss, in any unit.
    seed, num_bootstrap: of the replicates behind the intervals; equal seeds give equal laws.
    drop_highest: leave out this many of the highest losses; they are listed among the exclusions.
    Raises: ValueError if the points cannot carry the form, if columns are missing or validation sets are mixed.
    """
    record = get(form)
    if num_bootstrap < 20:
        raise ValueError(f"num_bootstrap must be at least 20 for a 90% interval; came {num_bootstrap}")
    checked = points if isinstance(points, Points) and not drop_highest else gather(_as_columns(points), drop_highest=drop_highest)
    require(checked, record)
    return _law(checked, record, seed, num_bootstrap)


def fit_all(points: Points | Columns, *, seed: int = 0, num_bootstrap: int = 500) -> tuple[list[Law], dict[str, str]]:
    """Every form that the points can carry: data_only at each size, then the joint ones.

    Returns the laws, and for those that were skipped the reason, by form and size.
    """
    checked = points if isinstance(points, Points) else gather(points)
    laws: list[Law] = []
    skipped: dict[str, str] = {}
    for form in FORMS.values():
        for part in [checked.of_size(size) for size in checked.sizes()] if form.one_size else [checked]:
            try:
                laws.append(fit(part, form.name, seed=seed, num_bootstrap=num_bootstrap))
            except ValueError as error:
                skipped[f"{form.name} at {part.num_params[0]:,.0f} parameters" if form.one_size else form.name] = str(error)
    return laws, skipped


def require(points: Points, form: Form) -> None:
    """Raises: ValueError if there are too few sizes, rungs or points for the form, naming how many must be there."""
    sizes, rungs = len(points.sizes()), len(points.rungs())
    cells = len({(round(np.log(n), 9), round(np.log(d), 9)) for n, d in zip(points.num_params, points.num_tokens, strict=True)})
    left_out = f" ({len(points.exclusions)} more were left out)" if points.exclusions else ""
    came = f"{len(points)} points at {sizes} model sizes and {rungs} amounts of data{left_out}"
    if form.one_size and sizes > 1:
        raise ValueError(f"the form {form.name} holds at one model size; came {came}. Fit one size at a time, or chinchilla")
    if sizes < form.num_sizes:
        raise ValueError(
            f"the form {form.name} needs at least {form.num_sizes} model sizes; came {came}. Train another size, or fit data_only"
        )
    if rungs < 3:
        raise ValueError(f"the form {form.name} needs at least 3 amounts of data; came {came}. Train more rungs")
    if cells < len(form.constants):
        raise ValueError(
            f"the form {form.name} has {len(form.constants)} constants and needs as many distinct points; came {came}. Train more rungs"
        )


def solve(points: Points, form: Form, scale: Scale) -> tuple[Floats, float, float]:
    """Best internal constants over all starts: theta, objective, and the share of starts that end within 0.1% of it."""
    log_params, log_tokens, target = coordinates(points, scale)
    starts = form.starts(log_params, log_tokens, target)
    weight = np.ones((1, len(points)))

    def predict(theta: Floats) -> tuple[Floats, Floats]:
        return form.predict(theta, log_params, log_tokens)

    ends, values = descent.minimise(predict, starts, target[None], weight, box_of(form))
    best = int(np.argmin(values))
    return ends[best], float(values[best]), float((values <= values[best] * 1.001 + 1e-15).mean())


def coordinates(points: Points, scale: Scale) -> tuple[Floats, Floats, Floats]:
    """Log N, log D and log loss, measured from the scale."""
    return (
        np.log(points.num_params) - scale.log_params,
        np.log(points.num_tokens) - scale.log_tokens,
        np.log(points.value) - scale.log_value,
    )


def box_of(form: Form) -> descent.Box:
    """Bounds of a form's internal constants."""
    return descent.Box(np.array(form.low), np.array(form.high))


def _law(points: Points, form: Form, seed: int, num_bootstrap: int) -> Law:
    scale = Scale.of(points)
    theta, objective, agreement = solve(points, form, scale)
    log_params, log_tokens, target = coordinates(points, scale)
    fitted = form.predict(theta[None], log_params, log_tokens)[0][0]
    noise = noise_of(points, target - fitted, len(form.constants))
    samples = replicates(points, form, scale, theta, noise, agreement, seed=seed, num_bootstrap=num_bootstrap)
    names = [constant.name for constant in form.constants]
    tail = 50.0 * (1.0 - INTERVAL_LEVEL)
    low, high = np.percentile(form.to_constants(samples, scale), [tail, 100.0 - tail], axis=0)
    constants = dict(zip(names, form.to_constants(theta[None], scale)[0].tolist(), strict=True))
    intervals = {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    estimator = _estimator(form, points, seed, num_bootstrap)
    return Law(
        law_id=law_id(form.name, points, estimator),
        form=form.name,
        num_params=points.sizes()[0] if form.one_size else None,
        constants=constants,
        intervals=intervals,
        unidentified=unidentified(form, theta, constants, intervals, log_params, log_tokens),
        warnings=_warnings(points, form, noise.seeds_seen),
        residuals=_residuals(points, np.exp(fitted + scale.log_value)),
        exclusions=points.exclusions,
        estimator={**estimator, "share_of_starts_at_the_minimum": round(agreement, 3)},
        objective=objective,
        points=points,
        noise=noise,
        theta=theta,
        scale=scale,
        samples=samples,
    )


def _estimator(form: Form, points: Points, seed: int, num_bootstrap: int) -> Mapping[str, Any]:
    log_params, log_tokens, target = coordinates(points, Scale.of(points))
    return {
        "objective": "sum of Huber losses of log(fitted) - log(observed)",
        "huber_delta": descent.HUBER_DELTA,
        "num_starts": len(form.starts(log_params, log_tokens, target)),
        "bootstrap": "runs drawn within a size, with smoothing noise for small numbers of runs",
        "num_bootstrap": num_bootstrap,
        "seed": seed,
        "interval_level": INTERVAL_LEVEL,
    }


def _residuals(points: Points, fitted: Floats) -> tuple[Residual, ...]:
    columns = (points.num_params.tolist(), points.num_tokens.tolist(), points.value.tolist(), fitted.tolist())
    return tuple(Residual(run_id, n, d, v, f) for run_id, n, d, v, f in zip(points.run_id, *columns, strict=True))


def _warnings(points: Points, form: Form, seeds_seen: bool) -> tuple[str, ...]:
    found = [w for size in points.sizes() if (w := rising(points.of_size(size))) is not None] if _is_ladder(points) else []
    if len(points.rungs()) <= 3 and form.one_size:
        found.append("three amounts of data fix three constants: nothing is left to judge the form by")
    if float(np.ptp(np.log(points.value))) < 1e-9:
        found.append("all losses are equal: no constant but E means anything")
    if not seeds_seen:
        found.append(
            "no model size was trained with two seeds: the scatter between seeds is not known and is taken as that around the curve"
        )
    return tuple(found)


def _is_ladder(points: Points) -> bool:
    return len(points.rungs()) <= 64


def rising(points: Points) -> str | None:
    """A warning if the mean loss of one size goes up from one rung to the next, else None."""
    rungs = distinct(points.num_tokens)
    means = [float(points.value[np.abs(np.log(points.num_tokens / rung)) < 1e-9].mean()) for rung in rungs]
    worse = [f"{rung:,.0f}" for rung, before, after in zip(rungs[1:], means, means[1:], strict=False) if after > before]
    if not worse:
        return None
    return (
        f"loss rises with data at {points.num_params[0]:,.0f} parameters (up to {', '.join(worse)} tokens): no law of this form allows that"
    )


def _as_columns(points: Points | Columns) -> Columns:
    if not isinstance(points, Points):
        return points
    return {
        "run_id": list(points.run_id),
        "num_params": points.num_params.tolist(),
        "num_tokens": points.num_tokens.tolist(),
        "seed": list(points.seed),
        "value": points.value.tolist(),
    }
