"""pack: several trainings that share one device, each in a process of its own.

A small model leaves most of a GPU idle, so several side by side end sooner than one after the other. How many is decided where they run: as
many as were asked for, as the accelerator's memory is estimated to hold and as there are cores to feed them. Each is committed when it
ends, so a pack that is killed goes on with what is missing.
"""

import time
from collections.abc import Sequence

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from deployments import environment
from flows import train
from flows.common import LOG, StageResult, open_lake, settle
from flows.processes import in_child, side_by_side
from flows.settings import PackSettings, TrainSettings
from lm.training.cost import accelerator_bytes, fit_side_by_side, memory_bytes


class PackError(RuntimeError):
    """Some trainings did not end well; those that did are in the lake."""


@task(name="train here", cache_policy=NO_CACHE, persist_result=False, task_run_name="train {training.model} seed {training.seed}")
def train_here(training: TrainSettings) -> StageResult:
    """One training, committed when it ends."""
    with open_lake() as lake:
        planned = train.plan(lake, training)
        ladder_id, machine = str(training.ladder_id), train.machine_of(training)
        return settle(lake, planned, lambda todo: [train.train.fn(unit.work, unit.unit, ladder_id, machine) for unit in todo])


def train_side_by_side(trainings: Sequence[TrainSettings], num_parallel: int) -> list[str]:
    """Train all, so many at once; a line for each that failed. Where several share a device, each is one process."""
    if num_parallel > 1:
        trainings = [TrainSettings(**{**training.model_dump(), "num_processes": 1}) for training in trainings]
    states = list(side_by_side(train_here, [{"training": training} for training in trainings], num_parallel))
    return [
        f"  {training.model} seed {training.seed}: {state.message}"
        for training, state in zip(trainings, states, strict=True)
        if not state.is_completed()
    ]


def num_at_once(trainings: Sequence[TrainSettings], most: int) -> int:
    """How many of these trainings this machine takes at once: by its cores and, with an accelerator, by its memory."""
    most = min(most, environment.num_cpus(), len(trainings))
    device_bytes = in_child(accelerator_bytes) if environment.num_gpus() else None
    if device_bytes is None:
        return max(1, most)
    with open_lake(read_only=True) as lake:
        memories = [memory_bytes(train.config_of(lake, training, str(training.ladder_id))) for training in trainings]
    return fit_side_by_side(memories, device_bytes, most)


@flow(name="pack", flow_run_name="pack of trainings")
def pack_flow(settings: PackSettings) -> StageResult:
    """Train several small runs side by side on one device."""
    started = time.monotonic()
    num_parallel = num_at_once(settings.trainings, settings.num_parallel)
    LOG.info("  %d trainings, %d at once", len(settings.trainings), num_parallel)
    if failures := train_side_by_side(settings.trainings, num_parallel):
        raise PackError(f"{len(failures)} of {len(settings.trainings)} trainings failed:\n" + "\n".join(failures))
    return StageResult("pack", 0, len(settings.trainings), 0, time.monotonic() - started)
