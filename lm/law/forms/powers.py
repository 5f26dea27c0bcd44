"""Sums of power terms: data_only, chinchilla and gadre (whose two terms share one exponent).

Sources: arXiv:2203.15556 (approach 3) for chinchilla; arXiv:2403.08540 for gadre, L = E + (a M^h + b M^-h) C^-h with C = 6ND and M =
D/N, which is the same as A/N^c + B/D^c with c = 2h.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from lm.law.forms.base import EXPONENTS, LOG_COEFFICIENTS, Constant, Form, Scale, coefficient, log_coefficient
from lm.law.forms.linear import EXPONENT_GRID, grid, log_coefficients, log_sum
from lm.law.points import Floats

FINE_GRID = tuple(float(value) for value in np.geomspace(0.03, 3.0, 24))
"""Where there is one exponent only, starts may lie closer."""


@dataclass(frozen=True, slots=True)
class Term:
    """A power term C / X^c, where X is N or D."""

    coefficient: str
    exponent: str
    variable: int
    """0 for N, 1 for D."""


@dataclass(frozen=True, slots=True)
class Sum:
    """E + terms. Internal constants: log E, log coefficients, then the distinct exponents."""

    terms: tuple[Term, ...]

    @property
    def exponents(self) -> tuple[str, ...]:
        """Names of the distinct exponents."""
        return tuple(dict.fromkeys(term.exponent for term in self.terms))

    def places(self) -> list[tuple[int, int, int]]:
        """For each term: place of its coefficient, place of its exponent, variable."""
        first = 1 + len(self.terms)
        return [(1 + i, first + self.exponents.index(term.exponent), term.variable) for i, term in enumerate(self.terms)]


def _predict(form: Sum, theta: Floats, log_params: Floats, log_tokens: Floats) -> tuple[Floats, Floats]:
    """Log of E + sum of terms as a log-sum-exp, so that no constant can make it overflow."""
    logs, count = (log_params, log_tokens), 1 + len(form.terms)
    gradient = np.empty((len(theta), theta.shape[1], len(log_tokens)))
    gradient[:, 0] = theta[:, :1]
    for place, exponent, variable in form.places():
        np.multiply(theta[:, exponent, None], logs[variable], out=gradient[:, place])
        np.subtract(theta[:, place, None], gradient[:, place], out=gradient[:, place])
    predicted, shares = log_sum(gradient[:, :count])
    gradient[:, count:] = 0.0
    for place, exponent, variable in form.places():
        gradient[:, exponent] -= logs[variable] * shares[:, place]
    return predicted, gradient


def _starts(form: Sum, log_params: Floats, log_tokens: Floats, log_value: Floats) -> Floats:
    """For each combination of exponents, the coefficients that minimise the squared relative error, none negative."""
    num = len(form.exponents)
    exponents = grid(FINE_GRID) if num == 1 else grid(*[EXPONENT_GRID] * num)
    return np.concatenate([log_coefficients(design(form, exponents, log_params, log_tokens), log_value), exponents], axis=1)


def design(form: Sum, exponents: Floats, log_params: Floats, log_tokens: Floats) -> Floats:
    """The terms without their coefficients [fits, 1 + terms, points], for exponents [fits, exponents]."""
    logs, first = (log_params, log_tokens), 1 + len(form.terms)
    found = np.ones((len(exponents), first, len(log_tokens)))
    for place, exponent, variable in form.places():
        found[:, place] = np.exp(-exponents[:, exponent - first, None] * logs[variable])
    return found


def _to_constants(form: Sum, theta: Floats, scale: Scale) -> Floats:
    """Back from the middle point's units. A coefficient on its lower edge is 0."""
    middles, found = (scale.log_params, scale.log_tokens), theta.copy()
    found[:, 0] = coefficient(theta[:, 0], scale.log_value)
    for place, exponent, variable in form.places():
        found[:, place] = coefficient(theta[:, place], theta[:, exponent] * middles[variable] + scale.log_value)
    return found


def _from_constants(form: Sum, constants: Floats, scale: Scale) -> Floats:
    middles, theta = (scale.log_params, scale.log_tokens), constants.copy()
    theta[:, 0] = log_coefficient(constants[:, 0]) - scale.log_value
    for place, exponent, variable in form.places():
        theta[:, place] = log_coefficient(constants[:, place]) - constants[:, exponent] * middles[variable] - scale.log_value
    return theta


LETTERS, VARIABLES = ("N", "D"), ("parameters", "training tokens")


def constants_of(terms: Sum) -> tuple[Constant, ...]:
    """E, coefficients and exponents, as people read them."""
    found = [Constant("E", "loss", False, "Loss that no amount of data or parameters removes", linear=True)]
    for t in terms.terms:
        unit, doc = f"loss x {LETTERS[t.variable]}^{t.exponent}", f"Size of the term in {VARIABLES[t.variable]}"
        found.append(Constant(t.coefficient, unit, False, doc, t.exponent, linear=True))
    for name in terms.exponents:
        of = " and ".join(VARIABLES[t.variable] for t in terms.terms if t.exponent == name)
        found.append(Constant(name, "1", True, f"How fast loss falls with {of}"))
    return tuple(found)


def _sum_of_powers(name: str, formula: str, source: str, *terms: Term) -> Form:
    form = Sum(terms)
    bounds = [LOG_COEFFICIENTS] * (1 + len(terms)) + [EXPONENTS] * len(form.exponents)
    joint = any(term.variable == 0 for term in terms)
    return Form(
        name=name,
        formula=formula,
        constants=constants_of(form),
        low=tuple(low for low, _ in bounds),
        high=tuple(high for _, high in bounds),
        num_sizes=2 if joint else 1,
        one_size=not joint,
        predict=partial(_predict, form),
        starts=partial(_starts, form),
        to_constants=partial(_to_constants, form),
        from_constants=partial(_from_constants, form),
        source=source,
    )


DATA_ONLY = _sum_of_powers("data_only", "L = E + B/D^b", "arXiv:2203.15556 at one model size", Term("B", "b", 1))
CHINCHILLA = _sum_of_powers("chinchilla", "L = E + A/N^a + B/D^b", "arXiv:2203.15556, approach 3", Term("A", "a", 0), Term("B", "b", 1))
GADRE = _sum_of_powers("gadre", "L = E + A/N^c + B/D^c", "arXiv:2403.08540", Term("A", "c", 0), Term("B", "c", 1))
