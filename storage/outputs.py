"""Where the files of a stage output are written and read: one local folder, wherever the lake's data lies.

Code that computes (`lm`) writes and reads plain local files. With data on a disk that folder is the place where the files stay; with
data on an object store it is a temporary one, and publishing copies each file up. Reading brings a remote file down once and keeps it in a
cache. The cost: a copy per file on an object store, and disk for the cache.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import files
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Work
from storage.schema import TABLES
from storage.settings import is_remote


@dataclass(frozen=True, slots=True)
class OutputDir:
    """Folder for the files of one output."""

    lake: Lake
    work: Work
    path: Path

    def publish(self, name: str) -> str:
        """Bring a file of the folder to its place; the path or URL to commit."""
        target = files.join(self.lake.staging_dir(self.work), name)
        if is_remote(target):
            files.write_bytes(target, (self.path / name).read_bytes(), self.lake.settings.s3fs_options())
        return target

    def write(self, table: str, rows: pa.Table, part: int | None = None, **layout: Any) -> str:
        """Write rows of a table as <table>.parquet, or as one of several parts, and publish it; `layout` is for `files.write_parquet`."""
        name = f"{table}.parquet" if part is None else f"{table}-{part:05d}.parquet"
        files.write_parquet(str(self.path / name), rows, self.work.key, schema=TABLES.get(table), **layout)
        return self.publish(name)


@contextmanager
def output_dir(lake: Lake, work: Work) -> Iterator[OutputDir]:
    """A folder to write one output's files to; publish them before it closes."""
    place = lake.staging_dir(work)
    if is_remote(place):
        with tempfile.TemporaryDirectory(prefix="ladder-") as folder:
            yield OutputDir(lake, work, Path(folder))
    else:
        Path(place).mkdir(parents=True, exist_ok=True)
        yield OutputDir(lake, work, Path(place))


def relative(lake: Lake, path: str) -> str:
    """A path inside the lake as it stands in tables: relative to the lake's data or to the lake, else unchanged."""
    for base in (lake.settings.data_path, lake.settings.root + "/"):
        if path.startswith(base):
            return ("data/" if base == lake.settings.data_path else "") + path[len(base) :]
    return path


def absolute(lake: Lake, path: str) -> str:
    """The inverse of `relative`."""
    if is_remote(path) or path.startswith("/"):
        return path
    if path.startswith("data/"):
        return lake.settings.data_path + path[len("data/") :]
    return files.join(lake.settings.root, path)


def local_copy(lake: Lake, path: str) -> str:
    """A local file with the content of a file of the lake: itself on a disk, a cached copy for an object store."""
    url = absolute(lake, path)
    if not is_remote(url):
        return url
    copy = home(lake) / "cache" / digest(url)[:16] / Path(url).name
    if not copy.exists():
        with files.open_read(url, lake.settings.s3fs_options()) as file:
            files.write_bytes(str(copy), file.read())
    return str(copy)


def home(lake: Lake) -> Path:
    """Local folder of this lake on this machine: logs, caches, crawls and runs in progress."""
    root = lake.settings.root
    return Path.home() / ".cache" / "dataladder" / digest(root)[:16] if is_remote(root) else Path(root)
