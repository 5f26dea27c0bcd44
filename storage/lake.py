"""The lake: DuckLake tables behind one object per process.

A `Lake` holds one connection to a DuckDB that the lakes of a process share (`storage/instances.py`). Reading needs nothing else; writing
goes through storage/ledger.py, which knows when work is done.
The choice: a lock around the connection instead of a pool, because DuckDB already uses all cores inside one query. The cost: threads
of one process query one after the other; where that hurts, open one more `Lake`. A forked child must open its own, and is told so.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from storage import catalog, extensions, files, instances
from storage.digest import digest
from storage.locks import writer_lock
from storage.schema import TABLES
from storage.settings import LakeSettings, quoted

Parameters = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table, and the stage output it holds."""

    path: str
    key: str
    num_rows: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class LakeDigest:
    """Content of the lake as one digest per table and one over all."""

    tables: Mapping[str, str]
    total: str


class Lake:
    """An open lake. Use `Lake.open(settings)` in a `with` statement."""

    def __init__(
        self, settings: LakeSettings, connection: duckdb.DuckDBPyConnection, *, read_only: bool, version: int | None = None
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self.version = version
        self._connection = connection
        self._guard = threading.RLock()
        self._writing = False
        self._pid = os.getpid()

    @classmethod
    def open(cls, settings: LakeSettings | None = None, read_only: bool = False) -> "Lake":
        """Open a lake; for writing, make it or bring it up to date first. Any number of processes may do so at once.

        Raises: LakeNotFound (read_only and none there), LakeTooNew (written by newer code; left untouched).
        """
        settings = settings or LakeSettings()
        if read_only:
            connection = instances.connect(settings, read_only=True)
            with _closing_on_error(connection):
                catalog.check_version(connection, settings)
            return cls(settings, connection, read_only=True)
        with writer_lock(settings):
            connection = instances.connect(settings, read_only=False)
            with _closing_on_error(connection):
                catalog.ensure_tables(connection, catalog.check_version(connection, settings))
        return cls(settings, connection, read_only=False)

    def at(self, version: int) -> "Lake":
        """The same lake as it was at a snapshot: another connection, read-only, to be closed on its own."""
        connection = catalog.connect(self.settings, read_only=True, version=version)
        with _closing_on_error(connection):
            catalog.check_version(connection, self.settings)
        return Lake(self.settings, connection, read_only=True, version=version)

    def close(self) -> None:
        """Close the connection; the lake itself needs no closing."""
        self._connection.close()

    def __enter__(self) -> "Lake":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The DuckDB connection, held for this thread."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this Lake was opened in process {self._pid} and must not be used in its fork {os.getpid()}; call Lake.open there"
            )
        with self._guard:
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection together with the lake's writer lock."""
        if self.read_only:
            raise PermissionError(f"the lake at {self.settings.root} was opened read-only; open it with Lake.open(settings) to write")
        with self.connection() as connection, contextlib.ExitStack() as held:
            if not self._writing:  # a nested entry of this thread would wait for itself
                held.enter_context(writer_lock(self.settings))
                held.callback(setattr, self, "_writing", False)
                self._writing = True
            yield connection

    def query(self, sql: str, params: Parameters = None) -> pa.Table:
        """Rows of a query as an Arrow table."""
        with self.connection() as connection:
            return connection.execute(sql, params).to_arrow_table()

    def rows(self, sql: str, params: Parameters = None) -> list[tuple[Any, ...]]:
        """Rows of a query as tuples."""
        with self.connection() as connection:
            return connection.execute(sql, params).fetchall()

    def value(self, sql: str, params: Parameters = None) -> Any:
        """First column of the first row; None if there is no row."""
        rows = self.rows(sql, params)
        return rows[0][0] if rows else None

    def snapshot_id(self) -> int:
        """The snapshot that queries of this lake see now."""
        return int(self.value(f"SELECT id FROM ducklake_current_snapshot({quoted(catalog.ALIAS)})"))

    def staging_dir(self, work: "Keyed") -> str:
        """Where a stage writes its files before they are committed; the same for the same work, so a repeated attempt replaces them."""
        key = work.key
        return files.join(self.settings.data_path, work.stage, key[:2], key)

    def data_files(self, table: str, keys: Sequence[str] | None = None) -> list[DataFile]:
        """Parquet files that hold a table now, or those of some stage outputs, sorted by path.

        Raises: RowsElsewhere if rows stand in the catalog or are deleted by position, so that the files alone would tell a different story;
        RuntimeError if a file holds more than one output.
        """
        from storage.inventory import data_files

        return data_files(self, table, keys)

    def list_data_files(self, table: str, keys: Sequence[str] | None = None) -> list[str]:
        """Paths of `data_files`."""
        return [file.path for file in self.data_files(table, keys)]

    def create_view(self, name: str, sql: str, comment: str) -> bool:
        """Make or replace a view with its comment; nothing is written, and false returned, if it is already so."""
        with self.writing() as connection:
            if _view(connection, name) == (_normalised(connection, name, sql), comment):
                return False
            connection.execute("BEGIN")
            try:
                connection.execute(f"CREATE OR REPLACE VIEW {_identifier(name)} AS {sql}")
                connection.execute(f"COMMENT ON VIEW {_identifier(name)} IS {quoted(comment)}")
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            return True

    def attach_sql(self) -> str:
        """What a person pastes into DuckDB's command line to read this lake."""
        load = [extensions.load_sql(name) for name in catalog.needed_extensions(self.settings)]
        secret = [self.settings.duckdb_s3_secret(reveal=False)] if self.settings.uses_s3 else []
        attach = catalog.attach_sql(self.settings, read_only=True, version=self.version, shown=True)
        return " ".join(f"{statement};" for statement in [*load, *secret, attach, f"USE {catalog.ALIAS}"])

    def digest(self) -> LakeDigest:
        """Content of every table, whatever the order of rows, the number of files or snapshots; volatile columns are left out."""
        tables = {name: self._table_digest(name) for name in sorted(TABLES)}
        return LakeDigest(tables, digest(*(part for item in tables.items() for part in item)))

    def _table_digest(self, name: str) -> str:
        if not self.value(f"SELECT count(*) FROM {name}"):
            return digest(name)
        columns = [column for column, about in TABLES[name].columns.items() if not about.volatile]
        row = ", ".join(f"{column} := {column}" for column in columns)
        sums = "count(*), sum(md5_number_lower(row_text)), sum(md5_number_upper(row_text))"
        sql = f"SELECT {sums} FROM (SELECT to_json(struct_pack({row}))::VARCHAR AS row_text FROM {name})"
        return digest(name, *(str(part) for part in self.rows(sql)[0]))


class Keyed(Protocol):
    """What `staging_dir` needs to know of a piece of work."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def key(self) -> str:
        """Digest of the work."""


@contextlib.contextmanager
def _closing_on_error(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _identifier(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"a view's name must be letters, digits and underscores; got {name!r}")
    return f'"{name}"'


def _view(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str | None] | None:
    sql = "SELECT sql, comment FROM duckdb_views() WHERE database_name = ? AND view_name = ?"
    row = connection.execute(sql, [catalog.ALIAS, name]).fetchone()
    return (_body(row[0]), row[1]) if row else None


def _normalised(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> str:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {_identifier('normalised_' + name)} AS {sql}")
    try:
        row = connection.execute("SELECT sql FROM duckdb_views() WHERE temporary AND view_name = ?", ["normalised_" + name]).fetchone()
        return _body(row[0]) if row else ""
    finally:
        connection.execute(f"DROP VIEW {_identifier('normalised_' + name)}")


def _body(create_view: str) -> str:
    return create_view.split(" AS ", 1)[1].rstrip("; \n")
