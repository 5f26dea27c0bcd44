"""sweep: sizes x seeds, each a training of its own, and only those that are missing.

On a worker pool each training is a run of the deployment train/gpu, so that pools, limits and other machines apply. A run whose worker
died is put back into the queue by the supervisor and goes on from its checkpoint; should nobody do that, the sweep starts another
one. On a machine without workers the trainings run side by side in child processes, one thread each.
"""

import time
from collections.abc import Sequence
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment

from flows import ladder, train
from flows.common import LOG, StageResult, markdown_table, open_lake, publish_markdown, settle
from flows.processes import side_by_side
from flows.progress import Progress
from flows.settings import SweepSettings, TrainSettings
from storage.lake import Lake

DEPLOYMENT = "train/gpu"
POLL_SECONDS = 2.0
GRACE_SECONDS = 90.0
"""A crashed run may be put back into the queue by the supervisor; after so long the sweep starts another."""

RUNS = """
    SELECT model, num_params, seed, num_tokens, train_tokens, train_flops, tokens_per_second, device FROM runs WHERE ladder_id = ?
    ORDER BY num_params, seed
"""


class SweepError(RuntimeError):
    """Some trainings did not end well; those that did are in the lake."""


def trainings(settings: SweepSettings, ladder_id: str) -> list[TrainSettings]:
    """One training per size and seed, the largest sizes first: they take longest."""
    return [
        TrainSettings(model=model, seed=seed, ladder_id=ladder_id, max_rung=settings.max_rung, batch_tokens=settings.batch_tokens)
        for model in reversed(settings.models)
        for seed in settings.seeds
    ]


def missing(lake: Lake, wanted: Sequence[TrainSettings]) -> list[TrainSettings]:
    """Trainings whose runs the lake does not have up to the rung asked for."""
    return [training for training in wanted if train.plan(lake, training).todo(lake)]


@task(name="train here", cache_policy=NO_CACHE, persist_result=False, task_run_name="train {training.model} seed {training.seed}")
def train_here(training: TrainSettings) -> StageResult:
    """One training in this process, committed when it ends."""
    with open_lake() as lake:
        planned = train.plan(lake, training)
        return settle(lake, planned, lambda todo: [train.train.fn(unit.work, unit.unit, str(training.ladder_id)) for unit in todo])


@task(name="launch", cache_policy=NO_CACHE, persist_result=False)
def train_on_workers(todo: Sequence[TrainSettings], num_retries: int) -> None:
    """Start each training as a run of train/gpu and wait for all. Raises: SweepError naming those that failed."""
    with get_client(sync_client=True) as client:
        launched = {_start(training): _Launched(training, num_retries) for training in todo}
        progress = Progress("sweep", "trainings")
        failures: list[str] = []
        while launched:
            time.sleep(POLL_SECONDS)
            for run_id in list(launched):
                _follow(client, launched, run_id, failures)
            progress(len(todo) - len(launched), len(todo))
    _raise_if_any(failures, len(todo))


class _Launched:
    """A training under way on a worker."""

    def __init__(self, training: TrainSettings, tries_left: int) -> None:
        self.training, self.tries_left = training, tries_left
        self.crashed_since: float | None = None


def _start(training: TrainSettings) -> UUID:
    run = run_deployment(DEPLOYMENT, parameters={"settings": training.model_dump()}, timeout=0, tags=["sweep"])
    assert isinstance(run, FlowRun)
    return run.id


def _follow(client: SyncPrefectClient, launched: dict[UUID, _Launched], run_id: UUID, failures: list[str]) -> None:
    """Look at one run: drop it if it ended well, start another if it crashed and nobody else did, note it if it failed."""
    entry, run = launched[run_id], client.read_flow_run(run_id)
    if run.state is None or not run.state.is_final():
        entry.crashed_since = None
    elif run.state.type == StateType.COMPLETED:
        del launched[run_id]
    elif run.state.type == StateType.CRASHED and entry.tries_left > 0:
        entry.crashed_since = entry.crashed_since or time.monotonic()
        if time.monotonic() - entry.crashed_since > GRACE_SECONDS:
            del launched[run_id]
            launched[_start(entry.training)] = _Launched(entry.training, entry.tries_left - 1)
    else:
        del launched[run_id]
        failures.append(f"  {entry.training.model} seed {entry.training.seed}: {run.state.name}, {run.state.message} (flow run {run.name})")


@flow(name="sweep")
def sweep_flow(settings: SweepSettings = SweepSettings()) -> StageResult:
    """Train every size with every seed up to a rung; what is trained already is left alone."""
    started = time.monotonic()
    with open_lake() as lake:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        wanted = trainings(settings, ladder_id)
        todo = missing(lake, wanted)
        if todo and settings.launch == "deployment":
            train_on_workers(todo, settings.num_retries)
        elif todo:
            _train_all_here(todo, settings.num_parallel)
        result = StageResult("sweep", len(wanted) - len(todo), len(todo), 0, time.monotonic() - started)
        LOG.info("%s", result)
        publish_markdown("sweep", markdown_table(lake.query(RUNS, [ladder_id])), "Runs of this ladder")
        return result


def _train_all_here(todo: Sequence[TrainSettings], num_parallel: int) -> None:
    states = list(side_by_side(train_here, [{"training": training} for training in todo], num_parallel))
    failures = [
        f"  {training.model} seed {training.seed}: {state.message}"
        for training, state in zip(todo, states, strict=True)
        if not state.is_completed()
    ]
    _raise_if_any(failures, len(todo))


def _raise_if_any(failures: Sequence[str], num_trainings: int) -> None:
    if failures:
        raise SweepError(f"{len(failures)} of {num_trainings} trainings failed; the others are in the lake:\n" + "\n".join(failures))
