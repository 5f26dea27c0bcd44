"""Training of one run: `train_trunk` with a `TrainConfig`, or `python -m lm.training` from a JSON file."""

from lm.training.config import TrainConfig, run_id
from lm.training.defaults import defaults
from lm.training.result import Checkpoint, Progress, TrunkResult
from lm.training.trainer import train_trunk

__all__ = ["Checkpoint", "Progress", "TrainConfig", "TrunkResult", "defaults", "run_id", "train_trunk"]
