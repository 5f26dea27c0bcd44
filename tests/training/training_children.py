"""What processes of their own do in the tests of training: functions, so that a server that has torch loaded can fork them."""

import ctypes
import logging
import resource
import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lm.training.errors import CheckpointError
from lm.training.result import Progress
from lm.training.trainer import train_trunk

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000


def tell_steps(told: Connection, *arguments: Any, **options: Any) -> None:
    """Train with a word after each step, slowly enough to be killed in the middle."""

    def tell(progress: Progress) -> None:
        told.send((progress.path, progress.step))
        time.sleep(0.002)

    train_trunk(*arguments, on_progress=tell, **options)
    told.send(None)


def tell_warnings(told: Connection, *arguments: Any) -> None:
    """Train with a word for each line of the log."""
    handler = logging.Handler()
    handler.emit = lambda record: told.send(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    train_trunk(*arguments)
    told.send("done")


def fill_by_a_limit(told: Connection, config: Any, data: Any, rungs: list[int], out: Path) -> None:
    """Train the first rung, then the others while no file may grow beyond 4 KB. Tells the error, and whether all is as it was."""
    train_trunk(config, data, rungs[:1], out)
    before = sorted(map(str, out.rglob("*")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    told.send(_failure(config, data, rungs, out))
    told.send(sorted(map(str, out.rglob("*"))) == before)


def fill_a_filesystem(told: Connection, config: Any, data: Any, rungs: list[int], folder: Path, kept: Path) -> None:
    """Train in a filesystem of 600 KB that only this process sees, and copy what is there when it is full. Tells None if there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) and libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
        return told.send(None)
    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=600k"):
        return told.send(None)
    told.send(_failure(config, data, rungs, folder / "run"))
    shutil.copytree(folder / "run", kept)
    return told.send(not list(kept.rglob("*.part")))


def _failure(*arguments: Any) -> str:
    try:
        train_trunk(*arguments)
    except CheckpointError as error:
        return str(error)
    return "no failure"
