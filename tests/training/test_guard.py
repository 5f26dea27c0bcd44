"""Spikes: which updates are skipped, that they change nothing, and when a run gives up."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from training_data import CONFIG

from lm.tokens.loader import Rows
from lm.tokens.selection import TokenData
from lm.training.errors import TrainingDiverged
from lm.training.guard import WINDOW, Guard
from lm.training.learner import Learner
from lm.training.streams import open_stream

WATCHED = dataclasses.replace(CONFIG, spike_deviations=6.0, max_skipped=3)


def calm(guard: Guard, num_steps: int) -> list[bool]:
    """Losses and norms that wobble around 2 and 0.5."""
    return [guard.skips(2 + 0.1 * math.sin(1.3 * step), 0.5 + 0.05 * math.cos(2.1 * step)) for step in range(num_steps)]


@pytest.mark.parametrize(("loss", "norm", "skip"), [(2.1, 0.5, False), (4.0, 0.5, True), (2.0, 2.0, True), (0.1, 0.01, False)])
def test_only_what_lies_far_above_is_a_spike(loss: float, norm: float, skip: bool) -> None:
    guard = Guard(WATCHED)
    assert not any(calm(guard, 200))
    assert guard.skips(loss, norm) == skip
    assert guard.num_skipped == skip


def test_nothing_is_judged_before_half_a_window_but_what_is_no_number() -> None:
    guard = Guard(WATCHED)
    calm(guard, WINDOW // 2 - 1)
    assert not guard.skips(100.0, 100.0)
    assert guard.skips(math.nan, 1.0)
    assert guard.skips(1.0, math.inf)


def test_a_spike_does_not_hide_the_next_and_many_are_no_spikes() -> None:
    guard = Guard(WATCHED)
    calm(guard, WINDOW)
    for number in range(4):
        assert not guard.gives_up
        assert guard.skips(4.0, 0.5)
        assert guard.num_skipped == number + 1
    assert guard.gives_up
    calm(guard, WINDOW)
    assert not guard.gives_up


def test_a_guard_that_is_loaded_judges_alike() -> None:
    one, two = Guard(WATCHED), Guard(WATCHED)
    calm(one, 90)
    one.skips(9.0, 0.5)
    two.load({name: tensor.clone() for name, tensor in one.state().items()})
    values = np.random.default_rng(0).normal(2, 0.3, (200, 2))
    assert [one.skips(*pair) for pair in values] == [two.skips(*pair) for pair in values]
    assert one.num_skipped == two.num_skipped > 1
    assert Guard(CONFIG).state() == {}


class Broken:
    """A stream whose step 70 holds tokens that nobody expects."""

    def __init__(self, stream: object) -> None:
        self._stream = stream
        self.end_of_document, self.seconds_waiting = 0, 0.0

    def batch(self, step: int, *args: object) -> tuple[Rows, Rows]:
        inputs, targets = self._stream.batch(step, *args)  # type: ignore[attr-defined]
        return (inputs, 63 - targets) if step == 70 else (inputs, targets)


def test_a_skipped_update_leaves_weights_and_moments(data: TokenData) -> None:
    config = dataclasses.replace(WATCHED, spike_deviations=4.0)
    learner = Learner(config, Broken(open_stream(config, data, 6400)), "cpu")  # type: ignore[arg-type]
    for _ in range(70):
        assert learner.advance(0.01)[2] == 0
    before = {name: tensor.clone() for name, tensor in learner.state().items() if not name.startswith("guard")}
    values = learner.advance(0.01)
    assert values[2] == 1
    assert learner.step == 71
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state().items() if name in before)
    again = Learner(config, Broken(open_stream(config, data, 6400)), "cpu")  # type: ignore[arg-type]
    again.load({name: tensor.clone() for name, tensor in learner.state().items()}, 71)
    for _ in range(5):
        assert torch.equal(learner.advance(0.01), again.advance(0.01))
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in learner.state().items())


def test_a_run_that_only_spikes_has_diverged(data: TokenData, tmp_path: Path) -> None:
    learner = Learner(WATCHED, open_stream(WATCHED, data, 6400), "cpu")
    learner.model.blocks[0].mlp_norm.gain.data.fill_(math.nan)
    assert [float(learner.advance(0.01)[2]) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(TrainingDiverged, match=r"at step 3: loss nan.* 4 updates skipped"):
        learner.advance(0.01)
