"""Parquet files on a disk or on S3, opened through Arrow, so that a machine that trains needs no other library.

A path with `://` is a URL of Arrow's file systems. For S3 Arrow itself reads the usual variables of the environment (keys, region,
AWS_ENDPOINT_URL); an endpoint may also stand in the URL: s3://bucket/key?endpoint_override=host:port&scheme=http.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs


def _place(path: str) -> tuple[fs.FileSystem, str]:
    return fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), str(Path(path).absolute()))


def require(path: str, kind: str, maker: str) -> None:
    """Raise FileNotFoundError, naming the kind of file and the command that makes it, if it is not there."""
    where, name = _place(path)
    if where.get_file_info(name).type != fs.FileType.File:
        raise FileNotFoundError(f'{path}: no such {kind}; "{maker}" writes it')


def metadata(path: str) -> pq.FileMetaData:
    """What stands at the end of the file: schema, row groups, statistics."""
    with open_parquet(path) as file:
        return file.metadata


def open_parquet(path: str, known: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """The file; with its metadata at hand nothing is read until rows are. Columns are fetched together on an object store."""
    where, name = _place(path)
    return pq.ParquetFile(where.open_input_file(name), metadata=known, pre_buffer="://" in path)


def read(path: str, columns: list[str]) -> pa.Table:
    """Whole columns of a small file."""
    with open_parquet(path) as file:
        return file.read(columns=columns)
