"""Processes are known by pid and start time, families by their environment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import processes
from deployments.processes import Process

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)",
]


@pytest.fixture
def token(tmp_path: Path) -> Iterator[str]:
    """A family of this test's own; whatever is left of it is ended."""
    entry = f"LADDER_SERVICES={tmp_path.name}-{os.getpid()}"
    yield entry
    processes.kill(processes.family(entry))
    processes.reap()


def start(command: list[str], token: str, tmp_path: Path) -> Process:
    name, _, value = token.partition("=")
    return processes.spawn(command, env={**os.environ, name: value}, log=tmp_path / "log", cwd=tmp_path)


def wait_for(count: int, token: str) -> list[Process]:
    until = time.monotonic() + 10
    while len(found := processes.family(token)) < count and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_a_spawned_process_lives_until_it_is_stopped(token: str, tmp_path: Path) -> None:
    process = start(SLEEP, token, tmp_path)
    assert process.alive()
    processes.stop([process], grace_seconds=10)
    assert not process.alive()


def test_a_reused_pid_is_another_process_and_is_left_alone(token: str, tmp_path: Path) -> None:
    process = start(SLEEP, token, tmp_path)
    earlier = Process(process.pid, "an earlier start")
    assert not earlier.alive()
    processes.stop([earlier], grace_seconds=0)
    processes.kill([earlier])
    assert process.alive()


def test_a_process_that_ignores_the_request_is_killed_after_the_grace(token: str, tmp_path: Path) -> None:
    process = start(STUBBORN, token, tmp_path)
    until = time.monotonic() + 10
    while "deaf" not in (tmp_path / "log").read_text() and time.monotonic() < until:
        time.sleep(0.02)
    processes.stop([process], grace_seconds=0.2)
    assert not process.alive()


def test_a_zombie_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until = time.monotonic() + 10
    while processes.find(child.pid) is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert processes.find(child.pid) is None
    child.wait()


def test_a_family_holds_grandchildren_in_sessions_of_their_own_and_nobody_else(token: str, tmp_path: Path) -> None:
    bystander = subprocess.Popen(SLEEP)
    parent = start(PARENT, token, tmp_path)
    members = wait_for(2, token)
    assert parent in members
    assert len(members) == 2
    assert bystander.pid not in {member.pid for member in members}
    processes.kill([parent])
    assert len(processes.family(token)) == 1
    processes.stop(processes.family(token), grace_seconds=10)
    assert processes.family(token) == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_every_entry_must_match(token: str, tmp_path: Path) -> None:
    start(SLEEP, token, tmp_path)
    assert len(wait_for(1, token)) == 1
    assert processes.family(token, "LADDER_SERVICE=other") == []


def test_a_child_can_be_interrupted_although_its_parent_ignores_it(token: str, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(SLEEP, token, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert processes.wait_gone([process], 10) == []


def test_the_command_runs_in_its_folder_and_writes_its_log(token: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    name, _, value = token.partition("=")
    command = [sys.executable, "-c", "import os, sys; print(os.getcwd()); print('oh', file=sys.stderr)"]
    for _ in range(2):
        process = processes.spawn(command, env={**os.environ, name: value}, log=tmp_path / "logs" / "log", cwd=folder)
        processes.wait_gone([process], 10)
    assert sorted((tmp_path / "logs" / "log").read_text().split()) == sorted([str(folder), "oh"] * 2)
