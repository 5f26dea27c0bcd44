"""Fit a law to measured losses: a robust loss on the log loss, many starts, and honesty about what few points can tell.

`fit` refuses data that cannot carry the form at all, and otherwise hands back a law with its warnings: a loss that rises with
data, constants that the data does not fix, runs far off the law, numbers that look like other units. A wrong form is not noticed here;
that is what the forecast's form-error term and the scored forecasts are for.

Cost: 240 points, 4,500 starts and 4,000 bootstrap replicates take about 4 s on one core; a ladder of twenty points with its
profiles and 500 replicates some tenths of a second.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm.law import checks
from lm.law.forms import LADDER_FORMS, Form, Scale, get
from lm.law.frames import Names, Source, columns_of
from lm.law.identifiability import unidentified
from lm.law.intervals import noise_of
from lm.law.objectives import Objective, WeightRule, weights_of
from lm.law.points import COLUMNS, Columns, Floats, Points, gather
from lm.law.profiles import Profile, open_constants, profiles
from lm.law.records import Law, Residual, law_id
from lm.law.search import Found, Problem, box_of, problem, replicates, search

__all__ = ["box_of", "coordinates", "fit", "fit_all", "require", "solve"]

INTERVAL_LEVEL = 0.9


def fit(
    data: Points | Source,
    form: str = "chinchilla",
    *,
    n: str | None = None,
    d: str | None = None,
    loss: str | None = None,
    unique_tokens: str | None = None,
    run: str | None = None,
    run_seed: str | None = None,
    flops: str | None = None,
    loss_unit: str | None = None,
    seed: int = 0,
    num_bootstrap: int = 500,
    drop_highest: int = 0,
    objective: Objective | None = None,
    weights: WeightRule = "equal",
    fixed: Mapping[str, float] | None = None,
    starts: Floats | None = None,
    with_profiles: bool = True,
) -> Law:
    """Fit one form.

    data: points, or a table, mapping, CSV or Parquet file of runs. n, d, loss, unique_tokens, run, run_seed, flops: names of its columns
    (flops stands in for d: D = C / 6N); if none is named, it has run_id, num_params, num_tokens, seed, value.
    loss_unit: what the loss is counted in, for the record; the law is in the same unit.
    seed, num_bootstrap: of the replicates behind the intervals; equal seeds give equal laws.
    drop_highest: leave out this many of the highest losses; they are listed among the exclusions.
    objective: what is minimised; Huber loss with delta 1e-3 if not said. weights: equal, or by the noise between seeds at each size.
    fixed: constants held at a value. starts: internal constants to start from, instead of the form's own.
    with_profiles: also say how far each constant can be moved; without, only what the intervals show.
    Raises: ValueError if the points cannot carry the form, if columns are missing or losses that cannot be compared are mixed.
    """
    record = get(form)
    if num_bootstrap < 20:
        raise ValueError(f"num_bootstrap must be at least 20 for a 90% interval; came {num_bootstrap}")
    columns = {"n": n, "d": d, "loss": loss, "unique_tokens": unique_tokens, "run": run, "run_seed": run_seed, "flops": flops}
    checked = _points(data, {name: value for name, value in columns.items() if value is not None}, drop_highest)
    require(checked, record, num_held=len(fixed or {}))
    task = problem(checked, record, objective=objective, weight=weights_of(checked, weights), fixed=fixed)
    details = {"weights": weights, "fixed": dict(fixed or {})}
    return _law(checked, task, search(task, starts), details, loss_unit, seed, num_bootstrap, with_profiles)


def _points(data: Points | Source, named: Mapping[str, str], drop_highest: int) -> Points:
    if isinstance(data, Points):
        return data if not drop_highest else gather(_as_columns(data), drop_highest=drop_highest)
    if not named and not isinstance(data, str | Path):
        return gather(data, drop_highest=drop_highest)
    names: dict[str, Any] = dict(named)
    if "flops" in names and "d" not in names:
        names["d"] = None
    if isinstance(data, str | Path) and not named:
        names = {"run": "run_id", "run_seed": "seed"}
    return gather(columns_of(data, Names(**names)), drop_highest=drop_highest)


def points_of(data: Source, *, drop_highest: int = 0, **columns: Any) -> Points:
    """The points of a table of runs, columns named as for `fit`; other settings of `fit` are ignored. Raises: ValueError as `fit` does."""
    named = ("n", "d", "loss", "unique_tokens", "run", "run_seed", "flops")
    return _points(data, {name: columns[name] for name in named if columns.get(name) is not None}, drop_highest)


def fit_all(
    points: Points | Columns, *, seed: int = 0, num_bootstrap: int = 500, forms: Sequence[str] = LADDER_FORMS, with_profiles: bool = True
) -> tuple[list[Law], dict[str, str]]:
    """Every form that the points can carry, in this order; those of one size at each size.

    Returns the laws, and for those that were skipped the reason, by form and size.
    """
    checked = points if isinstance(points, Points) else gather(points)
    laws: list[Law] = []
    skipped: dict[str, str] = {}
    for form in map(get, forms):
        for part in [checked.of_size(size) for size in checked.sizes()] if form.one_size else [checked]:
            try:
                laws.append(fit(part, form.name, seed=seed, num_bootstrap=num_bootstrap, with_profiles=with_profiles))
            except ValueError as error:
                skipped[f"{form.name} at {part.num_params[0]:,.0f} parameters" if form.one_size else form.name] = str(error)
    return laws, skipped


def require(points: Points, form: Form, num_held: int = 0) -> None:
    """Raises: ValueError if there are too few sizes, rungs or points for the form, naming how many must be there."""
    sizes, rungs = len(points.sizes()), len(points.rungs())
    amounts = [points.num_params, points.num_tokens, *([points.unique_tokens] if points.unique_tokens is not None else [])]
    cells = len({tuple(np.round(np.log(row), 9).tolist()) for row in zip(*amounts, strict=True)})
    num_free = len(form.constants) - num_held
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
    if cells < num_free:
        raise ValueError(f"the form {form.name} has {num_free} constants and needs as many distinct points; came {came}. Train more rungs")


def solve(points: Points, form: Form, scale: Scale) -> tuple[Floats, float, float]:
    """Best internal constants over all starts: theta, objective, and the share of starts that end within 0.1% of it."""
    found = search(problem(points, form, scale))
    return found.theta, found.objective, found.agreement


def coordinates(points: Points, scale: Scale) -> tuple[Floats, Floats, Floats]:
    """Log N, log D and log loss, measured from the scale."""
    return (
        np.log(points.num_params) - scale.log_params,
        np.log(points.num_tokens) - scale.log_tokens,
        np.log(points.value) - scale.log_value,
    )


def _law(
    points: Points,
    task: Problem,
    found: Found,
    details: Mapping[str, Any],
    loss_unit: str | None,
    seed: int,
    num_bootstrap: int,
    with_profiles: bool,
) -> Law:
    form, scale = task.form, task.scale
    fitted = task.predict(found.theta[None])[0][0]
    noise = noise_of(points, task.target - fitted, len(form.constants))
    samples = replicates(task, points, found, noise, seed=seed, num_bootstrap=num_bootstrap)
    constants = _by_name(form, form.to_constants(found.theta[None], scale)[0])
    tail = 50.0 * (1.0 - INTERVAL_LEVEL)
    low, high = np.percentile(form.to_constants(samples, scale), [tail, 100.0 - tail], axis=0)
    if len(points) <= int((task.box.low < task.box.high).sum()):  # a perfect fit of as many points as constants shows no scatter
        low, high = np.sort(form.to_constants(np.stack([task.box.low, task.box.high]), scale), axis=0)
    intervals = {name: (float(a), float(b)) for name, a, b in zip(form.names, low, high, strict=True)}
    taken = profiles(task, found) if with_profiles else {}
    estimator = _estimator(task, details, seed, num_bootstrap)
    return Law(
        law_id=law_id(form.name, points, estimator),
        form=form.name,
        num_params=points.sizes()[0] if form.one_size else None,
        constants=constants,
        intervals=intervals,
        unidentified=_unidentified(task, found, constants, intervals, taken),
        warnings=_warnings(points, task, found, constants, intervals, noise.seeds_seen),
        residuals=_residuals(points, np.exp(fitted + scale.log_value)),
        exclusions=points.exclusions,
        estimator={**estimator, **_search_record(found), "units": _units(form, loss_unit)},
        objective=found.objective,
        points=points,
        noise=noise,
        theta=found.theta,
        scale=scale,
        samples=samples,
        units=_units(form, loss_unit),
        profiles=taken,
    )


def _by_name(form: Form, values: Floats) -> dict[str, float]:
    return dict(zip(form.names, values.tolist(), strict=True))


def _units(form: Form, loss_unit: str | None) -> dict[str, str]:
    given = {"loss": loss_unit or "as given (nobody said which unit)", "N": "parameters, as given", "D": "tokens, as given"}
    return given | {constant.name: constant.unit for constant in form.constants}


def _estimator(task: Problem, details: Mapping[str, Any], seed: int, num_bootstrap: int) -> dict[str, Any]:
    return {
        "objective": task.objective.text,
        "huber_delta": task.objective.delta if task.objective.kind == "huber" else None,
        **details,
        "bootstrap": "runs drawn within a size, with smoothing noise for small numbers of runs",
        "num_bootstrap": num_bootstrap,
        "seed": seed,
        "interval_level": INTERVAL_LEVEL,
    }


def _search_record(found: Found) -> dict[str, Any]:
    return {
        "num_starts": found.num_starts,
        "num_starts_agreed": found.num_agreed,
        "num_minima": found.num_minima,
        "share_of_starts_at_the_minimum": round(found.agreement, 3),
    }


def _unidentified(
    task: Problem,
    found: Found,
    constants: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    taken: Mapping[str, Profile],
) -> dict[str, str]:
    """By the profiles where there are any, else by the design and the replicates; held constants are known."""
    held = {name for name, low, high in zip(task.form.names, task.box.low, task.box.high, strict=True) if low == high}
    num_cells = len(set(zip(*(np.round(log, 9).tolist() for log in task.logs), strict=True)))
    if num_cells <= len(task.form.names) - len(held):
        return dict.fromkeys((name for name in task.form.names if name not in held), "there are no more distinct points than constants")
    by_replicates = unidentified(task.form, found.theta, constants, intervals, *task.logs)
    by_profile = open_constants(task.form.constants, taken)
    return {
        name: by_profile.get(name, by_replicates.get(name, ""))
        for name in task.form.names
        if name in by_replicates | by_profile and name not in held
    }


def _residuals(points: Points, fitted: Floats) -> tuple[Residual, ...]:
    columns = (points.num_params.tolist(), points.num_tokens.tolist(), points.value.tolist(), fitted.tolist())
    return tuple(Residual(run_id, n, d, v, f) for run_id, n, d, v, f in zip(points.run_id, *columns, strict=True))


def _warnings(
    points: Points,
    task: Problem,
    found: Found,
    constants: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    seeds_seen: bool,
) -> tuple[str, ...]:
    errors = task.target - task.predict(found.theta[None])[0][0]

    def refit(rest: Points) -> Mapping[str, float]:
        require(rest, task.form)
        again = Problem(
            task.form,
            task.scale,
            task.form.coordinates(rest, task.scale),
            np.log(rest.value) - task.scale.log_value,
            np.ones(len(rest)),
            task.objective,
            task.box,
        )
        return _by_name(task.form, task.form.to_constants(search(again).theta[None], task.scale)[0])

    said = [
        *checks.shape(points, task.form.one_size, seeds_seen),
        *checks.units(points),
        *checks.outliers(points, errors, refit, constants),
    ]
    said += checks.least_data(points, refit, constants, intervals)
    if found.agreement < 0.05:
        said.append(f"only {found.num_agreed} of {found.num_starts} starts met the best minimum: another start might do better still")
    return tuple(said)


def _as_columns(points: Points | Columns) -> Columns:
    if not isinstance(points, Points):
        return points
    found: dict[str, Any] = {name: np.asarray(getattr(points, name)).tolist() for name in COLUMNS}
    return found if points.unique_tokens is None else found | {"unique_tokens": points.unique_tokens.tolist()}
