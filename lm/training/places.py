"""Where the files of a run lie: a directory on a disk, or a prefix on an object store, behind one small interface.

A file is made locally as a draft and then put in its place whole: renamed on a disk, uploaded on an object store, where an upload shows
only once it is complete. Names are relative to the run, with slashes. One process at a time holds a place; how it is held, and what that
costs, depends on the kind: a file lock on a disk, which the system lets go when its holder dies, a lease on an object store
(lm/training/lease.py). Whoever reads gets a local file: the file itself, or a copy that is gone afterwards.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

LOG = logging.getLogger(__name__)


class Place(Protocol):
    """Files of one run. Every method raises OSError where a file can't be read or written, FileNotFoundError where it is not there."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the place alone; wait, saying so, while another process does. Half-written files of a killed one are removed."""
        ...

    def check(self) -> None:
        """Raise LeaseLost if another process has taken the place meanwhile."""
        ...

    def names(self, under: str = "") -> list[str]:
        """Every file below a folder of the run, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """A whole small file."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A local file with the content, for as long as the context lasts."""
        ...

    def draft(self) -> Path:
        """A local path that a file can be written to before it is put in its place."""
        ...

    def put(self, draft: Path, name: str) -> None:
        """Bring a draft to its place, replacing what was there. The draft is gone afterwards."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file or a folder; nothing happens if it is not there."""
        ...

    def at(self, name: str) -> str:
        """Path or URL of a file, for people and for the record."""
        ...


class Disk:
    """A directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def held(self) -> Iterator[None]:
        """See Place. A killed process holds nothing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                LOG.warning("another process trains the run in %s; waiting for it", self.directory)
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.directory.glob("*.part"):
                left.unlink()
            yield

    def check(self) -> None:
        """See Place. A file lock is never taken away."""

    def names(self, under: str = "") -> list[str]:
        """See Place."""
        found = (self.directory / under).rglob("*")
        return sorted(path.relative_to(self.directory).as_posix() for path in found if path.is_file())

    def read(self, name: str) -> bytes:
        """See Place."""
        return (self.directory / name).read_bytes()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See Place. The file itself."""
        yield self.directory / name

    def draft(self) -> Path:
        """See Place. Beside the files of the run, for only there a rename is at once."""
        return self.directory / f"{os.getpid()}.part"

    def put(self, draft: Path, name: str) -> None:
        """See Place. File and name are on the disk, not in its cache, when this returns."""
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _sync(draft)
        os.replace(draft, target)
        _sync(target.parent)

    def remove(self, name: str) -> None:
        """See Place."""
        path = self.directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def at(self, name: str) -> str:
        """See Place."""
        return str(self.directory / name) if name else str(self.directory)


def place(url: str | Path) -> Place:
    """The place that a path or an s3:// URL names. Raises: ConfigError for a URL of another kind."""
    if "://" not in str(url):
        return Disk(Path(url))
    from lm.training.object_store import ObjectStore  # opens Arrow's S3 library, which a run on a disk never needs

    return ObjectStore(str(url))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
