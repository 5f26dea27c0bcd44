"""Forms in which the terms in N and D are joined by a power: kaplan and loss_to_loss.

Internal constants are logs of the loss that N alone and D alone would leave at the middle point, then the two exponents; loss_to_loss has
the log of E before them. For given exponents (and E) a power of the loss is linear in two coefficients, which gives the starts.

Sources: arXiv:2001.08361, equation 1.5; arXiv:2411.12925 for loss_to_loss.
"""

from functools import partial

import numpy as np

from lm.law.forms.base import EXPONENTS, LOG_COEFFICIENTS, LOG_ZERO, Constant, Form, Scale, coefficient, log_coefficient
from lm.law.forms.linear import grid, nonnegative_least_squares
from lm.law.points import Floats

STARTING_EXPONENTS = (0.06, 0.12, 0.22, 0.35, 0.5, 0.75)
STARTING_FLOORS = (0.0, 0.4, 0.65, 0.85, 0.95)
"""E as a share of the smallest loss."""
_OPEN_RANGE = 30.0
"""Nc and Dc are sizes at which the loss would be 1, far outside the data: they may range this much before they are called open."""


def _joined(theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    """Log of [(L_N)^(1/b) + (L_D)^(1/b)]^b, L_N and L_D being powers of N and D. theta: log L_N, log L_D, exponent of N, of D (b)."""
    of_params, of_tokens, a, b = (theta[:, k, None] for k in range(4))
    parts = np.stack([of_params - a * log_params, of_tokens - b * log_tokens], axis=1) / b[:, None]
    top = parts.max(axis=1)
    shares = np.exp(parts - top[:, None])
    total = shares.sum(axis=1)
    shares /= total[:, None]
    log_total = top + np.log(total)
    of_b = log_total - (shares * parts).sum(axis=1) - log_tokens * shares[:, 1]
    return b * log_total, np.stack([shares[:, 0], shares[:, 1], -log_params * shares[:, 0], of_b], axis=1)


def _with_floor(theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    above, gradient = _joined(theta[:, 1:], log_params, log_tokens)
    predicted = np.logaddexp(theta[:, :1], above)
    share = np.exp(above - predicted)
    return predicted, np.concatenate([np.exp(theta[:, :1] - predicted)[:, None], gradient * share[:, None]], axis=1)


def _starts(has_floor: bool, log_params: Floats, log_tokens: Floats, log_value: Floats) -> Floats:
    floors = STARTING_FLOORS if has_floor else (0.0,)
    choices = grid(floors, STARTING_EXPONENTS, STARTING_EXPONENTS)
    floor = choices[:, :1] * float(np.exp(log_value.min()))
    above = np.log(np.exp(log_value) - floor)
    a, b = choices[:, 1:2], choices[:, 2:3]
    design = np.stack([np.exp(-a / b * log_params), np.exp(-log_tokens) * np.ones_like(a)], axis=1)
    coefficients = nonnegative_least_squares(design * np.exp(-above / b)[:, None])
    logs = np.clip(np.log(np.maximum(coefficients, 1e-30)) * b, *LOG_COEFFICIENTS)
    floors_too = [np.log(np.maximum(floor, 1e-6))] if has_floor else []
    return np.concatenate([*floors_too, logs, a, b], axis=1)


def _to_constants(has_floor: bool, theta: Floats, scale: Scale) -> Floats:
    of_params, of_tokens, a, b = theta[:, -4:].T
    critical = [
        np.exp(np.clip((of_params + scale.log_value) / a + scale.log_params, -700, 700)),
        np.exp(np.clip((of_tokens + scale.log_value) / b + scale.log_tokens, -700, 700)),
    ]
    floor = [coefficient(theta[:, 0], scale.log_value)] if has_floor else []
    return np.stack([*floor, *critical, a, b], axis=1)


def _from_constants(has_floor: bool, constants: Floats, scale: Scale) -> Floats:
    critical_params, critical_tokens, a, b = constants[:, -4:].T
    of_params = (log_coefficient(critical_params) - scale.log_params) * a - scale.log_value
    of_tokens = (log_coefficient(critical_tokens) - scale.log_tokens) * b - scale.log_value
    floor = [log_coefficient(constants[:, 0]) - scale.log_value] if has_floor else []
    return np.stack([*floor, np.maximum(of_params, LOG_ZERO), np.maximum(of_tokens, LOG_ZERO), a, b], axis=1)


def _form(name: str, formula: str, source: str, has_floor: bool, names: tuple[str, str, str, str]) -> Form:
    of_params, of_tokens, a, b = names
    floor = [Constant("E", "loss", False, "Loss that no amount of data or parameters removes", linear=True)] if has_floor else []
    bounds = [LOG_COEFFICIENTS] * (2 + has_floor) + [EXPONENTS] * 2
    return Form(
        name=name,
        formula=formula,
        constants=(
            *floor,
            Constant(of_params, "parameters", False, "Size at which the term in parameters alone is 1", a, widest=_OPEN_RANGE),
            Constant(of_tokens, "tokens", False, "Amount of data at which the term in tokens alone is 1", b, widest=_OPEN_RANGE),
            Constant(a, "1", True, "How fast loss falls with parameters"),
            Constant(b, "1", True, "How fast loss falls with training tokens"),
        ),
        low=tuple(low for low, _ in bounds),
        high=tuple(high for _, high in bounds),
        num_sizes=2,
        one_size=False,
        predict=_with_floor if has_floor else _joined,
        starts=partial(_starts, has_floor),
        to_constants=partial(_to_constants, has_floor),
        from_constants=partial(_from_constants, has_floor),
        source=source,
    )


KAPLAN = _form("kaplan", "L = [(Nc/N)^(aN/aD) + Dc/D]^aD", "arXiv:2001.08361", False, ("Nc", "Dc", "aN", "aD"))
LOSS_TO_LOSS = _form("loss_to_loss", "L = E + [(A/N)^(a/b) + B/D]^b", "arXiv:2411.12925", True, ("A", "B", "a", "b"))
