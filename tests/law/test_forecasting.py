"""Forecasts: what they are made of, what they refuse, how they are scored, and that hidden rungs are forecast as promised."""

import json
import math
from typing import Any

import numpy as np
import pytest

from lm import law
from lm.law import candidates, ensemble, forms
from lm.law.forecasting import target
from lm.law.predictive import QUANTILES, Predictive, crps
from lm.law.prior import PRIOR, Case, Cut, Evidence, Prior, calibrate, fit_prior
from storage.schema.training import FORECASTS

TRUE = {"E": 1.8, "A": 400.0, "B": 900.0, "a": 0.34, "b": 0.33}
BASE = 200_000


def rows(
    num_rungs: int = 5, sizes: tuple[float, ...] = (8e5, 3e6), num_seeds: int = 2, noise: float = 0.0, seed: int = 0
) -> dict[str, Any]:
    """Trunks of every size and seed over nested rungs, with losses from TRUE."""
    rng = np.random.default_rng(seed)
    table: dict[str, list[Any]] = {name: [] for name in ("run_id", "num_params", "num_tokens", "seed", "value")}
    for size in sizes:
        for run in range(num_seeds):
            shift = rng.normal(0.0, noise)
            for rung in range(num_rungs):
                tokens = BASE * 2.0**rung
                loss = forms.evaluate("chinchilla", TRUE, size, tokens) * math.exp(shift + rng.normal(0.0, noise))
                for name, value in zip(table, (f"{size:.0f}-{run}", size, tokens, run, loss), strict=True):
                    table[name].append(value)
    return table


def only(table: dict[str, Any], keep: list[int]) -> dict[str, Any]:
    return {name: [values[i] for i in keep] for name, values in table.items()}


def test_sizes_are_told_by_their_own_law_if_it_has_enough_rungs_else_by_the_joint_one() -> None:
    data = rows(5, noise=0.002)
    keep = [i for i in range(20) if data["num_params"][i] == 8e5 or data["num_tokens"][i] < BASE * 8]
    laws, skipped = law.fit_all(only(data, keep), num_bootstrap=20)
    assert skipped == {}
    assert law.headline_law(laws, 8e5).form == "data_only"
    assert law.headline_law(laws, 3e6).form == "chinchilla"
    assert law.headline_law(laws, 7e7).form == "chinchilla"
    with pytest.raises(ValueError, match="no law covers 70,000,000 parameters; laws at hand are for: 800,000"):
        law.headline_law([one for one in laws if one.num_params == 8e5], 7e7)


def test_on_a_ladder_a_size_with_enough_rungs_speaks_for_itself() -> None:
    """The larger model is behind on little data and ahead on much: what the smaller does says nothing about its next rung."""
    data = rows(6)
    start, slope = {8e5: 5.0, 3e6: 7.0}, {8e5: 0.1, 3e6: 0.2}
    data["value"] = [start[n] * (d / BASE) ** -slope[n] for n, d in zip(data["num_params"], data["num_tokens"], strict=True)]
    seen = [i for i, d in enumerate(data["num_tokens"]) if d < BASE * 32]
    laws, _ = law.fit_all(only(data, seen), num_bootstrap=20)
    for size in start:
        assert law.forecast(laws, size, BASE * 32).predicted == pytest.approx(start[size] * 32 ** -slope[size], rel=0.02)


def test_forecast_holds_its_parts_and_is_scored() -> None:
    laws, _ = law.fit_all(rows(4, noise=0.003), num_bootstrap=40)
    one, two = (law.forecast(laws, 8e5, BASE * 16, num_seeds=num_seeds) for num_seeds in (1, 2))
    truth = forms.evaluate("chinchilla", TRUE, 8e5, BASE * 16)
    assert one.low < one.predicted < one.high
    assert one.high - one.low > two.high - two.low
    assert one.components["num_hidden_errors"] == 1
    half = math.log(one.high / one.low) / 2.0
    parts = [one.components[name] for name in ("sampling_low", "seed_noise", "form_error")]
    assert math.hypot(*parts) == pytest.approx(half, rel=0.1)  # the least error any forecast claims is in no part
    assert one.quantiles[QUANTILES.index(0.05)] == pytest.approx(one.low)
    assert sum(one.weights.values()) == pytest.approx(1.0, abs=0.01)
    scored = law.score(one, [truth, truth])
    assert (scored.outcome, scored.inside) == (truth, True)
    assert 0.0 < scored.crps < one.high - one.low
    assert not law.score(one, [one.high * 1.01]).inside
    assert law.forecast(laws, 8e5, BASE * 16) == one
    with pytest.raises(ValueError, match="one finite loss per seed"):
        law.score(one, [])
    with pytest.raises(ValueError, match="0 < level < 1"):
        law.forecast(laws, 8e5, BASE * 16, level=90)


def test_a_row_holds_what_a_later_score_needs() -> None:
    laws, _ = law.fit_all(rows(5, noise=0.003), num_bootstrap=20)
    prediction = law.forecast(laws, 3e6, BASE * 32)
    row = law.forecast_row(prediction, ladder_id="l", rung=5, metric="loss_nats_per_token")
    assert list(row) == [name for name in FORECASTS.columns if name != "produced_by"]
    assert row["low"] < row["low80"] < row["predicted"] < row["high80"] < row["high"]
    assert json.loads(row["form_weights"])
    assert law.crps_of(row["quantiles"], 3.0) == pytest.approx(law.score(prediction, [3.0]).crps, rel=1e-6)


def test_without_a_rung_to_hide_the_interval_holds_the_whole_predicted_gain() -> None:
    laws, _ = law.fit_all(rows(3), num_bootstrap=40)
    prediction = law.forecast(laws, 8e5, BASE * 8)
    assert prediction.components["num_hidden_errors"] == 0
    assert prediction.high >= laws[0].predict(8e5, BASE * 4)


def test_a_true_form_is_met_at_hidden_rungs_and_gets_the_weight() -> None:
    made = ensemble.build(law.gather(rows(6, (8e5, 2e6, 5e6, 2e7, 8e7), 1)))
    assert abs(made.cuts[-1].errors).max() < 2e-3
    assert made.weight_by_name["chinchilla"] + made.weight_by_name["equal_exponents"] > 0.4


def test_forecasts_do_not_depend_on_units_or_order() -> None:
    table = rows(5, noise=0.003)
    order = np.random.default_rng(1).permutation(len(table["value"])).tolist()
    bytes_ = {**only(table, order), "num_tokens": [table["num_tokens"][i] * 4.2 for i in order]}
    first = ensemble.build(law.gather(table)).predictive(law.gather(rows(6, noise=0.1)))
    other = ensemble.build(law.gather(bytes_)).predictive(
        law.gather({**(t := rows(6, noise=0.1)), "num_tokens": [d * 4.2 for d in t["num_tokens"]]})
    )
    assert other.centre == pytest.approx(first.centre, abs=2e-5)
    assert other.scale == pytest.approx(first.scale, rel=0.02)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 amounts of data or 3 model sizes; came 8 points at 2 sizes and 2 amounts"):
        ensemble.build(law.gather(rows(2)))


def test_gradients_of_candidates_match_differences() -> None:
    rng = np.random.default_rng(0)
    for member in (*candidates.JOINT, *candidates.ONE_SIZE):
        theta, x, y = rng.uniform(0.2, 0.7, (3, 5)), rng.normal(size=7), rng.normal(size=7)
        _, gradient = candidates.predict(member, theta, x, y)
        for k in range(5):
            step = np.zeros_like(theta)
            step[:, k] = 1e-6
            slope = (candidates.predict(member, theta + step, x, y)[0] - candidates.predict(member, theta - step, x, y)[0]) / 2e-6
            assert slope == pytest.approx(gradient[:, k], abs=1e-7)


def test_own_misses_widen_the_interval_and_add_to_its_certainty() -> None:
    flat = Evidence(np.full(4, 0.01), np.zeros(4), np.zeros(4), np.ones(4))
    tight, wide = (calibrate([Cut(flat, np.full(4, error), 0.5)] * 3, PRIOR) for error in (0.0, 0.03))
    assert tight[0] < 1.0 < wide[0]
    assert tight[1] == wide[1] == pytest.approx(PRIOR.freedom + 1.5 * PRIOR.own)


def test_a_known_prior_is_recovered() -> None:
    rng = np.random.default_rng(3)
    cases = []
    for number in range(400):
        evidence = Evidence(rng.uniform(0.005, 0.05, 8), np.full(8, 1e-4), np.full(8, 1e-4), np.full(8, math.log(5.0)))
        cases.append(Case(f"set {number % 3}", (), evidence, rng.standard_t(8, 8) * 0.7 * evidence.spread))
    found = fit_prior(cases, pull=1e-4)
    assert found.form == pytest.approx(0.7, rel=0.12)
    assert 5 < found.freedom < 14


def test_crps_is_an_absolute_error_that_pays_for_width() -> None:
    narrow, wide = (Predictive(np.zeros(1), np.array([scale]), 1e6, {}).quantiles()[:, 0] for scale in (1e-9, 0.1))
    assert crps(narrow, 1.2) == pytest.approx(0.2, rel=1e-3)
    assert crps(wide, 1.0) == pytest.approx(0.1 * 0.2337, rel=0.05)  # a normal distribution's score at its centre
    assert crps(narrow, 1.0) < crps(wide, 1.0)


def test_intervals_hold_what_they_promise_on_small_ladders() -> None:
    inside = []
    for seed in range(10):
        full = rows(5, noise=0.003, seed=seed)
        below = [i for i, tokens in enumerate(full["num_tokens"]) if tokens < BASE * 16]
        made = ensemble.build(law.gather(only(full, below)))
        for size in (8e5, 3e6):
            outcome = np.mean([full["value"][i] for i in range(20) if i not in below and full["num_params"][i] == size])
            low, high = made.predictive(target(size, BASE * 16), 2).interval(0.9)
            inside.append(low[0] <= outcome <= high[0])
    assert np.mean(inside) >= 0.8


def test_the_prior_is_made_of_positive_numbers() -> None:
    assert all(value > 0 for value in (PRIOR.form, PRIOR.scatter, PRIOR.sampling, PRIOR.freedom, PRIOR.own))
    assert isinstance(PRIOR, Prior)
