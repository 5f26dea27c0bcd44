"""evaluate: loss and bits per byte of every checkpoint on the validation set, whole and by host, several checkpoints side by side."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import ladder, train
from flows.common import Plan, Planned, StageResult, code_of, markdown_table, open_lake, publish_markdown, require, settle
from flows.processes import in_child, side_by_side
from flows.progress import Progress
from flows.settings import EvaluateSettings
from lm.evaluation.batch import evaluate_each
from lm.training.config import from_json
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import local_copy

CHECKPOINTS = """
    SELECT c.run_id, c.rung, c.step, c.num_tokens, c.file, c.weights_digest, r.config
    FROM checkpoints c JOIN runs r USING (run_id) WHERE r.ladder_id = ? ORDER BY r.num_params DESC, r.seed, c.run_id, c.rung
"""

LOSSES = """
    SELECT r.model, r.seed, m.num_tokens, m.value AS loss_nats_per_token, m.stderr
    FROM metrics m JOIN runs r USING (run_id)
    WHERE r.ladder_id = ? AND m.split = 'validation' AND m.domain = 'all' AND m.name = 'loss_nats_per_token'
    ORDER BY r.num_params, r.seed, m.num_tokens
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One decayed checkpoint of a run."""

    run_id: str
    rung: int
    step: int
    num_tokens: int
    file: str
    weights_digest: str
    config: str


def plan(lake: Lake, settings: EvaluateSettings) -> Plan[Checkpoint]:
    """One unit per checkpoint of the ladder."""
    ladder_id = settings.ladder_id or ladder.newest(lake)
    validation_id = lake.value("SELECT any_value(validation_id) FROM rungs WHERE ladder_id = ?", [ladder_id])
    code = code_of("lm.evaluation.loss")
    return Plan("metrics", [_planned(Checkpoint(*row), validation_id, code) for row in lake.rows(CHECKPOINTS, [ladder_id])])


def _planned(checkpoint: Checkpoint, validation_id: str, code: Mapping[str, str]) -> Planned[Checkpoint]:
    work = Work(
        stage="metrics",
        slot=f"{checkpoint.run_id}/rung-{checkpoint.rung}",
        parameters={},
        code=code,
        inputs={"weights": checkpoint.weights_digest, "validation": validation_id},
    )
    return Planned(work, checkpoint)


@task(name="measure", cache_policy=NO_CACHE, persist_result=False, task_run_name="measure {run_id}")
def measure(run_id: str, planned: Sequence[Planned[Checkpoint]], ladder_id: str) -> list[Output]:
    """Validation metrics of the checkpoints of one run, in one process."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        calls = [_call(lake, unit, ladder_id) for unit in planned]
    tables = in_child(evaluate_each, calls, on_progress=Progress(f"evaluate {run_id[:8]}", "checkpoints"))
    seconds = (time.monotonic() - started) / len(tables)
    return [Output(work=unit.work, tables={"metrics": rows}, seconds=seconds) for unit, rows in zip(planned, tables, strict=True)]


def _call(lake: Lake, planned: Planned[Checkpoint], ladder_id: str) -> dict[str, Any]:
    checkpoint = planned.unit
    return {
        "weights_file": local_copy(lake, checkpoint.file),
        "config": from_json(checkpoint.config),
        "data": train.token_data(lake, ladder_id),
        "run_id": checkpoint.run_id,
        "rung": checkpoint.rung,
        "step": checkpoint.step,
        "num_tokens": checkpoint.num_tokens,
        "validation_id": planned.work.inputs["validation"],
        "num_threads": 1,
    }


@flow(name="evaluate")
def evaluate_flow(settings: EvaluateSettings = EvaluateSettings()) -> StageResult:
    """Measure every checkpoint of a ladder that has not been measured."""
    with open_lake() as lake:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        planned = plan(lake, settings)
        require(planned.units, "checkpoints for this ladder", "ladder sweep")

        def produce(todo: Sequence[Planned[Checkpoint]]) -> list[Output]:
            runs = groupby(todo, key=lambda unit: unit.unit.run_id)
            calls = [{"run_id": run_id, "planned": list(units), "ladder_id": ladder_id} for run_id, units in runs]
            return [output for state in side_by_side(measure, calls, settings.num_parallel) for output in state.result()]

        result = settle(lake, planned, produce)
        publish_markdown("evaluate", markdown_table(lake.query(LOSSES, [ladder_id])), "Validation loss of each run and rung")
        return result
