"""Which learning rate a run takes, and which runs are spoken of together.

A rate that is asked for is taken. Else the one that `ladder tune` found for this size, batch, context, optimizer and schedule; else that
of the nearest tuned size within a factor of four, carried over by the rule (lm/training/scaling_rule.py); else the size's own default. The
rate is part of a run's id: runs at another rate are other runs, and the earlier ones stay.

So a ladder may hold several runs of one size and seed. Laws and conclusions see one of each: with adamw, warmup-stable-decay and every
token once, and of those the one finished last. Rates, schedules and optimizers are never mixed in one fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lm.models.config import ModelConfig
from lm.training.scaling_rule import nearest, rescale
from storage.lake import Lake

FARTHEST = 4.0
"""A tuned rate is carried to sizes up to so many times larger or smaller: cube roots of it are off by less than the grid's factor."""

TUNED = """
    SELECT any_value(model), num_params, num_params_non_embedding, context_tokens, batch_tokens, optimizer, schedule, any_value(best_rate)
    FROM tunings GROUP BY produced_by, num_params, num_params_non_embedding, context_tokens, batch_tokens, optimizer, schedule
    ORDER BY ALL
"""

MAIN_RUNS = """
    SELECT run_id FROM runs JOIN stages ON key = produced_by
    WHERE coalesce(json_extract_string(config, '$.schedule'), 'wsd') = 'wsd'
      AND coalesce(json_extract_string(config, '$.optimizer'), 'adamw') = 'adamw'
      AND json_extract_string(config, '$.unique_tokens') IS NULL AND json_extract_string(config, '$.mix') IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY ladder_id, num_params, seed ORDER BY coalesce(state, 'complete') <> 'complete', finished_at DESC, run_id
    ) = 1
"""
"""The runs that laws and conclusions are about: one per ladder, size and seed."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What one grid found."""

    model: str
    num_params: int
    num_params_non_embedding: int
    context_tokens: int
    batch_tokens: int
    optimizer: str
    schedule: str
    best_rate: float


@dataclass(frozen=True, slots=True)
class TunedRate:
    """A rate, and where it was found."""

    learning_rate: float
    source: str


def tunings(lake: Lake) -> list[Tuning]:
    """Every grid in the lake."""
    return [Tuning(*row) for row in lake.rows(TUNED)]


def tuned_rate(tuned: Sequence[Tuning], model: ModelConfig, batch_tokens: int, optimizer: str, schedule: str) -> TunedRate | None:
    """The tuned rate for a size, its own or carried from the nearest; None if no size near it was tuned."""
    size = model.num_params_non_embedding
    wanted = (model.context_tokens, batch_tokens, optimizer, schedule)
    found = [one for one in tuned if (one.context_tokens, one.batch_tokens, one.optimizer, one.schedule) == wanted]
    near = nearest([float(one.num_params_non_embedding) for one in found], size)
    if near is None or max(near / size, size / near) > FARTHEST:
        return None
    of_size = [one for one in found if one.num_params_non_embedding == near]
    best = min(of_size, key=lambda one: abs(one.num_params - model.num_params))  # another vocabulary has another head
    if near == size:
        return TunedRate(best.best_rate, f"tuned for {best.model}")
    return TunedRate(rescale(best.best_rate, near, size), f"tuned for {best.model}, carried over")
