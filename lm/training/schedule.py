"""Learning rate of a step. A function of configuration, step and rung alone, so nothing of it needs saving."""

import math

from lm.training.config import RungPlan, TrainConfig


def learning_rate(config: TrainConfig, step: int, rung: RungPlan | None) -> float:
    """Rate of step 0, 1, ... on the trunk (`rung` None) or on a rung's branch.

    wsd: linear warm-up, constant, then 1 - sqrt of the decay's progress, which beats a straight line (arXiv:2405.18392).
    cosine: linear warm-up, then half a cosine to zero at the rung's end; there is no trunk.
    """
    warmup_steps = round(config.warmup_tokens / config.batch_tokens)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    if rung is None:
        return config.learning_rate
    if config.schedule == "cosine":
        progress = (step - warmup_steps) / max(1, rung.last_step - warmup_steps)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    progress = max(0, step - rung.branch_step) / (rung.last_step - rung.branch_step)
    return config.learning_rate * (1 - math.sqrt(progress))
