"""Repeated data: data_constrained, in which tokens seen again count for less and less.

L = E + A/N'^a + B/D'^b with D' = U (1 + R_D (1 - exp(-(D/U - 1)/R_D))), U the unique tokens; N' likewise, where parameters beyond the
optimum for U unique tokens count as repeated. With U = D it is chinchilla, except that models larger than the optimum gain less.

Source: arXiv:2305.16264.
"""

import numpy as np

from lm.law.forms.base import EXPONENTS, LOG_COEFFICIENTS, Constant, Form, Scale
from lm.law.forms.linear import grid, log_coefficients, log_sum
from lm.law.forms.powers import CHINCHILLA
from lm.law.points import Floats

LOG_DECAYS = (float(np.log(0.02)), float(np.log(1e4)))
"""Range of the logs of R_D and R_N: from nearly no use of a second epoch to a use that does not fade."""
STARTING_DECAYS = (1.0, 5.0, 20.0, 300.0)
STARTING_EXPONENTS = (0.12, 0.25, 0.4, 0.7)


def effective(repeats: Floats, log_decay: Floats) -> tuple[Floats, Floats, Floats]:
    """What 1 + repeats are worth: g = 1 + R (1 - exp(-repeats/R)), and its slopes by log R and by repeats."""
    decay = np.exp(log_decay)
    rate = repeats / decay
    left = np.exp(-rate)
    gained = -np.expm1(-rate)
    return 1.0 + decay * gained, decay * (gained - rate * left), left


def effective_tokens(num_tokens: Floats, unique_tokens: Floats, decay: float) -> Floats:
    """D' in tokens, for D and U in tokens and R_D = decay."""
    unique = np.minimum(unique_tokens, num_tokens)
    return np.asarray(unique * effective(num_tokens / unique - 1.0, np.asarray(np.log(decay)))[0], dtype=np.float64)


def _predict(theta: Floats, log_params: Floats, log_tokens: Floats, log_unique: Floats) -> tuple[Floats, Floats]:
    log_e, log_a, log_b, a, b, log_rd, log_rn = (theta[:, k, None] for k in range(7))
    unique = np.minimum(log_unique, log_tokens)
    worth_d, by_rd, _ = effective(np.expm1(log_tokens - unique), log_rd)
    tokens = unique + np.log(worth_d)
    optimal = (np.log(a / b) + log_a - log_b + b * unique) / a
    is_over = log_params > optimal
    base = np.minimum(log_params, optimal)
    repeats = np.expm1(np.minimum(log_params - base, 600.0))
    worth_n, by_rn, left = effective(repeats, log_rn)
    params = base + np.log(worth_n)
    moved = np.where(is_over, 1.0 - left * (repeats + 1.0) / worth_n, 0.0)
    parts = np.stack([np.broadcast_to(log_e, params.shape), log_a - a * params, log_b - b * tokens], axis=1)
    predicted, share = log_sum(parts)
    of_e, of_a, of_b = share[:, 0], share[:, 1], share[:, 2]
    through = of_a * moved
    gradient = np.stack(
        [
            of_e,
            of_a - through,
            of_b + through,
            -of_a * params + through * (optimal - 1.0 / a),
            -of_b * tokens + through * (1.0 / b - unique),
            -b * of_b * by_rd / worth_d,
            -a * of_a * by_rn / worth_n,
        ],
        axis=1,
    )
    return predicted, gradient


def _starts(log_params: Floats, log_tokens: Floats, log_unique: Floats, log_value: Floats) -> Floats:
    """Coefficients for each choice of exponents and of R_D, as if no model were too large."""
    choices = grid(STARTING_EXPONENTS, STARTING_EXPONENTS, STARTING_DECAYS, STARTING_DECAYS)
    unique = np.minimum(log_unique, log_tokens)
    log_decays = np.log(choices[:, 2:])
    tokens = unique + np.log(effective(np.expm1(log_tokens - unique), log_decays[:, :1])[0])
    design = np.stack([np.ones_like(tokens), np.exp(-choices[:, :1] * log_params), np.exp(-choices[:, 1:2] * tokens)], axis=1)
    return np.concatenate([log_coefficients(design, log_value), choices[:, :2], log_decays], axis=1)


def _to_constants(theta: Floats, scale: Scale) -> Floats:
    return np.concatenate([CHINCHILLA.to_constants(theta[:, :5], scale), np.exp(theta[:, 5:])], axis=1)


def _from_constants(constants: Floats, scale: Scale) -> Floats:
    return np.concatenate([CHINCHILLA.from_constants(constants[:, :5], scale), np.log(constants[:, 5:])], axis=1)


_BOUNDS = [LOG_COEFFICIENTS] * 3 + [EXPONENTS] * 2 + [LOG_DECAYS] * 2

DATA_CONSTRAINED = Form(
    name="data_constrained",
    formula="L = E + A/N'^a + B/D'^b, D' = U + U R_D (1 - exp(-(D/U - 1)/R_D)), N' likewise with R_N beyond the optimum for U",
    constants=(
        *CHINCHILLA.constants,
        Constant("R_D", "epochs", False, "Scale at which repeated data loses its worth", widest=4.0),
        Constant(
            "R_N", "multiples", False, "Scale at which parameters beyond the optimum for the unique data lose their worth", widest=4.0
        ),
    ),
    low=tuple(low for low, _ in _BOUNDS),
    high=tuple(high for _, high in _BOUNDS),
    num_sizes=2,
    one_size=False,
    predict=_predict,
    starts=_starts,
    to_constants=_to_constants,
    from_constants=_from_constants,
    source="arXiv:2305.16264",
    columns=("num_params", "num_tokens", "unique_tokens"),
)
