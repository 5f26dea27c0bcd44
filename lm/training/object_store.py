"""Files of a run on S3, through Arrow, so that a machine that trains needs no other library.

An upload shows only once it is complete, so a reader never meets half a file; what a killed process had uploaded of one stays on the
server, unseen, until the bucket's rule for incomplete uploads removes it. Arrow completes an upload even when the writer fails in the
middle of it: a file is trusted only where its digest fits, which lm/training/checkpoint.py sees to.

Keys, region and endpoint come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL; without
keys Arrow asks the machine's role. They stand in no URL, file or message. The price: each file is on the local disk once while it is
made or read (TMPDIR says where).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyarrow import fs

from lm.training.errors import CheckpointError, ConfigError
from lm.training.lease import Lease, Slot, Timing
from storage.digest import digest

LEASE = "lease.json"
TIMING = Timing()
ATTEMPTS = 6
TIMEOUT_SECONDS = 60.0
_PIECE_BYTES = 8 << 20


class ObjectStore:
    """A prefix of a bucket. An unreachable or unwilling server is a CheckpointError, so that it is never taken for a damaged file."""

    def __init__(self, url: str, timing: Timing | None = None) -> None:
        if not url.startswith("s3://") or not url.removeprefix("s3://").strip("/"):
            raise ConfigError(f"a run lies in a directory or at s3://bucket/prefix, got {url!r}")
        self._url = url.rstrip("/")
        self._root = self._url.removeprefix("s3://")
        self._store = connect()
        slot = Slot(self.at(LEASE), self._read_lease, lambda data: self.write(LEASE, data), lambda: self.remove(LEASE))
        self._lease = Lease(slot, timing or TIMING)
        self._drafts = Path(tempfile.gettempdir()) / f"dataladder-{os.getuid()}-{digest(self._url)[:16]}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """See Place. Held through a lease: see lm/training/lease.py for what that costs."""
        with self._lease.held():
            shutil.rmtree(self._drafts, ignore_errors=True)  # left by a process that was killed
            try:
                yield
            finally:
                shutil.rmtree(self._drafts, ignore_errors=True)

    def check(self) -> None:
        """See Place."""
        self._lease.check()

    def names(self, under: str = "") -> list[str]:
        """See Place."""
        folder = fs.FileSelector(f"{self._root}/{under}".rstrip("/"), recursive=True, allow_not_found=True)
        with self._asking(under):
            found = self._store.get_file_info(folder)
        return sorted(info.path.removeprefix(f"{self._root}/") for info in found if info.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """See Place."""
        with self._asking(name), self._store.open_input_stream(f"{self._root}/{name}") as file:
            return bytes(file.read())

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See Place. A copy."""
        with tempfile.TemporaryDirectory(prefix="dataladder-") as folder:
            copy = Path(folder) / Path(name).name
            with self._asking(name), self._store.open_input_stream(f"{self._root}/{name}") as file, open(copy, "wb") as out:
                shutil.copyfileobj(file, out, _PIECE_BYTES)
            yield copy

    def draft(self) -> Path:
        """See Place."""
        self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._drafts / f"{os.getpid()}.part"

    def put(self, draft: Path, name: str) -> None:
        """See Place."""
        with self._asking(name), open(draft, "rb") as file, self._store.open_output_stream(f"{self._root}/{name}") as out:
            shutil.copyfileobj(file, out, _PIECE_BYTES)
        draft.unlink()

    def write(self, name: str, data: bytes) -> None:
        """A small file in one piece."""
        with self._asking(name), self._store.open_output_stream(f"{self._root}/{name}") as out:
            out.write(data)

    def remove(self, name: str) -> None:
        """See Place."""
        with self._asking(name), suppress(FileNotFoundError):
            kind = self._store.get_file_info(f"{self._root}/{name}").type
            if kind == fs.FileType.Directory:
                self._store.delete_dir(f"{self._root}/{name}")
            elif kind == fs.FileType.File:
                self._store.delete_file(f"{self._root}/{name}")

    def at(self, name: str) -> str:
        """See Place."""
        return f"{self._url}/{name}" if name else self._url

    def _read_lease(self) -> bytes | None:
        try:
            return self.read(LEASE)
        except FileNotFoundError:
            return None

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{self.at(name)}: the object store refused or did not answer ({reason}); nothing was lost") from error


def connect() -> fs.S3FileSystem:
    """The S3 server that the environment names. Nothing is sent before the first file is asked for."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = endpoint.rpartition("://")
    return fs.S3FileSystem(
        endpoint_override=host.rstrip("/") or None,
        scheme="http" if scheme == "http" else "https",
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        connect_timeout=TIMEOUT_SECONDS / 4,
        request_timeout=TIMEOUT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
