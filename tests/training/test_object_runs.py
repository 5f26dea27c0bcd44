"""A run on an object store: killed on one machine, continued on another with nothing but the store in common."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training.checkpoint import CheckpointStore, local_file
from lm.training.trainer import train_trunk

ROOT = Path(__file__).parents[2]


def specification(data: TokenData, out: str) -> dict[str, object]:
    return {
        "config": dataclasses.asdict(CONFIG),
        "ladder_id": "ladder",
        "validation_id": "held-out",
        "files": list(data.files),
        "selection": data.selection,
        "rungs_tokens": RUNGS,
        "out_dir": out,
        "machine": {"checkpoint_seconds": 0.02},
    }


def start(spec: dict[str, object], machine: Path) -> "subprocess.Popen[str]":
    """Train in a process whose local directory is empty."""
    machine.mkdir()
    (machine / "run.json").write_text(json.dumps(spec))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(machine), "HOME": str(machine)}
    command = [sys.executable, "-m", "lm.training", "--config", "run.json", "--progress-json"]
    return subprocess.Popen(command, cwd=machine, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_run_killed_on_one_machine_goes_on_elsewhere_in_the_same_bits(data: TokenData, tmp_path: Path, bucket: str) -> None:
    run = f"{bucket}/runs/one"
    first = start(specification(data, run), tmp_path / "first")
    assert first.stdout is not None
    while json.loads(first.stdout.readline())["progress"]["step"] < 35:
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert first.returncode == -signal.SIGKILL
    second = start(specification(data, run), tmp_path / "second")
    output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "s3cr3t" not in output + errors
    *progress, last = (json.loads(line) for line in output.splitlines())
    assert progress[0]["progress"]["step"] > 20, "it went on from a state, not from the start"
    unbroken = train_trunk(CONFIG, data, RUNGS, tmp_path / "unbroken", ladder_id="ladder")
    for one, two in zip(unbroken.checkpoints, last["checkpoints"], strict=True):
        assert two["weights_digest"] == one.weights_digest
        with local_file(two["file"]) as file:
            assert file.read_bytes() == Path(one.file).read_bytes()
    with local_file(last["metrics_file"]) as file:
        assert pq.read_table(file).equals(pq.read_table(unbroken.metrics_file))
    again = train_trunk(CONFIG, TokenData(files=("gone",), selection="gone"), RUNGS, run, ladder_id="ladder")
    assert again.checkpoints[-1].file == f"{run}/rung-5120.safetensors"
    assert CheckpointStore(run, again.run_id).newest("rung-5120", 99) is None
