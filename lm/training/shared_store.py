"""The files of a run that several processes train: the first reads and writes them, the others are told.

A `CheckpointStore` for which every process may ask; all must ask the same at the same time. So the processes need no common disk, see the
same states, and none but the first ever writes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lm.training.checkpoint import Body, CheckpointStore, State
from lm.training.world import World


class SharedStore(CheckpointStore):
    """What the first process finds, on all. What fails there fails everywhere."""

    def __init__(self, url: str | Path, run_id: str, world: World) -> None:
        super().__init__(url, run_id)
        self._world = world

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; the others wait until the first does."""
        if not self._world.is_first:
            self._world.told(lambda: None)
            yield
            return
        with self._held_and_told():
            yield

    @contextmanager
    def _held_and_told(self) -> Iterator[None]:
        holding = super().locked()
        self._world.told(holding.__enter__)
        try:
            yield
        finally:
            holding.__exit__(None, None, None)

    def newest(self, path: str, max_step: int) -> tuple[State, Body] | None:
        """See CheckpointStore. The tensors lie on every process, on the CPU."""
        found: list[tuple[State, Body] | None] = [None]

        def find() -> Body | None:
            found[0] = CheckpointStore.newest(self, path, max_step)
            return found[0][1] if found[0] else None

        body = self._world.told(find)
        return None if body is None else (self._world.told_tensors(found[0][0] if found[0] else None), body)

    def newest_step(self, path: str, max_step: int) -> int:
        """See CheckpointStore."""
        return int(self._world.told(lambda: CheckpointStore.newest_step(self, path, max_step)))

    def save(self, path: str, step: int, tensors: State, body: Body) -> None:
        """See CheckpointStore. The others wait."""
        self._world.told(lambda: CheckpointStore.save(self, path, step, tensors, body))

    def finish(self, rung: str, weights: State, body: Body) -> None:
        """See CheckpointStore. The others wait."""
        self._world.told(lambda: CheckpointStore.finish(self, rung, weights, body))

    def finished(self, rung: str) -> Body | None:
        """See CheckpointStore."""
        body: Body | None = self._world.told(lambda: CheckpointStore.finished(self, rung))
        return body

    def keep(self, name: str, write: Callable[[Path], None]) -> str:
        """See CheckpointStore."""
        return str(self._world.told(lambda: CheckpointStore.keep(self, name, write)))

    def note(self, name: str, body: Body) -> None:
        """See CheckpointStore."""
        self._world.told(lambda: CheckpointStore.note(self, name, body))

    def noted(self, name: str) -> Body | None:
        """See CheckpointStore."""
        body: Body | None = self._world.told(lambda: CheckpointStore.noted(self, name))
        return body

    def forget(self, name: str) -> None:
        """See CheckpointStore."""
        self._world.told(lambda: CheckpointStore.forget(self, name))


def shared_store(url: str | Path, run_id: str, world: World) -> CheckpointStore:
    """The store of a run for one process or for several."""
    return CheckpointStore(url, run_id) if world.size == 1 else SharedStore(url, run_id, world)
