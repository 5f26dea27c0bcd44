"""How fast a run goes: what is measured over each window of steps.

A window ends every `log_every_steps` steps, where losses are read from the device anyway, so measuring waits for nothing. Of its
seconds (lm/training/clock.py) the meter says what share went into waiting for data and into keeping states; of its tokens, how many a
second and what share of the measured peak of matrix products that is. A window that a kill cut in two has the seconds of both sittings,
and not those between.

None of it decides weights, and two faithful runs differ in it. So it lies in a file and a table of its own (run_speed), whose columns
are volatile; the table metrics holds only what a repeated run gives again. The cost is a join for whoever wants both.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from lm.training.clock import Seconds
from lm.training.config import TrainConfig
from lm.training.window import Speed

_TYPES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "rung": pa.int32(),
    "step": pa.int64(),
    "num_tokens": pa.int64(),
    "seconds": pa.float64(),
    "tokens_per_second": pa.float64(),
    "mfu": pa.float64(),
    "waiting_share": pa.float64(),
    "saving_share": pa.float64(),
    "memory_bytes": pa.int64(),
}
SPEED_SCHEMA = pa.schema(_TYPES)
"""Columns of the table `run_speed`, without produced_by."""


class Meter:
    """Turns the seconds of windows into speeds."""

    def __init__(self, config: TrainConfig, device: str | torch.device, peak_flops_per_second: float) -> None:
        """`peak_flops_per_second`: of all devices of the run together."""
        self._batch_tokens, self._flops_per_token = config.batch_tokens, config.model.flops_per_token
        self._device, self._peak = torch.device(device), peak_flops_per_second

    def speed(self, num_steps: int, seconds: Seconds) -> Speed:
        """Of a window of so many steps.

        MFU counts model FLOPs as `ModelConfig.flops_per_token` does, so an activation that is computed twice counts once.
        Source: arXiv:2204.02311 appendix B, with the measured peak (lm/training/peak.py) in place of the data sheet's.
        """
        total = max(seconds.total, 1e-9)
        rate = num_steps * self._batch_tokens / total
        mfu = rate * self._flops_per_token / self._peak
        return Speed(seconds.total, rate, mfu, seconds.waiting / total, seconds.saving / total, memory_bytes(self._device))


def memory_bytes(device: torch.device) -> int:
    """Most memory so far: allocated by PyTorch on an accelerator, else resident in this process.

    VmHWM, for getrusage counts what the parent had when it forked; where there is no /proc, getrusage it is.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


Kept = Sequence[float]
"""A window as a state keeps it: its last step and the fields of its `Speed`."""


def kept(step: int, speed: Speed) -> Kept:
    """For JSON."""
    return [step, *astuple(speed)]


def _speed(window: Kept) -> Speed:
    _, seconds, rate, mfu, waiting, saving, memory = window
    return Speed(seconds, rate, mfu, waiting, saving, int(memory))


def rows(run_id: str, config: TrainConfig, body: Mapping[str, Any], rung: int | None) -> pa.Table:
    """Rows of one path, one per window; `body` holds its windows. Those of before windows were measured have none."""
    names = [name for name in SPEED_SCHEMA.names if name not in ("run_id", "rung", "num_tokens")]
    records = [dict(zip(names, window, strict=True)) for window in body.get("speeds", [])]
    base = {"run_id": run_id, "rung": rung}
    return pa.Table.from_pylist([base | {"num_tokens": r["step"] * config.batch_tokens} | r for r in records], schema=SPEED_SCHEMA)


def mean(bodies: Sequence[Mapping[str, Any]]) -> Speed | None:
    """The speed of several paths together, tokens over seconds; memory is the most of any. None where nothing was measured."""
    speeds = [_speed(window) for body in bodies for window in body.get("speeds", [])]
    seconds = sum(speed.seconds for speed in speeds)
    if not seconds:
        return None

    def weighted(name: str) -> float:
        return sum(float(getattr(speed, name)) * speed.seconds for speed in speeds) / seconds

    return Speed(
        seconds=seconds,
        tokens_per_second=weighted("tokens_per_second"),
        mfu=weighted("mfu"),
        waiting_share=weighted("waiting_share"),
        saving_share=weighted("saving_share"),
        memory_bytes=max(speed.memory_bytes for speed in speeds),
    )
