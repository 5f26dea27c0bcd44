"""The processes that train one run together.

Whatever the trainer asks of its companions it asks here: which rows of a batch are its own, the mean of gradients, and decisions that
depend on a clock, which all must take alike. `World()` is a process on its own, for which every answer is what it came with, so a run
without companions needs no process group.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class World:
    """One process of `size`; `rank` counts from 0."""

    rank: int = 0
    size: int = 1

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

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""

    def agree(self, decision: bool) -> bool:
        """The first process's decision, for all."""
        return decision

    def wait(self) -> None:
        """Return when all processes have come here."""


ALONE = World()
