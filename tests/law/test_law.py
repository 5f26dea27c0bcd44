"""Laws: known constants come back, bad input is refused or listed, and intervals hold what they promise."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lm import law
from lm.law import descent, forms
from lm.law.points import gather
from storage.schema.training import FORECASTS, LAWS

TRUE = {"E": 1.8, "A": 400.0, "B": 900.0, "a": 0.34, "b": 0.33}
BASE_TOKENS = 200_000


def ladder(
    num_rungs: int = 5, sizes: tuple[float, ...] = (8e5, 3e6), num_seeds: int = 2, *, noise: float = 0.0, seed: int = 0, unit: float = 1.0
) -> dict[str, list[Any]]:
    """Trunks of every size and seed over nested rungs, with losses from TRUE."""
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        for run in range(num_seeds):
            shift = rng.normal(0.0, noise)
            for rung in range(num_rungs):
                tokens = BASE_TOKENS * 2.0**rung
                loss = forms.evaluate("chinchilla", TRUE, size, tokens) * math.exp(shift + rng.normal(0.0, noise))
                rows.append((f"{size:.0f}-{run}", size, tokens * unit, run, loss))
    return dict(zip(("run_id", "num_params", "num_tokens", "seed", "value"), map(list, zip(*rows, strict=True)), strict=True))


def changed(data: dict[str, list[Any]], change: Callable[[int, float], float]) -> dict[str, list[Any]]:
    return {**data, "value": [change(i, value) for i, value in enumerate(data["value"])]}


def only_first_size(data: dict[str, list[Any]]) -> dict[str, list[Any]]:
    keep = [i for i, size in enumerate(data["num_params"]) if size == data["num_params"][0]]
    return {name: [values[i] for i in keep] for name, values in data.items()}


def test_joint_constants_are_recovered() -> None:
    fitted = law.fit(ladder(6, (1e6, 3e6, 1e7, 3e7)), "chinchilla", num_bootstrap=20)
    for name, value in TRUE.items():
        assert fitted.constants[name] == pytest.approx(value, rel=1e-3)
    assert fitted.objective < 1e-12
    assert fitted.unidentified == {}


def test_data_only_constants_are_recovered() -> None:
    fitted = law.fit(only_first_size(ladder(6)), "data_only", num_bootstrap=20)
    floor = TRUE["E"] + TRUE["A"] / 8e5 ** TRUE["a"]
    assert fitted.num_params == 8e5
    assert fitted.constants == pytest.approx({"E": floor, "B": TRUE["B"], "b": TRUE["b"]}, rel=1e-3)


def test_gradient_matches_differences() -> None:
    rng = np.random.default_rng(0)
    for form in forms.FORMS.values():
        theta, x, y = rng.uniform(0.1, 0.6, (3, len(form.constants))), rng.normal(size=7), rng.normal(size=7)
        logs = (x, y, y - rng.uniform(0.0, 3.0, size=7))[: len(form.columns)]
        _, gradient = form.predict(theta, *logs)
        for k in range(theta.shape[1]):
            step = np.zeros_like(theta)
            step[:, k] = 1e-6
            slope = (form.predict(theta + step, *logs)[0] - form.predict(theta - step, *logs)[0]) / 2e-6
            assert slope == pytest.approx(gradient[:, k], abs=1e-7)


def test_minimum_is_not_worse_than_a_fine_grid() -> None:
    points = gather(only_first_size(ladder(5, noise=0.01)))
    fitted = law.fit(points, "data_only", num_bootstrap=20)
    best = math.inf
    for exponent in np.geomspace(0.02, 3.0, 400):
        design = np.stack([np.ones(len(points)), points.num_tokens**-exponent])[None]
        scaled = design / design.mean(axis=2, keepdims=True) / points.value
        coefficients = forms.nonnegative_least_squares(scaled)
        best = min(best, float(descent.huber(np.log((coefficients[:, :, None] * scaled).sum(axis=1))).sum()))
    assert fitted.objective <= best


def test_order_of_rows_does_not_matter() -> None:
    data = ladder(noise=0.01)
    order = np.random.default_rng(3).permutation(len(data["value"]))
    shuffled = pa.table({name: [values[i] for i in order] for name, values in data.items()})
    first, second = law.fit(data, "chinchilla", num_bootstrap=30), law.fit(shuffled, "chinchilla", num_bootstrap=30)
    assert law.law_rows([first], ladder_id="x", metric="m") == law.law_rows([second], ladder_id="x", metric="m")


def test_unit_of_data_does_not_matter() -> None:
    tokens, bytes_ = (law.fit(only_first_size(ladder(noise=0.01, unit=unit)), "data_only", num_bootstrap=30) for unit in (1.0, 4.2))
    assert bytes_.constants["b"] == pytest.approx(tokens.constants["b"], rel=1e-5)
    assert bytes_.constants["B"] == pytest.approx(tokens.constants["B"] * 4.2 ** tokens.constants["b"], rel=1e-4)
    assert bytes_.predict(8e5, 4.2e7) == pytest.approx(tokens.predict(8e5, 1e7), rel=1e-7)


def test_unit_of_loss_does_not_matter() -> None:
    data = only_first_size(ladder(noise=0.01))
    nats = law.fit(data, "data_only", num_bootstrap=30)
    bits = law.fit(changed(data, lambda _, value: value * 1.4427), "data_only", num_bootstrap=30)
    assert bits.constants["E"] == pytest.approx(nats.constants["E"] * 1.4427, rel=1e-5)
    assert bits.objective == pytest.approx(nats.objective, rel=1e-6)


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (ladder(2), "chinchilla", "at least 3 amounts of data; came 8 points at 2 model sizes and 2"),
        (ladder(5, (8e5,)), "chinchilla", "at least 2 model sizes"),
        (ladder(5), "data_only", "holds at one model size; came 20 points at 2 model sizes"),
        (ladder(5), "kaplann", "must be one of data_only, chinchilla, .*; came 'kaplann'"),
        ({"run_id": []}, "data_only", "missing: num_params, num_tokens, seed, value"),
        ({**ladder(5), "validation_id": ["v1", "v2"] * 10}, "chinchilla", "column validation_id holds 2: v1, v2"),
        ({**ladder(5), "seed": [0]}, "chinchilla", "equally long"),
    ],
)
def test_what_cannot_be_fitted_is_refused(data: dict[str, list[Any]], form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        law.fit(data, form)


def test_bad_points_are_left_out_with_their_reason() -> None:
    data = changed(ladder(6), lambda i, value: {0: math.nan, 1: math.inf, 2: -1.0}.get(i, value))
    copies: dict[str, list[Any]] = {"run_id": ["800000-1"] * 2, "num_params": [8e5] * 2, "num_tokens": [4e5, 8e5], "seed": [1, 1]}
    for name, extra in copies.items():
        data[name] = data[name] + extra
    data["value"] = [*data["value"], data["value"][7], 99.0]
    fitted = law.fit(data, "chinchilla", num_bootstrap=20, drop_highest=1)
    reasons = sorted(e.reason for e in fitted.exclusions)
    assert reasons == ["conflicting_values", "conflicting_values", "duplicate", "highest_loss", "not_finite", "not_finite", "not_positive"]
    assert len(fitted.points) == len(data["value"]) - 7
    row = law.law_rows([fitted], ladder_id="x", metric="m")[0]
    assert len(json.loads(row["exclusions"])) == 7


def test_missing_values_count_as_not_finite() -> None:
    fitted = law.fit(pa.table(changed(ladder(6), lambda i, v: v if i else None)), "chinchilla", num_bootstrap=20)  # type: ignore[arg-type,return-value]
    assert [e.reason for e in fitted.exclusions] == ["not_finite"]


def test_two_sizes_do_not_fix_the_terms_of_size() -> None:
    fitted = law.fit(ladder(5, noise=0.001), "chinchilla", num_bootstrap=40)
    assert {"E", "A", "a"} <= set(fitted.unidentified)
    assert fitted.predict(8e5, 1e7) == pytest.approx(forms.evaluate("chinchilla", TRUE, 8e5, 1e7), rel=0.02)


def test_few_noisy_rungs_do_not_fix_the_floor() -> None:
    fitted = law.fit(only_first_size(ladder(4, noise=0.03, seed=5)), "data_only", num_bootstrap=60)
    assert "E" in fitted.unidentified
    assert "B" in fitted.unidentified


def test_rising_loss_is_said() -> None:
    fitted = law.fit(changed(only_first_size(ladder(5)), lambda i, _: 3.0 + 0.1 * (i % 5)), "data_only", num_bootstrap=20)
    assert any("loss rises with data at 800,000 parameters" in warning for warning in fitted.warnings)
    assert fitted.predict(8e5, 1e9) == pytest.approx(3.2, abs=0.11)


def test_equal_losses_are_said_and_give_a_flat_law() -> None:
    fitted = law.fit(changed(only_first_size(ladder(5)), lambda *_: 3.0), "data_only", num_bootstrap=20)
    assert any("all losses are equal" in warning for warning in fitted.warnings)
    assert fitted.predict(8e5, 1e9) == pytest.approx(3.0, rel=1e-6)
    assert "b" in fitted.unidentified


def test_one_seed_is_said() -> None:
    assert any("two seeds" in warning for warning in law.fit(ladder(5, num_seeds=1), "chinchilla", num_bootstrap=20).warnings)


def test_equal_seeds_give_equal_laws_and_other_seeds_other_intervals() -> None:
    data = ladder(noise=0.01)
    first, again, other = (law.fit(data, "chinchilla", seed=seed, num_bootstrap=30, with_profiles=False) for seed in (1, 1, 2))
    assert (first.law_id, first.intervals) == (again.law_id, again.intervals)
    assert first.law_id != other.law_id
    assert first.intervals != other.intervals
    assert first.constants == other.constants


def test_rows_have_the_columns_of_the_lake() -> None:
    laws, _ = law.fit_all(ladder(5, noise=0.003), num_bootstrap=20)
    rows = law.law_rows(laws, ladder_id="l", metric="loss_nats_per_token", curves=law.curve(laws, num_points=6))
    assert [list(row) == [name for name in LAWS.columns if name != "produced_by"] for row in rows] == [True] * 3
    assert [len(json.loads(row["curve"])) for row in rows] == [6, 6, 12]
    prediction = law.forecast(laws, 3e6, BASE_TOKENS * 32)
    row = law.forecast_row(prediction, ladder_id="l", rung=5, metric="loss_nats_per_token")
    assert list(row) == [name for name in FORECASTS.columns if name != "produced_by"]
    constants = json.loads(rows[0]["constants"])
    assert law.evaluate("data_only", constants, None, 4e5) == pytest.approx(laws[0].predict(8e5, 4e5), rel=1e-9)
