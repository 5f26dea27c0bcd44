"""Best model size and amount of data for a budget, how well they are known, and what being off costs.

The minimum is flat: a size twice too large costs little. So the answer is a range of sizes within which nothing is lost that matters, and
the price of leaving it, as more loss and as compute that would have reached the same loss. With `inference_tokens` the budget also pays
for reading that many tokens later, at 2 N FLOPs each, which makes the best model smaller (arXiv:2401.00448).

Minima are found on a grid of sizes, in every draw, so that any form of law will do; the cost is a resolution of 3%.
"""

from dataclasses import dataclass

import numpy as np

from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, Belief, Estimate, log_losses
from lm.law.points import Floats

INFERENCE_FLOPS = 2.0
"""Per parameter and token read later: forward only."""
OFF = (0.25, 0.5, 2.0, 4.0)
NUM_SIZES = 401
SPAN = 6.0
"""Sizes are sought this many powers of e around the square root of the budget, and around the sizes measured."""
CLOSE = 0.002
"""Sizes whose loss is within this share of the best are as good."""


@dataclass(frozen=True, slots=True)
class Off:
    """What a size that is a factor away from the best costs at the same budget."""

    factor: float
    loss: float
    extra_loss: Estimate
    """Share by which the loss is higher."""
    wasted_compute: float
    """Share of the budget that reaches the same loss at the best size would have saved."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """How to spend a budget."""

    flops: float
    inference_tokens: float
    num_params: Estimate
    num_tokens: Estimate
    loss: Estimate
    good_sizes: tuple[float, float]
    """Smallest and largest size whose expected loss is within CLOSE of the best."""
    off: tuple[Off, ...]
    curve: tuple[tuple[float, float, float, float], ...]
    """The slice at this budget: size, loss, low, high."""
    is_open: bool
    """True if many draws have their best size at the end of what was tried: the data does not fix it."""
    warnings: tuple[str, ...]


def allocate(belief: Belief, flops: float, *, inference_tokens: float = 0.0, level: float = 0.9) -> Allocation:
    """Best size and tokens for a budget of compute.

    belief: over a law of several sizes.
    Raises: ValueError if the law holds at one size only, or the budget is not positive.
    """
    if belief.law.num_params is not None:
        raise ValueError("to share a budget between size and data, a law over several sizes is needed; train a second model size")
    if not (flops > 0 and np.isfinite(flops) and inference_tokens >= 0):
        raise ValueError(f"a budget must be positive and finite, and inference tokens 0 or more; came {flops} and {inference_tokens}")
    sizes = _sizes(belief, flops, inference_tokens)
    tokens = tokens_for(flops, sizes, inference_tokens)
    losses = belief.log_losses(sizes, tokens)
    middle = log_losses(belief.law, belief.law.theta[None], sizes, tokens)[0]
    best, chosen = losses.argmin(axis=1), int(middle.argmin())
    at_edge = float(((best == 0) | (best == len(sizes) - 1)).mean())
    good = sizes[middle <= middle[chosen] + CLOSE]
    return Allocation(
        flops,
        inference_tokens,
        Estimate.of(sizes[best], level, float(sizes[chosen])),
        Estimate.of(tokens[best], level, float(tokens[chosen])),
        Estimate.of(np.exp(losses[np.arange(len(losses)), best]), level, float(np.exp(middle[chosen]))),
        (float(good.min()), float(good.max())),
        tuple(_off(belief, factor, sizes[chosen], middle, sizes, losses, flops, inference_tokens, level) for factor in OFF),
        _curve(sizes, middle, losses, level),
        at_edge > 0.1,
        _warnings(belief, at_edge, float(sizes[chosen]), float(tokens[chosen])),
    )


def tokens_for(flops: float, sizes: Floats, inference_tokens: float) -> Floats:
    """Training tokens that a budget leaves at each size, after inference is paid; C = 6 N D + 2 N D_inference."""
    found: Floats = (flops - INFERENCE_FLOPS * sizes * inference_tokens) / (FLOPS_PER_PARAM_TOKEN * sizes)
    return found


def _sizes(belief: Belief, flops: float, inference_tokens: float) -> Floats:
    measured = np.log(belief.law.points.num_params)
    root = 0.5 * np.log(flops / (FLOPS_PER_PARAM_TOKEN * 20.0))
    low, high = min(measured.min(), root - SPAN), max(measured.max(), root + SPAN)
    sizes = np.exp(np.linspace(low, high, NUM_SIZES))
    most = np.inf if inference_tokens == 0 else 0.98 * flops / (INFERENCE_FLOPS * inference_tokens)
    kept: Floats = sizes[(sizes < most) & (flops / (FLOPS_PER_PARAM_TOKEN * sizes) > 1.0)]
    if len(kept) < 3:
        raise ValueError(f"{flops:.3g} FLOPs do not pay for reading {inference_tokens:,.0f} tokens with any model; give more, or read less")
    return kept


def _off(
    belief: Belief, factor: float, best: float, middle: Floats, sizes: Floats, losses: Floats, flops: float, inference: float, level: float
) -> Off:
    size = np.array([best * factor])
    tokens = tokens_for(flops, size, inference)
    if tokens[0] <= 0:
        return Off(factor, float("inf"), Estimate(float("inf"), float("inf"), float("inf"), level), 1.0)
    loss = belief.expected(float(size[0]), float(tokens[0]))
    extra = np.exp(belief.log_losses(size, tokens)[:, 0] - losses.min(axis=1)) - 1.0
    value = loss / float(np.exp(middle.min())) - 1.0
    return Off(factor, loss, Estimate.of(extra, level, value), _wasted(belief, loss, sizes, flops, inference))


def _wasted(belief: Belief, loss: float, sizes: Floats, flops: float, inference: float) -> float:
    """Share of the budget that is not needed for this loss at the best size."""
    shares = np.geomspace(0.01, 1.0, 60)
    for share in shares:
        tokens = tokens_for(flops * share, sizes, inference)
        allowed = tokens > 1.0
        if allowed.any() and log_losses(belief.law, belief.law.theta[None], sizes[allowed], tokens[allowed]).min() <= np.log(loss):
            return float(1.0 - share)
    return 0.0


def _curve(sizes: Floats, middle: Floats, losses: Floats, level: float) -> tuple[tuple[float, float, float, float], ...]:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(losses, [tail, 100.0 - tail], axis=0)
    near = np.abs(np.log(sizes / sizes[middle.argmin()])) <= np.log(16.0)
    every = np.flatnonzero(near)[:: max(1, int(near.sum()) // 40)]
    return tuple((float(sizes[i]), float(np.exp(middle[i])), float(np.exp(low[i])), float(np.exp(high[i]))) for i in every)


def _warnings(belief: Belief, at_edge: float, num_params: float, num_tokens: float) -> tuple[str, ...]:
    found = list(belief.law.warnings)
    if at_edge > 0.1:
        found.append(
            f"in {at_edge:.0%} of the plausible curves the best size lies at the end of all that was tried: the data does not fix it"
        )
    points = belief.law.points
    if len(points.sizes()) < 3:
        found.append("two model sizes leave open how loss depends on size: the interval is too narrow. Train a third size")
    for what, value, seen in (("size", num_params, points.num_params), ("amount of data", num_tokens, points.num_tokens)):
        if not seen.min() / 1.5 <= value <= seen.max() * 1.5:
            found.append(f"the best {what}, {value:,.0f}, lies outside what was measured ({seen.min():,.0f} to {seen.max():,.0f})")
    return tuple(found)
