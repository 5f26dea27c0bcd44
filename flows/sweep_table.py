"""The table of a sweep: every training that was asked for, what is left of it, what that costs, and whether the budget pays for it.

A row is a training: a size, a recipe's ladder, an amount of unique tokens, a schedule, an optimizer and a seed, along the rungs of its
ladder. Rungs and epochs are no rows of their own, for one trunk passes them all: over U unique tokens it is at epoch D / U when it is at
the rung of D tokens. The learning rate is written into each row when the table is made, so that a rate tuned meanwhile changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from flows import costs, ladder, train
from flows.common import MissingInputError
from flows.rates import Tuning, tunings
from flows.settings import SweepSettings, TrainSettings
from lm.training import TrainConfig, run_id
from lm.training.budget import Budget, Order, choose
from storage import ledger
from storage.lake import Lake
from storage.ledger import Work

NEWEST = """
    SELECT r.ladder_id FROM rungs r JOIN stages s ON s.key = r.produced_by
    WHERE r.recipe = ? ORDER BY s.finished_at DESC, r.ladder_id LIMIT 1
"""
DIVERGED = "diverged, not trained again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One training of a sweep."""

    training: TrainSettings
    config: TrainConfig
    recipe: str
    known: train.Ladder
    rungs_tokens: tuple[int, ...]
    """Rungs it is to reach."""
    row: costs.Row
    """As it is shown."""

    @property
    def key(self) -> str:
        """Names the training up to its last rung."""
        return f"{run_id(self.config, str(self.training.ladder_id))}/{len(self.rungs_tokens)}"

    @property
    def is_open(self) -> bool:
        """Whether it will be trained."""
        return self.row.status == costs.TO_DO

    def up_to(self, rung: int) -> "Entry":
        """The same, to go no further than a rung."""
        training = TrainSettings(**{**self.training.model_dump(), "max_rung": rung})
        return replace(self, training=training, rungs_tokens=self.rungs_tokens[: rung + 1])

    def shown_as(self, status: str) -> "Entry":
        """The same with another status."""
        return replace(self, row=replace(self.row, status=status))


def entries(lake: Lake, settings: SweepSettings) -> list[Entry]:
    """Every training asked for, the largest sizes first, with what the budget leaves out.

    Raises: MissingInputError for a recipe without a ladder, ConfigError where rungs do not fit, ValueError for a budget without a price.
    """
    estimate = costs.Estimator(lake, settings.price_per_hour, here=settings.launch == "here")
    tuned = tunings(lake)
    known = [(recipe, train.ladder_of(lake, ladder_id)) for recipe, ladder_id in ladders(lake, settings)]
    wanted = [
        (recipe, one, _fixed(training, one, settings.max_epochs, tuned)) for recipe, one in known for training in trainings(settings, one)
    ]
    reached = _reached(lake)
    works = [_work(training, config, one, reached) for _, one, (training, config, _) in wanted]
    status = dict.fromkeys((work.key for work in ledger.pending(lake, works)), costs.TO_DO)
    diverged = {name for (name,) in lake.rows("SELECT run_id FROM runs WHERE state = 'diverged'")}
    status |= {work.key: DIVERGED for work in works if work.slot in diverged and work.key not in status}
    found = []
    for (recipe, one, (training, config, rungs)), work in zip(wanted, works, strict=True):
        row = _row(config, recipe, rungs, estimate, reached.get(work.slot, 0), status.get(work.key, costs.DONE))
        found.append(Entry(training, config, recipe, one, tuple(rungs), row))
    return _within_budget(found, settings)


def missing(lake: Lake, wanted: Sequence[Entry]) -> list[Entry]:
    """Those whose runs the lake does not have up to their last rung."""
    reached = _reached(lake)
    works = [_work(entry.training, entry.config, entry.known, reached) for entry in wanted]
    todo = {work.key for work in ledger.pending(lake, works)}
    return [entry for entry, work in zip(wanted, works, strict=True) if work.key in todo]


def table(entries: Sequence[Entry], settings: SweepSettings) -> costs.Table:
    """For people."""
    return costs.Table([entry.row for entry in entries], settings.num_parallel if settings.launch == "here" else settings.per_device)


def ladders(lake: Lake, settings: SweepSettings) -> list[tuple[str, str]]:
    """Recipe and ladder id of every ladder the sweep trains on."""
    if not settings.recipes:
        ladder_id = settings.ladder_id or ladder.newest(lake)
        return [(str(lake.value("SELECT any_value(recipe) FROM rungs WHERE ladder_id = ?", [ladder_id])), ladder_id)]
    found = [(recipe, lake.value(NEWEST, [recipe])) for recipe in settings.recipes]
    if missing := [recipe for recipe, ladder_id in found if ladder_id is None]:
        raise MissingInputError(f"The lake has no ladder for {missing}. Run `ladder rungs --recipe {missing[0]}` first.")
    return [(recipe, str(ladder_id)) for recipe, ladder_id in found]


def trainings(settings: SweepSettings, known: train.Ladder) -> list[TrainSettings]:
    """What is asked for on one ladder, the largest sizes first: they take longest."""
    unique = [amount or None for amount in settings.unique_tokens] or [None]
    axes = product(reversed(settings.models), unique, settings.schedules, settings.optimizers, settings.seeds)
    return [
        TrainSettings(
            model=model,
            seed=seed,
            ladder_id=known.ladder_id,
            max_rung=settings.max_rung,
            learning_rate=settings.learning_rate,
            schedule=schedule,
            optimizer=optimizer,
            unique_tokens=amount,
            dtype=settings.dtype,
            batch_tokens=settings.batch_tokens,
        )
        for model, amount, schedule, optimizer, seed in axes
    ]


def _fixed(
    training: TrainSettings, known: train.Ladder, max_epochs: float | None, tuned: Sequence[Tuning]
) -> tuple[TrainSettings, TrainConfig, list[int]]:
    """The training with its rate and its last rung written down, its configuration, and the rungs it is to reach."""
    config = train.configure(training, known, tuned)
    rungs = _rungs(known.rungs_tokens, training, max_epochs)
    fixed = {"learning_rate": config.learning_rate, "max_rung": len(rungs) - 1}
    return TrainSettings(**{**training.model_dump(), **fixed}), config, rungs


def _reached(lake: Lake) -> dict[str, int]:
    return {name: int(tokens) for name, tokens in lake.rows("SELECT run_id, max(num_tokens) FROM checkpoints GROUP BY run_id")}


def _work(training: TrainSettings, config: TrainConfig, known: train.Ladder, reached: Mapping[str, int]) -> Work:
    return train.planned(config, known, training.max_rung, reached.get(run_id(config, known.ladder_id), 0)).work


def _row(config: TrainConfig, recipe: str, rungs: list[int], estimate: costs.Estimator, reached: int, status: str) -> costs.Row:
    cost = estimate.of(config, rungs, reached)
    return costs.Row(_name(config, recipe), len(rungs), rungs[-1], cost, status)


def _rungs(rungs: list[int], training: TrainSettings, max_epochs: float | None) -> list[int]:
    """Rungs to reach: up to the one asked for, and of repeated data only as often as it may be passed over."""
    asked = rungs[: len(rungs) if training.max_rung is None else training.max_rung + 1]
    if training.unique_tokens is None or max_epochs is None:
        return asked
    found = [tokens for tokens in asked if tokens <= training.unique_tokens * max_epochs]
    if not found:
        raise ValueError(
            f"{training.unique_tokens:,} unique tokens passed over {max_epochs:g} times are less than the smallest rung, {rungs[0]:,}; "
            "raise unique_tokens or max_epochs, or lay out a smaller ladder"
        )
    return found


def _name(config: TrainConfig, recipe: str) -> str:
    """One training in words; what is usual is left out."""
    parts = [config.model.name, recipe, f"seed {config.seed}", f"rate {config.learning_rate:g}"]
    if config.unique_tokens is not None:
        parts.append(f"{config.unique_tokens:,} unique")
    parts += [word for word, usual in ((config.schedule, "wsd"), (config.optimizer, "adamw")) if word != usual]
    return " ".join(parts)


def _within_budget(found: list[Entry], settings: SweepSettings) -> list[Entry]:
    budget = Budget(flops=settings.max_flops, hours=settings.max_hours, money=settings.max_money, price_per_hour=settings.price_per_hour)
    order: Order = "spread" if settings.order == "spread" else "cheapest"
    todo = [entry for entry in found if entry.is_open]
    rounds = [settings.seeds.index(entry.training.seed) for entry in todo]
    reasons = choose([entry.row.cost for entry in todo], rounds, budget, order)
    refused = {id(entry): reason for entry, reason in zip(todo, reasons, strict=True) if reason is not None}
    return [entry.shown_as(f"over budget: {refused[id(entry)]}") if id(entry) in refused else entry for entry in found]
