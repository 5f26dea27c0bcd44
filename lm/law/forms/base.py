"""What every form of a scaling law says about itself: columns, constants with units, prediction with gradient, bounds, starts.

A form works on *internal* constants: logarithms of coefficients, in coordinates where the middle point has N = D = L = 1. That
makes a fit indifferent to units (tokens or bytes, nats or bits) and its steps well scaled; the cost is a translation in
both directions, `to_constants` and `from_constants`. A form that is not a family of curves whatever the unit of D (farseer) is
*anchored*: its D is counted from one token, and its fit depends on that unit, as its authors' does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lm.law.points import Floats, Points

EXPONENTS = (0.01, 4.0)
"""Exponents are sought in this range; one that ends on its edge is reported as not identified."""
LOG_COEFFICIENTS = (-20.0, 1.0)
"""Logarithm of a term at the middle point, relative to the middle loss. The lower edge stands for zero."""
LOG_ZERO = -1e3
"""Logarithm of a coefficient that is 0."""
ABSENT = LOG_COEFFICIENTS[0] + 2.0
"""A term whose logarithm is below this is written as 0."""

Predict = Callable[..., tuple[Floats, Floats]]
Starts = Callable[..., Floats]


@dataclass(frozen=True, slots=True)
class Scale:
    """The middle of the fitted points (geometric means), to which internal constants refer."""

    log_params: float
    log_tokens: float
    log_value: float

    @classmethod
    def of(cls, points: Points, form: "Form | None" = None) -> "Scale":
        """The scale of a set of points, for a form; without one, that of the forms that are not anchored."""
        params, tokens, value = (float(np.log(values).mean()) for values in (points.num_params, points.num_tokens, points.value))
        return cls(params, 0.0 if form is not None and form.anchored else tokens, value)


UNIT = Scale(0.0, 0.0, 0.0)
"""Coordinates in which the internal constants are logarithms of the ones people read."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a form, as people read it."""

    name: str
    unit: str
    is_exponent: bool
    doc: str
    exponent: str | None = None
    """For a coefficient, its exponent: the coefficient cannot be known better."""
    linear: bool = False
    """Whether the loss is linear in it, given the others."""
    widest: float | None = None
    """How wide its range may be, as a factor, before it is called open. None: the general rule."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of law. `coordinates` are arrays of log N and log D, measured from the scale."""

    name: str
    formula: str
    constants: tuple[Constant, ...]
    """In the order of the internal constants."""
    low: tuple[float, ...]
    """Lower bounds of the internal constants."""
    high: tuple[float, ...]
    """Upper bounds of the internal constants."""
    num_sizes: int
    """Distinct model sizes a fit needs at least."""
    one_size: bool
    """Whether the form holds at a single model size only."""
    predict: Predict
    """(theta [fits, constants], log N [points], log D [points], further columns) -> log loss [fits, points], gradient [fits, constants,
    points]."""
    starts: Starts
    """(log N, log D, further columns, log loss) -> starting theta [starts, constants]."""
    to_constants: Callable[[Floats, Scale], Floats]
    """(theta [fits, constants], scale) -> constants [fits, constants] in the units of the points."""
    from_constants: Callable[[Floats, Scale], Floats]
    """The inverse of `to_constants`."""
    source: str = ""
    columns: tuple[str, ...] = ("num_params", "num_tokens")
    """What a prediction needs; a third one comes after log D in `predict` and `starts`, measured from the scale of D."""
    anchored: bool = False
    """Whether D is counted from one token rather than from the middle point."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the constants."""
        return tuple(constant.name for constant in self.constants)

    def coordinates(self, points: Points, scale: Scale) -> tuple[Floats, ...]:
        """Logs of the columns of the form, measured from the scale. Raises: ValueError if the points lack one."""
        logs = (np.log(points.num_params) - scale.log_params, np.log(points.num_tokens) - scale.log_tokens)
        if len(self.columns) == 2:
            return logs
        if points.unique_tokens is None:
            raise ValueError(f"the form {self.name} needs the column unique_tokens: how many different tokens each run had")
        return (*logs, np.log(points.unique_tokens) - scale.log_tokens)

    def evaluate(
        self, constants: Mapping[str, float], num_params: float | None, num_tokens: float, unique_tokens: float | None = None
    ) -> float:
        """Loss at one point. num_params may be None for a form of one size; unique_tokens None means that nothing repeats.

        Raises: ValueError if the form needs a model size that did not come, or a constant is missing.
        """
        if num_params is None and not self.one_size:
            raise ValueError(f"a law of the form {self.name} needs num_params to be evaluated")
        missing = [name for name in self.names if name not in constants]
        if missing:
            raise ValueError(f"the form {self.name} has the constants {', '.join(self.names)}; missing: {', '.join(missing)}")
        theta = self.from_constants(np.array([[constants[name] for name in self.names]]), UNIT)
        logs = [np.log([amount]) for amount in (num_params or 1.0, num_tokens, unique_tokens or num_tokens)]
        return float(np.exp(self.predict(theta, *logs[: len(self.columns)])[0][0, 0]))


def log_coefficient(values: Floats) -> Floats:
    """Logarithms, with LOG_ZERO for 0."""
    return np.log(np.maximum(values, np.exp(-700.0))) + np.where(values > 0, 0.0, LOG_ZERO)


def coefficient(logs: Floats, log_factor: Floats | float) -> Floats:
    """The coefficient whose term has this log at the middle point; 0 if the term is absent. log_factor: from the middle to one unit."""
    values: Floats = np.exp(np.where(logs > ABSENT, logs, 0.0) + log_factor) * (logs > ABSENT)
    return values
