"""Coefficients for given exponents: a small non-negative least-squares problem, solved for many fits at once.

Where a form is a sum of terms with unknown coefficients, this replaces a grid of thousands of starts over all constants by a grid
over the exponents alone.
"""

from itertools import combinations

import numpy as np

from lm.law.forms.base import LOG_COEFFICIENTS
from lm.law.points import Floats

EXPONENT_GRID = (0.05, 0.1, 0.18, 0.27, 0.37, 0.5, 0.7, 1.0, 1.5, 2.2)


def grid(*axes: tuple[float, ...]) -> Floats:
    """All combinations of the axes [combinations, axes]."""
    return np.stack(np.meshgrid(*[np.array(axis) for axis in axes], indexing="ij"), axis=-1).reshape(-1, len(axes)).astype(np.float64)


def log_coefficients(design: Floats, log_value: Floats) -> Floats:
    """Logs of the coefficients [fits, terms] with which the terms [fits, terms, points] come closest to the losses, in relative terms."""
    coefficients = nonnegative_least_squares(design / np.exp(log_value))
    return np.clip(np.log(np.maximum(coefficients, 1e-6)), *LOG_COEFFICIENTS)


def nonnegative_least_squares(design: Floats) -> Floats:
    """Coefficients c >= 0 [fits, terms] that bring c . design [fits, terms, points] closest to 1 in every fit.

    All subsets of terms are solved at once and the best feasible one is taken: exact, and cheap for the 2 or 3 terms here.
    """
    num_fits, num_terms, _ = design.shape
    gram, target = design @ design.transpose(0, 2, 1), design.sum(axis=2)
    best, best_gain = np.zeros((num_fits, num_terms)), np.zeros(num_fits)
    for size in range(1, num_terms + 1):
        for subset in combinations(range(num_terms), size):
            index = np.array(subset)
            block = gram[:, index[:, None], index]
            ridge = 1e-12 * np.trace(block, axis1=1, axis2=2)[:, None, None] * np.eye(size)
            solution = np.linalg.solve(block + ridge, target[:, index, None])[:, :, 0]
            gain = np.where((solution >= 0).all(axis=1), (solution * target[:, index]).sum(axis=1), -1.0)
            better = gain > best_gain
            best_gain = np.where(better, gain, best_gain)
            best[better] = 0.0
            best[np.ix_(better, index)] = solution[better]
    return best


def log_sum(parts: Floats) -> tuple[Floats, Floats]:
    """Log of the sum over terms [fits, terms, points] -> [fits, points], and each term's share; parts are overwritten by the shares."""
    top = parts.max(axis=1)
    parts -= top[:, None]
    np.exp(parts, out=parts)
    total = parts.sum(axis=1)
    parts /= total[:, None]
    return top + np.log(total), parts
