"""The processes that train one run together.

Whatever the trainer asks of its companions it asks here: which rows of a batch are its own, the mean of gradients, and decisions that
depend on a clock, which all must take alike. `World()` is a process on its own, for which every answer is what it came with, so a run
without companions needs no process group.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do after a step: keep a state, stop."""

    save: bool
    stop: bool


@dataclass(frozen=True, slots=True)
class World:
    """One process of `size`; `rank` counts from 0."""

    rank: int = 0
    size: int = 1
    device: str | None = None
    """The device that is this process's; None: whatever the machine's settings say."""

    @property
    def worker(self) -> tuple[int, int]:
        """Part of each batch that is this process's, as `Stream.batch` takes it."""
        return self.rank, self.size

    @property
    def is_first(self) -> bool:
        """Whether this process writes: checkpoints, curves, progress."""
        return self.rank == 0

    def average(self, value: Tensor) -> Tensor:
        """Mean of a value over the processes."""
        return value

    def decide(self, verdict: Verdict) -> Verdict:
        """One verdict for all: keep a state if the first process says so, stop if any does."""
        return verdict

    def told(self, find: Callable[[], Any]) -> Any:
        """What the first process finds (plain values, as JSON has them), on all; its failure ends all."""
        return find()

    def told_tensors(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """The first process's tensors, which lie on the CPU, on all; the others give None."""
        return dict(tensors or {})

    def wait(self) -> None:
        """Return when all processes have come here."""


ALONE = World()
