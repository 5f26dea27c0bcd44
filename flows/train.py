"""train: one model, one seed, one ladder, on the machine where a worker of the gpu pool runs it.

A trunk at constant learning rate with a decayed branch per rung. A training that was killed goes on from its last checkpoint, and one that
ended at a smaller rung goes on from there; the lake shows a run only when the rungs that were asked for are complete.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import ladder
from flows.common import LOG, MissingInputError, Plan, Planned, StageResult, open_lake, publish_markdown, settle
from flows.live import LiveRun
from flows.processes import in_child
from flows.rates import Tuning, tuned_rate, tunings
from flows.settings import TrainSettings
from flows.torchrun import processes_for, train_together
from lm.models.config import preset
from lm.tokens.selection import TokenData
from lm.training import TrainConfig, TrunkResult, defaults, run_id
from lm.training.config import TRAINER_VERSION, plan_rungs
from lm.training.errors import ConfigError, TrainingDiverged
from lm.training.machine import HERE, Machine
from storage import files
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import OutputDir, home, local_copy, output_dir, relative
from storage.settings import is_remote

TRAIN = "lm.training.trainer:train_trunk"
"""By its name, for only the child that trains needs torch."""
SHORTEST_RUNG_IN_WARMUPS = 4
"""The warm-up takes at most a quarter of the smallest rung, so that it has ended before any branch begins."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What a training must know of its ladder."""

    ladder_id: str
    vocab_size: int
    rungs_tokens: list[int]
    """Training tokens of every rung, smallest first."""


def plan(lake: Lake, settings: TrainSettings) -> Plan[TrainConfig]:
    """One unit: the run, up to the rung asked for or, if it has been trained further, to that one."""
    known = ladder_of(lake, settings.ladder_id or ladder.newest(lake))
    config = configure(settings, known, tunings(lake))
    reached = lake.value("SELECT max(num_tokens) FROM checkpoints WHERE run_id = ?", [run_id(config, known.ladder_id)]) or 0
    return Plan("runs", [planned(config, known, settings.max_rung, reached)])


def planned(config: TrainConfig, known: Ladder, max_rung: int | None, reached_tokens: int) -> Planned[TrainConfig]:
    """The unit of a run. Raises: ConfigError for rungs that do not fit the batch or the warm-up, before anything is launched."""
    rungs = known.rungs_tokens
    plan_rungs(config, rungs)
    asked = rungs[-1 if max_rung is None else max_rung]
    work = Work(
        stage="runs",
        slot=run_id(config, known.ladder_id),
        parameters={"config": json.loads(config.to_json()), "rungs": [tokens for tokens in rungs if tokens <= max(asked, reached_tokens)]},
        code={"trainer": TRAINER_VERSION},
        inputs={"ladder": known.ladder_id},
    )
    return Planned(work, config)


def ladder_of(lake: Lake, ladder_id: str) -> Ladder:
    """Vocabulary size and rungs of a ladder. Raises: MissingInputError if there is no such ladder."""
    rows = lake.rows(
        "SELECT num_tokens, vocab_size FROM rungs JOIN tokenizers USING (tokenizer_id) WHERE ladder_id = ? ORDER BY 1", [ladder_id]
    )
    if not rows:
        raise MissingInputError(f"The lake has no ladder {ladder_id!r}. Run `ladder rungs` first.")
    return Ladder(ladder_id, rows[0][1], list(dict.fromkeys(tokens for tokens, _ in rows)))


def configure(settings: TrainSettings, known: Ladder, tuned: Sequence[Tuning]) -> TrainConfig:
    """Everything that decides the weights: what is asked for, what was tuned, and the measured defaults for the rest."""
    model = preset(settings.model, vocab_size=known.vocab_size, context_tokens=settings.context_tokens)
    rate = settings.learning_rate
    if rate is None and (found := tuned_rate(tuned, model, settings.batch_tokens, settings.optimizer, settings.schedule)):
        rate = found.learning_rate
    config = defaults(
        model,
        seed=settings.seed,
        batch_tokens=settings.batch_tokens,
        learning_rate=rate,
        num_threads=settings.num_threads,
    )
    given: dict[str, Any] = settings.model_dump(
        include={"schedule", "optimizer", "unique_tokens", "min_rate", "spike_deviations", "dtype", "compile"}
    )
    given["mix"] = tuple(map(_weighted, settings.mix))
    return replace(config, warmup_tokens=min(config.warmup_tokens, known.rungs_tokens[0] // SHORTEST_RUNG_IN_WARMUPS), **given)


def _weighted(source: str) -> tuple[str, float]:
    """A source of a mix and its weight. Raises: ConfigError."""
    name, _, weight = source.rpartition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise ConfigError(f"a source of a mix is HOST=WEIGHT such as en.wikipedia.org=3, got {source!r}") from None


def config_of(lake: Lake, settings: TrainSettings, ladder_id: str) -> TrainConfig:
    """The same, from the lake."""
    return configure(settings, ladder_of(lake, ladder_id), tunings(lake))


def token_data(lake: Lake, ladder_id: str) -> TokenData:
    """Local files that hold the tokens of a ladder, and its selection."""
    tokenizer_id, selection = lake.rows(
        "SELECT any_value(tokenizer_id), any_value(selection_file) FROM rungs WHERE ladder_id = ?", [ladder_id]
    )[0]
    keys = [key for (key,) in lake.rows("SELECT DISTINCT produced_by FROM tokens WHERE tokenizer_id = ? ORDER BY 1", [tokenizer_id])]
    files = tuple(local_copy(lake, file) for file in lake.list_data_files("tokens", keys))
    return TokenData(files=files, selection=local_copy(lake, selection))


@task(name="train", cache_policy=NO_CACHE, persist_result=False, task_run_name="train {work.slot}")
def train(work: Work, config: TrainConfig, ladder_id: str, machine: Machine = HERE, num_processes: int = 1) -> Output:
    """Train one trunk with its decayed branches; goes on where an earlier attempt ended."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        live = LiveRun(f"train {config.model.name} seed {config.seed}", f"train-{config.model.name}-seed-{config.seed}")
        arguments = (config, token_data(lake, ladder_id), work.parameters["rungs"], run_home(lake, work.slot))
        options = {"ladder_id": ladder_id, "on_progress": live, "machine": machine}
        result = _brought_here(lake, out, _as_far_as_it_goes(num_processes, *arguments, **options))
        live.finish(result)
        tables = {
            "runs": pa.Table.from_pylist([{**result.run_row(), "lake_snapshot": lake.snapshot_id()}]),
            **({"checkpoints": _checkpoint_rows(lake, result)} if result.checkpoints else {}),
            "metrics": pq.read_table(result.metrics_file),
            "run_speed": pq.read_table(result.speed_file),
        }
    return Output(work=work, tables=tables, seconds=time.monotonic() - started)


def run_home(lake: Lake, slot: str) -> str:
    """Where a run keeps its states: in the lake on a disk; with the data on an object store, so that any machine can go on with it."""
    remote = is_remote(lake.settings.data_path)
    return f"{lake.settings.data_path}trainings/{slot}" if remote else str(home(lake) / "runs" / slot)


def machine_of(settings: TrainSettings) -> Machine:
    """How a training is to be carried out."""
    chosen = settings.model_dump(include={"parallel", "micro_batch_tokens", "recompute_blocks"})
    return Machine(writers=tuple(settings.writers), **chosen)


def _as_far_as_it_goes(num_processes: int, *arguments: Any, **options: Any) -> TrunkResult:
    """Train in a child, or several. A run that diverged is a result too, with the rungs it finished, and is not trained again."""
    if num_processes > 1:
        return train_together(*arguments, num_processes=num_processes, **options)
    try:
        result: TrunkResult = in_child(TRAIN, *arguments, **options)
    except TrainingDiverged as error:
        if error.result is None:
            raise
        LOG.error("  %s. It is kept as diverged, with %d finished rungs.", error, len(error.result.checkpoints))
        return error.result
    return result


def _brought_here(lake: Lake, out: OutputDir, result: TrunkResult) -> TrunkResult:
    """The result with its small files as local ones; the weights stay where the run has left them."""
    if not is_remote(result.metrics_file):
        return result

    def bring(url: str) -> str:
        copy = out.path / Path(url).name
        with files.open_read(url, lake.settings.s3fs_options()) as file:
            copy.write_bytes(file.read())
        return str(copy)

    return replace(result, metrics_file=bring(result.metrics_file), speed_file=bring(result.speed_file))


def _checkpoint_rows(lake: Lake, result: TrunkResult) -> pa.Table:
    return pa.Table.from_pylist([{**row, "file": relative(lake, row["file"])} for row in result.checkpoint_rows()])


def _trained(unit: Planned[TrainConfig], ladder_id: str, settings: TrainSettings) -> Output:
    return train(unit.work, unit.unit, ladder_id, machine_of(settings), processes_for(unit.unit, settings.num_processes))


@flow(name="train", flow_run_name="train {settings.model} seed {settings.seed}")
def train_flow(settings: TrainSettings = TrainSettings()) -> StageResult:
    """Train one model with one seed up to a rung, with a decayed checkpoint at every rung."""
    with open_lake() as lake:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        run = plan(lake, settings)
        result = settle(lake, run, lambda todo: [_trained(unit, ladder_id, settings) for unit in todo])
        publish_markdown("train", f"`{run.units[0].work.slot}`: {result}", "Run")
        LOG.debug("%s", result)
        return result
