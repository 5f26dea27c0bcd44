"""What can go wrong in a training, as one tree.

TrainingError
  ConfigError       the configuration or the rungs do not fit together (also a ValueError)
  TrainingDiverged  loss or gradient is no longer a number, or too many updates were skipped
  DataLost          tokens of a step could not be read any more
  CheckpointError   a checkpoint could not be written, or its store did not answer
  LeaseLost         another process has taken over the run
  CompanionLost     another process of the same run ended
  Stopped           the run was asked to stop, and its state is kept
  RunMismatch       the directory holds another run, or one trained on other tokens
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm.training.result import TrunkResult


class TrainingError(Exception):
    """Any failure of a training that is not a bug."""


class ConfigError(TrainingError, ValueError):
    """The configuration or the rungs do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where a run ended that cannot go on."""

    path: str
    """trunk, or the name of a rung's branch."""
    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    num_skipped: int = 0
    """Updates skipped until then."""

    def __str__(self) -> str:
        skipped = f", {self.num_skipped} updates skipped" if self.num_skipped else ""
        return (
            f"training diverged at step {self.step}: loss {self.loss}, gradient norm {self.gradient_norm}, "
            f"learning rate {self.learning_rate:g}{skipped}; lower the learning rate or lengthen the warm-up"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is no number stands as text, for JSON has none."""
        return {name: str(v) if isinstance(v, float) and not math.isfinite(v) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Divergence":
        """What `to_dict` gave."""
        return cls(**(values | {name: float(values[name]) for name in ("loss", "gradient_norm", "learning_rate")}))


class TrainingDiverged(TrainingError):
    """Loss or gradient is no longer a number, or too many updates were skipped. Deterministic: the same run fails at the same step.

    `result`: the run as far as it went, with the rungs that were finished before.
    """

    def __init__(self, divergence: Divergence, result: "TrunkResult | None" = None) -> None:
        super().__init__(divergence, result)
        self.divergence, self.result = divergence, result

    @property
    def step(self) -> int:
        """The step that failed."""
        return self.divergence.step

    def __str__(self) -> str:
        return str(self.divergence)


class DataLost(TrainingError):
    """Tokens of a step could not be read any more; the run is kept up to there and goes on when they are back."""


class LeaseLost(TrainingError):
    """Another process has taken over the run; this one must not write any more."""


class CompanionLost(TrainingError):
    """Another process of the same run ended or does not answer."""


class Stopped(TrainingError):
    """The run was asked to stop; its state is kept, and a repeated command goes on from there."""


class CheckpointError(TrainingError):
    """A checkpoint could not be written; earlier ones are as they were."""


class RunMismatch(TrainingError):
    """The directory holds another run, or one trained on other tokens."""
