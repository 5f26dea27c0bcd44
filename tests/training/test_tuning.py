"""Grids of learning rates: which are tried, when more are, and where the optimum is said to lie."""

import math

import pytest

from lm.training.tuning import Point, beyond, grid, optimum


def bowl(rates: list[float], best: float, bend: float = 0.1) -> list[Point]:
    return [Point(rate, 3.0 + bend * math.log(rate / best) ** 2) for rate in rates]


def test_a_grid_lies_around_its_centre() -> None:
    assert grid(0.004, 3) == [0.002, 0.004, 0.008]
    assert grid(0.004, 1) == [0.004]
    assert grid(0.00512, 4) == [0.0018, 0.0036, 0.0072, 0.014]
    for wrong in ((0.004, 0, 2.0), (0.004, 3, 1.0), (0.0, 3, 2.0), (1.0, 3, 2.0)):
        with pytest.raises(ValueError, match="a grid needs"):
            grid(*wrong)


def test_a_grid_that_ends_at_its_best_rate_goes_on() -> None:
    rates = [0.002, 0.004, 0.008]
    assert beyond(bowl(rates, 0.004)) is None
    assert beyond(bowl(rates, 0.02)) == 0.016
    assert beyond(bowl(rates, 0.0004)) == 0.001
    assert beyond([Point(0.5, 3.0), Point(0.25, 3.1)]) is None
    assert beyond([Point(0.002, math.nan), Point(0.001, 3.0), Point(0.0005, 3.1)]) is None


@pytest.mark.parametrize("best", [0.0031, 0.004, 0.0052])
def test_the_optimum_of_a_parabola_is_found(best: float) -> None:
    found = optimum(bowl([0.001, 0.002, 0.004, 0.008, 0.016], best), noise_nats=0.001)
    assert found.learning_rate == pytest.approx(best, rel=0.02)
    assert found.loss_nats == pytest.approx(3.0)
    assert not found.at_edge
    assert found.low < best < found.high


def test_the_interval_follows_the_noise() -> None:
    points = bowl([0.002, 0.004, 0.008], 0.004)
    narrow, wide = optimum(points, 0.001), optimum(points, 0.01)
    assert math.log(wide.high / 0.004) == pytest.approx(10 * math.log(narrow.high / 0.004), rel=1e-3)
    flat = optimum(bowl([0.002, 0.004, 0.008], 0.004, bend=0.01), 0.02)
    assert (flat.learning_rate, flat.low, flat.high) == (0.004, 0.002, 0.008)


def test_what_diverged_is_no_optimum() -> None:
    points = [Point(0.001, 3.2), Point(0.002, 3.1), Point(0.004, math.nan)]
    found = optimum(points)
    assert (found.learning_rate, found.at_edge) == (0.002, False)
    assert (found.low, found.high) == (0.001, 0.004)
    with pytest.raises(ValueError, match="every rate diverged"):
        optimum([Point(0.5, math.inf)])
    with pytest.raises(ValueError, match="each once"):
        optimum([Point(0.1, 1.0), Point(0.1, 2.0)])


def test_an_edge_is_named() -> None:
    found = optimum(bowl([0.001, 0.002], 0.004))
    assert (found.learning_rate, found.at_edge) == (0.002, True)
