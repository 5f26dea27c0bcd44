"""sweep: sizes x seeds, each a training of its own, and only those that are missing.

On a worker pool each training is a run of the deployment train/gpu, so that pools, limits and other machines apply. A run whose worker
died is put back into the queue by the supervisor and goes on from its checkpoint, while the sweep waits. On a machine without workers the
trainings run side by side in child processes, one thread each.
"""

import time
from collections.abc import Sequence

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from deployments import runs
from flows import ladder, train
from flows.common import LOG, StageResult, markdown_table, open_lake, publish_markdown, settle
from flows.processes import side_by_side
from flows.settings import SweepSettings, TrainSettings
from storage.lake import Lake

DEPLOYMENT = "train/gpu"

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


@task(name="train on workers", cache_policy=NO_CACHE, persist_result=False)
def train_on_workers(todo: Sequence[TrainSettings]) -> None:
    """Start each training as a run of train/gpu and wait for all. Raises: SweepError naming those that failed."""
    sweep_id = str(flow_run.get_id())
    launched = [runs.launch(DEPLOYMENT, {"settings": t.model_dump()}, key=f"{sweep_id}/{t.model}/{t.seed}", tags=["sweep"]) for t in todo]
    ended = runs.wait([run.id for run in launched])
    failures = [
        f"  {training.model} seed {training.seed}: {run.state.message if run.state else 'no state'} (flow run {run.name})"
        for training, run in zip(todo, ended.values(), strict=True)
        if run.state is None or not run.state.is_completed()
    ]
    _raise_if_any(failures, len(todo))


@flow(name="sweep")
def sweep_flow(settings: SweepSettings = SweepSettings()) -> StageResult:
    """Train every size with every seed up to a rung; what is trained already is left alone."""
    started = time.monotonic()
    with open_lake() as lake:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        wanted = trainings(settings, ladder_id)
        todo = missing(lake, wanted)
        if todo and settings.launch == "deployment":
            train_on_workers(todo)
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
