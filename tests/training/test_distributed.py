"""Several real processes on one run: the loss of one process, one order of data, one writer, no hanging."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from together import jobs_file, work
from training_data import CONFIG

from lm.tokens.selection import TokenData
from lm.training.config import TrainConfig
from lm.training.distributed import companions
from lm.training.errors import CompanionLost, ConfigError
from lm.training.layout import layout
from lm.training.machine import Machine
from lm.training.trainer import train_trunk
from lm.training.world import ALONE, World

ROOT = Path(__file__).parents[2]
STEPS = 12
DEEP = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, depth=2))


def start(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen([sys.executable, *command], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def together(file: Path) -> list["subprocess.Popen[str]"]:
    """Two processes that know of each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    script = str(Path(__file__).parent / "together.py")
    return [start([script, str(file)], RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]


def job(config: TrainConfig, steps: int = STEPS, **machine: Any) -> dict[str, Any]:
    return {"config": dataclasses.asdict(config), "steps": steps, "machine": machine}


MUON = dataclasses.replace(DEEP, optimizer="muon")
WATCHED = dataclasses.replace(DEEP, spike_deviations=6.0)
JOBS = {
    "ddp": (job(DEEP, parallel="ddp"), job(DEEP)),
    "fsdp": (job(DEEP, parallel="fsdp"), job(DEEP)),
    "ddp in pieces": (job(DEEP, parallel="ddp", micro_batch_tokens=16), job(DEEP)),
    "fsdp in pieces, recomputed": (job(WATCHED, parallel="fsdp", micro_batch_tokens=16, recompute_blocks=True), job(WATCHED)),
    "fsdp with muon": (job(MUON, parallel="fsdp"), job(MUON)),
    "ddp with muon": (job(MUON, parallel="ddp"), job(MUON)),
}


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(data: TokenData, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    processes = together(jobs_file(tmp_path / "jobs.json", data, [shared for shared, _ in JOBS.values()]))
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(output) for output, _ in outputs)
    for name, shared, other in zip(JOBS, first, second, strict=True):
        alone = work(JOBS[name][1], data, ALONE)
        assert shared["digest"] == alone["digest"], name
        assert shared["values"] == other["values"], f"{name}: all processes see the same losses and norms"
        losses, norms = (torch.tensor(found["values"], dtype=torch.float64) for found in (shared, alone))
        assert torch.allclose(losses, norms, rtol=0, atol=1e-5), f"{name}: {(losses - norms).abs().max()}"
        assert shared["first_again"], f"{name}: a run that begins again begins the same"
        assert shared["state_again"], f"{name}: a state comes back as it was"
        for weight, value in alone["weights"].items():
            assert torch.allclose(torch.tensor(shared["weights"][weight]), torch.tensor(value), atol=1e-3), (name, weight)


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(data: TokenData, tmp_path: Path) -> None:
    processes = together(jobs_file(tmp_path / "jobs.json", data, [job(DEEP, parallel="ddp") | {"fails_at": 3}], 20))
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert "CompanionLost: another process of the run ended or did not answer" in errors[0]
    assert "DataLost: the tokens of step 3 can't be read any more" in errors[1]


def specification(data: TokenData, out: Path | str, **machine: Any) -> dict[str, Any]:
    config = dataclasses.replace(DEEP, unique_tokens=4096)
    files = {"files": list(data.files), "selection": data.selection, "validation_id": None, "ladder_id": "ladder"}
    return {"config": dataclasses.asdict(config), "rungs_tokens": [16384, 32768], "out_dir": str(out), "machine": machine} | files


def command(spec: dict[str, Any], directory: Path, num_processes: int) -> list[str]:
    (directory / "run.json").write_text(json.dumps(spec))
    run = ["lm.training", "--config", str(directory / "run.json"), "--progress-json"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    return ["-m", *run] if num_processes == 1 else [*torchrun, "-m", *run]


def stopped(process: "subprocess.Popen[str]", after_step: int) -> str:
    """Send SIGTERM once a step was seen; what the process said."""
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["progress"]["step"] < after_step:
        pass
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=120)[1]


@pytest.mark.slow
def test_the_number_of_processes_may_change_on_the_way(data: TokenData, tmp_path: Path) -> None:
    spec = specification(data, tmp_path / "run", parallel="fsdp")
    said = stopped(start(command(spec, tmp_path, 1)), 20)
    assert "Stopped: stopped at step" in said
    said = stopped(start(command(spec, tmp_path, 2)), 150)
    assert said.count("Stopped: stopped at step") == 1
    assert "trunk continues on cpu on 2 processes by fsdp|" in said
    last = start(command(spec, tmp_path, 1))
    output, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    result = json.loads(output.splitlines()[-1])
    assert result["device"] == "cpu, cpu on 2 processes by fsdp"
    alone = train_trunk(dataclasses.replace(DEEP, unique_tokens=4096), data, [16384, 32768], tmp_path / "alone", ladder_id="ladder")
    for one, other in zip(alone.checkpoints, result["checkpoints"], strict=True):
        weights, shared = load_file(one.file), load_file(other["file"])
        assert all(torch.allclose(weights[name], shared[name], atol=2e-2) for name in weights)
    assert sum(1 for _ in (tmp_path / "run").glob("*.safetensors")) == 2


def test_a_process_alone_is_a_world() -> None:
    with companions() as world:
        assert world == ALONE
        assert world.told(lambda: 3) == 3


def test_processes_must_be_told_how_to_share() -> None:
    with pytest.raises(ConfigError, match="parallel is none, and 2 processes were started"):
        layout("none", torch.nn.Linear(1, 1), [], World(0, 2))
    with pytest.raises(ConfigError, match="parallel must be one of none, ddp, fsdp"):
        Machine(parallel="tensor")  # type: ignore[arg-type]


def test_processes_need_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="one accelerator each; got device 'cuda:1'"), companions("cuda:1"):
        pass


def test_other_errors_are_not_explained_away() -> None:
    from lm.training.distributed import explained

    with pytest.raises(RuntimeError, match="shapes"), explained(1.0):
        raise RuntimeError("shapes differ")
    with pytest.raises(CompanionLost, match=r"did not answer within 1 seconds"), explained(1.0):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:544] Connection closed by peer")
