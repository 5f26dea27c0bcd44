"""Launch a run of a deployment and wait for its end, for flows that hand work to another pool.

Prefect's `run_deployment` takes Crashed for an end. Here a crashed run is started again under the same id some seconds later, so the wait
goes on through a crash and ends with it only if nobody restarted the run in time. A launch carries a key: the same key launches once, so
a sweep that is itself started again finds the trainings it had launched instead of launching them twice.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

RESTART_SECONDS = 90.0
"""A crashed run that nobody restarted for so long stays crashed; over twice recovery.SETTLED_SECONDS."""


def launch(deployment: str, parameters: Mapping[str, Any], *, key: str, name: str | None = None, tags: Sequence[str] = ()) -> FlowRun:
    """Start a run of a deployment (flow/name), or find the one that was started under this key; does not wait.

    Called in a flow, the run is shown as its subflow.
    """
    launched = run_deployment(
        deployment, parameters=dict(parameters), timeout=0, idempotency_key=key, flow_run_name=name, tags=list(tags) or None
    )
    assert isinstance(launched, FlowRun)
    return launched


def wait(run_ids: Sequence[UUID], *, poll_seconds: float = 2.0) -> dict[UUID, FlowRun]:
    """Wait until every run has ended for good; returns each with its last state, in the order given."""
    ended: dict[UUID, FlowRun] = {}
    with get_client(sync_client=True) as client:
        while waiting := [run_id for run_id in run_ids if run_id not in ended]:
            ended |= {run.id: run for run in _read(client, waiting) if _is_over(run)}
            if len(ended) < len(set(run_ids)):
                time.sleep(poll_seconds)
    return {run_id: ended[run_id] for run_id in run_ids}


def _read(client: SyncPrefectClient, run_ids: Sequence[UUID]) -> list[FlowRun]:
    return [client.read_flow_run(run_id) for run_id in run_ids]


def _is_over(run: FlowRun) -> bool:
    state = run.state
    if state is None or not state.is_final():
        return False
    return not state.is_crashed() or datetime.now(UTC) - state.timestamp > timedelta(seconds=RESTART_SECONDS)
