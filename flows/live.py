"""What a run shows while it goes on: a line in the terminal, and in the web interface its progress and its curve.

Windows come from the training's process as they end. Every few seconds the newest state is sent to the server, in the background
(flows/sender.py), so that a server that is slow, or gone, does nothing to the training. Each picture replaces the one before, so a run
leaves one artifact of a few kilobytes however long it took. The cost: of a run that goes on after a kill, the picture shows only what
came since, until it is complete.
"""

import time

from flows.artifacts import LiveArtifact
from flows.common import LOG, in_run
from flows.progress import Progress
from lm.training.live_page import LivePage
from lm.training.result import Progress as Training
from lm.training.result import TrunkResult

SECONDS_BETWEEN = 10.0


class LiveRun:
    """Callable with what `train_trunk` reports."""

    def __init__(self, title: str, key: str) -> None:
        """`key`: of the artifact, small letters, digits and dashes; runs with one key share a page with a history."""
        self._lines = Progress(title, "tokens", show_rate=False)
        self._page, self._artifact = LivePage(title), LiveArtifact("markdown", title, key)
        self._title, self._begun, self._shown = title, time.monotonic(), -SECONDS_BETWEEN
        self._is_first = True

    def __call__(self, training: Training) -> None:
        """A window has ended."""
        if self._is_first:
            self._is_first = False
            LOG.info("  %s: first step after %.1f s", self._title, time.monotonic() - self._begun - training.window.speed.seconds)
        self._lines(training.num_tokens_done, training.num_tokens_total, str(training.window))
        self._page.add(training)
        if time.monotonic() - self._shown >= SECONDS_BETWEEN and in_run():
            self._shown = time.monotonic()
            self._artifact.show(self._page.markdown())

    def finish(self, result: TrunkResult) -> None:
        """The run is complete: show its whole curve."""
        if in_run():
            self._page.finish(result)
            self._artifact.show(self._page.markdown())
            self._artifact.close()
