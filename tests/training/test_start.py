"""What a training loads before its first step: torch, and not its compiler, which takes longer than everything else together."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from training_data import CONFIG

from lm.training.optimizers import AdamW, Group

ROOT = Path(__file__).parents[2]
TRAIN = """
import sys
sys.path.insert(0, "tests/training")
from pathlib import Path
from training_data import CONFIG, RUNGS, make_data
from lm.training.trainer import train_trunk
train_trunk(CONFIG, make_data(Path(sys.argv[1]) / "data"), RUNGS[:1], Path(sys.argv[1]) / "run")
print(sorted(name for name in ("torch._dynamo", "torch._inductor", "sympy", "prefect") if name in sys.modules))
"""


def test_a_training_loads_no_compiler(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_planning_and_watching_runs_loads_no_torch() -> None:
    code = "import sys, lm.training, lm.training.live_page, lm.training.machine; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_updates_are_those_of_torchs_own_class() -> None:
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))] for _ in range(2))
    for mine, other in zip(ours, theirs, strict=True):
        other.data.copy_(mine.data)
    optimizer = AdamW([Group({"matrix": ours[0]}, 0.1, 1.0), Group({"gain": ours[1]}, 0.0, 8.0)], CONFIG)
    groups = [{"params": [theirs[0]], "weight_decay": 0.1}, {"params": [theirs[1]], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=(CONFIG.beta1, CONFIG.beta2), eps=CONFIG.epsilon, fused=True)
    for step in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        if step == 2:  # a parameter without a gradient is left alone
            ours[1].grad = None
        kept = ours[1].detach().clone()
        optimizer.step(0.01)
        if step == 2:
            assert torch.equal(ours[1], kept)
            break
        for group, rate in zip(reference.param_groups, (0.01, 0.08), strict=True):
            group["lr"] = rate
        reference.step()
        assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
