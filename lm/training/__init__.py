"""Training of one run: `train_trunk` with a `TrainConfig`, or `python -m lm.training` from a JSON file.

`train_trunk` is loaded when it is asked for: who plans runs, or watches them, need not wait for torch.
"""

from typing import TYPE_CHECKING, Any

from lm.training.config import TrainConfig, run_id
from lm.training.defaults import defaults
from lm.training.result import Checkpoint, Progress, TrunkResult

if TYPE_CHECKING:
    from lm.training.trainer import train_trunk

__all__ = ["Checkpoint", "Progress", "TrainConfig", "TrunkResult", "defaults", "run_id", "train_trunk"]


def __getattr__(name: str) -> Any:
    if name != "train_trunk":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lm.training.trainer import train_trunk

    return train_trunk
