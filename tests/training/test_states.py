"""States a run can end in: complete, diverged, without its data. Each is told, and none costs what was done."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_data import CONFIG, RUNGS

from lm.tokens.loader import TokenStream
from lm.tokens.selection import TokenData
from lm.training.checkpoint import CheckpointStore
from lm.training.config import plan_rungs, run_id
from lm.training.errors import DataLost, TrainingDiverged
from lm.training.machine import HERE
from lm.training.result import Progress, TrunkResult
from lm.training.trainer import Sitting, train_trunk
from lm.training.world import ALONE

DIVERGING = dataclasses.replace(CONFIG, weight_decay=500.0)
"""Weights change sign and grow fivefold at each step until they overflow, on the trunk after the second rung has left it."""


@pytest.fixture
def diverged(data: TokenData, tmp_path: Path) -> TrainingDiverged:
    with pytest.raises(TrainingDiverged, match=r"diverged at step 3\d: loss nan") as caught:
        train_trunk(DIVERGING, data, RUNGS, tmp_path)
    return caught.value


def test_a_diverged_run_keeps_what_it_finished(diverged: TrainingDiverged, tmp_path: Path) -> None:
    result = diverged.result
    assert result is not None
    assert (result.state, result.diverged_step) == ("diverged", diverged.step)
    assert [(found.rung, found.num_tokens) for found in result.checkpoints] == [(0, 1280), (1, 2560)]
    assert (result.num_tokens, result.run_row()["state"]) == (2560, "diverged")
    assert result.train_tokens == (diverged.step // 5 * 5 + 5 + 4 + 8) * 64  # noticed where a window ends
    rows = [row for row in pq.read_table(result.metrics_file).to_pylist() if row["name"] == "loss_nats_per_token"]
    assert [row["step"] for row in rows if row["rung"] is None] == list(range(5, diverged.step, 5))
    body = json.loads(json.loads((tmp_path / "diverged.json").read_text())["body"])
    assert body["divergence"] == diverged.divergence.to_dict()
    assert body["divergence"]["loss"] == "nan"


def test_it_is_not_trained_again_where_it_diverged(diverged: TrainingDiverged, data: TokenData, tmp_path: Path) -> None:
    steps: list[Progress] = []
    with pytest.raises(TrainingDiverged) as again:
        train_trunk(DIVERGING, data, RUNGS, tmp_path, on_progress=steps.append)
    assert steps == []
    assert str(again.value) == str(diverged)
    assert again.value.result == diverged.result
    assert train_trunk(DIVERGING, data, RUNGS[:2], tmp_path).state == "complete"


def test_elsewhere_it_is_tried_again(diverged: TrainingDiverged, data: TokenData, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, run_id(DIVERGING, ""))
    body = store.noted("diverged")
    assert body is not None
    body.pop("run_id", None)
    store.note("diverged", body | {"environment": "another|9.9"})
    steps: list[Progress] = []
    with pytest.raises(TrainingDiverged):
        train_trunk(DIVERGING, data, RUNGS, tmp_path, on_progress=steps.append)
    assert steps != []


def test_a_run_that_diverges_at_once_has_a_record_too(data: TokenData, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        train_trunk(dataclasses.replace(CONFIG, weight_decay=1e30), data, RUNGS, tmp_path)
    result = caught.value.result
    assert result is not None
    assert (result.checkpoints, result.num_tokens, result.epochs) == ([], 0, 0.0)


def test_the_error_survives_the_way_to_another_process(diverged: TrainingDiverged) -> None:
    again = pickle.loads(pickle.dumps(diverged))
    assert (str(again), again.step) == (str(diverged), diverged.step)
    assert again.result == diverged.result


def test_skipped_updates_are_counted(data: TokenData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, spike_deviations=0.1, max_skipped=100, learning_rate=0.1)
    result = train_trunk(config, data, [6400], tmp_path)
    rows = [row for row in pq.read_table(result.metrics_file).to_pylist() if row["name"] == "num_skipped"]
    assert result.num_skipped == sum(row["value"] for row in rows) > 3
    assert [row["step"] for row in rows] == list(range(5, 105, 5))


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])])
def test_lost_tokens_are_told_and_the_run_goes_on_when_they_are_back(data: TokenData, tmp_path: Path, harm: object) -> None:
    copies = tuple(shutil.copy(file, tmp_path) for file in data.files)
    store = CheckpointStore(tmp_path / "run", run_id(CONFIG, ""))
    (plan,) = plan_rungs(CONFIG, [5120])
    stream = TokenStream.open(dataclasses.replace(data, files=copies), 5120, in_memory_tokens=0, window_tokens=640)
    sitting = Sitting(CONFIG, store, stream, None, HERE, ALONE, [plan], lambda: False)
    harm(Path(copies[0]))  # type: ignore[operator]
    with store.locked(), pytest.raises(DataLost, match=r"tokens of step \d+ can't be read any more.*run again") as caught:
        sitting.train(plan)
    step = int(str(caught.value).split("step ")[1].split()[0])
    assert store.newest_step("trunk", 80) == step > 0
    unbroken = train_trunk(CONFIG, data, [5120], tmp_path / "unbroken")
    assert same(unbroken, train_trunk(CONFIG, data, [5120], tmp_path / "run"))


def same(one: TrunkResult, two: TrunkResult) -> bool:
    return [found.weights_digest for found in one.checkpoints] == [found.weights_digest for found in two.checkpoints]
