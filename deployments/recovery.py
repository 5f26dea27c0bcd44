"""Flow runs whose process is gone: have them run again, a bounded number of times.

How a run is lost decides who notices:
- its process was killed: its worker reports it as Crashed, which Prefect never retries by itself (its retries are for Failed);
- its worker was killed: nobody reports anything and the run would stay Running for ever. The supervisor, before it starts the next worker
  of that name, ends what is left of the old one, and so knows that every unfinished run of that worker is lost;
- its machine went away (a worker that joined from elsewhere): its heartbeats stop.

A lost run goes back to Scheduled and is picked up by the next free worker under the same run id, so whoever waits for it keeps waiting.
That is safe because every flow asks the lake what is done already and a training resumes from its checkpoint; and because a run is only
rescheduled when nothing of it runs any more. A run that was restarted `MAX_RESTARTS` times becomes Failed: it is the cause of its own
death. The cost: Crashed is not final while a supervisor watches; who waits for a run uses `deployments.runs`.
"""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from deployments.api import Api, ApiError, Json
from deployments.registration import follow_workers

MAX_RESTARTS = 3
"""A run is started again at most so often."""
SILENT_SECONDS = 120.0
"""A run elsewhere that sent no heartbeat for so long is lost: four times PREFECT_FLOWS_HEARTBEAT_FREQUENCY."""
SETTLED_SECONDS = 40.0
"""A crashed run whose worker has not said within this time that it is done with it is restarted all the same."""
RESTARTED = "AwaitingRestart"
_WATCH_SECONDS = 5.0
_CRASHED_WITHIN = timedelta(hours=24)
_UNFINISHED = ("RUNNING", "PENDING", "CANCELLING")


def worker_of(run: Json) -> str:
    """Name of the worker that took the run; empty if none has."""
    return str(run["labels"].get("prefect.worker.name", ""))


def recover_worker(api: Api, worker: str) -> list[str]:
    """Restart the runs of a worker that is known to be dead, its children too. Returns a line per run."""
    lost = [*api.runs(*_UNFINISHED), *_crashed(api)]
    return [recover(api, run, f"worker {worker} died") for run in lost if worker_of(run) == worker]


def recover_crashed(api: Api) -> list[str]:
    """Restart the runs that were reported as crashed within a day and that their worker is done with. Returns a line per run.

    A worker reports a killed process twice, some seconds apart, and then says that it executed the run. A restart between the two reports
    would be marked as crashed by the second one while it runs.
    """
    return [recover(api, run, run["state"]["message"] or "crashed") for run in _crashed(api) if _settled(api, run)]


def recover_silent(api: Api, own: Iterable[str], silent_seconds: float = SILENT_SECONDS) -> list[str]:
    """Reschedule the runs of other machines' workers that sent no heartbeat for so long. Returns a line per run.

    Runs of this machine's own workers are left out: of those it is known for certain whether they live.
    """
    since = (datetime.now(UTC) - timedelta(seconds=silent_seconds)).isoformat()
    elsewhere = [run for run in api.runs("RUNNING") if worker_of(run) not in {"", *own} and run["state"]["timestamp"] < since]
    silent = [run for run in elsewhere if not _happened(api, "prefect.flow-run.heartbeat", run, since)]
    return [recover(api, run, f"no heartbeat for {silent_seconds:.0f} s") for run in silent]


def watch(api: Api, own: Iterable[str] = ()) -> None:
    """Restart lost runs for ever, for servers whose workers are started again by something else (containers)."""
    while True:
        try:
            lines = [*recover_crashed(api), *recover_silent(api, own)]
            follow_workers(api, [])
        except (OSError, ApiError, ValueError) as error:
            lines = [f"the server does not answer: {error}"]
        for line in lines:
            print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)
        time.sleep(_WATCH_SECONDS)


def recover(api: Api, run: Json, why: str) -> str:
    """Give one lost run its next state: scheduled again, cancelled if that was asked, or failed for good. Returns a line saying so."""
    state = _next_state(run, why, _num_restarts(api, run))
    answer = api.set_state(run["id"], state)
    return f"run {run['name']} ({why.rstrip('.')}): {state['name']}, {answer.lower()}ed"


def _next_state(run: Json, why: str, num_restarts: int) -> Json:
    if run["state_type"] == "CANCELLING":
        return {"type": "CANCELLED", "name": "Cancelled", "message": f"Cancelled; {why}"}
    if num_restarts >= MAX_RESTARTS:
        return {"type": "FAILED", "name": "Failed", "message": f"Given up after {num_restarts} restarts; last: {why}"}
    message = f"Restart {num_restarts + 1} of at most {MAX_RESTARTS}: {why}"
    return {"type": "SCHEDULED", "name": RESTARTED, "message": message, "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}


def _crashed(api: Api) -> list[Json]:
    after = (datetime.now(UTC) - _CRASHED_WITHIN).isoformat()
    return [run for run in api.runs("CRASHED", after=after) if worker_of(run)]


def _settled(api: Api, run: Json) -> bool:
    crashed_at = run["state"]["timestamp"]
    if datetime.now(UTC) - datetime.fromisoformat(crashed_at) > timedelta(seconds=SETTLED_SECONDS):
        return True
    return _happened(api, "prefect.worker.executed-flow-run", run, crashed_at)


def _num_restarts(api: Api, run: Json) -> int:
    states: list[Json] = api.call("GET", f"/flow_run_states/?flow_run_id={run['id']}")
    return sum(state["name"] == RESTARTED for state in states)


def _happened(api: Api, event: str, run: Json, since: str) -> bool:
    wanted = {
        "event": {"name": [event]},
        "any_resource": {"id": [f"prefect.flow-run.{run['id']}"]},
        "occurred": {"since": since, "until": (datetime.now(UTC) + timedelta(minutes=5)).isoformat()},
    }
    return bool(api.call("POST", "/events/filter", {"filter": wanted, "limit": 1})["events"])


if __name__ == "__main__":
    watch(Api(sys.argv[1]))
