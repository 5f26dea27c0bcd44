"""The distribution a forecast states: Student's t on the log loss, its intervals, its quantiles, and the score it gets.

A loss is positive and its errors are shares, so that the logarithm is the scale to be symmetrical on. The score is the CRPS, in the unit of
the loss: an absolute error that also pays for width (Gneiting and Raftery 2007, doi:10.1198/016214506000001437). It is computed
from stored quantiles, so that a row of a table can be scored years later by anybody; twenty-one of them cost about 1% against
the exact integral.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from lm.law.points import Floats

QUANTILES = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
"""Probabilities at which a forecast's distribution is stored."""


@dataclass(frozen=True, slots=True)
class Predictive:
    """Forecasts at some targets: centre and scale of the log loss, each [targets], degrees of freedom, and the parts of the scale."""

    centre: Floats
    scale: Floats
    freedom: float
    parts: Mapping[str, Floats]

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Lower and upper end of the central interval, as losses."""
        half = self.student(level) * self.scale
        return np.exp(self.centre - half), np.exp(self.centre + half)

    def student(self, level: float) -> float:
        """Half-width of the central interval in scales."""
        return float(special.stdtrit(self.freedom, 0.5 + level / 2.0))

    def quantiles(self, probabilities: Sequence[float] = QUANTILES) -> Floats:
        """Losses [probabilities, targets] below which the outcome lies with these probabilities."""
        steps = special.stdtrit(self.freedom, np.array(probabilities))
        losses: Floats = np.exp(self.centre + steps[:, None] * self.scale)
        return losses


def crps(quantiles: Floats | Sequence[float], outcome: float, probabilities: Sequence[float] = QUANTILES) -> float:
    """Continuous ranked probability score of an outcome against stored quantiles, in the unit of the loss; 0 is perfect.

    Twice the integral of the quantile loss over probability; below the first and above the last quantile the end value is used.
    """
    values, levels = np.asarray(quantiles, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    pinball = (levels - (outcome < values)) * (outcome - values)
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2.0, [1.0]])
    return float(2.0 * (pinball * np.diff(edges)).sum())


def crps_of(quantiles: str, outcome: float) -> float:
    """The score of a stored row: `quantiles` is its JSON, by probability."""
    stored = {float(probability): float(loss) for probability, loss in json.loads(quantiles).items()}
    return crps(list(stored.values()), outcome, list(stored))
