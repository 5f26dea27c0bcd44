"""The two Parquet files of a shard, written in row groups as rows come, and put in place together.

Columns and types follow storage/schema, with the constant `produced_by` in front. Both files are written beside their places
and renamed at the end, documents last, so that where documents.parquet is, captures.parquet belongs to it. Settings are fixed, so
equal rows give equal bytes. The cost: a killed writer leaves its `.part` files, which the next one for the same directory
overwrites; one writer per directory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lm.corpus.freed_memory import give_back
from storage.schema.corpus import CAPTURES, DOCUMENTS
from storage.schema.table import Table

CAPTURES_FILE = "captures.parquet"
DOCUMENTS_FILE = "documents.parquet"
_GROUP_ROWS = 4096
_GROUP_BYTES = 4 << 20
_PAGE_BYTES = 64 << 10
"""Before compression. Pages of 1 MB, the usual size, take 7 to 9% less of a disk and let nobody read one text of a hundred."""
_PAGE_ROWS = 8
"""After so many rows the size of a page is looked at."""
_PLAIN = ("id", "capture_id", "text")
"""Columns without repeats, in which a dictionary would be built for nothing."""
_TYPES: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "SMALLINT": pa.int16(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
}
Row = Mapping[str, Any]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a lake table; produced_by is dictionary-encoded, being one value."""
    constant = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(name, constant if name == "produced_by" else _TYPES[column.type]) for name, column in table.columns.items()])


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet file in small pages of plain texts, so that one document can be read without unpacking a megabyte of others."""
    encoded: Any = [name for name in schema.names if name not in _PLAIN]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=encoded,
        data_page_size=_PAGE_BYTES,
        write_batch_size=_PAGE_ROWS,
    )


class Rows:
    """One growing Parquet file of a lake table."""

    def __init__(self, path: Path, table: Table, produced_by: str) -> None:
        self.path, self.part = path, path.with_name(f".{path.name}.part")
        self._schema, self._produced_by = arrow_schema(table), produced_by
        self._writer = parquet_writer(self.part, self._schema)
        self._rows: list[Row] = []
        self._num_bytes = 0

    def add(self, row: Row, num_bytes: int) -> None:
        """Add a row of about so many bytes."""
        self._rows.append(row)
        self._num_bytes += num_bytes
        if len(self._rows) >= _GROUP_ROWS or self._num_bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left; the file still waits beside its place."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Remove what waits beside the place."""
        self._writer.close()
        self.part.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._rows:
            return
        keys = pa.DictionaryArray.from_arrays(pa.array([0] * len(self._rows), pa.int32()), pa.array([self._produced_by]))
        values = {field.name: pa.array([row[field.name] for row in self._rows], field.type) for field in list(self._schema)[1:]}
        self._writer.write_table(pa.Table.from_arrays([keys, *values.values()], schema=self._schema))
        self._rows, self._num_bytes = [], 0
        give_back()


@contextmanager
def table_file(path: Path, table: Table, produced_by: str) -> Iterator[Rows]:
    """A file of one lake table, written as rows come; it appears when the block ends without an error."""
    rows = Rows(path, table, produced_by)
    try:
        yield rows
        rows.close()
        os.replace(rows.part, path)
    finally:
        rows.abandon()


class ShardFiles:
    """Both files of a shard: `with ShardFiles(...) as files: files.add_capture(...)`. They appear when the block ends without an error."""

    def __init__(self, out_dir: str, produced_by: str) -> None:
        directory = Path(out_dir)
        directory.mkdir(parents=True, exist_ok=True)
        self.captures = Rows(directory / CAPTURES_FILE, CAPTURES, produced_by)
        self.documents = Rows(directory / DOCUMENTS_FILE, DOCUMENTS, produced_by)
        self.num_captures = self.num_documents = 0

    def add_capture(self, row: Row) -> None:
        """Add a row of the table captures."""
        self.captures.add(row, 512)
        self.num_captures += 1

    def add_document(self, row: Row) -> None:
        """Add a row of the table documents."""
        self.documents.add(row, 512 + row["num_bytes"])
        self.num_documents += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.captures.close()
                self.documents.close()
                self.documents.path.unlink(missing_ok=True)
                for rows in (self.captures, self.documents):
                    os.replace(rows.part, rows.path)
        finally:
            for rows in (self.captures, self.documents):
                rows.abandon()
