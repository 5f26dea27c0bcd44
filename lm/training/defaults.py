"""Default settings of a run, as measured at the sizes of the demonstration."""

from lm.models.config import ModelConfig
from lm.training.config import TrainConfig

BATCH_TOKENS = 512
WARMUP_TOKENS = 16384
LEARNING_RATE = 0.002


def defaults(
    model: ModelConfig, *, seed: int, batch_tokens: int = BATCH_TOKENS, learning_rate: float | None = None, num_threads: int = 1
) -> TrainConfig:
    """The settings of a run of this size; the rate is the size's own unless given."""
    return TrainConfig(
        model=model,
        seed=seed,
        learning_rate=learning_rate or LEARNING_RATE,
        batch_tokens=batch_tokens,
        warmup_tokens=WARMUP_TOKENS,
        num_threads=num_threads,
    )
