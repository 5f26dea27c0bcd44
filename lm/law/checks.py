"""What looks wrong in the points of a fit: units, losses that rise, runs far off the law. Nothing is removed; it is said.

Every check is a rule of thumb with its threshold here. A fit with warnings can be right, and one without can be wrong: losses in
bits are a law as good as one in nats, and only what the person says about units can tell them apart.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lm.law.points import Floats, Points, distinct

FEW_PARAMS, FEW_TOKENS, HIGH_LOSS = 2_000.0, 10_000.0, 20.0
TOKENS_PER_PARAM = (1e-2, 1e6)
LARGEST_GAP = 5e3
"""Ratio of neighbouring sizes, or amounts of data, above which some rows may be in other units."""
FAR = 6.0
"""Robust standard deviations from the law at which a run is far off."""
LEAST_MISS = 0.01
"""A run within this share of the law is never called far off."""
BITS_PER_NAT = math.log2(math.e)


def units(points: Points) -> list[str]:
    """Numbers that hint at other units than parameters, tokens and a loss."""
    largest = {"parameters": points.num_params.max(), "tokens": points.num_tokens.max()}
    found = []
    if largest["parameters"] < FEW_PARAMS:
        found.append(f"the largest model has {largest['parameters']:,.6g} parameters: are they given in thousands, millions or billions?")
    if largest["tokens"] < FEW_TOKENS:
        found.append(f"the most data is {largest['tokens']:,.6g} tokens: is it given in millions or billions?")
    ratio = float(np.median(points.num_tokens / points.num_params))
    if not TOKENS_PER_PARAM[0] <= ratio <= TOKENS_PER_PARAM[1]:
        found.append(f"the median run has {ratio:.3g} tokens per parameter: parameters and tokens may be in different units")
    if points.value.max() > HIGH_LOSS:
        found.append(f"the largest loss is {points.value.max():,.4g}: perplexities, or a run that went wrong? A law is over losses")
    for name, values in (("parameters", points.num_params), ("tokens", points.num_tokens)):
        steps = np.diff(np.log(distinct(values)))
        if len(steps) and steps.max() > math.log(LARGEST_GAP):
            found.append(
                f"between neighbouring numbers of {name} lies a factor of {math.exp(steps.max()):.3g}: some rows may be in other units"
            )
    return found


def shape(points: Points, one_size: bool, seeds_seen: bool) -> list[str]:
    """Losses that rise or are equal, and designs that leave nothing to judge by."""
    found = _all_rising(points) if len(points.rungs()) <= 64 else []
    if len(points.rungs()) <= 3 and one_size:
        found.append("three amounts of data fix three constants: nothing is left to judge the form by")
    if float(np.ptp(np.log(points.value))) < 1e-9:
        found.append("all losses are equal: no constant but E means anything")
    elif _trend(points) > 0:
        found.append("loss does not fall with data or parameters on the whole: no form here can say more than that it is flat")
    if not seeds_seen:
        found.append(
            "no model size was trained with two seeds: the scatter between seeds is not known and is taken as that around the curve"
        )
    return found


def _trend(points: Points) -> float:
    """Slope of log loss by log compute."""
    compute = np.log(points.num_params) + np.log(points.num_tokens)
    centred = compute - compute.mean()
    return float((centred * np.log(points.value)).sum())


def _all_rising(points: Points) -> list[str]:
    """Where losses rise, size by size, and among the runs with equally many unique tokens; many such sizes are told in one sentence."""
    parts = [points.of_size(size) for size in points.sizes()]
    if points.unique_tokens is not None and (points.unique_tokens < points.num_tokens * (1 - 1e-9)).any():
        parts = [part.where(_equal(part.unique_tokens, u)) for part in parts for u in distinct(_known(part.unique_tokens))]
    found = [warning for part in parts if (warning := rising(part)) is not None]
    if len(found) <= 3:
        return found
    return [f"loss rises with data in {len(found)} of {len(parts)} series of one size; the first: {found[0]}"]


def _known(values: Floats | None) -> Floats:
    assert values is not None
    return values


def _equal(values: Floats | None, wanted: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(np.log(_known(values) / wanted)) < 1e-9, dtype=np.bool_)


def rising(points: Points) -> str | None:
    """A warning if the mean loss of one size goes up from one rung to the next, else None."""
    rungs = distinct(points.num_tokens)
    means = [float(points.value[np.abs(np.log(points.num_tokens / rung)) < 1e-9].mean()) for rung in rungs]
    worse = [f"{rung:,.0f}" for rung, before, after in zip(rungs[1:], means, means[1:], strict=False) if after > before]
    if not worse:
        return None
    return (
        f"loss rises with data at {points.num_params[0]:,.0f} parameters (up to {', '.join(worse)} tokens): no law of this form allows that"
    )


def far_off(errors: Floats, num_constants: int) -> NDArray[np.bool_]:
    """Which points lie far from the law, by robust standard deviations. errors: log observed minus log fitted.

    The spread is the median over all points but the num_constants nearest ones, through which the law was free to pass.
    """
    if len(errors) < num_constants + 4:
        return np.zeros(len(errors), dtype=np.bool_)
    spread = 1.4826 * float(np.median(np.sort(np.abs(errors))[num_constants:]))
    return np.asarray(np.abs(errors) > max(FAR * spread, LEAST_MISS), dtype=np.bool_)


def outliers(points: Points, errors: Floats, refit: Callable[[Points], Mapping[str, float]], constants: Mapping[str, float]) -> list[str]:
    """Runs far off the law: what they may be, and what the constants would be without them. At most a quarter of the points is judged."""
    far = far_off(errors, len(constants))
    if not far.any() or far.mean() > 0.25:
        return []
    found = [_where_they_lie(points, errors, far)]
    try:
        without = refit(points.where(~far))
    except ValueError:
        return found
    moved = [f"{name} {constants[name]:.4g} -> {without[name]:.4g}" for name in constants if _differs(constants[name], without[name])]
    return [f"{found[0]}; without them: {', '.join(moved) or 'no constant changes by more than 2%'}"]


def least_data(
    points: Points,
    refit: Callable[[Points], Mapping[str, float]],
    constants: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> list[str]:
    """Whether the law hangs on the runs with the least data: what it would be without them, if that lies far outside its intervals.

    Warm-up that was left in bends a law without lying off it, so that looking at residuals alone is not enough.
    """
    rungs = points.rungs()
    lowest = rungs[0] if len(rungs) <= 64 else rungs[len(rungs) // 20]
    first = points.num_tokens <= lowest * (1 + 1e-9)
    if len(rungs) < 5 or first.mean() > 0.34:
        return []
    try:
        without = refit(points.where(~first))
    except ValueError:
        return []
    moved = [f"{name} {constants[name]:.4g} -> {without[name]:.4g}" for name in constants if _far(name, without, constants, intervals)]
    if not moved:
        return []
    return [
        f"the law hangs on the {int(first.sum())} points with the least data (up to {lowest:,.0f} tokens); without them: "
        f"{', '.join(moved)}. Warm-up, or runs too short for the law?"
    ]


def _far(name: str, without: Mapping[str, float], constants: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> bool:
    """Further than three half-widths of the 90% interval, and by more than a tenth."""
    step = without[name] - constants[name]
    side = abs(intervals[name][1 if step > 0 else 0] - constants[name])
    return abs(step) > max(3.0 * side, 0.1 * abs(constants[name]))


def _differs(first: float, second: float) -> bool:
    return abs(first - second) > 0.02 * max(abs(first), abs(second))


def _where_they_lie(points: Points, errors: Floats, far: NDArray[np.bool_]) -> str:
    above, count = int((errors[far] > 0).sum()), int(far.sum())
    runs = ", ".join(dict.fromkeys(points.run_id[i] for i in np.flatnonzero(far)[:6]))
    text = (
        f"{count} of {len(points)} points lie far from the law ({above} above, {count - above} below; {runs}{', ...' if count > 6 else ''})"
    )
    off = np.abs(np.abs(errors[far]) - math.log(BITS_PER_NAT))
    if (off < 0.05).mean() > 0.8:
        return f"{text}, by about the factor between nats and bits: are the losses in one unit?"
    least_data = np.sort(points.num_tokens)[: max(1, len(points) // 4)].max()
    if above == count and (points.num_tokens[far] <= least_data).all():
        return f"{text}, all above it with the least data: warm-up, or runs too short for the law?"
    return f"{text}: they are kept, and count by their distance only"
