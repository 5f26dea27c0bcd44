"""Calls in child processes: results, errors, progress, and a child that is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.processes import ChildDiedError, in_child

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
PROGRAM = """
print("loaded")
if __name__ == "__main__":
    import sys
    from flows.processes import in_child
    print(in_child("statistics:median", [0, 1]), sys.modules["__main__"].__file__.endswith("program.py"))
"""


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


def test_a_function_may_be_named_and_the_program_that_starts_it_is_not_loaded_in_the_child(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], cwd=ROOT, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "loaded\n0.5 True\n"


def test_killed_child_is_named_with_its_signal() -> None:
    with pytest.raises(ChildDiedError, match=r"kill_itself.*SIGKILL"):
        in_child(kill_itself)
