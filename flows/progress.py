"""Progress of long work, in the terminal and as a Prefect progress artifact.

One line every few seconds, not a live bar: the lines of several processes, of a worker's log and of a CI log stay readable. The
cost is a terminal without animation.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from flows.artifacts import LiveArtifact

LOG = logging.getLogger("ladder")
SECONDS_BETWEEN = 5.0
Item = TypeVar("Item")


class Progress:
    """Callable (done, total) that reports at most every few seconds, and always at the end."""

    def __init__(self, title: str, unit: str, scale: float = 1.0, show_rate: bool = True) -> None:
        """`scale` divides the counts for people, e.g. 1e6 with unit MB. `show_rate`: units per second since the beginning."""
        self.title, self.unit, self.scale, self.show_rate = title, unit, scale, show_rate
        self.started = time.monotonic()
        self.reported = self.started
        self._artifact = LiveArtifact("progress", title)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report `done` of `total` units; total 0 means unknown."""
        now = time.monotonic()
        if now - self.reported < SECONDS_BETWEEN and not (total and done >= total and now - self.started > SECONDS_BETWEEN):
            return
        self.reported = now
        LOG.info("%s", self._line(done, total, now - self.started, note))
        if total:
            self._artifact.show(min(100.0, 100.0 * done / total))
            if done >= total:
                self._artifact.close()

    def each(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items, each counted when the next is asked for."""
        for number, item in enumerate(items):
            yield item
            self(number + 1, len(items))

    def _line(self, done: int, total: int, seconds: float, note: str) -> str:
        digits = 0 if self.scale == 1.0 else 1
        amount = f"{done / self.scale:,.{digits}f}"
        if total:
            amount += f" of {total / self.scale:,.{digits}f}"
        rate = f"{done / self.scale / max(seconds, 1e-9):,.{digits}f}/s" if self.show_rate else ""
        return ", ".join(part for part in (f"  {self.title}: {amount} {self.unit}", rate, note) if part)
