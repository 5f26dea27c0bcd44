"""What a training returns: the fields of a row of `runs`, and its rows of `checkpoints`."""

from dataclasses import asdict, dataclass
from typing import Any

from lm.training.window import Window


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Decayed weights of a rung; `rung` is its place among the rungs asked for, smallest 0."""

    rung: int
    step: int
    num_tokens: int
    file: str
    weights_digest: str


@dataclass(frozen=True, slots=True)
class TrunkResult:
    """One run as far as it went. Times count all sittings; devices and versions are joined where there were several."""

    run_id: str
    ladder_id: str
    model: str
    num_params: int
    num_params_non_embedding: int
    seed: int
    config: str
    schedule: str
    optimizer: str
    learning_rate: float
    batch_tokens: int
    context_tokens: int
    unique_tokens: int | None
    epochs: float
    num_threads: int
    dtype: str
    device: str
    torch_version: str
    state: str
    """complete, or diverged: then `checkpoints` holds the rungs that were finished before."""
    diverged_step: int | None
    num_skipped: int
    num_tokens: int
    train_tokens: int
    train_flops: float
    tokens_per_second: float
    seconds: float
    mfu: float | None
    waiting_share: float | None
    memory_bytes: int | None
    metrics_file: str
    speed_file: str
    checkpoints: list[Checkpoint]

    def run_row(self) -> dict[str, Any]:
        """The row of `runs`, without produced_by and lake_snapshot, which the lake's side knows."""
        return {name: value for name, value in asdict(self).items() if name not in ("metrics_file", "speed_file", "checkpoints")}

    def checkpoint_rows(self) -> list[dict[str, Any]]:
        """The rows of `checkpoints`, without produced_by; `file` is the path as trained."""
        return [{"run_id": self.run_id} | asdict(checkpoint) for checkpoint in self.checkpoints]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call of `train_trunk` is: tokens of this call, over trunk and branches."""

    num_tokens_done: int
    num_tokens_total: int
    path: str
    step: int
    loss_nats_per_token: float
    tokens_per_second: float
    """Over this call, steps of every path; that of the window alone is in `window`."""
    window: Window
