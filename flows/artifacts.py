"""An artifact of a run that is replaced in place while the work goes on.

Each new state overwrites the one before, over one connection that is kept: Prefect's own functions open a new one per update (27 ms of CPU
where 1.4 will do), and store every state of a page as an event besides. It is sent in the background (flows/sender.py).
"""

from typing import Any
from uuid import UUID

from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client

from flows.common import in_run
from flows.sender import SECONDS_AT_THE_END, Sender


class LiveArtifact:
    """A progress artifact, of percents, or a markdown artifact, of texts. Outside of a flow run it does nothing."""

    def __init__(self, kind: str, description: str, key: str | None = None) -> None:
        """kind: progress or markdown. key: small letters, digits and dashes; artifacts of one key share a page with a history."""
        self._kind, self._description, self._key = kind, description, key
        self._id: UUID | None = None
        self._client: SyncPrefectClient | None = None
        self._sender: Sender[float | str] = Sender(self._send)

    def show(self, data: float | str) -> None:
        """Replace what is shown. Returns at once."""
        if in_run():
            self._sender.show(data)

    def close(self, seconds: float = SECONDS_AT_THE_END) -> bool:
        """Wait until the newest state has been sent, at most so long; whether it has."""
        return self._sender.close(seconds)

    def _send(self, data: float | str) -> None:
        if self._client is None or self._id is None:
            self._client = get_client(sync_client=True)
            made: Any = Artifact(type=self._kind, key=self._key, description=self._description, data=data).create()
            self._id = made.id
        else:
            self._client.request("PATCH", "/artifacts/{id}", path_params={"id": self._id}, json={"data": data})
