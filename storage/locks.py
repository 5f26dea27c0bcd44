"""One writer at a time, by a lock that dies with its process.

DuckLake lets inserts of two writers through without a conflict, so "insert unless it is there" needs a lock around it. With a SQLite
catalog it is `flock` on a file of the lake, with a PostgreSQL catalog an advisory lock of its own connection: the kernel or the server
lets go when the holder dies, however it dies, so no lock is ever left to clean up. The cost: commits of one lake wait for each other.
Threads of one process are kept apart too, because every entry opens the file or the connection anew.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.digest import digest
from storage.settings import LakeSettings

WAIT_SECONDS = 900.0


class LakeBusy(RuntimeError):
    """The lake stayed locked or in conflict for longer than a commit may take."""


@contextmanager
def writer_lock(settings: LakeSettings, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the right to write to a lake.

    Raises: LakeBusy if another process holds it for longer than wait_seconds.
    """
    with _postgres_lock(settings, wait_seconds) if settings.is_postgres else _file_lock(Path(settings.root) / "commit.lock", wait_seconds):
        yield


@contextmanager
def _file_lock(path: Path, wait_seconds: float) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if not _flock_within(descriptor, wait_seconds):
        raise LakeBusy(f"{path} has been held by another process for {wait_seconds:.0f} s; see who holds it with: fuser {path}")
    try:
        yield
    finally:
        os.close(descriptor)


def _flock_within(descriptor: int, seconds: float) -> bool:
    """Lock a file, or give up and have it closed. Waiting in the kernel keeps the order of arrival, hence a thread and no polling."""
    guard, held, given_up = threading.Lock(), threading.Event(), threading.Event()

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with guard:
            os.close(descriptor) if given_up.is_set() else held.set()

    threading.Thread(target=wait, daemon=True, name="lake-lock").start()
    try:
        held.wait(seconds)
        with guard:
            if not held.is_set():
                given_up.set()
    except BaseException:
        with guard:
            os.close(descriptor) if held.is_set() else given_up.set()
        raise
    return held.is_set()


@contextmanager
def _postgres_lock(settings: LakeSettings, wait_seconds: float) -> Iterator[None]:
    try:
        import psycopg
    except ImportError as error:
        raise RuntimeError("a PostgreSQL catalog needs the package psycopg; install it with: pip install 'dataladder[postgres]'") from error
    number = int(digest("dataladder", settings.data_path)[:15], 16)
    try:
        session = psycopg.connect(**settings.postgres_parts(with_password=True), autocommit=True)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise ConnectionError(f"cannot reach the catalog {settings.catalog_name}: {error}") from None
    with session as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(wait_seconds * 1000)}ms"])
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [number])
        except psycopg.errors.LockNotAvailable:
            raise LakeBusy(
                f"the writer lock of {settings.catalog_name} has been held for {wait_seconds:.0f} s by another session"
            ) from None
        yield
