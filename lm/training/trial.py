"""One point of a grid: train to one rung, measure on validation, say what came out.

A training that diverges is an answer here and no failure: its rate is too high. The weights stay in their folder, so that a grid that was
stopped finds what it had.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lm.evaluation.loss import evaluate
from lm.tokens.selection import TokenData
from lm.training.config import TrainConfig
from lm.training.errors import TrainingDiverged
from lm.training.result import Progress
from lm.training.trainer import train_trunk


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rate gave. Both None: the training diverged."""

    loss_nats: float | None
    stderr: float | None
    """Over validation documents."""
    tokens_per_second: float | None
    device: str | None


def trial(
    config: TrainConfig,
    data: TokenData,
    num_tokens: int,
    out_dir: str | Path,
    *,
    ladder_id: str,
    validation_id: str,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trial:
    """Loss in nats per token on validation at the end of a rung of `num_tokens`.

    Raises: the errors of lm/training/errors.py but TrainingDiverged, MissingTokensError, FileNotFoundError.
    """
    try:
        trained = train_trunk(config, data, [num_tokens], out_dir, ladder_id=ladder_id, on_progress=on_progress)
    except TrainingDiverged:
        return Trial(None, None, None, None)
    (found,) = trained.checkpoints
    rows = evaluate(
        found.file,
        config,
        data,
        run_id=trained.run_id,
        rung=found.rung,
        step=found.step,
        num_tokens=found.num_tokens,
        validation_id=validation_id,
        num_threads=config.num_threads,
    )
    (whole,) = [row for row in rows.to_pylist() if (row["domain"], row["name"]) == ("all", "loss_nats_per_token")]
    return Trial(whole["value"], whole["stderr"], trained.tokens_per_second, trained.device)
