"""What is known of a run after each window of steps, as plain records: whoever watches a run needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Speed:
    """How a window went. Shares are of its seconds."""

    seconds: float
    tokens_per_second: float
    mfu: float
    """Model FLOPs per second over the measured peak of all devices of the run."""
    waiting_share: float
    saving_share: float
    memory_bytes: int
    """Most so far: resident in the process on a CPU, allocated on an accelerator."""


@dataclass(frozen=True, slots=True)
class Window:
    """The steps of one path up to `step`: means of what was learned, and how it went."""

    path: str
    step: int
    num_tokens: int
    loss_nats_per_token: float
    gradient_norm: float
    learning_rate: float
    num_skipped: int
    speed: Speed

    def __str__(self) -> str:
        speed = self.speed
        said = f"loss {self.loss_nats_per_token:.3f} on {self.path}, {speed.tokens_per_second:,.0f} tokens/s, MFU {speed.mfu:.1%}"
        return f"{said}, waiting {speed.waiting_share:.1%}" + (f", {self.num_skipped} skipped" if self.num_skipped else "")
