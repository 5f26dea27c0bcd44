"""A child process that does not outlive the process that started it, even one that was killed outright.

The child watches who its parent is: an orphan gets another one. That works on every POSIX system and whichever thread started the child; it
costs a look every half second, and the child may live that much longer. On Linux the kernel can be asked to end it at once as well.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.5


def follow_parent(parent_pid: int, *, at_once: bool = False) -> None:
    """Ends this process when the parent ends.

    `at_once` has Linux send SIGKILL as soon as the parent's *thread* that started the child ends, so it suits only a parent whose
    thread waits for the child.
    """
    if at_once and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()


def child_environment() -> dict[str, str]:
    """The environment for a child that runs a module of this code, importable there even if the parent found it by working directory."""
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
