"""One writer at a time on a store that knows no locks.

The holder keeps an object `lease.json` with a name of its own and renews it every `beat_seconds`. Whoever finds a lease waits until it is
removed, until it has not changed for `expiry_seconds` by the waiter's own clock (so no two clocks need agree), or, where the holder ran on
this machine, until its process is gone. Then it writes its own, waits `settle_seconds`, and holds the run if the lease is still its own:
Fischer's algorithm, which excludes two holders as long as a write takes less than the settling. Should one take longer, both would
train until the next renewal, where all but one stop with `LeaseLost`. No harm would have been done by then: states are whole, named by
their content, and either one is a state of this run.

A conditional put would need no settling, but Arrow's S3 file system has none. The price: two seconds at the start of a sitting, a request
or two every ten seconds, and after a SIGKILL on another machine a minute of waiting.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lm.training.errors import LeaseLost, TrainingError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds between renewals, until a lease that is not renewed lapses, and between writing a lease and trusting it."""

    beat_seconds: float = 10.0
    expiry_seconds: float = 60.0
    settle_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Slot:
    """The object that holds the lease. `read` gives None where there is none."""

    name: str
    read: Callable[[], bytes | None]
    write: Callable[[bytes], None]
    remove: Callable[[], None]


class Lease:
    """A claim on a slot, for as long as `held` lasts."""

    def __init__(self, slot: Slot, timing: Timing) -> None:
        self._slot, self._timing = slot, timing
        self._holder = uuid.uuid4().hex
        self._num_beats = 0
        self._lost, self._stop = threading.Event(), threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lease, keep it, give it back."""
        self._acquire()
        self._lost, self._stop = threading.Event(), threading.Event()
        beating = threading.Thread(target=self._keep, name="lease", daemon=True)
        beating.start()
        try:
            yield
        finally:
            self._stop.set()
            beating.join()
            if self._is_mine():
                self._slot.remove()

    def check(self) -> None:
        """Raises: LeaseLost if somebody else holds the lease now. One read."""
        if self._lost.is_set() or not self._is_mine():
            raise LeaseLost(
                f"{self._slot.name} belongs to another process now, for this one did not renew it for "
                f"{self._timing.expiry_seconds:g} seconds; the run goes on there"
            )

    def _acquire(self) -> None:
        seen, since, told = None, time.monotonic(), False
        while True:
            found = self._slot.read()
            lapsed = found == seen and time.monotonic() - since > self._timing.expiry_seconds
            if found is None or lapsed or is_gone(_process_of(found)):
                self._renew()
                time.sleep(self._timing.settle_seconds)
                if self._is_mine():
                    return
                continue
            if found != seen:
                seen, since = found, time.monotonic()
            if not told:
                LOG.warning(
                    "another process trains the run, as %s says; waiting until it ends or has been silent for %g seconds",
                    self._slot.name,
                    self._timing.expiry_seconds,
                )
                told = True
            time.sleep(self._timing.beat_seconds / 4)

    def _keep(self) -> None:
        while not self._stop.wait(self._timing.beat_seconds):
            try:
                if not self._is_mine():
                    self._lost.set()
                    return
                self._renew()
            except (OSError, TrainingError) as error:
                LOG.warning("the lease could not be renewed: %s", error)

    def _renew(self) -> None:
        self._num_beats += 1
        lease = {"holder": self._holder, "beat": self._num_beats, "process": this_process()}
        self._slot.write(json.dumps(lease).encode())

    def _is_mine(self) -> bool:
        found = self._slot.read()
        return found is not None and self._holder.encode() in found


def _process_of(lease: bytes) -> str:
    try:
        return str(json.loads(lease)["process"])
    except (ValueError, KeyError, TypeError):
        return ""


def this_process() -> str:
    """Boot of the machine, space of process numbers, number and start of this process; empty where the system tells none of it."""
    started = _started(os.getpid())
    return f"{_machine()} @ {os.getpid()} {started}" if started else ""


def is_gone(process: str) -> bool:
    """Whether a process that ran on this machine has ended. False for one of another machine, of which nothing is known."""
    machine, _, number_and_start = process.partition(" @ ")
    if not number_and_start or machine != _machine():
        return False
    number, started = number_and_start.split()
    return _started(int(number)) != started


def _machine() -> str:
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a living process started, in ticks since boot; empty if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
