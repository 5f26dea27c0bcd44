"""What can go wrong in a training, as one tree.

TrainingError
  ConfigError       the configuration or the rungs do not fit together (also a ValueError)
  TrainingDiverged  loss or gradient is no longer a number
  CheckpointError   a checkpoint could not be written
  RunMismatch       the directory holds another run, or one trained on other tokens
"""


class TrainingError(Exception):
    """Any failure of a training that is not a bug."""


class ConfigError(TrainingError, ValueError):
    """The configuration or the rungs do not fit together."""


class TrainingDiverged(TrainingError):
    """Loss or gradient is no longer a number. Deterministic: the same run fails at the same step."""

    def __init__(self, step: int, loss: float, gradient_norm: float, learning_rate: float) -> None:
        super().__init__(
            f"training diverged at step {step}: loss {loss}, gradient norm {gradient_norm}, learning rate {learning_rate:g}; "
            "lower the learning rate or lengthen the warm-up"
        )
        self.step = step


class CheckpointError(TrainingError):
    """A checkpoint could not be written; earlier ones are as they were."""


class RunMismatch(TrainingError):
    """The directory holds another run, or one trained on other tokens."""
