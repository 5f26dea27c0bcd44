"""Joint fits share what is shared, and notice when it is not; two steps reach a score; frontiers find the optimum of a known law."""

import math

import numpy as np
import pytest

from lm.law import forms
from lm.law.downstream import fit_curve, forecast_score
from lm.law.fitting import fit
from lm.law.frontier import envelope, isoflop
from lm.law.joint import fit_joint
from lm.law.points import Points, gather

TRUE = {"E": 1.8, "A": 400.0, "B": 900.0, "a": 0.34, "b": 0.33}
BEST_N = (TRUE["a"] * TRUE["A"] / (TRUE["b"] * TRUE["B"])) ** (1 / (TRUE["a"] + TRUE["b"]))


def recipe(changes: dict[str, float], noise: float = 0.002, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    rows = [
        (f"{n:.0f}/{d:.0f}", n, d, 0, forms.evaluate("chinchilla", TRUE | changes, n, d) * math.exp(rng.normal(0, noise)))
        for n in np.geomspace(1e7, 1e9, 5).tolist()
        for d in np.geomspace(3e8, 3e10, 6).tolist()
    ]
    return points_of(rows)


def points_of(rows: list[tuple[str, float, float, int, float]]) -> Points:
    return gather(dict(zip(("run_id", "num_params", "num_tokens", "seed", "value"), map(list, zip(*rows, strict=True)), strict=True)))


def test_shared_constants_are_one_and_own_ones_differ() -> None:
    recipes = {"web": recipe({}, 0.0), "books": recipe({"B": 700.0, "E": 1.9}, 0.0)}
    found = fit_joint(recipes, shared=("A", "a", "b"), num_bootstrap=20, with_profiles=False)
    assert set(found.constants) == {"E[web]", "E[books]", "A", "B[web]", "B[books]", "a", "b"}
    assert found.constants["B[books]"] == pytest.approx(700.0, rel=1e-3)
    assert found.constants["a"] == pytest.approx(0.34, rel=1e-3)
    assert found.laws["books"].constants["A"] == found.laws["web"].constants["A"]
    assert found.laws["books"].predict(1e10, 1e12) == pytest.approx(forms.evaluate("chinchilla", TRUE | {"B": 700.0, "E": 1.9}, 1e10, 1e12))


def test_sharing_narrows_what_is_shared_and_a_wrong_share_is_noticed() -> None:
    alike = {"web": recipe({}), "books": recipe({"B": 700.0}, seed=1)}
    joint, alone = fit_joint(alike, shared=("a", "b"), num_bootstrap=60), fit(alike["web"], num_bootstrap=60)
    assert np.ptp(joint.intervals["a"]) < np.ptp(alone.intervals["a"])
    assert joint.sharing_costs > 0.01
    assert joint.objective >= joint.separate_objective * (1 - 1e-9)
    unlike = {"web": recipe({}), "books": recipe({"a": 0.25, "A": 90.0}, seed=1)}
    assert fit_joint(unlike, shared=("A", "a", "b"), num_bootstrap=20, with_profiles=False).sharing_costs < 1e-6


def test_nothing_shared_is_the_separate_fits() -> None:
    recipes = {"web": recipe({}), "books": recipe({"B": 700.0}, seed=1)}
    found = fit_joint(recipes, shared=(), num_bootstrap=20, with_profiles=False)
    assert found.objective == pytest.approx(found.separate_objective, rel=1e-6)
    assert found.sharing_costs == 1.0


def test_a_joint_fit_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="at least 2 recipes; came 1"):
        fit_joint({"web": recipe({})})
    with pytest.raises(ValueError, match="only together with the exponent"):
        fit_joint({"web": recipe({}), "books": recipe({})}, shared=("B",))
    with pytest.raises(ValueError, match=r"recipe books: .* at least 2 model sizes"):
        fit_joint({"web": recipe({}), "books": recipe({}).of_size(1e7)})


def scores(losses: np.ndarray, noise: float = 0.0) -> np.ndarray:  # type: ignore[type-arg]
    return 0.25 + 0.7 / (1 + np.exp(4.0 * (losses - 3.0))) + np.random.default_rng(0).normal(0, noise, len(losses))


def test_a_curve_from_loss_to_score_is_recovered() -> None:
    losses = np.linspace(2.0, 4.5, 30)
    curve = fit_curve(losses, scores(losses), num_bootstrap=20)
    assert curve.predict(np.array([2.2, 3.0, 5.0])) == pytest.approx(scores(np.array([2.2, 3.0, 5.0])), abs=1e-4)
    errors = fit_curve(losses, 0.9 - 5.0 * np.exp(-1.2 * losses), "exponential", num_bootstrap=20)
    assert errors.constants == pytest.approx({"eps": 0.9, "k": 5.0, "g": 1.2}, rel=1e-3)


def test_two_steps_forecast_a_score() -> None:
    points = recipe({}, 0.001)
    law, curve = fit(points, num_bootstrap=40, with_profiles=False), fit_curve(points.value, scores(points.value, 0.003), num_bootstrap=40)
    found = forecast_score(law, curve, 3e9, 1e11)
    truth = float(scores(np.array([forms.evaluate("chinchilla", TRUE, 3e9, 1e11)]))[0])
    assert found.low < truth < found.high
    assert found.high - found.low < 0.1
    assert any("outside the losses seen" in warning for warning in found.warnings)


def test_scores_at_chance_level_are_said() -> None:
    losses = np.linspace(3.0, 4.0, 40)
    curve = fit_curve(losses, np.random.default_rng(1).normal(0.25, 0.01, 40), num_bootstrap=20)
    assert any("chance level" in warning for warning in curve.warnings)


def test_a_curve_refuses_what_are_no_scores() -> None:
    with pytest.raises(ValueError, match="Divide percentages by 100"):
        fit_curve(np.linspace(2, 3, 8), np.linspace(60, 30, 8))
    with pytest.raises(ValueError, match="at least 6 finite losses"):
        fit_curve([2.0, 3.0], [0.5, 0.4])


def slices(shares: tuple[float, ...]) -> Points:
    """Runs of six budgets, at these multiples of the best size."""
    rows = []
    for flops in np.geomspace(1e16, 1e20, 6).tolist():
        best = BEST_N * (flops / 6) ** (TRUE["b"] / (TRUE["a"] + TRUE["b"]))
        cells = [(best * share, flops / 6 / best / share) for share in shares]
        rows += [(f"{n:.0f}/{d:.0f}", n, d, 0, forms.evaluate("chinchilla", TRUE, n, d)) for n, d in cells]
    return points_of(rows)


def test_isoflop_parabolas_find_the_optimum_of_a_known_law() -> None:
    found = isoflop(slices((0.25, 0.4, 0.7, 1.0, 1.6, 2.6, 4.0)), num_bootstrap=40)
    assert len(found.optima) == 6
    assert found.exponent_n == pytest.approx(TRUE["b"] / (TRUE["a"] + TRUE["b"]), abs=0.01)
    assert found.allocation(1e18)[0] == pytest.approx(BEST_N * (1e18 / 6) ** (TRUE["b"] / (TRUE["a"] + TRUE["b"])), rel=0.05)
    with pytest.raises(ValueError, match=r"came 0 .*lowest point lies outside the sizes"):
        isoflop(slices((3.0, 4.0, 5.0, 7.0, 9.0)), num_bootstrap=5)


def test_the_envelope_of_training_curves_finds_it_too() -> None:
    rows = [
        (f"{n:.0f}", n, d, 0, forms.evaluate("chinchilla", TRUE, n, d))
        for n in np.geomspace(1e6, 1e9, 30).tolist()
        for d in (n * np.geomspace(0.5, 500, 40)).tolist()
    ]
    found = envelope(points_of(rows), num_bootstrap=20)
    assert found.exponent_n == pytest.approx(TRUE["b"] / (TRUE["a"] + TRUE["b"]), abs=0.03)
    assert found.left_out
    with pytest.raises(ValueError, match="training curves of at least 3 runs"):
        envelope(points_of(rows[::40]))
