"""Find the best constants of a form over many starts, some of them held; and fit the same form to redrawn data.

Starts come from the form (few, chosen so that linear constants already fit) or from the caller; those that meet on the way are carried
on once. What is reported is how many starts there were, how many distinct minima they met and what share met the best one: a
low share is a warning that another start might do better still.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lm.law.descent import Box
from lm.law.forms import Form, Scale
from lm.law.intervals import draw
from lm.law.objectives import Objective
from lm.law.points import Floats, Points
from lm.law.records import Noise

AGREES = 1e-3
"""Starts agree if their objectives are within this share of the best."""
BEST_STARTS = 12
"""So many of the best starts are also followed without the wide first pass, which may lead past a narrow minimum."""
ONE_MINIMUM = 0.9
"""If this share of starts met the same minimum, replicates start from the fit alone; otherwise from other places too."""
NUM_SPREAD_STARTS = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """A form, the points it is fitted to in the form's coordinates, and what is minimised."""

    form: Form
    scale: Scale
    logs: tuple[Floats, ...]
    target: Floats
    """Log losses, measured from the scale."""
    weight: Floats
    objective: Objective
    box: Box

    def predict(self, theta: Floats) -> tuple[Floats, Floats]:
        """Log losses and gradient at the points."""
        return self.form.predict(theta, *self.logs)

    def value(self, theta: Floats) -> Floats:
        """The objective of each row of internal constants."""
        return self.objective.value(self.predict(theta)[0] - self.target, self.weight)


@dataclass(frozen=True, slots=True)
class Found:
    """The best constants, and how the search went."""

    theta: Floats
    objective: float
    num_starts: int
    num_agreed: int
    num_minima: int
    """Distinct objectives that starts ended in."""

    @property
    def agreement(self) -> float:
        """Share of the starts that met the best minimum."""
        return self.num_agreed / self.num_starts


def problem(
    points: Points,
    form: Form,
    scale: Scale | None = None,
    *,
    objective: Objective | None = None,
    weight: Floats | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Problem:
    """What has to be solved. fixed: constants held at a value, in the units of the points."""
    scale = scale or Scale.of(points, form)
    weight = np.ones(len(points)) if weight is None else weight
    logs, target = form.coordinates(points, scale), np.log(points.value) - scale.log_value
    return Problem(form, scale, logs, target, weight, objective or Objective(), box_of(form, scale, fixed))


def box_of(form: Form, scale: Scale | None = None, fixed: Mapping[str, float] | None = None) -> Box:
    """Bounds of a form's internal constants; held ones have equal bounds.

    Raises: ValueError if a held constant is unknown, not a number of the form's range, or a coefficient whose exponent is free.
    """
    low, high = np.array(form.low), np.array(form.high)
    for constant in form.constants:
        if constant.name in (fixed or {}) and constant.exponent is not None and constant.exponent not in (fixed or {}):
            raise ValueError(f"{constant.name} can be held only together with its exponent {constant.exponent}, on which its unit depends")
    unknown = set(fixed or {}) - set(form.names)
    if unknown:
        raise ValueError(f"the form {form.name} has the constants {', '.join(form.names)}; {', '.join(sorted(unknown))} cannot be held")
    if fixed:
        assert scale is not None
        given = np.array([[fixed.get(name, np.nan) for name in form.names]])
        with np.errstate(invalid="ignore"):
            theta = form.from_constants(given, scale)[0]
        held = np.array([name in fixed for name in form.names])
        low, high = np.where(held, theta, low), np.where(held, theta, high)
    return Box(low, high)


def search(task: Problem, starts: Floats | None = None) -> Found:
    """The best constants over all starts [starts, internal constants]; None: the form's own."""
    origins = task.box.clip(task.form.starts(*task.logs, task.target) if starts is None else starts)
    target, weight = task.target[None], task.weight[None]
    ends, values, which = task.objective.explore(task.predict, origins, target, weight, task.box)
    near = origins[np.argsort(task.value(origins), kind="stable")[:BEST_STARTS]]
    more, more_values = task.objective.descend(task.predict, near, target, weight, task.box)
    best = float(min(values.min(), more_values.min()))
    theta = ends[int(np.argmin(values))] if values.min() <= more_values.min() else more[int(np.argmin(more_values))]
    agreed = int((values[which] <= best * (1 + AGREES) + 1e-15).sum())
    minima = np.unique(np.round(np.log(np.maximum(values, 1e-15) / max(best, 1e-15)) / AGREES)).size
    return Found(theta, best, len(origins), max(agreed, 1), int(minima))


def replicates(task: Problem, points: Points, found: Found, noise: Noise, *, seed: int, num_bootstrap: int) -> Floats:
    """Internal constants fitted to `num_bootstrap` redrawn data sets [replicates, constants]."""
    drawn, shift = draw(points, noise, np.random.default_rng(seed), num_bootstrap)
    starts = [found.theta]
    if found.agreement < ONE_MINIMUM:
        others = task.form.starts(*task.logs, task.target)
        starts += list(others[np.linspace(0, len(others) - 1, NUM_SPREAD_STARTS).astype(int)])
    target, weight = task.target + shift, task.weight * drawn
    ends = [task.objective.descend(task.predict, np.tile(start, (num_bootstrap, 1)), target, weight, task.box) for start in starts]
    best = np.argmin(np.stack([values for _, values in ends]), axis=0)
    samples: Floats = np.stack([rows for rows, _ in ends])[best, np.arange(num_bootstrap)]
    return samples
