"""tune: a small grid of learning rates per size and batch, each trained to one small rung; runs of that size then take the best.

Rates of a grid are trained side by side and measured on validation; while the best stands at the end of the grid, one more is tried beyond
it. The grid is one unit of work and appears whole. A grid that is stopped leaves its trained points in the lake's folder `tunings`, and
goes on with the others. What was tuned once stands while data and ladders move on, as a vocabulary does, or every new page would ask for
new runs; other settings of the grid tune anew.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import costs, ladder, train
from flows.common import LOG, Plan, Planned, StageResult, markdown_table, open_lake, pinned, publish_markdown, settle
from flows.processes import in_child, side_by_side
from flows.progress import Progress
from flows.settings import TrainSettings, TuneSettings
from flows.workers import Call, launch_all
from lm.training import TrainConfig, run_id
from lm.training.config import TRAINER_VERSION, plan_rungs
from lm.training.scaling_rule import suggest
from lm.training.trial import Trial, trial
from lm.training.tuning import SEED_NOISE_NATS, Point, beyond, grid, optimum, rounded
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home

DEPLOYMENT = "tune/gpu"
TUNER_VERSION = "1"
"""Raise it when grids are chosen or judged in another way."""
FOUND = """
    SELECT model, batch_tokens, schedule, optimizer, learning_rate, seed, loss_nats_per_token AS loss, stderr,
        best_rate, best_low, best_high, at_edge
    FROM tunings ORDER BY num_params, batch_tokens, schedule, optimizer, learning_rate, seed
"""
Trials = dict[tuple[float, int], Trial]
"""What came out, by rate and seed."""


class TuneError(RuntimeError):
    """A grid could not be trained."""


@dataclass(frozen=True, slots=True)
class Grid:
    """One unit: the run that is tuned, at the rates it begins with."""

    config: TrainConfig
    """Rate and seed in it are replaced by those of the grid."""
    asked: str
    """The size as it was asked for."""
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    ladder_id: str
    rung_tokens: int

    def at(self, rate: float, seed: int) -> TrainConfig:
        """The run at one rate with one seed."""
        return replace(self.config, learning_rate=rate, seed=seed)


def plan(lake: Lake, settings: TuneSettings) -> Plan[Grid]:
    """One unit per size and batch."""
    known = train.ladder_of(lake, settings.ladder_id or ladder.newest(lake))
    return Plan("tune", [_planned(lake, settings, known, *one) for one in product(settings.models, settings.batch_tokens)])


def _planned(lake: Lake, settings: TuneSettings, known: train.Ladder, model: str, batch_tokens: int) -> Planned[Grid]:
    num_tokens = known.rungs_tokens[min(settings.rung, len(known.rungs_tokens) - 1)]
    config = train.configure(_training(settings, known.ladder_id, model, batch_tokens), known, ())
    center = suggest(settings.rule, config.model, num_tokens).learning_rate
    rates = sorted({rounded(rate) for rate in settings.learning_rates}) or grid(center, settings.num_rates, settings.factor)
    plan_rungs(config, [num_tokens])
    shape, context = json.loads(config.to_json()), settings.context_tokens
    work = Work(
        stage="tune",
        slot="/".join(
            [f"{config.model.name}-{config.model.num_params}", settings.optimizer, settings.schedule, f"{batch_tokens}-{context}"]
        ),
        parameters={
            "config": {name: value for name, value in shape.items() if name not in ("learning_rate", "warmup_tokens", "seed")},
            "rates": rates,
            "seeds": settings.seeds,
            "rung": settings.rung,
            "factor": settings.factor,
            "max_extensions": settings.max_extensions,
            "trainer": TRAINER_VERSION,
        },
        code={"tuner": TUNER_VERSION},
        inputs={"ladder": known.ladder_id, "rung_tokens": str(num_tokens)},
    )
    return Planned(pinned(lake, work), Grid(config, model, tuple(rates), tuple(settings.seeds), known.ladder_id, num_tokens))


def _training(settings: TuneSettings, ladder_id: str, model: str, batch_tokens: int) -> TrainSettings:
    """The run that is tuned; its rate is a place holder, so that a grid does not depend on what was tuned before."""
    return TrainSettings(
        model=model,
        seed=settings.seeds[0],
        ladder_id=ladder_id,
        learning_rate=0.001,
        schedule=settings.schedule,
        optimizer=settings.optimizer,
        batch_tokens=batch_tokens,
        context_tokens=settings.context_tokens,
    )


def costs_of(lake: Lake, settings: TuneSettings) -> costs.Table:
    """The grids, done or not, with what each rate costs."""
    planned = plan(lake, settings)
    todo = {unit.work.key for unit in planned.todo(lake)}
    estimate = costs.Estimator(lake, settings.price_per_hour)
    rows = []
    for unit in planned.units:
        one = estimate.of(unit.unit.config, [unit.unit.rung_tokens])
        for rate, _ in product(unit.unit.rates, unit.unit.seeds):
            name = f"{unit.unit.config.model.name} batch {unit.unit.config.batch_tokens:,} rate {rate:g}"
            rows.append(costs.Row(name, 1, unit.unit.rung_tokens, one, "to do" if unit.work.key in todo else "done"))
    return costs.Table(rows, settings.num_parallel if settings.launch == "here" else 1)


@task(
    name="try",
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="try {config.model.name} at {config.learning_rate} seed {config.seed}",
)
def try_rate(config: TrainConfig, unit: Grid) -> Trial:
    """Loss of one rate, in a process of its own; goes on where an earlier attempt ended."""
    with open_lake(read_only=True) as lake:
        name = run_id(config, unit.ladder_id)
        progress = Progress(f"try {config.model.name} at {config.learning_rate:g}", "tokens")
        return in_child(
            trial,
            config,
            train.token_data(lake, unit.ladder_id),
            unit.rung_tokens,
            home(lake) / "tunings" / name,
            ladder_id=unit.ladder_id,
            validation_id=str(lake.value("SELECT any_value(validation_id) FROM rungs WHERE ladder_id = ?", [unit.ladder_id])),
            on_progress=lambda p: progress(p.num_tokens_done, p.num_tokens_total, f"loss {p.loss_nats_per_token:.3f}"),
        )


def tune_grid(planned: Planned[Grid], tries: Callable[[Grid, Sequence[float]], Trials]) -> Output:
    """Try a grid, and further while its best rate stands at an end. `tries`: what each rate gives with each seed."""
    started = time.monotonic()
    unit, parameters = planned.unit, planned.work.parameters
    found = tries(unit, unit.rates)
    for _ in range(parameters["max_extensions"]):
        further = beyond(_points(found), parameters["factor"])
        if further is None:
            break
        found |= tries(unit, [further])
    best = optimum(_points(found), SEED_NOISE_NATS / len(unit.seeds) ** 0.5)
    LOG.info(
        "  %s, batch %s: rate %g [%.2g, %.2g]%s",
        unit.config.model.name,
        unit.config.batch_tokens,
        best.learning_rate,
        best.low,
        best.high,
        ", at the end of its grid" if best.at_edge else "",
    )
    shared = {"best_rate": best.learning_rate, "best_low": best.low, "best_high": best.high, "at_edge": best.at_edge}
    rows = [{**_about(unit), **_measured(rate, seed, found[rate, seed]), **shared} for rate, seed in sorted(found)]
    return Output(work=planned.work, tables={"tunings": pa.Table.from_pylist(rows)}, seconds=time.monotonic() - started)


def _trials(unit: Grid, rates: Sequence[float], num_parallel: int) -> Trials:
    asked = list(product(rates, unit.seeds))
    calls = [{"config": unit.at(rate, seed), "unit": unit} for rate, seed in asked]
    states = list(side_by_side(try_rate, calls, num_parallel))
    failed = [
        f"  rate {rate:g} seed {seed}: {state.message}"
        for (rate, seed), state in zip(asked, states, strict=True)
        if not state.is_completed()
    ]
    if failed:
        raise TuneError(
            f"{len(failed)} of {len(asked)} trainings of {unit.config.model.name} failed; run again to go on:\n" + "\n".join(failed)
        )
    return {one: state.result() for one, state in zip(asked, states, strict=True)}


def _points(found: Trials) -> list[Point]:
    """Mean over seeds of each rate; infinite if one diverged."""
    losses: dict[float, list[float]] = {}
    for (rate, _), one in found.items():
        losses.setdefault(rate, []).append(float("inf") if one.loss_nats is None else one.loss_nats)
    return [Point(rate, sum(values) / len(values)) for rate, values in losses.items()]


def _about(unit: Grid) -> dict[str, Any]:
    config = unit.config
    return {
        "model": config.model.name,
        "num_params": config.model.num_params,
        "num_params_non_embedding": config.model.num_params_non_embedding,
        "context_tokens": config.model.context_tokens,
        "batch_tokens": config.batch_tokens,
        "optimizer": config.optimizer,
        "schedule": config.schedule,
        "ladder_id": unit.ladder_id,
        "num_tokens": unit.rung_tokens,
    }


def _measured(rate: float, seed: int, found: Trial) -> dict[str, Any]:
    return {
        "seed": seed,
        "learning_rate": rate,
        "loss_nats_per_token": found.loss_nats,
        "stderr": found.stderr,
        "tokens_per_second": found.tokens_per_second,
        "device": found.device,
    }


@flow(name="tune")
def tune_flow(settings: TuneSettings = TuneSettings()) -> StageResult:
    """Find the learning rate of every size by a small grid; what is tuned already is left alone."""
    with open_lake() as lake:
        costs.show("tune", costs_of(lake, settings))
        planned = plan(lake, settings)
        if settings.launch == "deployment" and planned.todo(lake):
            _tune_on_workers(settings, planned.todo(lake))

        def tries(unit: Grid, rates: Sequence[float]) -> Trials:
            return _trials(unit, rates, settings.num_parallel)

        result = settle(lake, planned, lambda todo: [tune_grid(unit, tries) for unit in todo])
        publish_markdown("tune", markdown_table(lake.query(FOUND)), "Grids of learning rates")
        return result


def _tune_on_workers(settings: TuneSettings, todo: Sequence[Planned[Grid]]) -> None:
    """Each grid as a run on the gpu pool; waits for all. Raises: TuneError naming those that failed."""
    calls = []
    for unit in todo:
        own = {"models": [unit.unit.asked], "batch_tokens": [unit.unit.config.batch_tokens], "ladder_id": unit.unit.ladder_id}
        asked = TuneSettings(**{**settings.model_dump(), **own, "launch": "here"})
        calls.append(Call(DEPLOYMENT, unit.work.slot, unit.work.key, asked.model_dump()))
    if failures := launch_all(calls, "tune"):
        raise TuneError(f"{len(failures)} of {len(todo)} grids failed; the others are in the lake:\n" + "\n".join(failures))
