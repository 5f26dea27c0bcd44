"""sweep: a table of trainings, shown with its cost before it starts; and only those that are missing.

On a worker pool each training is a run of the deployment train/gpu, or several small ones are a run of pack/gpu, so that pools, limits and
other machines apply. A run whose worker died is put back into the queue by the supervisor and goes on from its checkpoint, while the sweep
waits. On a machine without workers the trainings run side by side in child processes, one thread each. A sweep that was stopped, or whose
server is gone, is started again and trains what is missing: each run is committed when it ends, and goes on from its last state.

With `stop_early` the table is trained rung by rung. After a rung, a recipe that another beats at that size on the top rung with a
probability of 0.99 (`lm/law/decisions`, which counts the error of the form) is not trained further; nothing that is planned could turn
the ranking. Seeds are never stopped for their loss, for the mean over the others would then be too low, and repeats, schedules and
optimizers are compared with nothing. What was stopped says so in the table.
"""

import time
from collections.abc import Callable, Sequence

from prefect import flow

from flows import costs, evaluate, pack, settled
from flows.common import LOG, StageResult, markdown_table, open_lake, publish_markdown, without_heartbeats
from flows.settings import EvaluateSettings, PackSettings, SweepSettings
from flows.sweep_table import Entry, entries, ladders, missing, table
from flows.workers import Call, launch_all
from storage.lake import Lake

TRAIN, PACK = "train/gpu", "pack/gpu"

RUNS = """
    SELECT model, num_params, seed, schedule, optimizer, learning_rate, unique_tokens, state, num_tokens, train_tokens, train_flops,
           tokens_per_second, device
    FROM runs WHERE list_contains(?, ladder_id) ORDER BY num_params, seed, run_id
"""


class SweepError(RuntimeError):
    """Some trainings did not end well; those that did are in the lake."""


def costs_of(lake: Lake, settings: SweepSettings) -> costs.Table:
    """The table, with what is left of each training."""
    return table(entries(lake, settings), settings)


def train_on_workers(todo: Sequence[Entry], per_device: int) -> None:
    """Start each training as a run of train/gpu, or packs of them as runs of pack/gpu, and wait for all. Raises: SweepError."""
    packs = [todo[i : i + per_device] for i in range(0, len(todo), per_device)]
    _raise_if_any(launch_all([_call(found, per_device) for found in packs], "sweep"), len(packs))


def _call(found: Sequence[Entry], per_device: int) -> Call:
    if len(found) == 1:
        return Call(TRAIN, found[0].row.name, found[0].key, found[0].training.model_dump())
    settings = PackSettings(trainings=[one.training for one in found], num_parallel=per_device)
    return Call(PACK, ", ".join(one.row.name for one in found), "+".join(one.key for one in found), settings.model_dump())


@flow(name="sweep")
def sweep_flow(settings: SweepSettings = SweepSettings()) -> StageResult:
    """Train every size with every seed up to a rung; what is trained already is left alone."""
    started = time.monotonic()
    with open_lake() as lake:
        found = entries(lake, settings)
        costs.show("sweep", table(found, settings))
        todo = [entry for entry in found if entry.is_open]
        if todo and settings.stop_early:
            ended = train_rung_by_rung(lake, found, lambda wave: _train(wave, settings), lambda ladder_id: _measure(ladder_id, settings))
            costs.show("sweep-end", table(ended, settings))
        elif todo:
            _train(todo, settings)
        result = StageResult("sweep", sum(entry.row.status == costs.DONE for entry in found), len(todo), 0, time.monotonic() - started)
        LOG.info("%s", result)
        publish_markdown("sweep", markdown_table(lake.query(RUNS, [[ladder_id for _, ladder_id in ladders(lake, settings)]])), "Runs")
        return result


def _train(todo: Sequence[Entry], settings: SweepSettings) -> None:
    """Train all of these, each up to its last rung."""
    if settings.launch == "deployment":
        train_on_workers(todo, settings.per_device)
        return
    trainings = [entry.training for entry in todo]
    failures = pack.train_side_by_side(trainings, pack.num_at_once(trainings, settings.num_parallel))
    _raise_if_any(failures, len(todo))


def _measure(ladder_id: str, settings: SweepSettings) -> None:
    """Losses on validation of what a ladder's runs have reached."""
    with without_heartbeats():
        evaluate.evaluate_flow(EvaluateSettings(ladder_id=ladder_id, num_parallel=settings.num_parallel, tasks=False))


def train_rung_by_rung(
    lake: Lake, found: Sequence[Entry], train: Callable[[Sequence[Entry]], None], measure: Callable[[str], None]
) -> list[Entry]:
    """One rung of everything after the other: train, measure each ladder, and leave what is settled out of the rungs that follow.

    Returns the table at the end, with the reasons.
    """
    stopped: dict[str, str] = {}
    for rung in range(max(len(entry.rungs_tokens) for entry in found)):
        wave = [entry.up_to(rung) for entry in found if entry.is_open and entry.key not in stopped and rung < len(entry.rungs_tokens)]
        if todo := missing(lake, wave):
            train(todo)
        for ladder_id in sorted({str(entry.training.ladder_id) for entry in wave}):
            measure(ladder_id)
        stopped |= {key: reason for key, reason in settled.reasons(lake, found).items() if key not in stopped}
    return [entry.shown_as(stopped.get(entry.key, costs.DONE)) if entry.is_open else entry for entry in found]


def _raise_if_any(failures: Sequence[str], num_launched: int) -> None:
    if failures:
        raise SweepError(f"{len(failures)} of {num_launched} trainings failed; the others are in the lake:\n" + "\n".join(failures))
