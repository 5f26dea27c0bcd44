"""A running server with its workers, shared by the tests that need one."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments import environment, processes, services, state
from deployments.api import Api, Json
from deployments.state import State

NAP = '''
import os, time
from pathlib import Path
from prefect import flow

@flow(name="nap")
def nap_flow(name: str, seconds: float = 1.0) -> None:
    """Sleep, and leave a line at the start and at the end."""
    diary = Path(os.environ["LADDER_LAKE"], f"{name}.txt")
    with diary.open("a") as file:
        file.write(f"start {os.getpid()}\\n")
    time.sleep(seconds)
    with diary.open("a") as file:
        file.write("end\\n")
'''
NAP_YAML = {
    "name": "nap",
    "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": ""}}],
    "deployments": [
        {"name": name, "entrypoint": "nap.py:nap_flow", "work_pool": {"name": pool}} for name, pool in {"cpu": "cpu", "far": "far"}.items()
    ],
}

JOINED = f"joined-{os.getpid()}"
"""Marks the processes that tests start beside the services."""


@dataclass(frozen=True, slots=True)
class Live:
    """Services that run for a lake of the tests' own, and what tests ask of them."""

    lake: Path
    api: Api

    @staticmethod
    def until(done: Callable[[], Any], what: str, seconds: float = 150.0) -> Any:
        """Wait until `done()` is true; returns what it returned."""
        end = time.monotonic() + seconds
        while not (found := done()):
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.2)
        return found

    @property
    def state(self) -> State:
        """The record, read anew."""
        found = state.read(self.lake)
        assert found is not None
        return found

    @property
    def env(self) -> dict[str, str]:
        """Environment of a command that talks to the server."""
        return environment.settings(self.lake, self.state.port, JOINED)

    def worker(self, pool: str) -> str:
        """Name of this machine's worker of a pool."""
        return next(worker.name for worker in self.state.workers if worker.pool == pool)

    def start(self, deployment: str, parameters: Json) -> str:
        """Trigger a deployment over the API; returns the run's id."""
        found = self.api.call("GET", f"/deployments/name/{deployment}")
        return str(self.api.call("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def run(self, run_id: str) -> Json:
        """A flow run as the server knows it."""
        found: Json = self.api.call("GET", f"/flow_runs/{run_id}")
        return found

    def until_state(self, run_id: str, wanted: str, seconds: float = 150.0) -> Json:
        """Wait for a state type. A run that failed meanwhile ends the wait with what it said."""

        def arrived() -> Json | None:
            run = self.run(run_id)
            assert run["state_type"] != "FAILED" or wanted == "FAILED", f"{run['name']}: {run['state']['message']}"
            return run if run["state_type"] == wanted else None

        run: Json = self.until(arrived, f"run {run_id} {wanted}", seconds)
        return run

    def diary(self, name: str) -> list[str]:
        """What the naps of this name left."""
        file = self.lake / f"{name}.txt"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Everything `ladder up` starts, plus a flow that naps; ended after the tests whatever they did."""
    lake = tmp_path_factory.mktemp("live") / "lake"
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        found = services.up(lake, port=_free_port())
        running = Live(lake, Api(found.url, timeout_seconds=120))
        _deploy_naps(running)
        yield running
    finally:
        services.down(lake)
        processes.kill(processes.family(f"LADDER_SERVICES={JOINED}"))
        processes.reap()
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@pytest.fixture(scope="session")
def pipeline(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a run of pipeline/all over some small documents: the lake then holds a ladder, runs and a law."""
    file = tmp_path_factory.mktemp("source") / "pages.jsonl"
    file.write_text("".join(json.dumps({"url": f"https://host{i % 3}.example/{i}", "text": _text(i)}) + "\n" for i in range(300)))
    settings = {
        "crawl": {"source": f"jsonl:{file}"},
        "recipe": {"recipes": ["raw"]},
        "tokens": {"vocab_size": 320, "validation_bytes": 30_000, "validation_recipe": "raw"},
        "ladder": {"recipe": "raw", "first_rung_tokens": 24_576, "num_rungs": 4, "factor": 1.5},
        "sweep": {"models": ["d1w32"], "seeds": [0], "batch_tokens": 512},
        "law": {"num_bootstrap": 20},
    }
    run_id = live.start("pipeline/all", {"settings": settings})
    live.until_state(run_id, "COMPLETED", seconds=900)
    return run_id


def _text(number: int) -> str:
    """About 800 bytes of sentences, another text for each number."""
    words = random.Random(number)
    stock = re.findall(r"[a-z]+", str(services.__doc__))
    return " ".join(" ".join(words.choices(stock, k=words.randint(6, 14))).capitalize() + "." for _ in range(13))


def _deploy_naps(live: Live) -> None:
    folder = live.lake.parent / "naps"
    folder.mkdir()
    live.api.set_pool("far", description="Another machine.")
    (folder / "nap.py").write_text(NAP)
    text = json.dumps(NAP_YAML).replace('"directory": ""', f'"directory": "{folder}"')  # JSON is YAML
    (folder / "prefect.yaml").write_text(text)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=live.env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    return services.free_port(43000 + os.getpid() % 1000)
