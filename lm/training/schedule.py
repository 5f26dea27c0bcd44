"""Learning rate of a step. A function of configuration, step and rung alone, so nothing of it needs saving."""

import math

from lm.training.config import RungPlan, TrainConfig


def learning_rate(config: TrainConfig, step: int, rung: RungPlan | None) -> float:
    """Rate of step 0, 1, ... on the trunk (`rung` None) or on a rung's branch.

    All: a straight warm-up to learning_rate, and at the end of a rung min_rate times it. In between
    wsd: constant, then 1 - sqrt of the decay's progress, which beats a straight line (arXiv:2405.18392);
    cosine: half a cosine; linear: a straight line (arXiv:2502.15938 has it above cosine). Both have no trunk.
    """
    warmup_steps = round(config.warmup_tokens / config.batch_tokens)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    if rung is None:
        return config.learning_rate
    return config.learning_rate * (config.min_rate + (1 - config.min_rate) * _height(config, step, rung, warmup_steps))


def _height(config: TrainConfig, step: int, rung: RungPlan, warmup_steps: int) -> float:
    """From 1 where the decay begins to 0 at the rung's end."""
    if config.schedule == "wsd":
        return 1 - math.sqrt(max(0, step - rung.branch_step) / (rung.last_step - rung.branch_step))
    progress = (step - warmup_steps) / max(1, rung.last_step - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
