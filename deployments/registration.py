"""What the server is told: work pools, deployments, and how many trainings may run at once.

The number of trainings is not written into prefect.yaml (there it is one): it is the sum of this machine's slots (one per GPU) and of
one for each worker of pool gpu that joined from elsewhere, and it follows them. Two limits carry it: the pool's, for every run, and that of
deployment train/gpu, which makes a run that waits say so (AwaitingConcurrencySlot). A limit set by hand is therefore overwritten.
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments import environment, state
from deployments.api import Api, ApiError
from deployments.environment import Worker
from deployments.state import State

PREFECT_FILE = Path("deployments/prefect.yaml")
TRAIN = "train/gpu"
_POOL_TEXTS = {"cpu": "Everything but training; any number of runs at once.", "gpu": "Training: one run per GPU."}

Echo = Callable[[str], None]


class ServiceError(RuntimeError):
    """A service could not be started; the message names its log."""


def register(lake: Path, current: State, pools: Sequence[str], echo: Echo) -> None:
    """Make the work pools, hand over the deployments if they or the code behind them changed, and set the limits."""
    api = Api(current.url)
    for pool in pools:
        api.set_pool(pool, description=_POOL_TEXTS.get(pool, ""))
    digest = _digest(environment.ROOT)
    if current.deployed != digest:
        echo("giving the server the deployments")
        _deploy(lake, current)
        current.deployed = digest
    follow_workers(api, current.workers)


def follow_workers(api: Api, own: Sequence[Worker]) -> int:
    """Let as many trainings run at once as there are slots here and gpu workers elsewhere; returns that number."""
    here = {worker.name: worker.limit or 1 for worker in own if worker.pool == "gpu"}
    try:
        total = sum(here.values()) + len(api.online_workers("gpu") - set(here))
        if total:
            api.limit_pool("gpu", total)
            api.limit_deployment(TRAIN, total)
    except ApiError as error:
        if error.status != 404:  # a server without this pool or deployment has nothing to limit
            raise
        return 0
    return total


def tail(log: Path, num_lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-num_lines:]) if log.exists() else "(empty)"


def _deploy(lake: Path, current: State) -> None:
    env = environment.settings(lake, current.port, current.token)
    del env["LADDER_ROOT"]  # left for each worker to fill in: the repository may lie elsewhere on another machine
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)]
    done = subprocess.run(command, env=env, cwd=environment.ROOT, capture_output=True, text=True, check=False)
    log = state.log_file(lake, "deploy")
    log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise ServiceError(f"the deployments of {PREFECT_FILE} were refused; {log} ends with:\n{tail(log)}")


def _digest(root: Path) -> str:
    code = (path for package in ("flows", "lm", "storage") for path in (root / package).rglob("*.py"))
    digest = hashlib.blake2b(digest_size=16)
    for path in [root / PREFECT_FILE, *sorted(code)]:
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()
