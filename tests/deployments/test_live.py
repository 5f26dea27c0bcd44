"""A real server and real workers in processes of their own: what dies is replaced, and what was lost runs again.

The tests stand in the order in which they run: the first ones look, the later ones kill, the last one ends everything.
"""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from deployments import processes, recovery, registration, services

if TYPE_CHECKING:
    from conftest import Live

pytestmark = pytest.mark.slow


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def join(live: "Live", pool: str, name: str) -> processes.Process:
    """A worker as on another machine: the documented command, under no supervision."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", pool, "--name", name, "--limit", "1"]
    process = processes.spawn(command, env={**live.env, "LADDER_SERVICE": name}, log=live.lake / "logs" / f"{name}.log", cwd=live.lake)
    live.until(lambda: name in live.api.online_workers(pool), f"worker {name} online")
    return process


def test_a_second_up_reuses_what_runs(live: "Live") -> None:
    before = services.status(live.lake)
    lines: list[str] = []
    assert services.up(live.lake, echo=lines.append) == before
    assert before is not None
    assert before.healthy
    assert None not in before.pids.values()
    assert not any(line.startswith("starting") for line in lines)


def test_another_port_is_refused_while_the_server_runs(live: "Live") -> None:
    with pytest.raises(registration.ServiceError, match="ladder down"):
        services.up(live.lake, port=live.state.port + 1)


def test_a_killed_run_is_started_again_once_under_the_same_id(live: "Live") -> None:
    run_id = live.start("nap/cpu", {"name": "killed-run", "seconds": 3})
    live.until(lambda: live.diary("killed-run"), "the nap")
    kill(int(live.diary("killed-run")[0].split()[1]))
    ended = live.until_state(run_id, "COMPLETED")
    assert ended["run_count"] == 2
    assert [line.split()[0] for line in live.diary("killed-run")] == ["start", "start", "end"]


def test_a_killed_worker_is_replaced_and_its_run_is_started_again(live: "Live") -> None:
    run_id = live.start("nap/cpu", {"name": "killed-worker", "seconds": 4})
    live.until(lambda: live.diary("killed-worker"), "the nap")
    nap = int(live.diary("killed-worker")[0].split()[1])
    worker = live.state.running[live.worker("cpu")]
    kill(worker.pid)
    assert live.until_state(run_id, "COMPLETED")["run_count"] == 2
    assert [line.split()[0] for line in live.diary("killed-worker")] == ["start", "start", "end"]
    assert processes.find(nap) is None
    assert live.state.running[live.worker("cpu")] != worker
    assert live.state.alive(live.worker("cpu"))


def test_a_killed_server_is_replaced_and_runs_outlive_it(live: "Live") -> None:
    run_id = live.start("nap/cpu", {"name": "killed-server", "seconds": 5})
    live.until(lambda: live.diary("killed-server"), "the nap")
    server = live.state.running["server"]
    kill(server.pid)
    live.until(lambda: live.state.running["server"] != server and live.api.healthy(), "a new server")
    assert live.until_state(run_id, "COMPLETED")["run_count"] == 1


def test_a_killed_supervisor_is_replaced_by_the_next_up(live: "Live") -> None:
    before = live.state.running
    kill(before["supervisor"].pid)
    live.until(lambda: not before["supervisor"].alive(), "its end")
    services.up(live.lake)
    after = live.state.running
    assert {name for name in before if before[name] != after[name]} == {"supervisor"}


def test_a_machine_that_fell_silent_loses_its_run_to_another(live: "Live") -> None:
    joined = join(live, "far", "far-1")
    run_id = live.start("nap/far", {"name": "silent", "seconds": 4})
    live.until(lambda: live.diary("silent"), "the nap")
    live.until_state(run_id, "RUNNING")
    processes.kill([joined, *processes.family("LADDER_SERVICE=far-1")])
    own = [worker.name for worker in live.state.workers]
    assert recovery.recover_silent(live.api, own, silent_seconds=300) == []
    time.sleep(1.5)
    (line,) = recovery.recover_silent(live.api, own, silent_seconds=1)
    assert "AwaitingRestart, accepted" in line
    again = join(live, "far", "far-2")
    assert live.until_state(run_id, "COMPLETED")["run_count"] == 2
    processes.stop([again], grace_seconds=10)


def test_a_run_that_always_dies_is_given_up(live: "Live") -> None:
    run_id = live.start("nap/far", {"name": "doomed"})
    for _ in range(recovery.MAX_RESTARTS):
        recovery.recover(live.api, live.run(run_id), "killed")
        assert live.run(run_id)["state"]["name"] == recovery.RESTARTED
    recovery.recover(live.api, live.run(run_id), "killed")
    assert live.run(run_id)["state_type"] == "FAILED"
    assert "Given up after 3 restarts; last: killed" in live.run(run_id)["state"]["message"]


def test_trainings_at_once_follow_the_gpu_workers_that_join(live: "Live") -> None:
    here = sum(worker.limit or 1 for worker in live.state.workers if worker.pool == "gpu")
    joined = join(live, "gpu", "gpu-elsewhere")

    def limits() -> tuple[int, int]:
        train = live.api.call("GET", f"/deployments/name/{registration.TRAIN}")
        assert train["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        return live.api.call("GET", "/work_pools/gpu")["concurrency_limit"], train["global_concurrency_limit"]["limit"]

    live.until(lambda: limits() == (here + 1, here + 1), "limits that follow")
    processes.stop([joined], grace_seconds=10)


def test_the_nightly_refresh_is_scheduled_for_three_in_its_time_zone(live: "Live") -> None:
    refresh = live.api.call("GET", "/deployments/name/refresh/nightly")
    (schedule,) = refresh["schedules"]
    assert schedule["active"]
    assert not refresh["paused"]
    zone = ZoneInfo(schedule["schedule"]["timezone"])
    wanted = {"deployments": {"id": {"any_": [refresh["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    runs = live.until(lambda: live.api.call("POST", "/flow_runs/filter", wanted), "runs in the calendar")
    start = datetime.fromisoformat(runs[0]["expected_start_time"]).astimezone(zone)
    assert (start.hour, start.minute) == (3, 0)


def test_the_form_of_the_sweep_documents_its_fields(live: "Live") -> None:
    schema = live.api.call("GET", "/deployments/name/sweep/cpu")["parameter_openapi_schema"]
    fields = schema["definitions"]["SweepSettings"]["properties"]
    assert {"models", "seeds", "max_rung"} <= set(fields)
    assert all(field["description"] for field in fields.values())


def test_a_deployment_is_triggered_over_the_api_and_leaves_its_artifacts(live: "Live", pipeline: str) -> None:
    run = live.run(pipeline)
    assert run["state_type"] == "COMPLETED"
    tasks = live.api.call("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [pipeline]}}})
    assert len(tasks) >= 8
    latest = live.api.call("POST", "/artifacts/latest/filter", {"limit": 200})
    found = {artifact["key"]: artifact for artifact in latest if artifact["key"]}
    assert {"crawl", "sweep"} <= set(found)
    assert "d1w32" in found["sweep"]["data"]


def test_trainings_of_a_sweep_are_runs_of_the_gpu_pool_and_show_as_its_subflows(live: "Live", pipeline: str) -> None:
    train = live.api.call("GET", f"/deployments/name/{registration.TRAIN}")
    runs = live.api.call("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [train["id"]]}}})
    assert runs
    assert {run["work_pool_name"] for run in runs} == {"gpu"}
    assert {recovery.worker_of(run) for run in runs} == {live.worker("gpu")}
    assert all(run["parent_task_run_id"] for run in runs)


def test_a_killed_training_is_run_again_and_goes_on_from_its_checkpoint(live: "Live", pipeline: str) -> None:
    others = set(live.lake.glob("runs/*"))
    run_id = live.start(registration.TRAIN, {"settings": {"model": "d2w64", "seed": 5, "batch_tokens": 256}})
    rungs = live.until(lambda: [file for file in live.lake.glob("runs/*/rung-*.json") if file.parent not in others], "a finished rung")
    weights = rungs[0].with_suffix(".safetensors")
    first = weights.stat()
    kill(live.state.running[live.worker("gpu")].pid)
    ended = live.until_state(run_id, "COMPLETED", seconds=180)
    assert ended["run_count"] == 2
    again = weights.stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_down_ends_everything_it_started_and_nothing_else(live: "Live") -> None:
    live.start("nap/cpu", {"name": "interrupted", "seconds": 60})
    live.until(lambda: live.diary("interrupted"), "the nap")
    current = live.state
    own = services.family(current)
    assert int(live.diary("interrupted")[0].split()[1]) in {process.pid for process in own}
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)", "prefect", "worker", "start", "--pool", "cpu"]
    ) as bystander:
        try:
            ended = services.down(live.lake)
            assert bystander.poll() is None
        finally:
            bystander.kill()
    assert {process.pid for process in own} <= {process.pid for process in ended}
    assert services.family(current) == []
    assert services.status(live.lake) is None
    assert services.down(live.lake) == []
