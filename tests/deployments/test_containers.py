"""compose.yaml and kubernetes.yaml: they parse, and name only settings and commands that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import Settings

from deployments.environment import ROOT
from storage.settings import LakeSettings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deployments/compose.yaml").read_text())
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deployments/kubernetes.yaml").read_text()))
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"] for one in OBJECTS if one["kind"] == "Deployment"}


def known() -> set[str]:
    lake = {alias for field in LakeSettings.model_fields.values() for alias in field.validation_alias.choices}  # type: ignore[union-attr]
    prefect = {name for names in _aliases(Settings) for name in names}
    return {str(name) for name in lake | prefect} | {"LADDER_ROOT", "DO_NOT_TRACK", "PREFECT_UI_API_URL"}


def _aliases(model: type[Any], prefix: str = "PREFECT_") -> list[list[str]]:
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            found += _aliases(field.annotation, f"{prefix}{name.upper()}_")
        else:
            found.append([f"{prefix}{name.upper()}"])
    return found


def test_every_setting_that_containers_get_is_one_that_something_reads() -> None:
    names = {name for service in COMPOSE["services"].values() if service.get("image") == "dataladder" for name in service["environment"]}
    (settings,) = [one["data"] for one in OBJECTS if one["kind"] == "ConfigMap"]
    assert names | set(settings) <= known(), names | set(settings) - known()
    assert "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE" in names


def test_compose_starts_things_in_order_and_binds_to_loopback() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "server", "register", "recovery", "cpu", "gpu"}
    assert services["server"]["ports"] == ["127.0.0.1:4200:4200"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["gpu"]["profiles"] == ["gpu"]
    assert "asyncpg" in services["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]


def test_the_image_holds_every_package_and_what_the_build_needs() -> None:
    dockerfile = (ROOT / "deployments/Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", dockerfile, flags=re.MULTILINE) for name in line.split()]
    assert {"flows", "lm", "storage", "deployments", "pyproject.toml", "constraints.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied), copied


@pytest.mark.parametrize("name", PODS)
def test_a_kubernetes_deployment_selects_its_own_pods(name: str) -> None:
    (spec,) = [one["spec"] for one in OBJECTS if one["kind"] == "Deployment" and one["metadata"]["name"] == name]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    for container in PODS[name]:
        assert container["command"][0] in {"prefect", "python"}
        for source in container.get("envFrom", []):
            assert {"name": "dataladder"} in source.values()


def test_a_pod_that_trains_has_one_gpu_and_takes_one_run() -> None:
    (worker,) = PODS["worker-gpu"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["command"][-2:] == ["--limit", "1"]


def test_modules_that_containers_run_exist() -> None:
    text = (ROOT / "deployments/compose.yaml").read_text() + (ROOT / "deployments/kubernetes.yaml").read_text()
    modules = set(re.findall(r"deployments\.([a-z]+)", text)) - {"yaml"}
    assert modules == {"recovery"}
    assert all(Path(ROOT / f"deployments/{module}.py").exists() for module in modules)
