"""What one of several processes does in test_distributed.py: train with a learner, tell losses, norms and which tokens were seen.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python together.py jobs.json
"""

import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lm.tokens.loader import MissingTokensError, Rows, Stream
from lm.tokens.selection import TokenData
from lm.training.config import from_dict
from lm.training.distributed import companions
from lm.training.errors import TrainingError
from lm.training.learner import Learner
from lm.training.machine import Machine
from lm.training.streams import open_stream
from lm.training.world import World


class Recorder:
    """A stream that remembers the rows it gave; at `fails_at` it is broken."""

    def __init__(self, stream: Stream, fails_at: int | None) -> None:
        self._stream, self._fails_at = stream, fails_at
        self.seen: list[np.ndarray] = []
        self.end_of_document = stream.end_of_document

    def batch(self, step: int, batch_tokens: int, context_tokens: int, worker: tuple[int, int]) -> tuple[Rows, Rows]:
        if step == self._fails_at:
            raise MissingTokensError("the disk is gone")
        rows = self._stream.batch(step, batch_tokens, context_tokens, worker)
        self.seen.append(rows[0])
        return rows


def work(job: dict[str, Any], data: TokenData, world: World) -> dict[str, Any]:
    """Train as a job says."""
    config, steps = from_dict(job["config"]), job["steps"]
    fails_at = job.get("fails_at") if world.rank == 1 else None
    stream = Recorder(open_stream(config, data, steps * config.batch_tokens), fails_at)
    learner = Learner(config, stream, "cpu", world=world, machine=Machine(**job["machine"]))  # type: ignore[arg-type]
    values = [learner.advance(config.learning_rate).tolist() for _ in range(steps)]
    state = {name: tensor.clone() for name, tensor in learner.state().items()}
    learner.begin()
    first = learner.advance(config.learning_rate).tolist()
    learner.load(world.told_tensors(state if world.is_first else None), steps)
    again = learner.state()
    return {
        "values": values,
        "digest": digest_of(stream.seen[:steps], world),
        "compiled": learner.is_compiled,
        "first_again": first == values[0],
        "state_again": all(torch.equal(state[name], again[name]) for name in state),
        "weights": {name: tensor.tolist() for name, tensor in state.items() if name.startswith("weight.")} if world.is_first else {},
    }


def digest_of(rows: list[np.ndarray], world: World) -> str:
    """Of the rows of all processes, in the order of the batch."""
    mine = torch.from_numpy(np.stack(rows))
    parts = [torch.empty_like(mine) for _ in range(world.size)]
    dist.all_gather(parts, mine) if world.size > 1 else parts[0].copy_(mine)
    return hashlib.blake2b(torch.cat(parts, 1).numpy().tobytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    data = TokenData(files=tuple(jobs["data"]["files"]), selection=jobs["data"]["selection"])
    try:
        with companions("cpu", timeout_seconds=jobs["timeout_seconds"]) as world:
            print(json.dumps([work(job, data, world) for job in jobs["jobs"]]), flush=True)
    except TrainingError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def jobs_file(path: Path, data: TokenData, jobs: list[dict[str, Any]], timeout_seconds: float = 120) -> Path:
    """Write the jobs for `main`."""
    path.write_text(json.dumps({"data": dataclasses.asdict(data), "jobs": jobs, "timeout_seconds": timeout_seconds}))
    return path


if __name__ == "__main__":
    main()
