"""Steps of rungs and the learning rate along them."""

import dataclasses

import pytest
from training_data import CONFIG

from lm.models.config import preset
from lm.training.config import TrainConfig, from_dict, from_json, plan_rungs, run_id
from lm.training.defaults import defaults
from lm.training.errors import ConfigError
from lm.training.schedule import learning_rate
from storage.digest import digest


def test_rungs_are_whole_steps_and_share_the_trunk() -> None:
    small, large = plan_rungs(CONFIG, [5120, 1280])
    assert (small.branch_step, small.last_step) == (16, 20)
    assert (large.branch_step, large.last_step) == (64, 80)
    assert [learning_rate(CONFIG, step, None) for step in range(5)] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_decay_is_one_minus_square_root() -> None:
    (rung,) = plan_rungs(CONFIG, [6400])
    assert [learning_rate(CONFIG, step, rung) for step in (3, 79, 80, 85, 95)] == pytest.approx(
        [0.01, 0.01, 0.01, 0.005, 0.01 * (1 - 0.75**0.5)]
    )
    rates = [learning_rate(CONFIG, step, rung) for step in range(80, 100)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.0003


def test_cosine_has_no_trunk_and_ends_at_nothing() -> None:
    config = dataclasses.replace(CONFIG, schedule="cosine")
    (rung,) = plan_rungs(config, [6400])
    assert (rung.branch_step, rung.last_step) == (0, 100)
    assert learning_rate(config, 1, rung) == pytest.approx(0.005)
    assert learning_rate(config, 52, rung) == pytest.approx(0.005)
    assert learning_rate(config, 99, rung) < 1e-5


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear"])
def test_every_schedule_has_a_floor(schedule: str) -> None:
    config = dataclasses.replace(CONFIG, schedule=schedule, min_rate=0.25)
    (rung,) = plan_rungs(config, [6400])
    rates = [learning_rate(config, step, rung) for step in range(rung.branch_step + 4 * (schedule != "wsd"), 101)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == pytest.approx((0.01, 0.0025))


def test_linear_is_a_straight_line() -> None:
    config = dataclasses.replace(CONFIG, schedule="linear")
    (rung,) = plan_rungs(config, [6400])
    assert rung.branch_step == 0
    assert [learning_rate(config, step, rung) for step in (4, 28, 52, 76, 100)] == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.0])


def test_a_configuration_survives_json() -> None:
    assert from_json(CONFIG.to_json()) == CONFIG
    assert from_json(CONFIG.to_json()).to_json() == CONFIG.to_json()


def test_every_field_and_the_ladder_are_in_the_name_of_a_run() -> None:
    names = {run_id(CONFIG, "ladder"), run_id(CONFIG, "other")}
    for change in ({"seed": 4}, {"learning_rate": 0.02}, {"num_threads": 2}, {"model": dataclasses.replace(CONFIG.model, mlp_width=32)}):
        names.add(run_id(dataclasses.replace(CONFIG, **change), "ladder"))
    assert len(names) == 6
    assert run_id(from_json(CONFIG.to_json()), "ladder") in names


def test_a_run_that_uses_nothing_new_keeps_its_name() -> None:
    assert digest(CONFIG.to_json()) == "104cc9b9505e21051732101f74c26ae2"
    new = {"unique_tokens": 640, "mix": (("b.org", 1), ("a.org", 3.0)), "min_rate": 0.1}
    config = dataclasses.replace(CONFIG, **new)  # type: ignore[arg-type]
    assert run_id(config, "ladder") != run_id(CONFIG, "ladder")
    assert from_json(config.to_json()) == config
    assert config.mix == (("a.org", 3.0), ("b.org", 1.0))
    assert from_dict(dataclasses.asdict(CONFIG) | new | {"mix": {"a.org": 3, "b.org": 1}}) == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_tokens": 50}, "multiple of context_tokens"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"decay_fraction": 0.0}, "decay_fraction"),
        ({"schedule": "square"}, "wsd, cosine or linear"),
        ({"dtype": "float8"}, "float32 or bfloat16"),
        ({"log_every_steps": 0}, "at least 1"),
        ({"warmup_tokens": -1}, "warmup_tokens"),
        ({"min_rate": 1.0}, "min_rate"),
        ({"optimizer": "sgd"}, "adamw or muon"),
        ({"momentum": 0.9}, "belongs to optimizer muon"),
        ({"schedule": "cosine", "decay_fraction": 0.1}, "belongs to schedule wsd"),
        ({"unique_tokens": 15}, "unique_tokens must be at least context_tokens"),
        ({"mix": (("a.org", 1), ("a.org", 2))}, "each source once"),
        ({"mix": (("a.org", 0),)}, "above 0"),
        ({"spike_deviations": 0.0}, "spike_deviations"),
        ({"max_skipped": 3}, "needs spike_deviations"),
    ],
)
def test_bad_configurations_are_explained(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(CONFIG, **change)


def test_misspelt_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="learning_rat"):
        from_dict(dataclasses.asdict(CONFIG) | {"learning_rat": 1})


@pytest.mark.parametrize(
    ("rungs", "says"),
    [
        ([], "at least one"),
        ([1280, 1280], "each once"),
        ([1300], r"multiples of batch_tokens = 64, got \[1300\]"),
        ([256], "warmup_tokens of at most 192"),
    ],
)
def test_bad_rungs_are_explained(rungs: list[int], says: str) -> None:
    config: TrainConfig = CONFIG
    with pytest.raises(ConfigError, match=says):
        plan_rungs(config, rungs)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_rung_must_outlast_the_warmup(schedule: str) -> None:
    config = dataclasses.replace(CONFIG, schedule=schedule)
    assert plan_rungs(config, [320])[0].last_step == 5
    with pytest.raises(ConfigError, match="warmup_tokens below 256"):
        plan_rungs(config, [256, 1280])


def test_defaults_scale_the_rate_with_the_size() -> None:
    small, large = (defaults(preset(name, vocab_size=2048, context_tokens=128), seed=0) for name in ("d2w64", "d4w128"))
    assert (small.learning_rate, large.learning_rate) == (0.002, 0.001)
    assert small.learning_rate * small.embedding_rate == large.learning_rate * large.embedding_rate == pytest.approx(0.016)
    given = defaults(small.model, seed=0, learning_rate=0.004, batch_tokens=1024, num_threads=2)
    assert (given.learning_rate, given.embedding_rate, given.batch_tokens, given.num_threads) == (0.004, 8.0, 1024, 2)
    assert plan_rungs(small, [8192, 16384])[0].branch_step * 512 >= small.warmup_tokens
