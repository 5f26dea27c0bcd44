"""Spikes: which updates to skip, and when to give up.

An update is skipped when its loss or its gradient norm lies more than `spike_deviations` robust deviations above the recent ones, or is
no number: its gradient would undo many good steps. The data of the step is used up, weights and moments stay. Recent are the updates
that were applied among the last 128 steps; their middle is the median and their deviation 1.4826 times the median absolute one, so that
a spike does not hide the next. Loss alone would miss a bad gradient on a good batch; the norm alone a broken batch. Six deviations is a
fair choice (OLMo's trainer skips at six standard ones). Nothing is judged before half the window is full, for in warm-up all changes.

More than `max_skipped` among the last 128 steps is no spike but a run that has diverged. The cost: the decision needs the loss before
the update, so an accelerator is waited for at each step; a run without this setting never waits.
"""

import math

import numpy as np
import torch

from lm.training.config import TrainConfig
from lm.training.optimizers import State

WINDOW = 128
SMALLEST_DEVIATION = 1e-3
"""Of the median: so that a run that stands still is not stopped by rounding."""


class Guard:
    """The recent steps of a run: loss, gradient norm, and whether the update was skipped."""

    def __init__(self, config: TrainConfig) -> None:
        self._deviations, self._max_skipped = config.spike_deviations, config.max_skipped
        self._recent = np.zeros((WINDOW, 3))
        self._num_steps = self.num_skipped = 0

    @property
    def watches(self) -> bool:
        """Whether the run has this setting."""
        return self._deviations is not None

    @property
    def gives_up(self) -> bool:
        """Whether too many of the recent updates were skipped."""
        return bool(self._recent[:, 2].sum() > self._max_skipped)

    def skips(self, loss: float, norm: float) -> bool:
        """Judge a step, and remember it."""
        skip = not (math.isfinite(loss) and math.isfinite(norm)) or self._is_spike(loss, norm)
        self._recent[self._num_steps % WINDOW] = (0.0, 0.0, 1.0) if skip else (loss, norm, 0.0)
        self._num_steps += 1
        self.num_skipped += skip
        return skip

    def _is_spike(self, loss: float, norm: float) -> bool:
        seen = self._recent[: min(self._num_steps, WINDOW)]
        applied = seen[seen[:, 2] == 0, :2]
        if self._deviations is None or len(applied) < WINDOW // 2:
            return False
        middle = np.median(applied, axis=0)
        deviation = np.maximum(1.4826 * np.median(np.abs(applied - middle), axis=0), SMALLEST_DEVIATION * np.abs(middle))
        return bool((np.array([loss, norm]) > middle + self._deviations * deviation).any())

    def state(self) -> State:
        """What is remembered, for a checkpoint; nothing for a run without this setting."""
        if not self.watches:
            return {}
        return {"guard.recent": torch.from_numpy(self._recent.copy()), "guard.counts": torch.tensor([self._num_steps, self.num_skipped])}

    def load(self, state: State) -> None:
        """Go to a saved state."""
        if self.watches:
            self._recent = state["guard.recent"].cpu().numpy().copy()
            self._num_steps, self.num_skipped = state["guard.counts"].tolist()
