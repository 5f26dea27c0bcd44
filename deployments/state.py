"""The record of what runs for a lake: <lake>/services.json, and the lock under which it changes.

The record only says what was started; whether it still runs is asked of the kernel (pid and start time), so a record that outlived a
crash or a reboot harms nothing. It is written beside and renamed, and every change is made under an exclusive lock on
<lake>/services.lock, so that two `ladder up` at once start one server.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deployments.environment import Worker
from deployments.processes import Process


@dataclass(slots=True, kw_only=True)
class State:
    """What was started for one lake, and what is wanted."""

    token: str
    """Marks every process of this family in its environment."""
    port: int
    """Port of the server on loopback."""
    kept: bool = False
    """True after `ladder up`: runs until `ladder down`. False: runs while one of `users` lives."""
    users: list[Process] = field(default_factory=list)
    """Commands that use a server which nobody asked to keep."""
    workers: list[Worker] = field(default_factory=list)
    """Workers that should run."""
    running: dict[str, Process] = field(default_factory=dict)
    """What was started last under each name: server, supervisor, and the workers by their names."""
    deployed: str = ""
    """Digest of the deployments the server was given."""

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.port}/api"

    def alive(self, name: str) -> bool:
        """Whether the process last started under this name still runs."""
        return name in self.running and self.running[name].alive()

    def wanted(self) -> bool:
        """Whether anything should run at all."""
        return self.kept or any(user.alive() for user in self.users)


def log_file(lake: Path, name: str) -> Path:
    """Where a service writes what it has to say."""
    return lake / "logs" / f"{name.partition('@')[0]}.log"


def read(lake: Path) -> State | None:
    """The record of this lake, or None if nothing was started."""
    try:
        found: dict[str, Any] = json.loads(_file(lake).read_text())
    except FileNotFoundError:
        return None
    return State(
        token=found["token"],
        port=found["port"],
        kept=found["kept"],
        users=[Process(**user) for user in found["users"]],
        workers=[Worker(**worker) for worker in found["workers"]],
        running={name: Process(**process) for name, process in found["running"].items()},
        deployed=found["deployed"],
    )


def write(lake: Path, state: State) -> None:
    """Replace the record, whole or not at all."""
    beside = _file(lake).with_suffix(f".{os.getpid()}.part")
    beside.write_text(json.dumps(asdict(state), indent=1) + "\n")
    beside.replace(_file(lake))


def remove(lake: Path) -> None:
    """Forget the record."""
    _file(lake).unlink(missing_ok=True)


@contextmanager
def locked(lake: Path) -> Iterator[None]:
    """Hold the lake's services for oneself; waits for others. The kernel drops the lock of a process that dies."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / "services.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _file(lake: Path) -> Path:
    return lake / "services.json"
