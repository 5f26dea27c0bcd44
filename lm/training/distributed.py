"""One run on several processes, as torchrun starts them.

    torchrun --nproc-per-node 2 -m lm.training --config run.json

Each process takes its rows of every batch (`Stream.batch`), so the batches, and their order, are those of one process, whatever the
number; only the order of sums differs. gloo carries what lies on the CPU, nccl what lies on accelerators. The first process alone holds
the run's lock and touches its files; what it reads it tells the others. Decisions that hang on a clock or a signal are taken together,
one small message a step (0.1 to 0.5 ms over gloo).

A process that fails ends with its own message; the others notice by the connection that closes, or, should it hang, after
`timeout_seconds`, and end with CompanionLost. torchrun then stops whoever is left. What was not kept since the last state is trained again.
The price of the simple way: at a restart every process holds the whole state on the CPU for a moment, at twelve bytes per parameter.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lm.training.errors import CompanionLost, ConfigError, TrainingError
from lm.training.world import ALONE, Verdict, World

TIMEOUT_SECONDS = 600.0
PR_SET_PDEATHSIG = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Companions(World):
    """One of several processes; `device` is its own."""

    def average(self, value: Tensor) -> Tensor:
        """See World."""
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def decide(self, verdict: Verdict) -> Verdict:
        """See World."""
        votes = torch.tensor([verdict.save and self.is_first, verdict.stop], dtype=torch.uint8)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        save, stop = votes.tolist()
        return Verdict(bool(save), bool(stop))

    def told(self, find: Callable[[], Any]) -> Any:
        """See World."""
        failure: Exception | None = None
        message = {}
        if self.is_first:
            try:
                message = {"found": find()}
            except Exception as error:
                failure, message = error, {"failed": f"{type(error).__name__}: {error}"}
        message = json.loads(_broadcast_bytes(json.dumps(message).encode() if self.is_first else b""))
        if failure is not None:
            raise failure
        if "failed" in message:
            raise CompanionLost(f"the first process of the run ended with {message['failed']}")
        return message["found"]

    def told_tensors(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """See World."""
        listed = [(name, list(tensor.shape), str(tensor.dtype)) for name, tensor in (tensors or {}).items()]
        found = {}
        for name, shape, dtype in self.told(lambda: listed):
            tensor = tensors[name].contiguous() if tensors else torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
            dist.broadcast(tensor, 0)
            found[name] = tensor
        return found

    def wait(self) -> None:
        """See World."""
        dist.all_reduce(torch.zeros(1))


def _broadcast_bytes(data: bytes) -> bytes:
    """The first process's bytes, on all."""
    size = torch.tensor([len(data)])
    dist.broadcast(size, 0)
    content = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0)
    return content.numpy().tobytes()


@contextmanager
def companions(device: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[World]:
    """The world that torchrun's environment describes; a process on its own where there is none.

    Raises: ConfigError for a device that processes can't share, CompanionLost if another process ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    rank, size, own = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), _own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    _die_with_parent()
    with explained(timeout_seconds):
        backend = "gloo" if own == "cpu" else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
        try:
            yield Companions(rank, size, own)
        finally:
            dist.destroy_process_group()


def _own_device(device: str | None, local_rank: int) -> str:
    if device == "cpu" or (device is None and not torch.cuda.is_available()):
        return "cpu"
    if device not in (None, "cuda"):
        raise ConfigError(f"several processes train on cpu or on cuda, one accelerator each; got device {device!r}")
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(f"process {local_rank} of this machine needs an accelerator of its own; there are {torch.cuda.device_count()}")
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


@contextmanager
def explained(timeout_seconds: float) -> Iterator[None]:
    """Turn a broken connection into CompanionLost; other errors pass."""
    try:
        yield
    except TrainingError:
        raise
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error):
            raise CompanionLost(
                f"another process of the run ended or did not answer within {timeout_seconds:g} seconds; its own message says why, "
                f"and a repeated command goes on from the last state ({str(error).splitlines()[0]})"
            ) from error
        raise


def _die_with_parent() -> None:
    """End when torchrun is killed, so that no companion trains on alone (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
