"""A server for as long as somebody uses it: shared by commands, gone with the last one even if that was killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments import processes, registration, services, state
from deployments.api import Api
from deployments.environment import ROOT
from deployments.registration import ServiceError
from deployments.state import State

pytestmark = pytest.mark.slow

USER = """
import sys, time
from pathlib import Path
from deployments import services

with services.server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(300)
"""


def test_a_server_is_shared_and_ends_with_its_last_user_even_if_that_is_killed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with subprocess.Popen([sys.executable, "-c", USER, str(lake)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as user:
        assert user.stdout is not None
        while not (line := user.stdout.readline()).startswith("http"):
            assert line, "the user of the server ended"
        with services.server(lake) as url:
            assert url == line.strip()
            assert Api(url).healthy()
            assert Api(url).call("GET", "/admin/version")
        current = state.read(lake)
        assert current is not None
        assert current.alive("server")
        members = services.family(current)
        os.kill(user.pid, signal.SIGKILL)
    assert processes.wait_gone(members, 30) == []
    processes.reap()
    assert state.read(lake) is None


def test_a_server_ends_when_its_lake_is_deleted(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with services.server(lake):
        current = state.read(lake)
        assert current is not None
        time.sleep(3)  # the supervisor has looked once
        members = services.family(current)
        assert len(members) >= 2
        shutil.rmtree(lake)
        assert processes.wait_gone(members, 30) == []
    processes.reap()
    assert not lake.exists()


def test_a_server_that_cannot_start_shows_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////nowhere/at/all.db")
    with pytest.raises(ServiceError, match=r"server\.log ends with:"):
        services.up(tmp_path)
    processes.reap()
    assert services.status(tmp_path) is None


def test_an_up_that_fails_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "PREFECT_FILE", tmp_path / "prefect.yaml")
    (tmp_path / "prefect.yaml").write_text("deployments: [{name: x, entrypoint: no.such_flow, work_pool: {name: cpu}}]")
    with pytest.raises(ServiceError, match=r"were refused; .*deploy\.log ends with:(.|\n)*No module named 'no'"):
        services.up(tmp_path)
    processes.reap()
    assert services.status(tmp_path) is None
    assert processes.family(f"LADDER_LAKE={tmp_path}") == []


def test_a_record_that_outlived_a_reboot_harms_nobody(tmp_path: Path) -> None:
    me = processes.find(os.getpid())
    assert me is not None
    old = processes.Process(me.pid, "before the reboot")
    state.write(tmp_path, State(token="gone", port=1, kept=True, running={"server": old, "supervisor": old}))
    found = services.status(tmp_path)
    assert found is not None
    assert not found.healthy
    assert set(found.pids.values()) == {None}
    assert services.down(tmp_path) == []
    assert services.status(tmp_path) is None


def test_nothing_to_end_and_nothing_to_show_where_nothing_was_started(tmp_path: Path) -> None:
    assert services.down(tmp_path / "no lake") == []
    assert services.status(tmp_path / "no lake") is None
    assert not (tmp_path / "no lake").exists()
