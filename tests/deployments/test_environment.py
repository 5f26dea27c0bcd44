"""What services run with, and which workers a machine starts."""

from pathlib import Path

import pytest

from deployments import environment


def test_another_prefects_addresses_do_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT__FLOW_RUN_ID", "PREFECT_UI_API_URL"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    settings = environment.settings(Path("/lake"), 4300, "token")
    assert "elsewhere" not in settings.values()
    assert settings["PREFECT_API_URL"] == "http://127.0.0.1:4300/api"
    assert settings["PREFECT_HOME"] == "/lake/prefect"
    assert settings["PREFECT_WORKER_QUERY_SECONDS"] == "7"
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert settings["LADDER_SERVICES"] == "token"


def test_a_lake_on_an_object_store_keeps_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_LAKE", "s3://bucket/lake")
    assert environment.settings(Path("/home"), 4300, "t")["LADDER_LAKE"] == "s3://bucket/lake"
    monkeypatch.setenv("LADDER_LAKE", "relative/lake")
    assert environment.settings(Path("/home"), 4300, "t")["LADDER_LAKE"] == "/home"


def test_one_worker_per_gpu_each_with_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    cpu, first, second = environment.workers(("cpu", "gpu"))
    assert (cpu.pool, cpu.limit) == ("cpu", None)
    assert [(worker.limit, worker.env) for worker in (first, second)] == [(1, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in ("2", "5")]
    assert len({cpu.name, first.name, second.name}) == 3
    assert environment.slots() == 2


def test_without_a_gpu_trainings_take_a_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (worker,) = environment.workers(("gpu",))
    assert worker.limit == environment.num_cpus() == environment.slots()
    assert worker.env == {"OMP_NUM_THREADS": "1"}
    assert environment.num_gpus() == 0
