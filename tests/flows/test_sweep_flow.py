"""A sweep as a person starts it: stopped by Ctrl-C or left by its server, it goes on and ends in the same lake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments import services, state
from storage.lake import Lake
from storage.settings import LakeSettings
from tests.flows import ladder_maker
from tests.flows.conftest import Ladder

pytestmark = pytest.mark.slow

SWEEP = ["sweep", "--models", "d1w32", "--models", "d2w64", "--seeds", "0", "--batch-tokens", "256", "--launch", "here"]
RUNGS = (8192, 16384, 32768)


def made(folder: Path, api_url: str, **settings: str) -> Ladder:
    """`ladder` on a lake of its own with a ladder."""
    with Lake.open(LakeSettings(lake=str(folder / "lake"))) as lake:
        ladder_maker.write(lake, ("raw",), RUNGS)
    return Ladder(folder / "lake", api_url, {"OMP_NUM_THREADS": "1", **settings})


def started(ladder: Ladder) -> "subprocess.Popen[str]":
    """The sweep in a process group of its own, once its first rung is finished. Tests in the background of a shell ignore Ctrl-C, so it is
    told to listen."""
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from flows.cli import app; app()"
    command = [sys.executable, "-c", listening, *SWEEP]
    process = subprocess.Popen(command, env=ladder.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    while not list(ladder.lake.glob("runs/*/rung-*.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    return process


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> str:
    """Digest of the lake after tuning and a sweep that nothing stopped."""
    ladder = made(tmp_path_factory.mktemp("unbroken"), api_url)
    shown = ladder(*SWEEP)
    assert "2 of 2 to train" in shown
    assert "sweep: nothing to do, 2 up to date" in ladder(*SWEEP)
    return ladder.digest()


@pytest.mark.parametrize("everyone", [True, False])
def test_ctrl_c_leaves_a_sweep_that_goes_on(unbroken: str, tmp_path: Path, api_url: str, everyone: bool) -> None:
    """At a terminal the whole group gets the signal; `kill -INT` gives it to the sweep alone."""
    ladder = made(tmp_path, api_url)
    process = started(ladder)
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGINT)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    ladder(*SWEEP)
    assert ladder.digest() == unbroken


def test_a_lost_server_leaves_a_sweep_that_goes_on(unbroken: str, tmp_path: Path, api_url: str) -> None:
    home = tmp_path / "server"
    home.mkdir()
    with services.server(home, echo=lambda _: None) as url:
        process = started(made(tmp_path, url, PREFECT_CLIENT_MAX_RETRIES="1"))
        found = state.read(home)
        assert found is not None
        for name in ("supervisor", "server"):
            os.kill(found.running[name].pid, signal.SIGKILL)
        process.communicate(timeout=400)
    again = Ladder(tmp_path / "lake", api_url, {"OMP_NUM_THREADS": "1"})
    again(*SWEEP)
    assert again.digest() == unbroken


def test_a_tuned_rate_is_found_once_and_taken(tmp_path: Path, api_url: str) -> None:
    ladder = made(tmp_path, api_url)
    tune = ["tune", "--models", "d1w32", "--batch-tokens", "256", "--rung", "0", "--launch", "here"]
    assert "tune: 1 new" in ladder(*tune)
    assert "nothing to do" in ladder(*tune)
    (best,) = ladder("sql", "SELECT DISTINCT best_rate FROM tunings", "--format", "csv").splitlines()[1:]
    assert f"rate {float(best):g} " in ladder("sweep", "--models", "d1w32", "--batch-tokens", "256", "--dry-run")
