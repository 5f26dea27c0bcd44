"""What a training costs, what fits a budget, and what the scaling rules say."""

import dataclasses
import math

import pytest
from training_data import CONFIG, RUNGS

from lm.models.config import preset
from lm.training.budget import Budget, choose
from lm.training.config import TrainConfig, plan_rungs
from lm.training.cost import START_SECONDS, Cost, Seen, Speed, cost_of, fit_side_by_side, memory_bytes, speed_of, train_tokens, wall_hours
from lm.training.defaults import own_rate
from lm.training.scaling_rule import RULES, nearest, rescale, suggest

COSINE = dataclasses.replace(CONFIG, schedule="cosine")


def test_tokens_are_those_of_the_plan() -> None:
    assert train_tokens(CONFIG, RUNGS) == 4096 + 256 + 512 + 1024
    assert train_tokens(COSINE, RUNGS) == sum(RUNGS)
    assert train_tokens(CONFIG, RUNGS, reached_tokens=RUNGS[1]) == 4096 - 2048 + 1024
    assert train_tokens(COSINE, RUNGS, reached_tokens=RUNGS[1]) == RUNGS[2]
    assert train_tokens(CONFIG, RUNGS, reached_tokens=RUNGS[2]) == 0


@pytest.mark.parametrize("config", [CONFIG, COSINE])
def test_a_ladder_done_in_parts_costs_what_it_costs_at_once(config: TrainConfig) -> None:
    parts = [train_tokens(config, RUNGS[: i + 1], RUNGS[i - 1] if i else 0) for i in range(len(RUNGS))]
    assert sum(parts) == train_tokens(config, RUNGS)


def test_doublings_save_at_most_two_over_one_plus_the_decay() -> None:
    rungs = [1280 * 2**k for k in range(10)]
    ratio = train_tokens(CONFIG, rungs) / train_tokens(COSINE, rungs)
    assert 0.6 < ratio < 0.602
    assert plan_rungs(CONFIG, rungs)[0].branch_step * CONFIG.batch_tokens >= CONFIG.warmup_tokens


def test_hours_come_from_the_nearest_run_on_the_device() -> None:
    flops = CONFIG.model.flops_per_token
    seen = [
        Seen(flops, 300.0, "cpu"),
        Seen(flops, 100.0, "cpu"),
        Seen(flops, 200.0, "cpu"),
        Seen(8 * flops, 50.0, "cpu"),
        Seen(flops, 9e6, "H200"),
    ]
    assert speed_of(CONFIG, seen, "cpu", 1e9) == Speed(200.0, "measured on cpu")
    larger = dataclasses.replace(CONFIG, model=preset("d4w128", vocab_size=64, context_tokens=16))
    carried = speed_of(larger, seen, "cpu", 1e9)
    assert carried.tokens_per_second == pytest.approx(50.0 * 8 * flops / larger.model.flops_per_token)
    assert "scaled by" in carried.source
    assumed = speed_of(CONFIG, seen, "H100", 1e12)
    assert assumed.tokens_per_second == pytest.approx(0.4e12 / flops)
    assert "assumed" in assumed.source


def test_cost_in_flops_hours_and_money() -> None:
    cost = cost_of(CONFIG, RUNGS, Speed(100.0, "said"), price_per_hour=3.0)
    assert cost.flops == cost.train_tokens * CONFIG.model.flops_per_token
    assert cost.hours == pytest.approx((cost.train_tokens / 100 + START_SECONDS) / 3600)
    assert cost.money == pytest.approx(3.0 * cost.hours)
    assert cost_of(CONFIG, RUNGS, Speed(100.0, "said")).money is None
    assert cost_of(CONFIG, RUNGS, Speed(100.0, "said"), reached_tokens=RUNGS[-1]).flops == 0


def test_memory_grows_with_size_and_batch_and_decides_how_many_fit() -> None:
    small, large = (
        dataclasses.replace(CONFIG, model=preset(name, vocab_size=4096, context_tokens=128), batch_tokens=512) for name in ("d2w64", "25M")
    )
    assert memory_bytes(small) < memory_bytes(dataclasses.replace(small, batch_tokens=1024)) < memory_bytes(large)
    assert memory_bytes(large) > 16 * large.model.num_params
    assert fit_side_by_side([10 << 30] * 5, 80 << 30, most=10) == 6 - 1
    assert fit_side_by_side([10 << 30] * 9, 80 << 30, most=10) == 6
    assert fit_side_by_side([10 << 30] * 9, 80 << 30, most=2) == 2
    assert fit_side_by_side([900 << 30], 80 << 30, most=4) == 1


def test_slots_are_filled_longest_first() -> None:
    assert wall_hours([3, 3, 2, 2, 2], 2) == 7
    assert wall_hours([1, 2, 3], 1) == 6
    assert wall_hours([], 4) == 0


def costs(*flops: float) -> list[Cost]:
    return [Cost(1, f, f / 10, f / 5, 0, "") for f in flops]


def test_a_budget_takes_the_cheapest_first_and_says_what_is_left_out() -> None:
    found = choose(costs(5, 1, 3, 2), [0, 0, 1, 1], Budget(flops=6.5))
    assert [reason is None for reason in found] == [False, True, True, True]
    assert found[0] == "needs 5 flops, 0.5 left"
    assert choose(costs(5, 1), [0, 0], Budget()) == [None, None]
    assert choose(costs(5, 1), [0, 0], Budget(hours=0.05)) == ["needs 0.5 hours, 0.05 left", "needs 0.1 hours, 0.05 left"]
    assert "money" in str(choose(costs(5), [0], Budget(money=0.5, price_per_hour=2))[0])
    with pytest.raises(ValueError, match="price_per_hour"):
        Budget(money=1.0)


def test_spread_gives_every_size_a_first_seed() -> None:
    found = choose(costs(5, 1, 5, 1), [0, 0, 1, 1], Budget(flops=7), "spread")
    assert [reason is None for reason in found] == [True, True, False, True]
    assert [r is None for r in choose(costs(5, 1, 5, 1), [0, 0, 1, 1], Budget(flops=2), "cheapest")] == [False, True, False, True]


def test_rules_give_the_published_values() -> None:
    assert RULES["olmo"].rate(108e6, 1e9) == pytest.approx(0.00235)
    assert RULES["olmo"].batch(108e6, 1e9) == 160 * 2048
    assert RULES["olmo"].rate(0.2e6, 1e6) == pytest.approx(0.038 / 2, rel=0.02)
    assert RULES["step"].rate(0.2e6, 1e6) == pytest.approx(0.021, rel=0.02)
    assert RULES["step"].rate(1e9, 1e11) == pytest.approx(1.79 * 10 ** (-9 * 0.713 + 11 * 0.307))


def test_the_rule_measured_here_is_the_default() -> None:
    for name in ("d2w64", "d4w128", "d8w256"):
        model = preset(name, vocab_size=2048, context_tokens=128)
        found = suggest("demo", model, 5e5)
        assert found.learning_rate == own_rate(model)
        assert found.inside == (name != "d8w256")
        assert suggest("step", model, 5e5).batch_tokens % 128 == 0
    with pytest.raises(KeyError, match="olmo"):
        suggest("best", model, 1e6)


def test_a_rate_is_carried_to_another_size_and_back() -> None:
    assert rescale(0.008, 1e5, 8e5) == 0.004
    assert rescale(0.004, 8e5, 1e5) == 0.008
    assert nearest([1e5, 8e5], 2.9e5) == 8e5
    assert nearest([1e5, 8e5], 2.8e5) == 1e5
    assert nearest([], 1e5) is None
    assert math.isclose(RULES["demo"].rate(8e5, 1) / RULES["demo"].rate(1e5, 1), 0.5)
