"""Processes that outlive the command which started them: start, recognise, end.

A pid names a process only until the kernel gives it to another one, so a process is remembered by its pid *and* its start
time, and a signal goes out only while both agree. What a service starts in turn (flow runs, torchrun, data loaders) carries
a token in its environment and so belongs to one family, whichever session or group it moved to.

The cost: start times and environments are read from /proc. Elsewhere `ps` answers, and a family is then its process groups.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BECOME = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """One process, known by pid and start time; the start time is text that only ever is compared."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return _started(self.pid) == self.started


def find(pid: int) -> Process | None:
    """The process that has this pid now, or None if none runs."""
    started = _started(pid)
    return None if started is None else Process(pid, started)


def spawn(command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path) -> Process:
    """Start a command in a session of its own, its output appended to `log`; it does not end with its parent.

    A shell that puts a command into the background lets it ignore SIGINT, and children inherit that: Prefect's worker could then not be
    asked to stop. So SIGINT is put back to its default. A line of Python changes the folder and then becomes the command (same pid).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-c", _BECOME, str(cwd), *command]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(sys.executable, arguments, env, file_actions=files, setsid=True, setsigdef=[signal.SIGINT])
    return find(pid) or Process(pid, "ended at once")


def reap() -> None:
    """Collect ended children, which otherwise stay as zombies as long as this process lives. Only for one that waits for none itself."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def family(*entries: str, groups: Iterable[int] = ()) -> list[Process]:
    """Every running process whose environment holds all these NAME=value entries, this process left out.

    Without /proc it is the members of the process groups `groups`.
    """
    pids = _pids_with(entries) if _PROC.joinpath("self/stat").exists() else _pids_in(set(groups))
    members = (find(pid) for pid in pids if pid != os.getpid())
    return [member for member in members if member is not None]


def stop(processes: Iterable[Process], *, grace_seconds: float) -> None:
    """Ask processes to end (SIGTERM), wait, and end those that did not (SIGKILL). Returns when all are gone."""
    running = [process for process in processes if process.alive()]
    _signal(running, signal.SIGTERM)
    kill(wait_gone(running, grace_seconds))


def kill(processes: Iterable[Process]) -> None:
    """End processes at once (SIGKILL) and wait until they are gone."""
    running = list(processes)
    _signal(running, signal.SIGKILL)
    wait_gone(running, 5.0)


def wait_gone(processes: Iterable[Process], seconds: float) -> list[Process]:
    """Wait until the processes have ended, at most so long; returns those that still run."""
    until = time.monotonic() + seconds
    running = list(processes)
    while (running := [process for process in running if process.alive()]) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return running


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive():
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def _started(pid: int) -> str | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None if _PROC.joinpath("self/stat").exists() else _started_by_ps(pid)
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return None if fields[0] in "ZX" else f"{fields[19]}@{_boot()}"


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]


def _started_by_ps(pid: int) -> str | None:
    found = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return None if not found or found.startswith("Z") else found.split(maxsplit=1)[1]


def _pids_with(entries: Iterable[str]) -> list[int]:
    wanted, found = {entry.encode() for entry in entries}, []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes()
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue  # another user's, or gone meanwhile
            if wanted <= set(environment.split(b"\0")):
                found.append(int(folder.name))
    return found


def _pids_in(groups: set[int]) -> list[int]:
    lines = subprocess.run(["ps", "-axo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout.splitlines()
    return [pid for pid, group in (map(int, line.split()) for line in lines) if group in groups]
