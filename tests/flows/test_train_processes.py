"""A training on several processes, and one whose lake has its data on an object store, as the flow starts them."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import train
from flows.settings import TrainSettings
from flows.torchrun import processes_for, train_together
from lm.models.config import preset
from lm.tokens.selection import TokenData
from lm.training import Progress, TrainConfig, defaults
from lm.training.errors import ConfigError
from lm.training.machine import HERE, Machine
from storage import files, ledger
from storage.lake import Lake
from storage.ledger import Output
from storage.outputs import local_copy
from storage.settings import LakeSettings
from tests.flows import ladder_maker
from tests.storage import s3_server

SMALL: dict[str, Any] = {"model": "d1w32", "batch_tokens": 256, "ladder_id": "ladder-raw"}
RUNGS = (2048, 8192)


def config_of_small() -> TrainConfig:
    return defaults(preset("d1w32", vocab_size=300, context_tokens=128), seed=0, batch_tokens=512)


def trained(lake: Lake, machine: Machine = HERE, num_processes: int = 1) -> Output:
    (found,) = train.plan(lake, TrainSettings(**SMALL)).units
    output: Output = train.train.fn(found.work, found.unit, "ladder-raw", machine, num_processes)
    return output


@pytest.mark.slow
def test_two_processes_train_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    with Lake.open(LakeSettings(lake=str(tmp_path / "lake"))) as lake, caplog.at_level("INFO"):
        ladder_maker.write(lake, rungs=RUNGS)
        output = trained(lake, Machine(parallel="fsdp"), num_processes=2)
        ledger.commit(lake, [output])
        (row,) = lake.query("SELECT * FROM runs").to_pylist()
        assert (row["state"], row["device"], row["num_tokens"]) == ("complete", "cpu on 2 processes by fsdp", 8192)
        assert lake.rows("SELECT rung, num_tokens FROM checkpoints ORDER BY rung") == [(0, 2048), (1, 8192)]
    assert "first step after" in caplog.text


@pytest.mark.slow
def test_what_processes_say_is_raised_here(tmp_path: Path) -> None:
    config = replace(config_of_small(), batch_tokens=384)
    shown: list[Progress] = []
    data = TokenData(files=("gone",), selection="gone")
    options: dict[str, Any] = {"num_processes": 1, "ladder_id": "ladder", "machine": HERE, "on_progress": shown.append}
    with pytest.raises(ConfigError, match="rungs must be multiples of batch_tokens"):
        train_together(config, data, [1000], tmp_path, **options)
    assert shown == []


def test_a_process_for_every_accelerator_that_the_rows_of_a_batch_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of_small()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [processes_for(config, wanted) for wanted in (None, 3)] == [1, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert processes_for(config, None) == 2


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server, which the environment names, and a bucket."""
    pytest.importorskip("moto", reason="needs the package moto[server]")
    s3fs = pytest.importorskip("s3fs")
    with s3_server.running() as url:
        for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        bucket = f"lake-{uuid.uuid4().hex}"
        s3fs.S3FileSystem(**LakeSettings().s3fs_options()).mkdir(bucket)
        yield f"s3://{bucket}/data"


@pytest.mark.slow
def test_a_run_lies_with_the_data_of_its_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("LADDER_DATA", store)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Lake.open(LakeSettings()) as lake:
        ladder_maker.write(lake, rungs=RUNGS)
        ledger.commit(lake, [trained(lake)])
        ((run, file),) = lake.rows("SELECT run_id, file FROM checkpoints WHERE rung = 1")
        assert file == f"data/trainings/{run}/rung-8192.safetensors"
        assert Path(local_copy(lake, file)).stat().st_size > 10_000
        listed = files.list_files(f"{store}/trainings", lake.settings.s3fs_options())
        assert not [name for name in listed if name.endswith("lease.json")]
        assert not list((tmp_path / "lake").rglob("step-*"))
        assert lake.value("SELECT count(*) FROM metrics WHERE run_id = ?", [run]) > 0
