"""`ladder eval --harness`: registered sets and local task files scored by lm-evaluation-harness, one unit per checkpoint and task."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import evaluation_sets
from flows.common import MissingInputError, Plan, Planned, StageResult, code_of, settle
from flows.processes import in_child, side_by_side
from flows.settings import EvaluateSettings
from lm.harness import tasks as harness_tasks
from lm.training.config import from_json
from storage.digest import digest, file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home, local_copy
from storage.work import canonical_json

INSTALL = "lm-evaluation-harness is not installed; it comes with the extra: pip install 'dataladder[harness]'"


class Checkpoint(Protocol):
    """What is needed of a checkpoint."""

    @property
    def run_id(self) -> str: ...
    @property
    def rung(self) -> int: ...
    @property
    def file(self) -> str: ...
    @property
    def weights_digest(self) -> str: ...
    @property
    def config(self) -> str: ...
    @property
    def place(self) -> dict[str, Any]: ...


def settle_harness(lake: Lake, settings: EvaluateSettings, checkpoints: Sequence[Checkpoint], ladder_id: str) -> StageResult:
    """Score what has not been scored. Raises: MissingInputError if the extra is missing or there is nothing to score."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingInputError(INSTALL)
    tasks = _tasks(lake, settings)
    if not tasks:
        raise MissingInputError("There is no task: register a set with `ladder evals add`, or name a file with --harness-tasks.")
    vocabulary = local_copy(lake, str(lake.rows(evaluation_sets.VOCABULARY, [ladder_id])[0][1]))
    code = code_of("lm.harness.run", "lm.harness.adapter")
    units = [Planned(_work(one, config, settings.dtype, code), (one, config)) for one in checkpoints for config in tasks]

    def produce(todo: Sequence[Planned[Any]]) -> list[Output]:
        calls = [{"work": p.work, "call": _call(lake, p, vocabulary, settings), "digest_of_set": p.work.inputs["task"]} for p in todo]
        return [state.result() for state in side_by_side(score, calls, settings.num_parallel)]

    return settle(lake, Plan("harness", units), produce)


def _tasks(lake: Lake, settings: EvaluateSettings) -> list[dict[str, Any]]:
    """Task files if any are named, else registered sets."""
    if settings.harness_tasks:
        return [harness_tasks.from_file(path) for path in settings.harness_tasks]
    folder = home(lake) / "evaluations" / "requests"
    found = []
    for scored in evaluation_sets.scored(lake, settings.sets, settings.max_items):
        rows = evaluation_sets.items(lake, scored).to_pylist()
        found += harness_tasks.of_items(scored.label, rows, folder)
    return found


def _work(checkpoint: Checkpoint, config: Mapping[str, Any], dtype: str, code: Mapping[str, str]) -> Work:
    files = config["dataset_kwargs"]["data_files"]
    names = [files] if isinstance(files, str) else files.values() if isinstance(files, dict) else files
    paths = [path for name in names for path in ([name] if isinstance(name, str) else name)]
    plain = {key: value for key, value in config.items() if key != "dataset_kwargs"}
    content = digest(canonical_json(plain, "a harness task"), *(file_digest(Path(path)) for path in paths))
    return Work(
        stage="harness",
        slot=f"{config['task']}/{checkpoint.run_id}/rung-{checkpoint.rung}",
        parameters={"dtype": dtype},
        code=code,
        inputs={"weights": checkpoint.weights_digest, "task": content},
    )


def _call(lake: Lake, planned: Planned[Any], vocabulary: str, settings: EvaluateSettings) -> dict[str, Any]:
    checkpoint, config = planned.unit
    return {
        "weights_file": local_copy(lake, checkpoint.file),
        "config": from_json(checkpoint.config).model,
        "tokenizer_file": vocabulary,
        "tasks": [config],
        "cache_dir": str(home(lake) / "evaluations" / "requests" / "harness"),
        "place": checkpoint.place,
        "device": settings.device,
        "dtype": settings.dtype,
    }


@task(name="harness", cache_policy=NO_CACHE, persist_result=False, task_run_name="harness {work.slot}")
def score(work: Work, call: dict[str, Any], digest_of_set: str) -> Output:
    """One task under one checkpoint, in a process that stays offline."""
    started = time.monotonic()
    place = {**call["place"], "validation_id": digest_of_set}
    tables: tuple[pa.Table, pa.Table] = in_child("lm.harness.run:evaluate", **{**call, "place": place})
    metrics, items = tables
    return Output(work=work, tables={"metrics": metrics, "item_metrics": items}, seconds=time.monotonic() - started)
