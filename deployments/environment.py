"""What the services run with: Prefect's settings, and which workers this machine starts.

A private machine stays private: no analytics, no promotional content, and the older of the two web interfaces, because the newer one
asks an outside host for its configuration. Everything of Prefect's lies in <lake>/prefect, so that two lakes share nothing.

Short intervals (a worker asks for work every 2 s, a flow run reports every 30 s) make a small machine feel quick; the cost is about one
request per second on an idle server. Any of the defaults below can be overridden by setting the variable before `ladder up`.
"""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds flows/ and deployments/ of this installation; flow runs start there."""

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Leases in a file: with leases in memory, a server that is started again would never free the slot of a run it forgot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_WORKER_PREFETCH_SECONDS": "2",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_CLIENT_MAX_RETRIES": "7",  # about four minutes without a server
    "PYTHONUNBUFFERED": "1",
}
_OTHERS = ("PREFECT__", "PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_UI_API_URL", "PREFECT_SERVER_UI_API_URL", "PREFECT_TEST_MODE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker to run: its name, the pool it serves, how many runs it takes at once (None: any number), and extra environment."""

    name: str
    pool: str
    limit: int | None
    env: dict[str, str]


def settings(lake: Path, port: int, token: str) -> dict[str, str]:
    """Environment of every service: this process's own, without another Prefect's addresses, plus the settings above.

    `lake` is the local folder of the lake's services; a lake on an object store keeps its own address in LADDER_LAKE.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    loopback = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    return {
        **_DEFAULTS,
        **inherited,
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "LADDER_LAKE": remote if "://" in (remote := os.environ.get("LADDER_LAKE", "")) else str(lake),
        "LADDER_ROOT": str(ROOT),
        "LADDER_SERVICES": token,
        "PREFECT_HOME": str(lake / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
    }


def num_gpus() -> int:
    """GPUs this machine may use: those CUDA_VISIBLE_DEVICES names, else those nvidia-smi lists, else none."""
    return len(_gpus())


def num_cpus() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots() -> int:
    """Trainings this machine runs at once: one per GPU; without a GPU one per core, for two runs on a thread each beat one run on two."""
    return num_gpus() or num_cpus()


def workers(pools: tuple[str, ...]) -> list[Worker]:
    """The workers of this machine: one per pool; for pool gpu one per GPU, each seeing its own GPU and taking one run at a time."""
    return [worker for pool in pools for worker in (_gpu_workers() if pool == "gpu" else [_worker(pool)])]


def _gpu_workers() -> list[Worker]:
    if not (gpus := _gpus()):
        return [_worker("gpu", limit=num_cpus(), OMP_NUM_THREADS="1")]
    return [_worker("gpu", f"-{i}", limit=1, CUDA_VISIBLE_DEVICES=gpu) for i, gpu in enumerate(gpus)]


def _worker(pool: str, suffix: str = "", *, limit: int | None = None, **env: str) -> Worker:
    return Worker(name=f"{pool}{suffix}@{socket.gethostname()}", pool=pool, limit=limit, env=env)


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
    return [str(i) for i, line in enumerate(line for line in listed if line.startswith("GPU "))]
