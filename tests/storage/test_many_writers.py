"""Many processes on one lake: nothing lost, nothing double, whole after SIGKILL."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from storage.lake import Lake
from storage.settings import LakeSettings

COMMITTER = Path(__file__).parent / "committer.py"
ROWS_PER_OUTPUT = 7


def start(settings: LakeSettings, first: int, count: int, repeats: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, str(COMMITTER), settings.lake, str(first), str(count), str(repeats)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(COMMITTER.parents[2]), "PATH": ""})


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = process.communicate(timeout=1500)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def check_whole(settings: LakeSettings, num_outputs: int | None = None) -> int:
    """Every output of the ledger has exactly its rows, and no row is without its output."""
    with Lake.open(settings) as lake:
        count = lake.value("SELECT count(*) FROM stages")
        assert lake.value("SELECT count(DISTINCT slot) FROM stages") == count
        for table, per_output in (("tokens", 5), ("tokenizers", 2), ("rejects", 1)):
            rows = lake.rows(f"SELECT key, count(produced_by) FROM stages FULL JOIN {table} ON produced_by = key GROUP BY ALL")
            assert {row[1] for row in rows} <= {per_output}
            assert len(rows) == count
        assert sum(file.num_rows for file in lake.data_files("tokens")) == 5 * count
    assert num_outputs in (None, count)
    return int(count)


def many(settings: LakeSettings, num_processes: int, num_commits: int, repeats: int) -> list[float]:
    processes = [start(settings, first * num_commits, num_commits, repeats) for first in range(num_processes)]
    results = [finish(process) for process in processes]
    total = num_processes * num_commits
    check_whole(settings, total)
    assert sum(result["num_rows"] for result in results) == ROWS_PER_OUTPUT * total
    seconds = sorted(second for result in results for second in result["seconds"])
    assert sum(result["num_skipped"] for result in results) == len(seconds) - total > total / 4  # every repeat, whoever came first
    return seconds


def test_eight_processes_open_a_fresh_lake_and_commit(settings: LakeSettings) -> None:
    many(settings, num_processes=8, num_commits=3, repeats=6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_processes_commit_a_hundred_times(settings: LakeSettings) -> None:
    seconds = many(settings, num_processes=8, num_commits=100, repeats=160)
    print(f"median {seconds[len(seconds) // 2] * 1000:.0f} ms, max {seconds[-1] * 1000:.0f} ms")


def test_a_killed_committer_leaves_the_lake_whole(settings: LakeSettings, tmp_path: Path, committer: ModuleType) -> None:
    chance = random.Random(7)
    num_done = 0
    for _ in range(3):
        process = start(settings, 0, 1000)
        assert process.stdout is not None
        while int(process.stdout.readline()) < num_done + 1:
            pass
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        num_done = check_whole(settings)
    finish(start(settings, 0, num_done + 2))
    unbroken = LakeSettings(lake=str(tmp_path / "unbroken"))
    finish(start(unbroken, 0, num_done + 2))
    with Lake.open(settings) as lake, Lake.open(unbroken) as other:
        assert lake.digest() == other.digest()
