"""Where the seconds of a training go: waiting for data, keeping states, and the rest, which is computing.

Read when a window of steps ends, when the values of its steps have come from the device, so that its work is done. Waiting is what the
stream measures; a stream that reads ahead waits little. The clock decides nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lm.tokens.loader import Stream


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds in all, and those of it that went into waiting for data and into keeping states."""

    total: float = 0.0
    waiting: float = 0.0
    saving: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.total + other.total, self.waiting + other.waiting, self.saving + other.saving)

    @classmethod
    def of(cls, kept: "dict[str, float] | float") -> "Seconds":
        """What a state keeps; states of before kept the total alone."""
        return cls(**kept) if isinstance(kept, dict) else cls(kept)


class Clock:
    """Laps: each begins where the one before ended."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._saved = 0.0
        self.start()

    def start(self) -> None:
        """Begin a lap here; what was before counts for nobody."""
        self._mark = time.monotonic()
        self._waited, self._saved = self._stream.seconds_waiting, 0.0

    def lap(self) -> Seconds:
        """End a lap."""
        seconds = Seconds(time.monotonic() - self._mark, self._stream.seconds_waiting - self._waited, self._saved)
        self.start()
        return seconds

    @contextmanager
    def saving(self) -> Iterator[None]:
        """What happens inside counts as keeping a state."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._saved += time.monotonic() - started
