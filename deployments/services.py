"""Prefect on this machine: a server, a worker per pool and the supervisor that keeps both alive.

    up(lake)            server, pools, deployments, workers; runs until down(lake)
    with server(lake)   only a server, for as long as the block (or the process that entered it) lives
    status(lake)        what runs
    down(lake)          ends exactly what was started here, flow runs and their children included

Everything belongs to one lake: the database is <lake>/prefect, the logs are <lake>/logs/*.log, the record is <lake>/services.json.
The server binds to loopback and has no password; a worker on another machine reaches it through a tunnel (deployments/README.md).

The choice: plain processes under a small supervisor, not systemd or containers, so that it works the same on a laptop, in a
container and on a login node, without rights. The cost: nothing starts by itself after a reboot; `ladder up` starts it again and
continues what was interrupted.
"""

import fcntl
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments import environment, processes, registration, state
from deployments.api import Api
from deployments.processes import Process
from deployments.registration import Echo, ServiceError, tail
from deployments.state import State

DEFAULT_PORT = 4200
POOLS = ("cpu", "gpu")
_START_SECONDS = 180.0
_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What runs for a lake. A name maps to a pid, or to None if that service should run but does not."""

    url: str
    """Address of the API, for PREFECT_API_URL."""
    ui: str
    """Address to open in a browser."""
    pids: dict[str, int | None]
    healthy: bool
    """Whether the server answers."""
    kept: bool
    """Whether it runs until `down`."""


def up(lake: Path, *, pools: tuple[str, ...] = POOLS, port: int | None = None, echo: Echo = print) -> Services:
    """Start whatever does not run yet and return when the server answers and every worker is online.

    A second call reuses what runs, starts what died, and gives the server the deployments again if their code changed.
    Raises: ServiceError if a service does not start; its log is named.
    """
    lake = lake.resolve()
    with state.locked(lake), _nothing_left_on_failure(lake):
        current = ensure_server(lake, port, echo)
        current.kept, current.workers = True, environment.workers(pools)
        _stop_unwanted(current)
        registration.register(lake, current, pools, echo)
        _ensure_supervisor(current, lake)
        state.write(lake, current)
    _wait_for_workers(lake, current, echo)
    found = status(lake)
    assert found is not None
    echo(f"Prefect: {found.ui}")
    return found


@contextmanager
def server(lake: Path, *, echo: Echo = print) -> Iterator[str]:
    """A running server's API address: of one that runs already, else of one that ends with the last process that uses it.

    The process is entered in the lake's record as a user; when the last one leaves, or is killed, the supervisor ends the server.
    """
    lake = lake.resolve()
    me = processes.find(os.getpid())
    assert me is not None
    with state.locked(lake), _nothing_left_on_failure(lake):
        current = ensure_server(lake, None, echo)
        current.users = [user for user in current.users if user.alive()] + [me]
        _ensure_supervisor(current, lake)
        state.write(lake, current)
    try:
        yield current.url
    finally:
        _leave(lake, me)


def down(lake: Path, *, echo: Echo = print) -> list[Process]:
    """End what was started for this lake: supervisor, workers with their flow runs, server. Returns what was ended.

    Only processes whose pid *and* start time match the record, or that carry its token, are touched. Unfinished runs go on at the
    next `up`.
    """
    lake = lake.resolve()
    if not lake.exists():
        return []
    with state.locked(lake):
        current = state.read(lake)
        return [] if current is None else stop_all(lake, current, echo)


def status(lake: Path) -> Services | None:
    """What runs for this lake; None if nothing was started."""
    current = state.read(lake.resolve())
    if current is None:
        return None
    names = ["server", "supervisor", *(worker.name for worker in current.workers)]
    pids = {name: current.running[name].pid if current.alive(name) else None for name in names}
    ui = current.url.removesuffix("/api")
    return Services(url=current.url, ui=ui, pids=pids, healthy=Api(current.url).healthy(), kept=current.kept)


def ensure_server(lake: Path, port: int | None, echo: Echo) -> State:
    """The lake's record with a server that answers. The caller holds the lock and writes the record."""
    current = state.read(lake) or State(token=uuid.uuid4().hex, port=port or free_port())
    if current.alive("server"):
        if port is not None and port != current.port:
            raise ServiceError(f"the server of {lake} runs on port {current.port}, asked for was {port}; run `ladder down` first")
        _wait_healthy(lake, current)
        return current
    with _choosing_a_port():
        current.port = port or (current.port if _is_free(current.port) else free_port())
        echo(f"starting Prefect's server on 127.0.0.1:{current.port}")
        start_server(lake, current)
        state.write(lake, current)
        _wait_healthy(lake, current)
    return current


@contextmanager
def _choosing_a_port() -> Iterator[None]:
    """One start at a time on this machine: a server binds its port seconds after it was found free, and another lake's must not take it."""
    with Path(tempfile.gettempdir(), f"dataladder-{os.getuid()}-ports.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_server(lake: Path, current: State) -> None:
    """Start the server process and note it in `current`; does not wait for it."""
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(current.port)]
    _spawn(lake, current, "server", ["-m", "prefect", *arguments], {})


def start_worker(lake: Path, current: State, worker: environment.Worker) -> None:
    """Start a worker process and note it in `current`; does not wait for it."""
    limit = [] if worker.limit is None else ["--limit", str(worker.limit)]
    arguments = ["worker", "start", "--type", "process", "--pool", worker.pool, "--name", worker.name, "--install-policy", "never", *limit]
    _spawn(lake, current, worker.name, ["-m", "prefect", *arguments], worker.env)


def stop_all(lake: Path, current: State, echo: Echo) -> list[Process]:
    """End every process of the record, the server last, and forget the record. The caller holds the lock."""
    recorded = {name: process for name, process in current.running.items() if process.alive() and process.pid != os.getpid()}
    ended = list(dict.fromkeys([*recorded.values(), *family(current)]))
    first, last = ([recorded.pop(name)] if name in recorded else [] for name in ("supervisor", "server"))
    processes.stop(first, grace_seconds=_GRACE_SECONDS)  # it would start the others again
    processes.stop(recorded.values(), grace_seconds=_GRACE_SECONDS)  # a worker ends its runs
    serving = family(current, "server")
    processes.stop([member for member in family(current) if member not in serving], grace_seconds=_GRACE_SECONDS)
    processes.stop([*last, *family(current)], grace_seconds=_GRACE_SECONDS)
    state.remove(lake)
    echo(f"ended {len(ended)} processes")
    return ended


def family(current: State, service: str | None = None) -> list[Process]:
    """Every process that was started for this record, or the part of it that came from one service."""
    entries = [f"LADDER_SERVICES={current.token}"] + ([f"LADDER_SERVICE={service}"] if service else [])
    recorded = current.running.items()
    return processes.family(*entries, groups=[process.pid for name, process in recorded if service in (None, name)])


@contextmanager
def _nothing_left_on_failure(lake: Path) -> Iterator[None]:
    """End what a start that fails has started, unless somebody else uses it."""
    try:
        yield
    except BaseException:
        current = state.read(lake)
        if current is not None and not current.wanted():
            stop_all(lake, current, lambda _: None)
        raise


def _stop_unwanted(current: State) -> None:
    """End workers that an earlier call started and this one does not name."""
    wanted = {"server", "supervisor", *(worker.name for worker in current.workers)}
    unwanted = {name: process for name, process in current.running.items() if name not in wanted}
    processes.stop(unwanted.values(), grace_seconds=_GRACE_SECONDS)
    for name in unwanted:
        processes.stop(family(current, name), grace_seconds=_GRACE_SECONDS)
        del current.running[name]


def _ensure_supervisor(current: State, lake: Path) -> None:
    if not current.alive("supervisor"):
        _spawn(lake, current, "supervisor", ["-m", "deployments.supervisor", str(lake)], {})


def _spawn(lake: Path, current: State, name: str, arguments: list[str], env: dict[str, str]) -> None:
    settings = {**environment.settings(lake, current.port, current.token), "LADDER_SERVICE": name, **env}
    command = [sys.executable, *arguments]
    current.running[name] = processes.spawn(command, env=settings, log=state.log_file(lake, name), cwd=environment.ROOT)


def _wait_healthy(lake: Path, current: State) -> None:
    until = time.monotonic() + _START_SECONDS
    while not Api(current.url).healthy():
        if not current.alive("server") or time.monotonic() > until:
            log = state.log_file(lake, "server")
            raise ServiceError(f"Prefect's server does not answer at {current.url}; its log {log} ends with:\n{tail(log)}")
        time.sleep(0.2)


def _wait_for_workers(lake: Path, current: State, echo: Echo) -> None:
    until = time.monotonic() + _START_SECONDS
    missing = {worker.name for worker in current.workers}
    while missing:
        online = _online(current)
        latest = state.read(lake)
        alive = {name for name in missing if latest is not None and latest.alive(name)}
        for name in sorted(missing & online & alive):
            echo(f"worker {name} is online")
            missing.remove(name)
        if missing and time.monotonic() > until:
            log = state.log_file(lake, sorted(missing)[0])
            raise ServiceError(f"no sign of worker {', '.join(sorted(missing))}; the log {log} ends with:\n{tail(log)}")
        time.sleep(0.2)


def _online(current: State) -> set[str]:
    """Workers the server has heard of; none if it is too busy to say, for whoever waits asks again."""
    api = Api(current.url, timeout_seconds=15.0)
    try:
        return {name for pool in {worker.pool for worker in current.workers} for name in api.online_workers(pool)}
    except TimeoutError:
        return set()


def _leave(lake: Path, me: Process) -> None:
    if not lake.exists():
        return
    with state.locked(lake):
        current = state.read(lake)
        if current is None:
            return
        current.users = [user for user in current.users if user.alive() and user != me]
        if current.wanted():
            state.write(lake, current)
        else:
            stop_all(lake, current, lambda _: None)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(first: int = DEFAULT_PORT) -> int:
    """The first port from `first` on that nobody listens on."""
    return next(port for port in range(first, 65536) if _is_free(port))
