"""The newest of many values, sent in the background: for what people watch while work goes on.

Work never waits for whoever watches it. A server that is slow makes what they see old; one that is gone, or refuses, is said once and
harms nothing. The cost: a value may be skipped, if a newer one came while the one before was under way.
"""

import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from threading import Condition, Thread
from typing import Generic, TypeVar

LOG = logging.getLogger("ladder")
SECONDS_AT_THE_END = 10.0
Value = TypeVar("Value")


class Sender(Generic[Value]):
    """Sends the newest of many values, one at a time, in a thread of its own; a failure is logged and harms nothing."""

    def __init__(self, send: Callable[[Value], None]) -> None:
        self._send = send
        self._changed = Condition()
        self._next: tuple[Context, Value] | None = None
        self._busy = self._failed = False

    def show(self, value: Value) -> None:
        """Send this value when the one before has gone, unless a newer one comes meanwhile. Returns at once."""
        with self._changed:
            self._next = copy_context(), value
            if not self._busy:
                self._busy = True
                Thread(target=self._work, daemon=True).start()

    def close(self, seconds: float = SECONDS_AT_THE_END) -> bool:
        """Wait until the newest value has been sent, at most so long; whether nothing is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout=seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._next is None:
                    self._busy = False
                    self._changed.notify_all()
                    return
                (context, value), self._next = self._next, None
            try:
                context.run(self._send, value)
            except Exception as error:
                LOG.log(logging.DEBUG if self._failed else logging.WARNING, "the web interface is behind: %s", error)
                self._failed = True
