"""Keeps the services of one lake alive: `python -m deployments.supervisor LAKE`, started by `deployments.services`.

Once a second it compares the record with the kernel: a dead server or worker is started again, at once the first time and then with
growing pauses (up to a minute) while it keeps dying. Before a worker is started again, whatever its predecessor left behind is ended
and its unfinished runs are rescheduled. It also reschedules crashed runs, and lets the number of trainings at once follow the
number of GPU workers that joined. When nobody wants the services any more, or the lake is deleted, it ends them and itself.

The choice: polling, with the standard library only, because it must outlive everything it watches; it costs 20 MB and a few small
requests per second at most. Killed itself, it is replaced by the next `ladder up`, which finds the services still running.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deployments import processes, recovery, registration, services, state
from deployments.api import Api, ApiError
from deployments.environment import Worker
from deployments.state import State

_LOOP_SECONDS = 1.0
_SLOW_EVERY = 10
_MAX_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0


@dataclass(slots=True)
class Backoff:
    """When a service that keeps dying may be started again: at once, then after 1, 2, 4 ... 60 s; forgotten after a steady minute."""

    deaths: int = 0
    started_at: float = 0.0

    def ready(self, now: float) -> bool:
        """Whether it may be started now."""
        if now - self.started_at > _STEADY_SECONDS:
            self.deaths = 0
        pause = 0.0 if self.deaths == 0 else min(2.0 ** (self.deaths - 1), _MAX_PAUSE_SECONDS)
        return now - self.started_at >= pause

    def started(self, now: float) -> None:
        """Note a start."""
        self.deaths, self.started_at = self.deaths + 1, now


@dataclass(slots=True)
class Supervisor:
    """One supervisor of one lake; holds only what may be forgotten."""

    lake: Path
    backoffs: dict[str, Backoff] = field(default_factory=dict)
    last: State | None = None
    num_loops: int = 0
    away: bool = False
    heard_since: float = field(default_factory=time.monotonic)
    last_loop: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Loop until the services are not wanted any more, or another supervisor took over."""
        while self.step():
            time.sleep(_LOOP_SECONDS)

    def step(self) -> bool:
        """One pass; returns whether to go on."""
        processes.reap()
        if state.read(self.lake) is None:  # the lake was deleted: `down` ends this process before it forgets the record
            if self.last is not None:
                services.stop_all(self.lake, self.last, say)
            return False
        with state.locked(self.lake):
            current = state.read(self.lake)
            if current is None or current.running.get("supervisor") != processes.find(os.getpid()):
                return False
            if not current.wanted():
                services.stop_all(self.lake, current, say)
                return False
            self.keep(current)
            self.last = current
        self.attend(current)
        self.num_loops += 1
        return True

    def keep(self, current: State) -> None:
        """Start what died. Workers wait for the server, because their lost runs are rescheduled through it first."""
        if not current.alive("server"):
            self._again("server", current, partial(services.start_server, self.lake, current))
            return
        dead = [worker for worker in current.workers if not current.alive(worker.name)]
        if dead and Api(current.url).healthy():
            for worker in dead:
                self._again(worker.name, current, partial(self._restart, current, worker))

    def attend(self, current: State) -> None:
        """Reschedule crashed runs at once; now and then look for silent machines and joined workers."""
        api, now = Api(current.url), time.monotonic()
        if now - self.last_loop > 10 * _LOOP_SECONDS:
            self.heard_since = now  # this machine slept: silence says nothing until everyone had time to speak
        self.last_loop = now
        try:
            say_all(recovery.recover_crashed(api))
            if self.num_loops % _SLOW_EVERY == 0:
                if now - self.heard_since > recovery.SILENT_SECONDS:
                    say_all(recovery.recover_silent(api, [worker.name for worker in current.workers]))
                registration.follow_workers(api, current.workers)
            self.away = False
        except (OSError, ApiError, ValueError) as error:
            if not self.away:
                say(f"the server does not answer: {error}")
            self.away = True

    def _restart(self, current: State, worker: Worker) -> None:
        processes.kill(services.family(current, worker.name))  # at once, so that none of them reports a state any more
        say_all(recovery.recover_worker(Api(current.url), worker.name))
        services.start_worker(self.lake, current, worker)

    def _again(self, name: str, current: State, start: Callable[[], None]) -> None:
        backoff, now = self.backoffs.setdefault(name, Backoff()), time.monotonic()
        if not backoff.ready(now):
            return
        backoff.started(now)
        try:
            start()
        except (OSError, ApiError) as error:
            say(f"{name} could not be started: {error}")
            return
        state.write(self.lake, current)
        say(f"started {name} (pid {current.running[name].pid})")


def say(text: str) -> None:
    """Write a line with the time to the log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)


def say_all(lines: list[str]) -> None:
    """Write each line to the log."""
    for line in lines:
        say(line)


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).run()
