"""Several runs of deployments at once, waited for together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.runtime import flow_run

from deployments import runs


@dataclass(frozen=True, slots=True)
class Call:
    """One run to launch: its deployment, a name for messages, a key that launches once per calling flow run, and the settings."""

    deployment: str
    name: str
    key: str
    settings: dict[str, Any]


def launch_all(calls: Sequence[Call], tag: str) -> list[str]:
    """Launch, wait for all; a line for each that did not end well."""
    caller = str(flow_run.get_id())
    launched = [runs.launch(call.deployment, {"settings": call.settings}, key=f"{caller}/{call.key}", tags=[tag]) for call in calls]
    ended = runs.wait([run.id for run in launched])
    return [
        f"  {call.name}: {run.state.message if run.state else 'no state'} (flow run {run.name})"
        for call, run in zip(calls, ended.values(), strict=True)
        if run.state is None or not run.state.is_completed()
    ]
