"""What a fit minimises: Huber loss of the log loss with a stated scale, absolute errors, or squares; each point with its weight.

The Huber loss follows squares for small errors and absolute ones for large, so that a run that went wrong pulls less. Absolute errors
are a Huber loss whose scale is narrowed step by step, because they have no curvature of their own. The choice matters: on the
Chinchilla points B is 2,143 under Huber 1e-3 and 2,085 under absolute errors.

Weights: with `weights="seeds"` a size whose runs scatter more counts for less, by the variance seen there, drawn towards that of all
sizes as if four more runs had shown that one. The cost: with few seeds these weights are themselves uncertain.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm.law.descent import HUBER_DELTA, L1_DELTA, TOLERANCE, Box, Indices, Predict, explore, huber, minimise
from lm.law.points import Floats, Points

Kind = Literal["huber", "l1", "squares"]
WeightRule = Literal["equal", "seeds"]
PRIOR_FREEDOM = 4.0
WEIGHT_RANGE = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Objective:
    """Sum over points of weight x loss(log fitted - log observed)."""

    kind: Kind = "huber"
    delta: float = HUBER_DELTA
    """Scale of the Huber loss; the others have none."""

    def __post_init__(self) -> None:
        if self.kind not in ("huber", "l1", "squares") or not self.delta > 0:
            raise ValueError(f"an objective is huber, l1 or squares, with delta > 0; came {self.kind!r}, delta {self.delta}")

    @property
    def scales(self) -> tuple[float, ...]:
        """Huber scales to go through; the last is the objective's own."""
        return {"huber": (self.delta,), "l1": (HUBER_DELTA, 1e-4, 1e-5, 1e-6, L1_DELTA), "squares": (np.inf,)}[self.kind]

    @property
    def text(self) -> str:
        """What is minimised, in words."""
        return {
            "huber": f"sum of Huber losses (delta {self.delta:g}) of log(fitted) - log(observed)",
            "l1": "sum of absolute values of log(fitted) - log(observed)",
            "squares": "half the sum of squares of log(fitted) - log(observed)",
        }[self.kind]

    def value(self, errors: Floats, weight: Floats) -> Floats:
        """The objective of each row of errors [fits, points]."""
        losses = np.abs(errors) if self.kind == "l1" else huber(errors, self.scales[-1])
        return np.asarray((weight * losses).sum(axis=-1), dtype=np.float64)

    def descend(
        self, predict: Predict, theta: Floats, target: Floats, weight: Floats, box: Box, tolerance: float = TOLERANCE
    ) -> tuple[Floats, Floats]:
        """Improve starts that are near a minimum; returns constants and objective of each row."""
        for scale in self.scales:
            theta, values = minimise(predict, theta, target, weight, box, delta=scale, tolerance=tolerance)
        return theta, values if self.kind != "l1" else self.value(predict(theta)[0] - target, weight)

    def explore(self, predict: Predict, theta: Floats, target: Floats, weight: Floats, box: Box) -> tuple[Floats, Floats, Indices]:
        """Search from many starts: distinct ends, their objectives, and the number of its end for each start."""
        ends, values, which = explore(predict, theta, target, weight, box, delta=self.scales[0])
        if self.kind == "l1":
            ends, values = self.descend(predict, ends, target, weight, box)
        return ends, values, which


def weights_of(points: Points, rule: WeightRule) -> Floats:
    """Weight of each point, with mean 1. Raises: ValueError if seeds are asked for and no run was repeated."""
    if rule == "equal":
        return np.ones(len(points))
    if rule != "seeds":
        raise ValueError(f"weights are equal or seeds; came {rule!r}")
    variances = {size: _seed_variance(points.of_size(size)) for size in points.sizes()}
    freedom = sum(count for _, count in variances.values())
    if not freedom:
        raise ValueError("weights from seed noise need two runs at some size and amount of data; there are none. Use equal weights")
    pooled = max(sum(variance * count for variance, count in variances.values()) / freedom, 1e-16)
    weight = np.empty(len(points))
    for size, (variance, count) in variances.items():
        shrunk = (variance * count + pooled * PRIOR_FREEDOM) / (count + PRIOR_FREEDOM)
        weight[np.abs(np.log(points.num_params / size)) < 1e-9] = np.clip(pooled / shrunk, *WEIGHT_RANGE)
    return np.asarray(weight / weight.mean(), dtype=np.float64)


def _seed_variance(points: Points) -> tuple[float, int]:
    """Variance of log losses around the mean of their amount of data, and its degrees of freedom."""
    total, freedom = 0.0, 0
    for rung in points.rungs():
        logs = np.log(points.value[np.abs(np.log(points.num_tokens / rung)) < 1e-9])
        total, freedom = total + float(((logs - logs.mean()) ** 2).sum()), freedom + len(logs) - 1
    return (total / freedom if freedom else 0.0), freedom
