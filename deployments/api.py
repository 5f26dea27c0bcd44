"""A few calls to a Prefect server's REST API with the standard library alone.

Importing Prefect's own client takes three to four seconds and 150 MB. The supervisor runs as long as the services do, and `status`
should answer at once; both need six endpoints. The cost: the paths stand here and must follow the server's (API version 0.8.4).
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_BUSY_SECONDS = 30.0  # its SQLite file is locked now and then, most of all just after its start


class ApiError(RuntimeError):
    """The server refused a call; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Api:
    """One Prefect server, by the address of its API, such as http://127.0.0.1:4200/api."""

    url: str
    timeout_seconds: float = 60.0
    """A server on a crowded machine takes its time; whether it lives at all is asked with less patience."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send one request and return the decoded answer (None for an empty one); a server that says it is busy is asked again.

        Raises: ApiError if the server refuses; OSError if it cannot be reached or does not answer in time.
        """
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._send(method, path, body)
            except ApiError as error:
                if error.status != 503 or time.monotonic() > until:
                    raise
            time.sleep(0.5)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with _opener().open(request, timeout=self.timeout_seconds) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read().decode(errors="replace")[:2000]
            raise ApiError(error.code, f"{method} {self.url}{path} answered {error.code}: {detail}") from None
        return json.loads(text) if text else None

    def healthy(self) -> bool:
        """Whether the server answers and its database is ready."""
        try:
            return Api(self.url, timeout_seconds=10.0)._send("GET", "/ready", None) is not None
        except (OSError, ApiError, ValueError):
            return False

    def set_pool(self, name: str, *, description: str) -> None:
        """Make a work pool of type process, or give an existing one this description."""
        try:
            self.call("PATCH", f"/work_pools/{name}", {"description": description})
        except ApiError as error:
            if error.status != 404:
                raise
            self.call("POST", "/work_pools/", {"name": name, "type": "process", "description": description})

    def limit_pool(self, name: str, limit: int) -> None:
        """Let at most so many runs of a pool run at once."""
        if self.call("GET", f"/work_pools/{name}")["concurrency_limit"] != limit:
            self.call("PATCH", f"/work_pools/{name}", {"concurrency_limit": limit})

    def limit_deployment(self, name: str, limit: int) -> None:
        """Let at most so many runs of a deployment (flow/name) run at once; further ones wait."""
        found: Json = self.call("GET", f"/deployments/name/{name}")
        if (found["global_concurrency_limit"] or {}).get("limit") != limit:
            self.call("PATCH", f"/deployments/{found['id']}", {"concurrency_limit": limit})

    def online_workers(self, pool: str) -> set[str]:
        """Names of the pool's workers that reported lately."""
        found: list[Json] = self.call("POST", f"/work_pools/{pool}/workers/filter", {"workers": {"status": {"any_": ["ONLINE"]}}})
        return {worker["name"] for worker in found}

    def runs(self, *states: str, after: str | None = None, limit: int = 200) -> list[Json]:
        """Flow runs of deployments in these state types, newest first; `after` is the earliest end time (ISO 8601)."""
        flow_runs: Json = {"state": {"type": {"any_": list(states)}}, "deployment_id": {"is_null_": False}}
        if after is not None:
            flow_runs["end_time"] = {"after_": after}
        body = {"flow_runs": flow_runs, "limit": limit, "sort": "START_TIME_DESC"}
        found: list[Json] = self.call("POST", "/flow_runs/filter", body)
        return found

    def set_state(self, run_id: str, state: Mapping[str, Any]) -> str:
        """Propose a state for a flow run; returns ACCEPT, REJECT, ABORT or WAIT."""
        answer: Json = self.call("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": False})
        return str(answer["status"])


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is reached directly, whatever HTTP_PROXY says
