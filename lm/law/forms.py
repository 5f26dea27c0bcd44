"""The forms of a scaling law: what is predicted, with analytic gradients, and where a fit starts.

A form works on *internal* constants: logarithms of coefficients, in coordinates where the middle point has N = D = L = 1. That
makes a fit indifferent to units (tokens or bytes, nats or bits) and its steps well scaled; the cost is a translation at
the end, done once in `to_constants`. Every form here is a sum of power terms, so for given exponents its
coefficients are the solution of a small non-negative least-squares problem; `starts` uses that, which replaces a grid of
thousands of starts over all constants by a grid over the exponents alone. A form that is not a sum of powers needs
its own `predict`, `starts` and `to_constants`, nothing else.

Source of the forms: arXiv:2203.15556 (approach 3).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from lm.law.points import Floats, Points

EXPONENTS = (0.01, 4.0)
"""Exponents are sought in this range; one that ends on its edge is reported as not identified."""
LOG_COEFFICIENTS = (-16.0, 1.0)
"""Logarithm of a term at the middle point, relative to the middle loss. The lower edge stands for zero."""
EXPONENT_GRID = (0.05, 0.1, 0.18, 0.27, 0.37, 0.5, 0.7, 1.0, 1.5, 2.2)


@dataclass(frozen=True, slots=True)
class Scale:
    """The middle of the fitted points (geometric means), to which internal constants refer."""

    log_params: float
    log_tokens: float
    log_value: float

    @classmethod
    def of(cls, points: Points) -> "Scale":
        """The scale of a set of points."""
        return cls(*(float(np.log(values).mean()) for values in (points.num_params, points.num_tokens, points.value)))


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a form, as people read it."""

    name: str
    unit: str
    is_exponent: bool
    doc: str
    exponent: str | None = None
    """For a coefficient, its exponent: the coefficient cannot be known better."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of law. `coordinates` are arrays of log N and log D, measured from the scale."""

    name: str
    formula: str
    constants: tuple[Constant, ...]
    low: tuple[float, ...]
    """Lower bounds of the internal constants."""
    high: tuple[float, ...]
    """Upper bounds of the internal constants."""
    num_sizes: int
    """Distinct model sizes a fit needs at least."""
    one_size: bool
    """Whether the form holds at a single model size only."""
    predict: Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]
    """(theta [fits, constants], log N [points], log D [points]) -> log loss [fits, points], gradient [fits, constants, points]."""
    starts: Callable[[Floats, Floats, Floats], Floats]
    """(log N, log D, log loss) -> starting theta [starts, constants]."""
    to_constants: Callable[[Floats, Scale], Floats]
    """(theta [fits, constants], scale) -> constants [fits, constants] in the units of the points."""
    evaluate: Callable[[Mapping[str, float], float | None, float], float]
    """(constants by name, N, D) -> loss."""


@dataclass(frozen=True, slots=True)
class Term:
    """A power term C / X^c, where X is N or D."""

    coefficient: str
    exponent: str
    variable: int
    """0 for N, 1 for D."""


def _predict(terms: tuple[Term, ...], theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    """Log of E + sum of terms as a log-sum-exp, so that no constant can make it overflow. Theta: log E, log coefficients, exponents."""
    logs = (log_params, log_tokens)
    parts = np.empty((len(theta), 1 + len(terms), len(log_tokens)))
    parts[:, 0] = theta[:, :1]
    for i, term in enumerate(terms):
        parts[:, 1 + i] = theta[:, 1 + i, None] - theta[:, 1 + len(terms) + i, None] * logs[term.variable]
    top = parts.max(axis=1)
    parts -= top[:, None]
    np.exp(parts, out=parts)
    total = parts.sum(axis=1)
    parts /= total[:, None]
    slopes = [-logs[term.variable] * parts[:, 1 + i] for i, term in enumerate(terms)]
    return top + np.log(total), np.concatenate([parts, np.stack(slopes, axis=1)], axis=1)


def _starts(terms: tuple[Term, ...], log_params: Floats, log_tokens: Floats, log_value: Floats) -> Floats:
    """For each combination of exponents, the coefficients that minimise the squared relative error, none negative."""
    grid = np.stack(np.meshgrid(*[np.array(EXPONENT_GRID)] * len(terms), indexing="ij"), axis=-1).reshape(-1, len(terms))
    logs = (log_params, log_tokens)
    design = np.ones((len(grid), 1 + len(terms), len(log_value)))
    for i, term in enumerate(terms):
        design[:, 1 + i] = np.exp(-grid[:, i, None] * logs[term.variable])
    coefficients = nonnegative_least_squares(design / np.exp(log_value))
    log_coefficients = np.clip(np.log(np.maximum(coefficients, 1e-6)), *LOG_COEFFICIENTS)
    return np.concatenate([log_coefficients, grid], axis=1)


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


def _to_constants(terms: tuple[Term, ...], theta: Floats, scale: Scale) -> Floats:
    """Back from the middle point's units: E, then each coefficient and exponent. A coefficient on its lower edge is 0."""
    middles = (scale.log_params, scale.log_tokens)
    columns = [np.exp(theta[:, 0] + scale.log_value) * (theta[:, 0] > LOG_COEFFICIENTS[0] + 2.0)]
    for i, term in enumerate(terms):
        log_coefficient, exponent = theta[:, 1 + i], theta[:, 1 + len(terms) + i]
        present = log_coefficient > LOG_COEFFICIENTS[0] + 2.0
        columns.append(np.exp(log_coefficient + exponent * middles[term.variable] + scale.log_value) * present)
    return np.stack([*columns, *(theta[:, 1 + len(terms) + i] for i in range(len(terms)))], axis=1)


def _evaluate(terms: tuple[Term, ...], constants: Mapping[str, float], num_params: float | None, num_tokens: float) -> float:
    loss = constants["E"]
    for term in terms:
        amount = (num_params, num_tokens)[term.variable]
        if amount is None:
            raise ValueError(f"a law with the constant {term.coefficient} needs num_params to be evaluated")
        loss += constants[term.coefficient] * math.exp(-constants[term.exponent] * math.log(amount))
    return loss


def _sum_of_powers(name: str, formula: str, terms: tuple[Term, ...]) -> Form:
    letters = ("N", "D")
    variables = ("parameters", "training tokens")
    constants = [Constant("E", "loss", False, "Loss that no amount of data or parameters removes")]
    constants += [
        Constant(
            t.coefficient, f"loss x {letters[t.variable]}^{t.exponent}", False, f"Size of the term in {variables[t.variable]}", t.exponent
        )
        for t in terms
    ]
    constants += [Constant(t.exponent, "1", True, f"How fast loss falls with {variables[t.variable]}") for t in terms]
    bounds = [LOG_COEFFICIENTS] * (1 + len(terms)) + [EXPONENTS] * len(terms)
    joint = any(term.variable == 0 for term in terms)
    return Form(
        name,
        formula,
        tuple(constants),
        tuple(low for low, _ in bounds),
        tuple(high for _, high in bounds),
        2 if joint else 1,
        not joint,
        partial(_predict, terms),
        partial(_starts, terms),
        partial(_to_constants, terms),
        partial(_evaluate, terms),
    )


DATA_ONLY = _sum_of_powers("data_only", "L = E + B/D^b", (Term("B", "b", 1),))
CHINCHILLA = _sum_of_powers("chinchilla", "L = E + A/N^a + B/D^b", (Term("A", "a", 0), Term("B", "b", 1)))
FORMS: Mapping[str, Form] = {form.name: form for form in (DATA_ONLY, CHINCHILLA)}


def get(name: str) -> Form:
    """The form of this name. Raises: ValueError naming the forms there are."""
    if name not in FORMS:
        raise ValueError(f"a law's form must be one of {', '.join(FORMS)}; came {name!r}")
    return FORMS[name]


def evaluate(form: str, constants: Mapping[str, float], num_params: float | None, num_tokens: float) -> float:
    """Loss of a law whose constants are known, e.g. read back from the table of laws.

    Raises: ValueError if the form is unknown or needs a model size that did not come.
    """
    return get(form).evaluate(constants, num_params, num_tokens)
