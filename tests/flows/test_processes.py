"""Calls in child processes: results, errors, progress, and a child that is killed."""

import os
import signal
from collections.abc import Callable

import pytest

from flows.processes import ChildDiedError, in_child


def double(value: int) -> int:
    return 2 * value


def process_id() -> int:
    return os.getpid()


def fail(value: str) -> None:
    raise ValueError(f"cannot do {value}")


def count(limit: int, on_progress: Callable[[int, int], None]) -> int:
    for number in range(limit):
        on_progress(number + 1, limit)
    return limit


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_result_comes_from_another_process() -> None:
    assert in_child(double, 21) == 42
    assert in_child(process_id) != os.getpid()


def test_error_of_the_child_is_raised_here() -> None:
    with pytest.raises(ValueError, match="cannot do this"):
        in_child(fail, "this")


def test_progress_arrives_in_order() -> None:
    seen: list[tuple[int, int]] = []
    assert in_child(count, 3, on_progress=lambda done, total: seen.append((done, total))) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_killed_child_is_named_with_its_signal() -> None:
    with pytest.raises(ChildDiedError, match=r"kill_itself.*SIGKILL"):
        in_child(kill_itself)
