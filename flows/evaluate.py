"""evaluate: every checkpoint on the validation set and on evaluation sets, runs side by side.

Three plans, one after the other. `metrics` reads validation, per checkpoint. `tasks` scores one evaluation set under one checkpoint, item
by item, and keeps what it has when it is killed. `task_metrics` makes metrics of these scores, with and without the items that the
ladder's training data holds; it is made anew when the verdict over contamination changes, which costs no model. A set that cannot be
scored, such as questions without choices, is left out and named.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import evaluation_sets, harness, ladder, train
from flows.common import LOG, Plan, Planned, StageResult, code_of, markdown_table, open_lake, publish_markdown, require, settle, stage_keys
from flows.evaluation_sets import ScoredSet
from flows.processes import in_child, side_by_side
from flows.progress import Progress
from flows.settings import EvaluateSettings
from lm.training.config import from_json
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home, local_copy, output_dir

CHECKPOINTS = """
    SELECT c.run_id, c.rung, c.step, c.num_tokens, c.file, c.weights_digest, r.config
    FROM checkpoints c JOIN runs r USING (run_id)
    WHERE r.ladder_id = $ladder_id AND ($rung::INTEGER IS NULL OR c.rung = $rung)
        AND (len($runs) = 0 OR list_contains($runs, r.model) OR len(list_filter($runs, lambda name: starts_with(c.run_id, name))) > 0)
    ORDER BY r.num_params DESC, r.seed, c.run_id, c.rung
"""

LOSSES = """
    SELECT r.model, r.seed, m.num_tokens, m.value AS loss_nats_per_token, m.stderr
    FROM metrics m JOIN runs r USING (run_id)
    WHERE r.ladder_id = ? AND m.split = 'validation' AND m.domain = 'all' AND m.name = 'loss_nats_per_token'
    ORDER BY r.num_params, r.seed, m.num_tokens
"""

RESULTS = """
    SELECT r.model, r.seed, m.rung, m.num_tokens, m.split, m.domain, m.name, m.value, m.stderr, m.num_items
    FROM metrics m JOIN runs r USING (run_id)
    WHERE r.ladder_id = $ladder_id AND m.split IN ('task', 'harness') AND m.name <> 'truncated' AND NOT contains(m.domain, '/')
        AND ($all OR m.rung = (SELECT max(rung) FROM metrics AS n WHERE n.run_id = m.run_id AND n.split = m.split))
    ORDER BY m.split DESC, m.domain, m.name, r.num_params, r.seed, m.rung
"""
"""Scores of evaluation sets under the checkpoints of a ladder, of the largest rung of each run or of all."""

LABELS = """
    SELECT id, arg_min(language, (crawl, capture_id)) AS language, min(crawl) AS source FROM documents
    SEMI JOIN (SELECT id FROM validation WHERE validation_id = ?) USING (id) GROUP BY id ORDER BY id
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

    @property
    def place(self) -> dict[str, Any]:
        """Columns that its metrics have in common."""
        return {"run_id": self.run_id, "rung": self.rung, "step": self.step, "num_tokens": self.num_tokens}


@dataclass(frozen=True, slots=True)
class Scoring:
    """One evaluation set under one checkpoint."""

    checkpoint: Checkpoint
    scored: ScoredSet


@dataclass(frozen=True, slots=True)
class Summary:
    """The checkpoints of one run with scores of one evaluation set, and the items that the training data holds, if that is known."""

    checkpoints: Sequence[Checkpoint]
    scored: ScoredSet
    known: frozenset[str] | None


def checkpoints(lake: Lake, settings: EvaluateSettings) -> list[Checkpoint]:
    """The checkpoints asked for, the largest models first."""
    asked = {"ladder_id": settings.ladder_id or ladder.newest(lake), "rung": settings.rung, "runs": settings.runs}
    return [Checkpoint(*row) for row in lake.rows(CHECKPOINTS, asked)]


def plan(lake: Lake, settings: EvaluateSettings) -> Plan[Checkpoint]:
    """Validation: one unit per checkpoint of the ladder."""
    if settings.harness or not settings.validation:
        return Plan("metrics", [])
    ladder_id = settings.ladder_id or ladder.newest(lake)
    validation_id = lake.value("SELECT any_value(validation_id) FROM rungs WHERE ladder_id = ?", [ladder_id])
    code = code_of("lm.evaluation.loss")
    return Plan("metrics", [_planned(checkpoint, validation_id, code) for checkpoint in checkpoints(lake, settings)])


def _planned(checkpoint: Checkpoint, validation_id: str, code: Mapping[str, str]) -> Planned[Checkpoint]:
    work = Work(
        stage="metrics",
        slot=f"{checkpoint.run_id}/rung-{checkpoint.rung}",
        parameters={},
        code=code,
        inputs={"weights": checkpoint.weights_digest, "validation": validation_id},
    )
    return Planned(work, checkpoint)


def plan_tasks(lake: Lake, settings: EvaluateSettings) -> Plan[Scoring]:
    """Scores: one unit per checkpoint and evaluation set; those of sets that are gone go."""
    live = set(evaluation_sets.keys(lake))

    def is_gone(slot: str) -> bool:
        return slot.partition("/")[0].partition("[")[0] not in live

    if settings.harness or not settings.tasks:
        return Plan("tasks", [], owns=is_gone)
    code = code_of("lm.evaluation.tasks", "lm.evaluation.requests")
    asked = evaluation_sets.scored(lake, settings.sets, settings.max_items)
    units = [
        Planned(_scoring_work(one, scored, settings.dtype, code), Scoring(one, scored))
        for one in checkpoints(lake, settings)
        for scored in asked
    ]
    return Plan("tasks", units, owns=is_gone)


def _scoring_work(checkpoint: Checkpoint, scored: ScoredSet, dtype: str, code: Mapping[str, str]) -> Work:
    return Work(
        stage="tasks",
        slot=f"{scored.label}/{checkpoint.run_id}/rung-{checkpoint.rung}",
        parameters={"dtype": dtype, "max_items": scored.max_items},
        code=code,
        inputs={"weights": checkpoint.weights_digest, f"evaluation_sets/{scored.name}": scored.key},
    )


def plan_task_metrics(lake: Lake, settings: EvaluateSettings) -> Plan[Summary]:
    """Metrics: one unit per run and evaluation set, over all its checkpoints that have scores."""
    live = set(evaluation_sets.keys(lake))
    ladder_id = settings.ladder_id or ladder.newest(lake)
    keys = dict(lake.rows("SELECT slot, key FROM stages WHERE stage = 'tasks'"))
    code = code_of("lm.evaluation.aggregate")
    asked = [] if settings.harness or not settings.tasks else evaluation_sets.scored(lake, settings.sets, settings.max_items)
    every = [Checkpoint(*row) for row in lake.rows(CHECKPOINTS, {"ladder_id": ladder_id, "rung": None, "runs": settings.runs})]
    units = []
    for scored in asked:
        known = evaluation_sets.known(lake, ladder_id, scored.name)
        for run_id, of_run in groupby(every, key=lambda checkpoint: checkpoint.run_id):
            done = {f"tasks/{slot}": (keys[slot], one) for one in of_run if (slot := f"{scored.label}/{run_id}/rung-{one.rung}") in keys}
            inputs = {name: key for name, (key, _) in done.items()} | {"known": evaluation_sets.digest_of(known)}
            work = Work(stage="task_metrics", slot=f"{scored.label}/{run_id}", parameters={}, code=code, inputs=inputs)
            if done:
                units.append(Planned(work, Summary([one for _, one in done.values()], scored, known)))
    return Plan("task_metrics", units, owns=lambda slot: slot.partition("/")[0].partition("[")[0] not in live)


@task(name="measure", cache_policy=NO_CACHE, persist_result=False, task_run_name="measure {run_id}")
def measure(run_id: str, planned: Sequence[Planned[Checkpoint]], ladder_id: str, device: str | None) -> list[Output]:
    """Validation metrics of the checkpoints of one run, in one process."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        labels = lake.query(LABELS, [planned[0].work.inputs["validation"]])
        calls = [_call(lake, unit, ladder_id) | {"labels": labels, "device": device} for unit in planned]
    answers: list[tuple[pa.Table, pa.Table]] = in_child(
        "lm.evaluation.batch:evaluate_each", calls, on_progress=Progress(f"evaluate {run_id[:8]}", "checkpoints")
    )
    seconds = (time.monotonic() - started) / len(answers)
    tables = [{"metrics": metrics, "item_metrics": items} for metrics, items in answers]
    return [Output(work=unit.work, tables=rows, seconds=seconds) for unit, rows in zip(planned, tables, strict=True)]


def _call(lake: Lake, planned: Planned[Checkpoint], ladder_id: str) -> dict[str, Any]:
    checkpoint = planned.unit
    return {
        "weights_file": local_copy(lake, checkpoint.file),
        "config": from_json(checkpoint.config),
        "data": train.token_data(lake, ladder_id),
        "place": {**checkpoint.place, "validation_id": planned.work.inputs["validation"]},
        "num_threads": 1,
    }


@task(name="score", cache_policy=NO_CACHE, persist_result=False, task_run_name="score {run_id}")
def score(run_id: str, planned: Sequence[Planned[Scoring]], ladder_id: str, device: str | None) -> list[Output]:
    """Scores of evaluation sets under the checkpoints of one run, in one process that goes on where an earlier one ended."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        calls = [_scoring_call(lake, unit, ladder_id) | {"device": device} for unit in planned]
        sizes = [unit.unit.scored.num_items for unit in planned]
        tables: list[pa.Table] = in_child(
            "lm.evaluation.batch:score_each", calls, sizes, on_progress=Progress(f"score {run_id[:8]}", "items")
        )
        seconds = (time.monotonic() - started) / len(tables)
        outputs = []
        for unit, rows in zip(planned, tables, strict=True):
            with output_dir(lake, unit.work) as out:
                outputs.append(Output(work=unit.work, files={"item_metrics": [out.write("item_metrics", rows)]}, seconds=seconds))
    return outputs


def _scoring_call(lake: Lake, planned: Planned[Scoring], ladder_id: str) -> dict[str, Any]:
    checkpoint, scored = planned.unit.checkpoint, planned.unit.scored
    return {
        "weights_file": local_copy(lake, checkpoint.file),
        "config": from_json(checkpoint.config).model,
        "requests_file": evaluation_sets.requests_file(lake, scored, ladder_id),
        "work_dir": str(home(lake) / "evaluations" / planned.work.key),
        "run_id": checkpoint.run_id,
        "rung": checkpoint.rung,
        "evaluation_set": scored.label,
        "dtype": planned.work.parameters["dtype"],
    }


@task(name="summarize", cache_policy=NO_CACHE, persist_result=False, task_run_name="summarize {work.slot}")
def summarize(work: Work, summary: Summary) -> Output:
    """Metrics of one run on one evaluation set, with and without known items."""
    from lm.evaluation.aggregate import metrics_of

    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        tables = []
        for checkpoint in summary.checkpoints:
            key = work.inputs[f"tasks/{summary.scored.label}/{checkpoint.run_id}/rung-{checkpoint.rung}"]
            items = lake.query("SELECT * EXCLUDE produced_by FROM item_metrics WHERE produced_by = ?", [key])
            place = {**checkpoint.place, "validation_id": summary.scored.key}
            tables.append(metrics_of(items, place, summary.known))
    return Output(work=work, tables={"metrics": pa.concat_tables(tables)}, seconds=time.monotonic() - started)


@flow(name="evaluate")
def evaluate_flow(settings: EvaluateSettings = EvaluateSettings()) -> list[StageResult]:
    """Measure every checkpoint of a ladder that has not been measured, on validation and on evaluation sets."""
    with open_lake() as lake:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        require(checkpoints(lake, settings), "checkpoints for this ladder", "ladder sweep")
        if settings.harness:
            return [harness.settle_harness(lake, settings, checkpoints(lake, settings), ladder_id)]
        results = [settle(lake, plan(lake, settings), lambda todo: _validated(todo, ladder_id, settings))]
        publish_markdown("evaluate", markdown_table(lake.query(LOSSES, [ladder_id])), "Validation loss of each run and rung")
        if settings.tasks and (evaluation_sets.keys(lake) or stage_keys(lake, "tasks")):
            results += _settle_tasks(lake, settings, ladder_id)
        return results


def _validated(todo: Sequence[Planned[Checkpoint]], ladder_id: str, settings: EvaluateSettings) -> list[Output]:
    runs = groupby(todo, key=lambda unit: unit.unit.run_id)
    calls = [{"run_id": run_id, "planned": list(units), "ladder_id": ladder_id, "device": settings.device} for run_id, units in runs]
    return [output for state in side_by_side(measure, calls, settings.num_parallel) for output in state.result()]


def _settle_tasks(lake: Lake, settings: EvaluateSettings, ladder_id: str) -> list[StageResult]:
    for name, reason in evaluation_sets.not_scored(lake, settings.sets):
        LOG.info("  %s is not scored: %s", name, reason)

    def produce(todo: Sequence[Planned[Scoring]]) -> list[Output]:
        ordered = groupby(todo, key=lambda unit: unit.unit.checkpoint.run_id)
        calls = [{"run_id": run_id, "planned": list(units), "ladder_id": ladder_id, "device": settings.device} for run_id, units in ordered]
        return [output for state in side_by_side(score, calls, settings.num_parallel) for output in state.result()]

    scores = settle(lake, plan_tasks(lake, settings), produce)
    evaluation_sets.forget_chunks(lake)
    known = evaluation_sets.settle_known(lake, ladder_id)
    made = settle(lake, plan_task_metrics(lake, settings), lambda todo: [summarize(unit.work, unit.unit) for unit in todo])
    rows = lake.query(RESULTS, {"ladder_id": ladder_id, "all": False})
    if rows.num_rows:
        publish_markdown("tasks", markdown_table(rows), "Evaluation sets under each run's largest rung")
    return [scores, known, made]
