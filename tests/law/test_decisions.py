"""Decisions: a known advantage is found and priced, ties are said, formulas are inverted, and advice stays in its budget."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm import law
from lm.law import decisions
from lm.law.decisions import Belief, Target, believe
from lm.law.decisions.beliefs import first_below, sign_changes
from lm.law.decisions.next_run import expected_right
from lm.law.decisions.simulation import CHINCHILLA

SIZES = (1e6, 4e6, 1.6e7)
TOKENS = tuple(2.0**k for k in range(20, 26))
AT = Target(num_params=1.6e7, num_tokens=2.0**27)
WORTH = {"A": 1.0, "B": 1.6, "C": 1.6}


@pytest.fixture(scope="module")
def beliefs() -> dict[str, Belief]:
    """Three recipes: B and C are alike, and one of their tokens is worth 1.6 of A's."""
    plan = decisions.SweepPlan(sizes=SIZES, tokens=TOKENS, num_seeds=2, run_sd=0.002, point_sd=0.001)
    rng = np.random.default_rng(3)
    laws = {
        name: law.fit(decisions.draw(plan, CHINCHILLA, rng, multiplier=m), "chinchilla", num_bootstrap=100, with_profiles=False)
        for name, m in WORTH.items()
    }
    return believe(laws, 1.6e7, num_draws=800)


def test_an_advantage_is_found_and_priced(beliefs: Mapping[str, Belief]) -> None:
    one = decisions.compare(beliefs, "A", "B", AT)
    assert one.winner == "B"
    assert one.multiplier.low < 1.6 < one.multiplier.high
    assert 1.2 < one.multiplier.value < 2.2
    assert one.gain.low > 0
    assert one.baseline is not None
    assert one.baseline.b_wins


def test_the_other_way_round_is_the_mirror(beliefs: Mapping[str, Belief]) -> None:
    there, back = decisions.compare(beliefs, "A", "B", AT), decisions.compare(beliefs, "B", "A", AT)
    assert there.probability + back.probability == pytest.approx(1.0)
    assert there.multiplier.value * back.multiplier.value == pytest.approx(1.0, rel=0.05)
    assert back.winner == "B"


def test_equal_recipes_are_a_tie_and_rank_in_one_tier(beliefs: Mapping[str, Belief]) -> None:
    assert decisions.compare(beliefs, "B", "C", AT).winner is None
    order = decisions.rank(beliefs, AT)
    assert [set(tier) for tier in order.tiers] == [{"B", "C"}, {"A"}]
    assert sum(place.probability_best for place in order.places) == pytest.approx(1.0)


def test_a_target_by_compute_gives_the_same_winner(beliefs: Mapping[str, Belief]) -> None:
    one = decisions.compare(beliefs, "A", "B", Target(flops=6 * 1.6e7 * 2.0**27))
    assert one.winner == "B"
    assert one.multiplier.value > 1.0


def test_recipes_that_swap_show_where() -> None:
    """A starts lower and falls more slowly: the curves meet at 2^24 tokens."""
    sizes, meet = 1e6, 2.0**24
    columns: dict[str, dict[str, list[object]]] = {}
    for name, (b, exponent) in {"A": (40.0 * meet**-0.25 / meet**-0.25, 0.25), "B": (40.0 * meet**0.15, 0.40)}.items():
        rows = [(f"{name}{i}", sizes, t, i, 2.0 + b * t**-exponent * math.exp(0.0005 * (-1) ** i)) for i in (0, 1) for t in TOKENS]
        keys = ("run_id", "num_params", "num_tokens", "seed", "value")
        columns[name] = {key: [row[k] for row in rows] for k, key in enumerate(keys)}
    laws = {name: law.fit(table, "data_only", num_bootstrap=60, with_profiles=False) for name, table in columns.items()}
    one = decisions.compare(believe(laws, sizes, num_draws=400), "A", "B", Target(num_params=sizes, num_tokens=2.0**26))
    assert one.winner == "B"
    assert one.crossing.probability > 0.9
    assert one.crossing.amount is not None
    assert one.crossing.amount.value == pytest.approx(meet, rel=0.3)


@pytest.mark.parametrize("wrong", [{}, {"num_tokens": 1e9}, {"num_tokens": 1e9, "num_params": 1e6, "flops": 1e20}, {"flops": -1.0}])
def test_a_target_is_a_place_or_a_budget(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a target is a model size with an amount of tokens, or a budget"):
        Target(**wrong)


def test_unknown_recipes_are_named(beliefs: Mapping[str, Belief]) -> None:
    with pytest.raises(ValueError, match="recipe 'Z' has no law here; those with one: A, B, C"):
        decisions.compare(beliefs, "A", "Z", AT)


def test_allocation_agrees_with_the_formula(beliefs: Mapping[str, Belief]) -> None:
    """Source of the formula: arXiv:2203.15556, equation 4, at the fitted constants."""
    found = decisions.allocate(beliefs["A"], 1e16)
    k = beliefs["A"].law.constants
    best = ((k["a"] * k["A"]) / (k["b"] * k["B"])) ** (1 / (k["a"] + k["b"])) * (1e16 / 6) ** (k["b"] / (k["a"] + k["b"]))
    assert found.num_params.value == pytest.approx(best, rel=0.04)
    assert found.num_params.low <= best * 1.03
    assert 6 * found.num_params.value * found.num_tokens.value == pytest.approx(1e16)
    assert all(off.extra_loss.value > 0 and 0 < off.wasted_compute < 1 for off in found.off)


def test_paying_for_inference_makes_the_model_smaller(beliefs: Mapping[str, Belief]) -> None:
    plain, served = (decisions.allocate(beliefs["A"], 1e16, inference_tokens=read) for read in (0.0, 2e8))
    assert served.num_params.value < plain.num_params.value
    with pytest.raises(ValueError, match="do not pay for reading"):
        decisions.allocate(beliefs["A"], 1e10, inference_tokens=1e12)


def test_one_size_cannot_share_a_budget() -> None:
    rows: dict[str, list[object]] = {
        "run_id": list("abcd"),
        "num_params": [1e6] * 4,
        "num_tokens": list(TOKENS[:4]),
        "seed": [0] * 4,
        "value": [4.0, 3.6, 3.3, 3.1],
    }
    with pytest.raises(ValueError, match="a law over several sizes is needed"):
        decisions.allocate(believe({"A": law.fit(rows, "data_only", num_bootstrap=20, with_profiles=False)})["A"], 1e15)


@given(st.floats(1e3, 1e12), st.floats(1.0, 200.0), st.floats(0.5, 1000.0))
@settings(max_examples=60, deadline=None)
def test_repeated_tokens_are_worth_less_and_never_nothing(unique: float, epochs: float, constant: float) -> None:
    worth = float(decisions.effective_tokens(unique, epochs, constant))
    assert unique * 0.999 <= worth <= unique * epochs * 1.001
    assert float(decisions.effective_tokens(unique, epochs + 1, constant)) >= worth
    assert float(decisions.effective_tokens(unique, 0.5, constant)) == pytest.approx(unique / 2)


def test_repetition_stops_paying_and_says_what_it_rests_on(beliefs: Mapping[str, Belief]) -> None:
    found = decisions.repeat(beliefs["A"], 1.6e7, 2.0**25)
    losses = [loss for _, loss, _, _ in found.curve]
    assert losses == sorted(losses, reverse=True)
    assert found.best_loss.value <= losses[-1] + 1e-6
    assert not found.is_measured
    assert any("taken from published runs" in warning for warning in found.warnings)
    measured = decisions.repeat(beliefs["A"], 1.6e7, 2.0**25, measured=np.full(50, 4.0))
    assert measured.is_measured
    assert measured.worth_it_epochs.value == pytest.approx(1 + 4 * math.log(2))
    assert measured.warnings == beliefs["A"].law.warnings


def test_missing_tokens_bring_the_target_and_can_be_out_of_reach(beliefs: Mapping[str, Belief]) -> None:
    belief, size = beliefs["A"], 1.6e7
    goal = belief.expected(size, 2.0**27)
    once = decisions.missing(belief, size, goal, 2.0**25, epochs=1.0)
    assert once.unique_tokens.value == pytest.approx(2.0**27, rel=0.15)
    assert once.missing_tokens.value == pytest.approx(3 * 2.0**25, rel=0.2)
    assert decisions.missing(belief, size, goal, 2.0**25, epochs=4.0).unique_tokens.value < once.unique_tokens.value
    assert decisions.missing(belief, size, 1.0, 2.0**25).probability_possible == 0.0
    assert math.isinf(decisions.missing(belief, size, 1.0, 2.0**25).unique_tokens.value)


def test_more_data_is_worth_what_the_law_says(beliefs: Mapping[str, Belief]) -> None:
    found = decisions.crawl_value(beliefs["A"], 1.6e7, 2.0**24, 2.0**25)
    assert found.gain.value == pytest.approx(beliefs["A"].expected(1.6e7, 2.0**24) - beliefs["A"].expected(1.6e7, 2.0**25))
    assert found.gain.low > 0
    gains = [gain.value for _, gain in found.next_gains]
    assert gains == sorted(gains)
    assert decisions.crawl_value(beliefs["A"], 1.6e7, 2.0**25, 2.0**25).gain.value == 0.0


def test_advice_stays_in_its_budget_and_narrows(beliefs: Mapping[str, Belief]) -> None:
    candidates = decisions.candidates_for(beliefs, most_tokens={"A": 2.0**26})
    assert max(c.num_tokens for c in candidates if c.recipe == "A") == 2.0**26
    budget = 6 * 1.6e7 * 2.0**26 * 1.5
    advice = decisions.sharpen(beliefs, "A", AT, candidates, budget)
    assert 0 < advice.spent <= budget * 1.001
    left = [choice.width_left for choice in advice.choices]
    assert left == sorted(left, reverse=True)
    assert left[0] < 1.0
    assert {choice.candidate.recipe for choice in advice.choices} == {"A"}
    with pytest.raises(ValueError, match="no run fits a budget of"):
        decisions.sharpen(beliefs, "A", AT, candidates, 1.0)


def test_advice_for_a_decision_looks_at_both_recipes(beliefs: Mapping[str, Belief]) -> None:
    advice = decisions.settle_comparison(beliefs, "B", "C", AT, decisions.candidates_for(beliefs), 1e18)
    assert {choice.candidate.recipe for choice in advice.choices} == {"B", "C"}
    assert advice.probability_right is not None
    assert advice.choices[-1].probability_right is not None
    assert advice.choices[-1].probability_right > advice.probability_right


def test_expected_right_is_bounded_by_what_is_left() -> None:
    assert expected_right(0.0, 1.0, 1.0) == pytest.approx(0.5)
    assert expected_right(0.0, 1.0, 0.0) == 1.0
    assert 0.6 < expected_right(0.0, 1.0, 0.2) < 0.95


def test_grid_helpers_read_off_crossings() -> None:
    grid = np.geomspace(1.0, 100.0, 41)
    lines = np.stack([1.0 - np.log10(grid), np.full(41, 2.0)])
    assert first_below(grid, lines, np.array([0.0, 0.0])) == pytest.approx([10.0, math.inf])
    assert sign_changes(grid, lines)[0] == pytest.approx(10.0)
    assert math.isnan(sign_changes(grid, lines)[1])


def test_draws_do_not_depend_on_chance_but_on_the_seed(beliefs: Mapping[str, Belief]) -> None:
    laws = {name: belief.law for name, belief in beliefs.items()}
    again = believe(laws, 1.6e7, num_draws=800)
    assert all(np.array_equal(again[name].tilt, beliefs[name].tilt) for name in laws)
    assert not np.array_equal(believe(laws, 1.6e7, num_draws=800, seed=1)["A"].tilt, beliefs["A"].tilt)


def test_a_simulated_sweep_says_what_it_can_show() -> None:
    plan = decisions.SweepPlan(sizes=(1e6,), tokens=TOKENS[:4])
    seen: list[tuple[int, int]] = []
    target = Target(num_params=1e6, num_tokens=TOKENS[5])
    clear = decisions.study(plan, target, multiplier=3.0, num_repeats=3, on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert clear.settled_right + clear.settled_wrong + clear.undecided == pytest.approx(1.0)
    assert clear.baseline_right == 1.0
    assert clear.truth == pytest.approx(law.evaluate("chinchilla", CHINCHILLA, 1e6, TOKENS[5]))
    with pytest.raises(ValueError, match="a sweep of one size says something about that size only"):
        decisions.study(plan, Target(flops=1e15))
    with pytest.raises(ValueError, match="at least 3 amounts of data"):
        decisions.SweepPlan(sizes=(1e6,), tokens=(1e6, 2e6))
