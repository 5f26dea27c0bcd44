"""Child processes for work that holds the interpreter: they die with their parent and log to its terminal."""

import ctypes
import logging
import os
import signal
import sys
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner

PR_SET_PDEATHSIG = 1
TERMINAL = "ladder-terminal"


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, so that a killed flow leaves no worker behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def log_to_terminal() -> None:
    """Print the lines of the `ladder` logger, unless something already does."""
    logger = logging.getLogger("ladder")
    if any(handler.name == TERMINAL for handler in logger.handlers) or os.environ.get("LADDER_QUIET"):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.name = TERMINAL
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def start_child() -> None:
    """What each child process does first."""
    die_with_parent()
    log_to_terminal()


def processes(max_workers: int | None = None) -> ProcessPoolTaskRunner:
    """Task runner with one process per core, or `max_workers`."""
    arguments: dict[str, Any] = {"max_workers": max_workers or os.cpu_count() or 1, "initializer": start_child}
    return ProcessPoolTaskRunner(**arguments)
