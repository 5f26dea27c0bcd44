"""Small commits from many processes: the lake beside one DuckDB file that is opened, written and closed.

    python benchmarks/lake_commits.py [PROCESSES] [COMMITS]

Each process makes so many one-row commits, each a stage output of its own. Prints, for both, commits kept and latency, then one line of
JSON; ratio > 1 means that the lake's median commit is faster. The peer retries on its lock, as one must with a single file.
"""

import json
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.settings import LakeSettings


def commit_to_lake(folder: str, process: int, num_commits: int) -> list[float]:
    """Seconds of each commit."""
    seconds = []
    with Lake.open(LakeSettings(lake=folder)) as lake:
        for number in range(num_commits):
            row = pa.table({"recipe": [f"r{process}-{number}"], "definition": ["{}"], "recipe_digest": ["0"]})
            work = Work(stage="recipe", slot=f"{process}-{number}", parameters={}, code={}, inputs={})
            started = time.perf_counter()
            ledger.commit(lake, [Output(work=work, tables={"recipes": row})])
            seconds.append(time.perf_counter() - started)
    return seconds


def commit_to_file(file: str, process: int, num_commits: int) -> list[float]:
    """Seconds of each insert into one DuckDB file, retried until the file is free."""
    seconds = []
    for number in range(num_commits):
        started = time.perf_counter()
        while True:
            try:
                with duckdb.connect(file) as connection:
                    connection.execute("INSERT INTO recipes VALUES (?)", [f"r{process}-{number}"])
                break
            except duckdb.IOException:
                time.sleep(0.01)
        seconds.append(time.perf_counter() - started)
    return seconds


def run(function: Any, place: str, processes: int, num_commits: int) -> list[float]:
    """Latencies over all processes."""
    with get_context("spawn").Pool(processes) as pool:
        return [s for found in pool.starmap(function, [(place, process, num_commits) for process in range(processes)]) for s in found]


def main(processes: int = 8, num_commits: int = 20) -> None:
    """Run both and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        lake_folder, file = str(Path(folder) / "lake"), str(Path(folder) / "peer.duckdb")
        with Lake.open(LakeSettings(lake=lake_folder)):
            pass
        with duckdb.connect(file) as connection:
            connection.execute("CREATE TABLE recipes (recipe VARCHAR)")
        ours, peer = (run(f, place, processes, num_commits) for f, place in ((commit_to_lake, lake_folder), (commit_to_file, file)))
        with Lake.open(LakeSettings(lake=lake_folder), read_only=True) as lake:
            kept = lake.value("SELECT count(DISTINCT recipe) FROM recipes")
    figures: dict[str, Any] = {"processes": processes, "commits": processes * num_commits, "kept": kept}
    for name, seconds in (("lake", ours), ("file", peer)):
        figures |= {f"{name}_median_ms": round(1e3 * statistics.median(seconds), 1), f"{name}_max_ms": round(1e3 * max(seconds), 1)}
    figures["ratio"] = round(figures["file_median_ms"] / figures["lake_median_ms"], 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
