"""Blocks that are computed twice, and models that are compiled or, where that fails, are not."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_data import CONFIG, RUNGS

from lm.models.config import from_depth
from lm.tokens.selection import TokenData
from lm.training import compiling
from lm.training.config import TrainConfig
from lm.training.learner import Learner
from lm.training.machine import Machine
from lm.training.streams import open_stream
from lm.training.trainer import train_trunk

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("default")  # torch's compiler warns of itself
GPT2 = dataclasses.replace(
    CONFIG, model=dataclasses.replace(from_depth(2, vocab_size=64, context_tokens=16), architecture="gpt2", tied_embeddings=True)
)
MASKED = dataclasses.replace(CONFIG, mask_documents=True, model=dataclasses.replace(CONFIG.model, depth=2))


def learner(config: TrainConfig, data: TokenData, machine: Machine) -> Learner:
    return Learner(config, open_stream(config, data, 640), "cpu", machine=machine)


@pytest.mark.parametrize("config", [MASKED, GPT2], ids=["masked", "gpt2"])
def test_blocks_computed_twice_give_the_same_bits(data: TokenData, config: TrainConfig) -> None:
    torch.set_num_threads(1)
    once, twice = learner(config, data, Machine()), learner(config, data, Machine(recompute_blocks=True))
    calls = [0]
    block: Any = twice.model.blocks[0]
    block.attention_out.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    for _ in range(5):
        assert torch.equal(once.advance(0.01), twice.advance(0.01))
    assert calls == [10], "five steps, two passes each"
    assert all(torch.equal(tensor, twice.state()[name]) for name, tensor in once.state().items())


def test_a_failure_to_compile_is_said_once_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 2)

    def trial() -> None:
        raise RuntimeError("no C++ compiler\n\nTry this and that")

    with caplog.at_level(logging.WARNING):
        assert not compiling.compile_or_not(model, None, trial)
    (record,) = caplog.records
    assert record.getMessage().startswith("torch.compile does not work here, so the model runs uncompiled, and slower")
    assert "no C++ compiler" in record.getMessage()
    assert model(torch.ones(2)).shape == (2,)


def test_too_little_memory_is_not_the_compilers_fault() -> None:
    def trial() -> None:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        compiling.compile_or_not(torch.nn.Linear(2, 2), None, trial)


@pytest.mark.slow
def test_a_machine_without_a_compiler_trains_uncompiled(data: TokenData, tmp_path: Path) -> None:
    config = dataclasses.asdict(dataclasses.replace(CONFIG, compile=True))
    spec = {"config": config, "ladder_id": "", "validation_id": None, "files": data.files, "selection": data.selection}
    (tmp_path / "run.json").write_text(json.dumps(spec | {"rungs_tokens": RUNGS[:1], "out_dir": str(tmp_path / "run")}))
    environment = os.environ | {"CXX": "/nonexistent/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lm.training", "--config", str(tmp_path / "run.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("torch.compile does not work here, so the model runs uncompiled") == 1
    assert json.loads(done.stdout)["device"] == "cpu"


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_but_for_rounding(data: TokenData, tmp_path: Path) -> None:
    compiled, plain = (
        train_trunk(dataclasses.replace(CONFIG, compile=wanted), data, RUNGS[:1], tmp_path / str(wanted)) for wanted in (True, False)
    )
    if "compiled" not in compiled.device:
        pytest.skip("no compiler here")
    assert (compiled.device, plain.device) == ("cpu compiled", "cpu")
    weights = [load_file(found.checkpoints[0].file) for found in (compiled, plain)]
    assert all(torch.allclose(weight, weights[1][name], atol=1e-3) for name, weight in weights[0].items())
