"""Killed at random steps and started again, every kind of run ends in the bits of an unbroken one."""

import dataclasses
import random
from itertools import product
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import training_children
from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training.machine import Machine
from lm.training.trainer import train_trunk

ORDERS = {
    "once": {},
    "epochs": {"unique_tokens": 960, "spike_deviations": 6.0},
    "mix": {"mix": (("host0.org", 2), ("*", 1))},
    "mix in epochs": {"mix": (("host0.org", 2), ("*", 1)), "unique_tokens": 960},
}
Case = tuple[str, str, int | None, str]
CASES: list[Case] = [("wsd", "adamw", None, "once"), ("wsd", "muon", 16, "epochs"), ("linear", "adamw", 32, "mix in epochs")]
OTHERS: list[Case] = [
    (schedule, ("adamw", "muon")[(i + j) % 2], (None, 16)[(i + j // 2) % 2], order)
    for (i, schedule), (j, order) in product(enumerate(("wsd", "cosine", "linear")), enumerate(ORDERS))
]
"""Every pair of schedule, optimizer, pieces and order, in 12 of 48 kinds. All 48 were killed once; docs/log.md has that."""


def killed(children: ForkServerContext, num_words: int, *arguments: object, **options: object) -> bool:
    """Train, and kill after so many words; False if the training ended before."""
    ours, theirs = children.Pipe(duplex=False)
    process = children.Process(target=training_children.tell_steps, args=(theirs, *arguments), kwargs=options)
    process.start()
    theirs.close()
    words = [ours.recv() for _ in range(num_words)] if num_words else []
    process.kill()
    process.join()
    ours.close()
    return None not in words


def check(children: ForkServerContext, data: TokenData, tmp_path: Path, case: Case) -> None:
    schedule, optimizer, pieces, order = case
    changes = {"schedule": schedule, "optimizer": optimizer, "log_every_steps": 1, **ORDERS[order]}
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    machine = Machine(checkpoint_seconds=0.01, micro_batch_tokens=pieces)
    unbroken = train_trunk(config, data, RUNGS[:2], tmp_path / "unbroken", machine=dataclasses.replace(machine, checkpoint_seconds=60))
    draw = random.Random(str(case))
    for _ in range(3):
        assert killed(children, draw.randrange(1, 15), config, data, RUNGS[:2], tmp_path / "killed", machine=machine)
    assert not (tmp_path / "killed" / "rung-2560.json").exists()
    resumed = train_trunk(config, data, RUNGS[:2], tmp_path / "killed", machine=machine)
    for one, two in zip(unbroken.checkpoints, resumed.checkpoints, strict=True):
        assert Path(one.file).read_bytes() == Path(two.file).read_bytes()
    assert pq.read_table(unbroken.metrics_file).equals(pq.read_table(resumed.metrics_file))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_killed_run_ends_in_the_same_bits(children: ForkServerContext, data: TokenData, tmp_path: Path, case: Case) -> None:
    check(children, data, tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_every_kind_of_run_ends_in_the_same_bits(children: ForkServerContext, data: TokenData, tmp_path: Path, case: Case) -> None:
    check(children, data, tmp_path, case)
