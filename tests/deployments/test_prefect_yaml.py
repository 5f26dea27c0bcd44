"""deployments/prefect.yaml: every flow is deployed, every entry point loads, and its parameters are documented."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.environment import ROOT
from deployments.registration import PREFECT_FILE, TRAIN

DECLARED: dict[str, Any] = yaml.safe_load((ROOT / PREFECT_FILE).read_text())
DEPLOYMENTS: dict[str, dict[str, Any]] = {f"{one['entrypoint'].split('.')[1]}/{one['name']}": one for one in DECLARED["deployments"]}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_flow_has_a_deployment_and_no_two_share_a_name() -> None:
    assert len(DEPLOYMENTS) == len(DECLARED["deployments"])
    with_flow = {path.stem for path in (ROOT / "flows").glob("*.py") if f"def {path.stem}_flow(" in path.read_text()}
    assert {name.partition("/")[0] for name in DEPLOYMENTS} == with_flow


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_entry_point_loads_and_its_parameters_are_documented(name: str) -> None:
    declared = DEPLOYMENTS[name]
    flow: Flow[..., Any] = load_flow_from_entrypoint(declared["entrypoint"], use_placeholder_flow=False)
    assert flow.name == name.partition("/")[0]
    schema = parameter_schema(flow)
    assert list(schema.properties) == ["settings"]
    for model in schema.definitions.values():
        assert model.get("description"), model
        for field, content in model.get("properties", {}).items():
            assert content.get("description") or "$ref" in content, f"{name}: {field} has no help text"  # a model has its own


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_says_what_it_is_for_and_where_it_runs(name: str) -> None:
    declared = DEPLOYMENTS[name]
    assert declared["description"].endswith(".")
    assert "ladder" in declared["tags"]
    assert declared["work_pool"]["name"] == ("gpu" if name in (TRAIN, "tune/gpu", "pack/gpu") else "cpu")


def test_trainings_wait_for_a_gpu_instead_of_sharing_one() -> None:
    assert DEPLOYMENTS[TRAIN]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_the_nightly_refresh_says_in_which_time_zone_its_night_is() -> None:
    (schedule,) = DEPLOYMENTS["refresh/nightly"]["schedules"]
    assert schedule["cron"] == "0 3 * * *"
    assert schedule["active"] is True
    assert ZoneInfo(schedule["timezone"])


def test_the_repository_may_lie_elsewhere_on_another_machine() -> None:
    (step,) = DECLARED["pull"]
    assert step["prefect.deployments.steps.set_working_directory"]["directory"] == "{{ $LADDER_ROOT }}"
