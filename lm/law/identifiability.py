"""Which constants of a law does the data fix, and which does it leave open?

Two tests. First the design: a direction in the constants that changes no fitted value is a fact about the points, whatever
the losses (two model sizes cannot fix E, A and a). Then the replicates: a constant whose 90% interval is wide or ends on
a bound is open in practice. Predictions near the data can be good while constants are open; the thresholds below are
choices, and a person who disagrees has the intervals. Without this, five rungs yield an E with six digits and no meaning.
"""

from collections.abc import Mapping

import numpy as np

from lm.law.forms import EXPONENTS, Form
from lm.law.points import Floats

SINGULAR = 1e-6
"""A direction whose effect on the fitted values is this much smaller than the largest has none."""
PARTICIPATES = 0.05
WIDEST_E = 1.5
"""E is open if the upper end of its interval is more than this many times the lower one."""
WIDEST_EXPONENT = 2.0


def unidentified(
    form: Form,
    theta: Floats,
    constants: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    *logs: Floats,
) -> dict[str, str]:
    """Constants that the data does not fix, with the reason; empty if all are fixed."""
    found = dict.fromkeys(_without_effect(form, theta, logs), "the chosen sizes and amounts of data cannot fix it")
    for constant in form.constants:
        if constant.name in found:
            continue
        low, high = intervals[constant.name]
        if constant.is_exponent:
            reason = _open_exponent(low, high)
        elif constant.name == "E":
            reason = _open_loss(low, high)
        else:
            reason = "no loss is left to this term" if constants[constant.name] == 0.0 else None
        if reason is not None:
            found[constant.name] = reason
    return {**found, **_coefficients_of(form, found)}


def _without_effect(form: Form, theta: Floats, logs: tuple[Floats, ...]) -> list[str]:
    """Constants along which fitted values do not change. Internal constants are in the order E, coefficients, exponents, as in the form."""
    gradient = form.predict(theta[None], *logs)[1][0]
    norms = np.linalg.norm(gradient, axis=1)
    if not norms.max() > 0:
        return [constant.name for constant in form.constants]
    scaled = gradient / np.where(norms > 0, norms, 1.0)[:, None]
    left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    dead = (np.abs(left[:, singular < SINGULAR * singular.max()]) > PARTICIPATES).any(axis=1) | (norms < SINGULAR * norms.max())
    return [constant.name for constant, is_dead in zip(form.constants, dead, strict=True) if is_dead]


def _open_exponent(low: float, high: float) -> str | None:
    if low <= EXPONENTS[0] * 1.001 or high >= EXPONENTS[1] * 0.999:
        return f"its interval [{low:.3g}, {high:.3g}] reaches the edge of the range searched"
    return f"its interval [{low:.3g}, {high:.3g}] spans a factor of {high / low:.1f}" if high > low * WIDEST_EXPONENT else None


def _open_loss(low: float, high: float) -> str | None:
    if low <= 0.0:
        return f"its interval [{low:.3g}, {high:.3g}] reaches 0"
    return f"its interval [{low:.3g}, {high:.3g}] spans a factor of {high / low:.1f}" if high > low * WIDEST_E else None


def _coefficients_of(form: Form, found: Mapping[str, str]) -> dict[str, str]:
    """A coefficient is as open as its exponent, because it is the term's size at one token or one parameter."""
    open_ones = [(c.name, c.exponent) for c in form.constants if c.exponent in found and c.name not in found]
    return {name: f"the exponent {exponent} is open" for name, exponent in open_ones}
