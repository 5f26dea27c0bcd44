"""The record of what runs: it survives a round trip, and changes under a lock."""

import multiprocessing
import os
from pathlib import Path

from deployments import processes, state
from deployments.environment import Worker
from deployments.processes import Process
from deployments.state import State


def example() -> State:
    me = processes.find(os.getpid())
    assert me is not None
    worker = Worker(name="gpu-0@here", pool="gpu", limit=1, env={"CUDA_VISIBLE_DEVICES": "0"})
    return State(token="t", port=4200, kept=True, users=[me], workers=[worker], running={"server": me, "old": Process(me.pid, "before")})


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    assert state.read(tmp_path) is None
    state.write(tmp_path, example())
    assert state.read(tmp_path) == example()
    state.remove(tmp_path)
    state.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_alive_asks_the_kernel_not_the_record() -> None:
    current = example()
    assert current.alive("server")
    assert not current.alive("old")
    assert not current.alive("never started")


def test_services_are_wanted_while_kept_or_used() -> None:
    current = example()
    assert current.wanted()
    current.kept = False
    assert current.wanted()
    current.users = [current.running["old"]]
    assert not current.wanted()


def add_user(lake: Path, number: int) -> None:
    with state.locked(lake):
        current = state.read(lake)
        assert current is not None
        current.users.append(Process(number, "x"))
        state.write(lake, current)


def test_no_change_is_lost_when_many_change_the_record(tmp_path: Path) -> None:
    state.write(tmp_path, State(token="t", port=1))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(add_user, [(tmp_path, number) for number in range(20)])
    current = state.read(tmp_path)
    assert current is not None
    assert sorted(user.pid for user in current.users) == list(range(20))


def test_a_log_is_named_after_the_service_without_the_host(tmp_path: Path) -> None:
    assert state.log_file(tmp_path, "gpu-0@here") == tmp_path / "logs" / "gpu-0.log"
