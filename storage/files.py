"""Files on a disk or an object store, by fsspec URL: whole or not at all.

On a disk a file is written beside its place and renamed; on an object store one put is atomic by itself. So a reader never sees
half a file and a killed writer leaves at most a hidden `.part` beside it. Parquet is written with fixed
settings (zstd, fixed row groups), so that equal rows give equal bytes. The cost: a file for an object store is held in memory once.
"""

import errno
import io
import os
import posixpath
import shutil
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from storage.arrow import fit, with_produced_by
from storage.schema.table import Table
from storage.settings import is_remote

ROW_GROUP_ROWS = 16_384
Options = Mapping[str, Any]
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFull(OSError):
    """There is no room for a file; nothing of it was left behind."""


def join(base: str, *parts: str) -> str:
    """Join path parts with slashes, for disks and object stores alike."""
    return posixpath.join(base, *parts)


def exists(path: str, options: Options | None = None) -> bool:
    """Whether a file or directory is there."""
    fs, name = fsspec.core.url_to_fs(path, **_for(path, options))
    return bool(fs.exists(name))


def list_files(directory: str, options: Options | None = None) -> list[str]:
    """Every file below a directory, sorted; empty if there is no such directory."""
    fs, name = fsspec.core.url_to_fs(directory, **_for(directory, options))
    return sorted(fs.unstrip_protocol(found) if is_remote(directory) else found for found in fs.find(name))


def remove(path: str, options: Options | None = None) -> None:
    """Remove a file; nothing happens if it is not there."""
    fs, name = fsspec.core.url_to_fs(path, **_for(path, options))
    if fs.exists(name):
        fs.rm_file(name)


def move(source: str, target: str, options: Options | None = None) -> None:
    """Give a file its final place: a rename on a disk, a copy inside the store and a delete on an object store."""
    if not is_remote(source):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        return
    fs, name = fsspec.core.url_to_fs(source, **_for(source, options))
    fs.mv(name, fs._strip_protocol(target))


def open_read(path: str, options: Options | None = None) -> Any:
    """An open binary file, seekable."""
    fs, name = fsspec.core.url_to_fs(path, **_for(path, options))
    return fs.open(name, "rb")


def write_bytes(path: str, data: bytes, options: Options | None = None) -> None:
    """Write a whole file atomically, replacing what was there."""
    if is_remote(path):
        fs, name = fsspec.core.url_to_fs(path, **_for(path, options))
        fs.pipe_file(name, data)
    else:
        _write_beside(path, lambda file: file.write(data))


def write_parquet(
    path: str,
    table: pa.Table,
    produced_by: str,
    *,
    schema: Table | None = None,
    options: Options | None = None,
    plain: Collection[str] = (),
    row_group_rows: int = ROW_GROUP_ROWS,
) -> None:
    """Write rows of one stage output as a Parquet file that the lake can register as it is.

    The key goes in front as the column produced_by. With `schema` the columns are brought to the order and types of that lake table.
    `plain` names columns without repeats, in which a dictionary would be built for nothing.
    Raises: StorageFull if there is no room; ValueError if columns do not fit the schema.
    """
    rows = with_produced_by(fit(table, schema) if schema else table, produced_by)
    if is_remote(path):
        buffer = io.BytesIO()
        _write_rows(rows, buffer, plain, row_group_rows)
        write_bytes(path, buffer.getvalue(), options)
    else:
        _write_beside(path, lambda file: _write_rows(rows, file, plain, row_group_rows))


def _write_rows(rows: pa.Table, file: Any, plain: Collection[str], row_group_rows: int) -> None:
    encoded: Any = [name for name in rows.schema.names if name not in plain] if plain else True
    pq.write_table(
        rows, file, compression="zstd", compression_level=3, row_group_size=row_group_rows, version="2.6", use_dictionary=encoded
    )


def _write_beside(path: str, write: Any) -> None:
    target = Path(path.removeprefix("file://"))
    part = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_native_id()}.part")  # two threads may write one file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            write(file)
            _sync(file)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise full_disk(error, str(target)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def full_disk(error: OSError, path: str) -> OSError:
    """The error to raise in place of `error`: StorageFull with what to do if the disk is full, else the error itself."""
    if error.errno not in _FULL:
        return error
    place = next((p for p in Path(path).parents if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    text = (
        f"no room to write {path} ({os.strerror(error.errno)}; {free:,} bytes free); nothing was left behind: free some space and run again"
    )
    return StorageFull(error.errno, text)


def _for(path: str, options: Options | None) -> dict[str, Any]:
    return dict(options or {}) if is_remote(path) else {}
