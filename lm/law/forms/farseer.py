"""farseer: a floor, a size of the data term and a data exponent that each change with model size.

L = exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E)). Internally each of the three curves in N is its value, its slope and its
bend at the middle size, v + w (exp(k x) - 1) / k with x = log N from the middle: the same family, without the near-perfect correlation
of s with S. D is counted from one token (`anchored`), because the family is not the same in other units of D. Nine constants: it
wants many sizes and much data, and its constants mean little one by one.

Source: arXiv:2506.10972.
"""

import numpy as np

from lm.law.forms.base import Constant, Form, Scale
from lm.law.forms.linear import grid
from lm.law.points import Floats

BENDS = (-1.5, 1.5)
FLOORS = (0.05, 0.5, 0.75, 0.9, 0.97)
"""The floor at the middle size as a share of the smallest loss."""
FLOOR_SLOPES = (-0.15, -0.05, -0.01)
STARTING_BENDS = (-0.2, 0.2)
_SMALL = 1e-6
"""A bend below this is taken as none: the curve is a power of N."""


def _curve(theta: Floats, first: int, x: Floats) -> tuple[Floats, Floats]:
    """Value [fits, points] and gradient [fits, 3, points] of v + w (exp(k x) - 1)/k."""
    value, slope, bend = (theta[:, first + i, None] for i in range(3))
    bend = np.where(np.abs(bend) < _SMALL, _SMALL, bend)
    grown = np.exp(bend * x)
    run = np.expm1(bend * x) / bend
    return value + slope * run, np.stack([np.ones_like(run), run, slope * (x * grown - run) / bend], axis=1)


def _predict(theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    floor, by_floor = _curve(theta, 0, log_params)
    size, by_size = _curve(theta, 3, log_params)
    log_rate, by_rate = _curve(theta, 6, log_params)
    rate = np.exp(np.minimum(log_rate, 5.0))
    falling = size - rate * log_tokens
    predicted = np.logaddexp(floor, falling)
    of_floor, of_data = np.exp(floor - predicted), np.exp(falling - predicted)
    by_rate = by_rate * (-of_data * rate * log_tokens)[:, None]
    return predicted, np.concatenate([by_floor * of_floor[:, None], by_size * of_data[:, None], by_rate], axis=1)


def _starts(log_params: Floats, log_tokens: Floats, log_value: Floats) -> Floats:
    """For a guessed floor: what lies above it is log-linear in log N, log D and their product."""
    choices = grid(FLOORS, FLOOR_SLOPES, STARTING_BENDS)
    least = float(log_value.min())
    design = np.stack([np.ones_like(log_params), log_params, log_tokens, log_params * log_tokens])
    rows = []
    for share, slope, bend in choices:
        floor = np.log(share) + least + slope * (log_params - float(log_params[np.argmin(log_value)]))
        above = np.log(np.maximum(np.exp(log_value) - np.exp(floor), 0.02 * np.exp(log_value)))
        g0, g1, h0, h1 = np.linalg.lstsq(design.T, above, rcond=None)[0]
        rate = max(-h0, 0.02)
        middle = np.log(share) + least - slope * float(log_params[np.argmin(log_value)])
        rows.append([middle, slope, bend, g0, g1, bend, np.log(rate), np.clip(-h1 / rate, -1.0, 1.0), bend])
    return np.array(rows)


def _to_constants(theta: Floats, scale: Scale) -> Floats:
    """s, q, S, B, b, Q, A, a, E -> in the order of the formula's curves: (S, s, q), (Q, B, b), (E, A, a)."""
    found = theta.copy()
    for first, shift in ((0, scale.log_value), (3, scale.log_value), (6, 0.0)):
        bend = np.where(np.abs(theta[:, first + 2]) < _SMALL, _SMALL, theta[:, first + 2])
        found[:, first + 1] = theta[:, first + 1] / bend * np.exp(-bend * scale.log_params)
        found[:, first] = theta[:, first] + shift - theta[:, first + 1] / bend
        found[:, first + 2] = bend
    return found


def _from_constants(constants: Floats, scale: Scale) -> Floats:
    theta = constants.copy()
    for first, shift in ((0, scale.log_value), (3, scale.log_value), (6, 0.0)):
        bend = constants[:, first + 2]
        theta[:, first + 1] = constants[:, first + 1] * bend * np.exp(bend * scale.log_params)
        theta[:, first] = constants[:, first] - shift + theta[:, first + 1] / bend
    return theta


_WIDE = 1e9
FARSEER = Form(
    name="farseer",
    formula="L = exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))",
    constants=(
        Constant("S", "log loss", False, "Log of the floor, less s N^q", widest=_WIDE),
        Constant("s", "log loss / N^q", False, "How the floor depends on size", "q"),
        Constant("q", "1", True, "How fast it does", widest=_WIDE),
        Constant("Q", "log loss", False, "Log of the data term, less B N^b", widest=_WIDE),
        Constant("B", "log loss / N^b", False, "How the data term depends on size", "b"),
        Constant("b", "1", True, "How fast it does", widest=_WIDE),
        Constant("E", "1", False, "Log of the data exponent, less A N^a", widest=_WIDE),
        Constant("A", "1 / N^a", False, "How the data exponent depends on size", "a"),
        Constant("a", "1", True, "How fast it does", widest=_WIDE),
    ),
    low=(-12.0, -1.5, BENDS[0], -12.0, -12.0, BENDS[0], -5.0, -2.0, BENDS[0]),
    high=(1.0, 0.3, BENDS[1], 80.0, 12.0, BENDS[1], 1.4, 2.0, BENDS[1]),
    num_sizes=4,
    one_size=False,
    predict=_predict,
    starts=_starts,
    to_constants=_to_constants,
    from_constants=_from_constants,
    source="arXiv:2506.10972",
    anchored=True,
)
