"""Runs in the lake: what was asked for stands in their rows, and one that diverged is kept as such and not trained again."""

from pathlib import Path
from typing import Any

import pytest

from flows import train
from flows.common import Planned
from flows.settings import TrainSettings
from lm.training import TrainConfig
from lm.training.errors import ConfigError
from storage import ledger
from storage.lake import Lake
from storage.settings import LakeSettings
from tests.flows import ladder_maker

SMALL: dict[str, Any] = {"model": "d1w32", "batch_tokens": 128, "ladder_id": "ladder-raw"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with one ladder."""
    root = tmp_path_factory.mktemp("states") / "lake"
    with Lake.open(LakeSettings(lake=str(root))) as lake:
        ladder_maker.write(lake, rungs=(2048, 16384))
    return root


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    """Train as the task does and commit; the row of the run."""
    monkeypatch.setenv("LADDER_LAKE", str(folder))
    with Lake.open(LakeSettings(lake=str(folder))) as lake:
        found: Planned[TrainConfig]
        (found,) = train.plan(lake, TrainSettings(**SMALL, **settings)).units
        ledger.commit(lake, [train.train.fn(found.work, found.unit, "ladder-raw")])
        assert train.plan(lake, TrainSettings(**SMALL, **settings)).todo(lake) == []
        (row,) = lake.query("SELECT * FROM runs WHERE run_id = ?", [found.work.slot]).to_pylist()
    return row


def test_what_was_asked_for_stands_in_the_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"schedule": "linear", "optimizer": "muon", "unique_tokens": 4096, "mix": ["made.example=1"], "dtype": "bfloat16"}
    row = trained(folder, monkeypatch, **asked, min_rate=0.1, spike_deviations=8.0)
    assert {name: row[name] for name in ("schedule", "optimizer", "unique_tokens", "dtype")} == {
        name: asked[name] for name in ("schedule", "optimizer", "unique_tokens", "dtype")
    }
    assert (row["state"], row["epochs"], row["num_skipped"], row["diverged_step"]) == ("complete", 4.0, 0, None)
    assert '"mix":[["made.example",1.0]]' in row["config"]


def test_a_diverged_run_is_a_row_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = trained(folder, monkeypatch, learning_rate=0.99999, spike_deviations=0.001)
    assert (row["state"], row["num_tokens"]) == ("diverged", 2048)
    assert row["diverged_step"] > 64


def test_a_mix_that_makes_no_sense_is_refused_before_anything_starts(folder: Path) -> None:
    with Lake.open(LakeSettings(lake=str(folder))) as lake, pytest.raises(ConfigError, match=r"such as en\.wikipedia\.org=3, got 'wiki'"):
        train.plan(lake, TrainSettings(**SMALL, mix=["wiki"]))
