"""One fit over several recipes: some constants shared, the others each recipe's own.

Recipes trained by one code on one grid often differ in how much their data is worth and hardly in how loss falls with size; sharing what
they have in common makes the rest better known. Whether that is allowed is asked of the data: the result holds the objective of
separate fits beside its own, and how much of the scatter sharing costs. A wrong share moves a difference between recipes from one
constant to another and looks precise, hence the test.

A joint form is a form like others, with constants named `B[recipe]`, so that search, profiles and replicates are the same code. Replicates
are drawn within each recipe and fitted together, so that differences between recipes can be taken replicate by replicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lm.law.fitting import INTERVAL_LEVEL, require
from lm.law.forms import Form, Scale, get
from lm.law.intervals import draw, noise_of
from lm.law.objectives import Objective
from lm.law.points import Floats, Points
from lm.law.profiles import Profile, open_constants, profiles
from lm.law.records import Law, Noise, Residual, law_id
from lm.law.search import Found, Problem, problem, search

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JointLaw:
    """A form fitted to several recipes at once."""

    form: str
    shared: tuple[str, ...]
    constants: Mapping[str, float]
    """By name; a recipe's own is `name[recipe]`."""
    intervals: Mapping[str, tuple[float, float]]
    unidentified: Mapping[str, str]
    objective: float
    separate_objective: float
    """Sum of the objectives when every recipe has constants of its own."""
    sharing_costs: float
    """Probability of so large a rise of the objective if the shared constants were truly one; small: they are not."""
    estimator: Mapping[str, object]
    profiles: Mapping[str, Profile]
    laws: Mapping[str, Law]
    """Each recipe's law, with the joint constants and replicates that belong together row by row."""

    def record(self) -> dict[str, Any]:
        """All that people and programs read, JSON-ready, each recipe's law included."""
        found: dict[str, Any] = {
            "form": self.form,
            "shared": list(self.shared),
            "constants": dict(self.constants),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "unidentified": dict(self.unidentified),
            "objective": self.objective,
            "separate_objective": self.separate_objective,
            "sharing_costs": self.sharing_costs,
            "estimator": dict(self.estimator),
            "profiles": [profile.record() for profile in self.profiles.values()],
        }
        return found | {"recipes": {name: law.record() for name, law in self.laws.items()}}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each recipe's points and constants lie in the joint problem."""

    form: Form
    recipes: tuple[str, ...]
    rows: tuple[slice, ...]
    columns: Indices
    """[recipes, constants of the form] -> joint constant."""
    names: tuple[str, ...]

    def of(self, theta: Floats, recipe: int) -> Floats:
        """A recipe's constants [fits, constants of the form]."""
        return theta[:, self.columns[recipe]]


def fit_joint(
    recipes: Mapping[str, Points],
    form: str = "chinchilla",
    *,
    shared: Sequence[str] = ("a", "b"),
    objective: Objective | None = None,
    seed: int = 0,
    num_bootstrap: int = 200,
    with_profiles: bool = True,
) -> JointLaw:
    """Fit a form to all recipes. shared: constants that all have in common; a coefficient may be shared only with its exponent.

    Raises: ValueError if there are fewer than two recipes, one cannot carry the form, or a shared constant is unknown.
    """
    record = get(form)
    _check(recipes, record, shared)
    layout = _layout(record, recipes, shared)
    together = _together(recipes)
    task = problem(together, _joint_form(layout, shared), Scale.of(together, record), objective=objective)
    found = search(task)
    noises = [noise_of(points, _errors(task, found, layout, i), len(record.constants)) for i, points in enumerate(recipes.values())]
    samples = _samples(task, found, list(recipes.values()), noises, seed, num_bootstrap)
    tail = 50.0 * (1.0 - INTERVAL_LEVEL)
    low, high = np.percentile(task.form.to_constants(samples, task.scale), [tail, 100.0 - tail], axis=0)
    taken = profiles(task, found) if with_profiles else {}
    separate = sum(search(problem(p, record, task.scale, objective=objective)).objective for p in recipes.values())
    return JointLaw(
        form=form,
        shared=tuple(shared),
        constants=dict(zip(layout.names, task.form.to_constants(found.theta[None], task.scale)[0].tolist(), strict=True)),
        intervals={name: (float(a), float(b)) for name, a, b in zip(layout.names, low, high, strict=True)},
        unidentified=open_constants(task.form.constants, taken),
        objective=found.objective,
        separate_objective=separate,
        sharing_costs=_cost_of_sharing(task, found.objective, separate, len(shared) * (len(recipes) - 1)),
        estimator=_estimator(task, found, seed, num_bootstrap),
        profiles=taken,
        laws={name: _law(task, found, layout, i, recipes[name], noises[i], samples, seed) for i, name in enumerate(layout.recipes)},
    )


def _check(recipes: Mapping[str, Points], form: Form, shared: Sequence[str]) -> None:
    if len(recipes) < 2:
        raise ValueError(f"a joint fit needs at least 2 recipes; came {len(recipes)}")
    unknown = [name for name in shared if name not in form.names]
    if unknown or form.one_size:
        raise ValueError(f"a joint fit shares constants of {form.name} ({', '.join(form.names)}) over sizes; came {', '.join(shared)}")
    alone = [c.name for c in form.constants if c.name in shared and c.exponent is not None and c.exponent not in shared]
    if alone:
        raise ValueError(f"{', '.join(alone)} can be shared only together with the exponent, on which the unit depends")
    for name, points in recipes.items():
        try:
            require(points, form)
        except ValueError as error:
            raise ValueError(f"recipe {name}: {error}") from error


def _layout(form: Form, recipes: Mapping[str, Points], shared: Sequence[str]) -> _Layout:
    names: list[str] = []
    columns = np.zeros((len(recipes), len(form.constants)), dtype=np.int64)
    for k, name in enumerate(form.names):
        for i, recipe in enumerate(recipes):
            label = name if name in shared else f"{name}[{recipe}]"
            if label not in names:
                names.append(label)
            columns[i, k] = names.index(label)
    ends = np.cumsum([0, *(len(points) for points in recipes.values())]).tolist()
    rows = tuple(slice(a, b) for a, b in pairwise(ends))
    return _Layout(form, tuple(recipes), rows, columns, tuple(names))


def _together(recipes: Mapping[str, Points]) -> Points:
    parts = list(recipes.values())
    unique = None if any(p.unique_tokens is None for p in parts) else np.concatenate([np.asarray(p.unique_tokens) for p in parts])
    return Points(
        tuple(f"{name}/{run}" for name, points in recipes.items() for run in points.run_id),
        np.concatenate([p.num_params for p in parts]),
        np.concatenate([p.num_tokens for p in parts]),
        tuple(seed for p in parts for seed in p.seed),
        np.concatenate([p.value for p in parts]),
        tuple(exclusion for p in parts for exclusion in p.exclusions),
        unique,
    )


def _joint_form(layout: _Layout, shared: Sequence[str]) -> Form:
    form, first = layout.form, [int(np.argwhere(layout.columns == k)[0, 1]) for k in range(len(layout.names))]
    recipe_of = [int(np.argwhere(layout.columns == k)[0, 0]) for k in range(len(layout.names))]

    def exponent(k: int) -> str | None:
        name = form.constants[first[k]].exponent
        return name if name is None or name in shared else f"{name}[{layout.recipes[recipe_of[k]]}]"

    return replace(
        form,
        name=f"joint {form.name}",
        constants=tuple(replace(form.constants[first[k]], name=name, exponent=exponent(k)) for k, name in enumerate(layout.names)),
        low=tuple(form.low[k] for k in first),
        high=tuple(form.high[k] for k in first),
        predict=partial(_predict, layout),
        starts=partial(_starts, layout),
        to_constants=partial(_translate, layout, form.to_constants),
        from_constants=partial(_translate, layout, form.from_constants),
    )


def _predict(layout: _Layout, theta: Floats, *logs: Floats) -> tuple[Floats, Floats]:
    predicted = np.empty((len(theta), len(logs[0])))
    gradient = np.zeros((len(theta), theta.shape[1], len(logs[0])))
    for i, rows in enumerate(layout.rows):
        predicted[:, rows], of_recipe = layout.form.predict(layout.of(theta, i), *(log[rows] for log in logs))
        gradient[:, layout.columns[i], rows] = of_recipe
    return predicted, gradient


def _starts(layout: _Layout, *logs: Floats) -> Floats:
    """Each recipe's starts for the same choice of exponents, one beside the other; a shared constant starts at their mean."""
    parts = [layout.form.starts(*(log[rows] for log in logs)) for rows in layout.rows]
    total, count = np.zeros((len(parts[0]), len(layout.names))), np.zeros(len(layout.names))
    for i, part in enumerate(parts):
        total[:, layout.columns[i]] += part
        count[layout.columns[i]] += 1
    return np.asarray(total / count, dtype=np.float64)


def _translate(layout: _Layout, translate: object, values: Floats, scale: Scale) -> Floats:
    assert callable(translate)
    found = np.empty_like(values)
    for i in range(len(layout.recipes)):
        found[:, layout.columns[i]] = translate(layout.of(values, i), scale)
    return found


def _errors(task: Problem, found: Found, layout: _Layout, recipe: int) -> Floats:
    return np.asarray((task.target - task.predict(found.theta[None])[0][0])[layout.rows[recipe]], dtype=np.float64)


def _samples(task: Problem, found: Found, parts: list[Points], noises: list[Noise], seed: int, num_bootstrap: int) -> Floats:
    rng = np.random.default_rng(seed)
    drawn = [draw(points, noise, rng, num_bootstrap) for points, noise in zip(parts, noises, strict=True)]
    weight, shift = (np.concatenate([pair[k] for pair in drawn], axis=1) for k in (0, 1))
    starts = np.tile(found.theta, (num_bootstrap, 1))
    return task.objective.descend(task.predict, starts, task.target + shift, task.weight * weight, task.box, 1e-8)[0]


def _cost_of_sharing(task: Problem, together: float, separate: float, num_shared: int) -> float:
    """By a likelihood ratio: n log(objective) for absolute and Huber errors, as for squares half that many degrees of the log."""
    if not separate > 0 or not num_shared:
        return 1.0
    factor = 1.0 if task.objective.kind == "squares" else 2.0
    return float(special.chdtrc(num_shared, factor * len(task.target) * np.log(max(together / separate, 1.0))))


def _estimator(task: Problem, found: Found, seed: int, num_bootstrap: int) -> dict[str, object]:
    return {
        "objective": task.objective.text,
        "num_starts": found.num_starts,
        "num_starts_agreed": found.num_agreed,
        "num_minima": found.num_minima,
        "bootstrap": "runs drawn within a recipe and size, all recipes fitted together",
        "num_bootstrap": num_bootstrap,
        "seed": seed,
        "interval_level": INTERVAL_LEVEL,
    }


def _law(task: Problem, found: Found, layout: _Layout, recipe: int, points: Points, noise: Noise, samples: Floats, seed: int) -> Law:
    form, own = layout.form, layout.of(samples, recipe)
    theta = layout.of(found.theta[None], recipe)[0]
    tail = 50.0 * (1.0 - INTERVAL_LEVEL)
    low, high = np.percentile(form.to_constants(own, task.scale), [tail, 100.0 - tail], axis=0)
    fitted = points.value * np.exp(-_errors(task, found, layout, recipe))
    columns = (points.num_params.tolist(), points.num_tokens.tolist(), points.value.tolist(), fitted.tolist())
    estimator = {
        **_estimator(task, found, seed, len(samples)),
        "fitted_together_with": list(layout.recipes),
        "recipe": layout.recipes[recipe],
    }
    return Law(
        law_id=law_id(form.name, points, estimator),
        form=form.name,
        num_params=None,
        constants=dict(zip(form.names, form.to_constants(theta[None], task.scale)[0].tolist(), strict=True)),
        intervals={name: (float(a), float(b)) for name, a, b in zip(form.names, low, high, strict=True)},
        unidentified={},
        warnings=(),
        residuals=tuple(Residual(run, *row) for run, *row in zip(points.run_id, *columns, strict=True)),
        exclusions=points.exclusions,
        estimator=estimator,
        objective=float(task.objective.value(_errors(task, found, layout, recipe)[None], np.ones(len(points)))[0]),
        points=points,
        noise=noise,
        theta=theta,
        scale=task.scale,
        samples=own,
        units={constant.name: constant.unit for constant in form.constants},
    )
