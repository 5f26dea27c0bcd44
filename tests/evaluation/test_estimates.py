"""Standard errors against simulation, and paired bootstrap against what is known of it."""

import math

import numpy as np
import pytest

from lm.evaluation.compare import Side, align, paired_bootstrap
from lm.evaluation.estimates import exponential, mean, ratio


def test_a_ratio_has_the_error_that_repeated_draws_show() -> None:
    draw = np.random.default_rng(0)
    weights = draw.lognormal(0, 1, (2000, 80))
    values = 1.5 * weights + draw.normal(0, 1, weights.shape) * np.sqrt(weights)
    found = [ratio(a, b) for a, b in zip(values, weights, strict=True)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.stderr for one in found if one.stderr]) == pytest.approx(spread, rel=0.08)
    assert found[0].num_items == 80


def test_a_mean_and_its_exponential() -> None:
    values = np.array([1.0, 2.0, 4.0, 5.0])
    one = mean(values)
    assert (one.value, one.stderr) == (3.0, pytest.approx(values.std(ddof=1) / 2))
    assert exponential(one).value == pytest.approx(math.exp(3))
    assert exponential(one).stderr == pytest.approx(math.exp(3) * (one.stderr or 0))
    assert mean(np.array([7.0])).stderr is None
    with pytest.raises(ValueError, match="got 0 that add up"):
        mean(np.array([]))


def side(*values: np.ndarray, weights: np.ndarray | None = None) -> Side:
    both = np.stack(values)
    return Side(both, np.ones_like(both) if weights is None else np.stack([weights] * len(values)))


def test_pairing_takes_the_difficulty_of_items_out() -> None:
    draw = np.random.default_rng(1)
    hardness = draw.normal(0, 10, 400)
    a, b = hardness + draw.normal(0, 0.5, 400), hardness + 0.2 + draw.normal(0, 0.5, 400)
    found = paired_bootstrap(side(a), side(b), seed=3)
    assert found.difference == pytest.approx((b - a).mean())
    half = 1.96 * (b - a).std(ddof=1) / 20
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.p < 0.001 + 2 / 2001
    assert found == paired_bootstrap(side(a), side(b), seed=3)
    assert found != paired_bootstrap(side(a), side(b), seed=4)


def test_equal_sides_do_not_differ_and_chance_is_called_chance() -> None:
    draw = np.random.default_rng(2)
    same = draw.normal(0, 1, 50)
    assert paired_bootstrap(side(same), side(same)).p == 1.0
    ps = [paired_bootstrap(side(*draw.normal(0, 1, (1, 40))), side(*draw.normal(0, 1, (1, 40))), num_samples=200).p for _ in range(200)]
    assert 0.02 < np.mean(np.array(ps) < 0.1) < 0.18


def test_weighted_values_are_ratios_of_sums_and_seeds_widen_the_interval() -> None:
    draw = np.random.default_rng(3)
    weights = draw.lognormal(0, 1, 300)
    a, b = draw.normal(2, 0.1, 300), draw.normal(1.9, 0.1, 300)
    one = paired_bootstrap(side(a, weights=weights), side(b, weights=weights))
    assert one.value_a == pytest.approx((a * weights).sum() / weights.sum())
    assert one.low < one.difference < one.high < 0
    seeds = paired_bootstrap(side(a, a + 0.2, weights=weights), side(b, b + 0.2, weights=weights))
    assert seeds.difference == pytest.approx(one.difference)
    assert seeds.high - seeds.low > 2 * (one.high - one.low)
    assert (seeds.num_seeds_a, seeds.num_seeds_b) == (2, 2)


def test_sides_must_hold_the_same_items() -> None:
    with pytest.raises(ValueError, match="same items, at least 2; got 3 and 2"):
        paired_bootstrap(side(np.ones(3)), side(np.ones(2)))
    assert align([["b", "a", "x"], ["a", "b", "y", "z"]]) == (["a", "b"], 3)
