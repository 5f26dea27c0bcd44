"""bnsl: a power law in D whose slope changes once, smoothly (a broken neural scaling law with one break), at one model size.

L = a + b D^(-c0) (1 + (D/d1)^(1/f1))^(-c1 f1). It can bend up or down, and needs at least six amounts of data; near the last of them the
break is a guess. For given exponents and break, a and b are linear.

Source: arXiv:2210.14891.
"""

import numpy as np

from lm.law.forms.base import LOG_COEFFICIENTS, Constant, Form, Scale, coefficient, log_coefficient
from lm.law.forms.linear import grid, log_coefficients
from lm.law.points import Floats

SHARPNESS = (float(np.log(0.05)), float(np.log(3.0)))
"""Range of the log of f1: from a corner to a bend over three orders of magnitude."""


def _slope(theta: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    """Log of the power term without its coefficient [fits, points], and gradient by c0, c1, log d1, log f1. theta: these four."""
    c0, c1, log_d1, log_f1 = (theta[:, k, None] for k in range(4))
    f1 = np.exp(log_f1)
    steps = (log_tokens - log_d1) / f1
    soft = np.logaddexp(0.0, steps)
    beyond = np.exp(steps - soft)
    value = -c0 * log_tokens - c1 * f1 * soft
    gradient = np.stack([-log_tokens + 0.0 * c0, -f1 * soft, c1 * beyond, -c1 * f1 * (soft - beyond * steps)], axis=1)
    return value, gradient


def _predict(theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    slope, by_shape = _slope(theta[:, 2:], log_tokens)
    falling = theta[:, 1:2] + slope
    predicted = np.logaddexp(theta[:, :1], falling)
    share = np.exp(falling - predicted)
    gradient = np.concatenate([np.exp(theta[:, :1] - predicted)[:, None], share[:, None], by_shape * share[:, None]], axis=1)
    return predicted, gradient


def _starts(log_params: Floats, log_tokens: Floats, log_value: Floats) -> Floats:
    places = tuple(float(value) for value in np.quantile(log_tokens, [0.2, 0.4, 0.6, 0.8]))
    choices = grid((0.02, 0.1, 0.25, 0.5), (-0.3, 0.0, 0.3), places, (float(np.log(0.15)), float(np.log(0.7))))
    design = np.stack([np.ones((len(choices), len(log_tokens))), np.exp(_slope(choices, log_tokens)[0])], axis=1)
    return np.concatenate([log_coefficients(design, log_value), choices], axis=1)


def _to_constants(theta: Floats, scale: Scale) -> Floats:
    return np.stack(
        [
            coefficient(theta[:, 0], scale.log_value),
            coefficient(theta[:, 1], scale.log_value + theta[:, 2] * scale.log_tokens),
            theta[:, 2],
            theta[:, 3],
            np.exp(theta[:, 4] + scale.log_tokens),
            np.exp(theta[:, 5]),
        ],
        axis=1,
    )


def _from_constants(constants: Floats, scale: Scale) -> Floats:
    return np.stack(
        [
            log_coefficient(constants[:, 0]) - scale.log_value,
            log_coefficient(constants[:, 1]) - scale.log_value - constants[:, 2] * scale.log_tokens,
            constants[:, 2],
            constants[:, 3],
            np.log(constants[:, 4]) - scale.log_tokens,
            np.log(constants[:, 5]),
        ],
        axis=1,
    )


BNSL = Form(
    name="bnsl",
    formula="L = a + b D^(-c0) (1 + (D/d1)^(1/f1))^(-c1 f1)",
    constants=(
        Constant("a", "loss", False, "Loss that no amount of data removes", linear=True, widest=1.5),
        Constant("b", "loss x D^c0", False, "Size of the term in training tokens", "c0", linear=True),
        Constant("c0", "1", True, "Slope before the break", widest=4.0),
        Constant("c1", "1", True, "Change of slope at the break", widest=4.0),
        Constant("d1", "tokens", False, "Where the slope changes", widest=10.0),
        Constant("f1", "1", False, "How gradually it changes", widest=10.0),
    ),
    low=(LOG_COEFFICIENTS[0], LOG_COEFFICIENTS[0], 0.0, -2.0, -12.0, SHARPNESS[0]),
    high=(LOG_COEFFICIENTS[1], 12.0, 4.0, 4.0, 12.0, SHARPNESS[1]),
    num_sizes=1,
    one_size=True,
    predict=_predict,
    starts=_starts,
    to_constants=_to_constants,
    from_constants=_from_constants,
    source="arXiv:2210.14891",
)
