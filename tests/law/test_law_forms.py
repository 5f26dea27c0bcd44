"""Each form says what its formula says, in any unit; its two translations invert each other."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lm.law import forms
from lm.law.forms import FORMS, Scale, effective_tokens, evaluate

N, D, U = 3e8, 2e10, 4e9


def repeated(unique: float, amount: float, decay: float) -> float:
    return unique * (1 + decay * (1 - math.exp(-(amount / unique - 1) / decay)))


def by_hand(a: float = 480.0, b: float = 2100.0, p: float = 0.34, q: float = 0.37) -> float:
    """The data-constrained formula, written out."""
    optimal = (p * a / (q * b)) ** (1 / p) * U ** (q / p)
    base = min(N, optimal)
    return 1.8 + a / repeated(base, N, 2.0) ** p + b / repeated(U, D, 5.0) ** q


FORMULAS: dict[str, tuple[dict[str, float], Callable[[], float]]] = {
    "data_only": ({"E": 2.0, "B": 900.0, "b": 0.3}, lambda: 2.0 + 900.0 / D**0.3),
    "chinchilla": (
        {"E": 1.8, "A": 480.0, "B": 2100.0, "a": 0.34, "b": 0.37},
        lambda: 1.8 + 480.0 / N**0.34 + 2100.0 / D**0.37,
    ),
    "gadre": ({"E": 1.8, "A": 300.0, "B": 1100.0, "c": 0.33}, lambda: 1.8 + 300.0 * N**-0.33 + 1100.0 * (N * (D / N)) ** -0.33),
    "kaplan": (
        {"Nc": 8.8e13, "Dc": 5.4e13, "aN": 0.076, "aD": 0.095},
        lambda: ((8.8e13 / N) ** (0.076 / 0.095) + 5.4e13 / D) ** 0.095,
    ),
    "loss_to_loss": (
        {"E": 2.3, "A": 6e7, "B": 8e8, "a": 0.42, "b": 0.48},
        lambda: 2.3 + ((6e7 / N) ** (0.42 / 0.48) + 8e8 / D) ** 0.48,
    ),
    "data_constrained": ({"E": 1.8, "A": 480.0, "B": 2100.0, "a": 0.34, "b": 0.37, "R_D": 5.0, "R_N": 2.0}, by_hand),
    "farseer": (
        {"S": 0.9, "s": -0.03, "q": 0.12, "Q": -1.0, "B": 30.0, "b": -0.09, "E": -1.5, "A": 0.3, "a": 0.05},
        lambda: math.exp(-0.03 * N**0.12 + 0.9) + math.exp(30.0 * N**-0.09 - 1.0) * D ** -math.exp(0.3 * N**0.05 - 1.5),
    ),
    "bnsl": (
        {"a": 1.5, "b": 60.0, "c0": 0.2, "c1": 0.15, "d1": 3e9, "f1": 0.3},
        lambda: 1.5 + 60.0 * D**-0.2 * (1 + (D / 3e9) ** (1 / 0.3)) ** (-0.15 * 0.3),
    ),
}


def test_every_form_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(FORMS)


@pytest.mark.parametrize("name", list(FORMULAS))
def test_the_value_is_that_of_the_formula(name: str) -> None:
    constants, formula = FORMULAS[name]
    assert evaluate(name, constants, N, D, U) == pytest.approx(formula(), rel=1e-10)


@pytest.mark.parametrize("name", list(FORMULAS))
def test_translations_invert_each_other(name: str) -> None:
    form, scale = FORMS[name], Scale(math.log(2e8), 0.0 if FORMS[name].anchored else math.log(1e10), 0.9)
    constants = np.array([[FORMULAS[name][0][key] for key in form.names]])
    assert form.to_constants(form.from_constants(constants, scale), scale) == pytest.approx(constants, rel=1e-9)


@pytest.mark.parametrize("form", list(FORMS.values()), ids=list(FORMS))
def test_every_constant_has_bounds_unit_and_meaning(form: forms.Form) -> None:
    assert len(form.low) == len(form.high) == len(form.constants)
    assert all(low < high for low, high in zip(form.low, form.high, strict=True))
    assert all(constant.unit and constant.doc for constant in form.constants)
    assert all(constant.exponent in (*form.names, None) for constant in form.constants)
    assert form.source


@pytest.mark.parametrize("form", list(FORMS.values()), ids=list(FORMS))
def test_linear_constants_enter_linearly(form: forms.Form) -> None:
    constants = FORMULAS[form.name][0]
    for name in (constant.name for constant in form.constants if constant.linear and form.name != "data_constrained"):
        once, twice, thrice = (evaluate(form.name, constants | {name: constants[name] * k}, N, D, U) for k in (1, 2, 3))
        assert thrice - twice == pytest.approx(twice - once, rel=1e-6)


def test_without_repetition_small_models_follow_chinchilla() -> None:
    constants = FORMULAS["data_constrained"][0]
    plain = {name: constants[name] for name in ("E", "A", "B", "a", "b")}
    assert evaluate("data_constrained", constants, 1e7, 1e11) == pytest.approx(evaluate("chinchilla", plain, 1e7, 1e11), rel=1e-12)


def test_repeated_tokens_are_worth_less_and_less() -> None:
    epochs = np.array([1.0, 2.0, 4.0, 40.0, 4000.0])
    worth = effective_tokens(1e9 * epochs, np.full(5, 1e9), 15.0)
    assert worth[0] == pytest.approx(1e9)
    assert worth == pytest.approx([repeated(1e9, 1e9 * e, 15.0) for e in epochs])
    assert worth[-1] == pytest.approx(16e9, rel=1e-6)


def test_a_missing_constant_or_size_is_named() -> None:
    with pytest.raises(ValueError, match="missing: b"):
        evaluate("data_only", {"E": 1.0, "B": 2.0}, None, 1e9)
    with pytest.raises(ValueError, match="kaplan needs num_params"):
        evaluate("kaplan", FORMULAS["kaplan"][0], None, 1e9)
