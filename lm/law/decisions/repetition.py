"""Unique tokens against epochs: what repeating data still brings, where it stops, and how much new data a target needs.

Repeated tokens are worth less than new ones: D' = U (1 + R* (1 - exp(-(D/U - 1) / R*))) takes the place of D in a law
(arXiv:2305.16264). R* must come from runs that repeated their data. Where there are none, published runs stand in, and
the answer says so: their R* is 15.4 at the published fit, but anything from 12 to 1000 fits those runs within 0.5%, so a range is
drawn and not a number. What this leaves out: the model-size side of the same law, which matters once models are too large for their data.
"""

from dataclasses import dataclass

import numpy as np

from lm.law.decisions.beliefs import Belief, Estimate, first_below
from lm.law.points import Floats

PUBLISHED_R = 15.387756
"""R*_D of the published fit on C4 (arXiv:2305.16264)."""
PLAUSIBLE_R = (5.0, 60.0)
"""Range from which R* is drawn, evenly in its logarithm, where it was not measured."""
MOST_EPOCHS = 1000.0
WORTH = 0.5
"""A repeated token that is worth less than this part of a new one no longer pays."""
NUM_GRID = 121


@dataclass(frozen=True, slots=True)
class Repetition:
    """What repeating `unique_tokens` brings at a model size."""

    num_params: float
    unique_tokens: float
    constant: Estimate
    """R*: about the number of repetitions after which a repeated token is worth 1/e of a new one."""
    is_measured: bool
    """False if R* is taken from published runs."""
    worth_it_epochs: Estimate
    """Epochs up to which a further repeated token is worth at least WORTH of a new one."""
    best_loss: Estimate
    """Loss that unlimited epochs approach."""
    curve: tuple[tuple[float, float, float, float], ...]
    """Epochs, loss, low, high."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """Unique tokens that a target loss needs."""

    target_loss: float
    epochs: float
    unique_tokens: Estimate
    """Needed in all, at this many epochs; infinite where no amount reaches the target."""
    missing_tokens: Estimate
    """Needed beyond those at hand; 0 where they suffice."""
    probability_reached: float
    """That the tokens at hand, repeated that often, reach the target."""
    probability_possible: float
    """That any amount of this data does, at this model size."""


def effective_tokens(unique_tokens: Floats | float, epochs: Floats | float, constant: Floats | float) -> Floats:
    """Tokens of new data that so many epochs over unique tokens are worth; epochs below 1 use part of them once.

    Source: arXiv:2305.16264, equation 5.
    """
    unique, passes, scale = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (unique_tokens, epochs, constant)))
    repeats = np.maximum(passes - 1.0, 0.0)
    found: Floats = unique * (np.minimum(passes, 1.0) - scale * np.expm1(-repeats / scale))
    return found


def draw_constant(num_draws: int, *, measured: Floats | None = None, seed: int = 0) -> Floats:
    """R* of each draw: from measured replicates if there are any, else evenly over the logarithm of PLAUSIBLE_R."""
    rng = np.random.default_rng(seed)
    if measured is not None and len(measured):
        return np.asarray(measured, dtype=float)[rng.integers(len(measured), size=num_draws)]
    low, high = (float(np.log(end)) for end in PLAUSIBLE_R)
    found: Floats = np.exp(rng.uniform(low, high, num_draws))
    return found


def repeat(belief: Belief, num_params: float, unique_tokens: float, *, measured: Floats | None = None, level: float = 0.9) -> Repetition:
    """What epochs over `unique_tokens` bring at a model size.

    belief: over a law of data that was not repeated. measured: replicates of R*, from runs that repeated their data.
    Raises: ValueError if an argument is not positive.
    """
    _positive(num_params=num_params, unique_tokens=unique_tokens)
    constants = draw_constant(belief.num_draws, measured=measured)
    is_measured = measured is not None and len(measured) > 0
    middle = float(np.median(constants)) if is_measured else PUBLISHED_R
    epochs = np.array([1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100], dtype=float)
    losses = np.exp(_losses(belief, num_params, unique_tokens, epochs, constants))
    best = np.exp(_losses(belief, num_params, unique_tokens, np.array([MOST_EPOCHS]), constants)[:, 0])
    expected = [belief.expected(num_params, float(effective_tokens(unique_tokens, passes, middle))) for passes in epochs]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(losses, [tail, 100.0 - tail], axis=0)
    return Repetition(
        num_params,
        unique_tokens,
        Estimate.of(constants, level, middle),
        is_measured,
        Estimate.of(1.0 - constants * np.log(WORTH), level, 1.0 - middle * float(np.log(WORTH))),
        Estimate.of(best, level, belief.expected(num_params, float(effective_tokens(unique_tokens, MOST_EPOCHS, middle)))),
        tuple((float(e), value, float(a), float(b)) for e, value, a, b in zip(epochs, expected, low, high, strict=True)),
        (*belief.law.warnings, *(() if is_measured else (ASSUMED,))),
    )


ASSUMED = (
    "no run here repeated its data: how fast repeated tokens lose their worth is taken from published runs on other data, "
    f"as anything from {PLAUSIBLE_R[0]:.0f} to {PLAUSIBLE_R[1]:.0f} repetitions"
)


def missing(
    belief: Belief,
    num_params: float,
    target_loss: float,
    unique_tokens: float,
    *,
    epochs: float = 4.0,
    measured: Floats | None = None,
    level: float = 0.9,
) -> Missing:
    """How many unique tokens a target loss needs if each may be seen `epochs` times, and how many of them are missing.

    Raises: ValueError if an argument is not positive.
    """
    _positive(num_params=num_params, target_loss=target_loss, unique_tokens=unique_tokens, epochs=epochs)
    constants = draw_constant(belief.num_draws, measured=measured)
    worth = effective_tokens(1.0, epochs, constants)
    grid = unique_tokens * np.geomspace(1e-4, 1e6, 4 * NUM_GRID)
    curve = np.minimum.accumulate(belief.log_losses(num_params, grid), axis=1)
    needed = first_below(grid, curve, np.full(belief.num_draws, np.log(target_loss))) / worth
    lacking = np.maximum(0.0, needed - unique_tokens)
    return Missing(
        target_loss,
        epochs,
        Estimate.of(needed, level),
        Estimate.of(lacking, level),
        float((lacking == 0).mean()),
        float(np.isfinite(needed).mean()),
    )


def _losses(belief: Belief, num_params: float, unique_tokens: float, epochs: Floats, constants: Floats) -> Floats:
    """Log loss [draws, epochs]. Every draw has amounts of its own, so they are read off a grid."""
    worth = effective_tokens(unique_tokens, epochs[None], constants[:, None])
    grid = np.geomspace(worth.min(), worth.max() * 1.0001, NUM_GRID)
    curves = belief.log_losses(num_params, grid)
    logs = np.log(grid)
    return np.stack([np.interp(np.log(row), logs, curve) for row, curve in zip(worth, curves, strict=True)])


def _positive(**values: float) -> None:
    wrong = {name: value for name, value in values.items() if not (np.isfinite(value) and value > 0)}
    if wrong:
        raise ValueError(f"these must be positive and finite: {wrong}")
