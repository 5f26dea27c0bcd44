"""Default settings of a run, tuned on docstrings of Python packages, vocabulary 2,048, context 128.

Nats per token at the end of a rung of 262,144 tokens at 2 layers of width 64: training loss of the last tenth, one seed. Two seeds
differ by 0.01 to 0.04 on validation, so less than that is a hint and no more.

    head tied     batch 256: 5.11   512: 5.13   1,024: 5.22
                  embedding_rate 1: 5.13 at its best rate   3: 5.04   8: 5.02   10: 5.04
                  weight decay 0 and 0.1: 5.13 both
    head free     batch 256: 4.84 (8% slower)   512: 4.89   2,048: 5.03
                  learning rate 0.002: 4.89   0.004: 4.90    embedding_rate 8: 4.89   16: 4.89
                  warm-up 4,096 and 16,384 tokens: 4.89 both

At 4 layers of width 128 and 131,072 tokens, 0.001 scored 5.26 and 0.002 scored 5.28 with the embedding's own rate at 0.016 in both.
So the rate of the matrices falls with the cube root of their number, as in arXiv:2406.19146 and OLMo-core's ladder, and that of the
embedding stays. At another size or batch the rates are the first thing to check.
"""

from lm.models.config import ModelConfig
from lm.training.config import TrainConfig

BATCH_TOKENS = 512
WARMUP_TOKENS = 4096
EMBEDDING_RATE = 0.016
"""Rate of the embedding and the head, at every size."""
REFERENCE_RATE = 0.002
REFERENCE_PARAMS = 100_800
"""Parameters without embedding and head of the size at which REFERENCE_RATE was measured, d2w64."""


def own_rate(model: ModelConfig) -> float:
    """Peak rate of a size: 0.002 (N / 100,800)^(-1/3), N without embedding and head; 0.001 at d4w128."""
    return float(f"{REFERENCE_RATE * (model.num_params_non_embedding / REFERENCE_PARAMS) ** (-1 / 3):.2g}")


def defaults(
    model: ModelConfig,
    *,
    seed: int,
    batch_tokens: int = BATCH_TOKENS,
    learning_rate: float | None = None,
    num_threads: int = 1,
) -> TrainConfig:
    """The settings of a run of this size. A rate that is given moves the embedding's with it."""
    own = own_rate(model)
    return TrainConfig(
        model=model,
        seed=seed,
        learning_rate=own if learning_rate is None else learning_rate,
        embedding_rate=round(EMBEDDING_RATE / own, 3),
        batch_tokens=batch_tokens,
        warmup_tokens=WARMUP_TOKENS,
        num_threads=num_threads,
    )
