"""Open a DuckLake with plain DuckDB and bring its tables, columns and comments up to storage/schema.

Choices, each measured or seen to matter with DuckLake 1.5.5:
- The SQLite catalog is in WAL mode, so that a long query does not hold up a commit. The cost: the catalog must be on a local disk.
- DATA_PATH overrides the stored one, and data files are registered by relative path, so a lake can be moved or copied as a directory.
- Small inserts go into the catalog (`INLINE_ROWS`), which spares a file per commit; deletes never do, because DuckLake would then keep
  a registered file in its list although its rows are gone, and whoever reads the files directly would read deleted rows.
- A newer lake is refused before anything is written; an older one gets what it lacks by ALTER TABLE ADD COLUMN.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import duckdb

from storage import extensions
from storage.schema import SCHEMA_VERSION, TABLES
from storage.schema.ledger import LAKE_INFO
from storage.schema.table import Table
from storage.settings import LakeSettings, quoted

ALIAS = "lake"
INLINE_ROWS = 1000
_BUSY_MS = 60_000


class LakeNotFound(FileNotFoundError):
    """There is no lake at this place."""


class LakeTooNew(RuntimeError):
    """The lake was written by a newer version of this package."""


def connect(settings: LakeSettings, *, read_only: bool, version: int | None = None) -> duckdb.DuckDBPyConnection:
    """A connection to a DuckDB of its own, with the lake attached as `lake` and in use; `version` pins a snapshot.

    Raises: LakeNotFound if read_only and there is none.
    """
    if read_only and not settings.is_postgres and not settings.catalog_file.is_file():
        raise LakeNotFound(
            f"no lake at {settings.root} (looked for {settings.catalog_file}); set LADDER_LAKE or --lake, or fill one with: ladder demo"
        )
    spill = str(Path(tempfile.gettempdir()) / f"ladder-duckdb-{os.getpid()}")
    connection = duckdb.connect(config={**extensions.CONNECTION_OPTIONS, "temp_directory": spill})
    try:
        prepare(connection, settings)
        _attach(connection, settings, read_only=read_only, version=version)
        use(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def use(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the attached lake the default, and set what each connection sets for itself: others may be open to the same DuckDB."""
    connection.execute("SET SESSION TimeZone = 'UTC'")
    connection.execute("SET SESSION enable_progress_bar = false")  # it would go to standard output, between rows
    connection.execute(f"USE {ALIAS}")
    connection.execute(f"SET SESSION ducklake_default_data_inlining_row_limit = {INLINE_ROWS}")


def prepare(connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    """Load what the lake needs and hand over its keys."""
    extensions.load(connection, *needed_extensions(settings))
    if settings.uses_s3:
        connection.execute(settings.duckdb_s3_secret())
    if settings.is_postgres:
        connection.execute(settings.duckdb_postgres_secret())


def needed_extensions(settings: LakeSettings) -> list[str]:
    """Names of the DuckDB extensions behind this lake."""
    catalog = "postgres_scanner" if settings.is_postgres else "sqlite_scanner"
    return ["ducklake", catalog, *(["httpfs"] if settings.uses_s3 else [])]


def attach_sql(settings: LakeSettings, *, read_only: bool, version: int | None = None, shown: bool = False) -> str:
    """The ATTACH statement. `shown` is for people: it names no secret of this process, and libpq asks PGPASSWORD or ~/.pgpass instead."""
    options = [f"DATA_PATH {quoted(settings.data_path)}", "OVERRIDE_DATA_PATH true"]
    if not settings.is_postgres:
        target = f"ducklake:sqlite:{settings.catalog_file}"
        options += [f"META_BUSY_TIMEOUT {_BUSY_MS}"] + ([] if read_only else ["META_JOURNAL_MODE 'WAL'"])
    elif shown:
        target = "ducklake:postgres:" + " ".join(f"{name}={value}" for name, value in settings.postgres_parts().items())
    else:
        target, options = "ducklake:postgres:", [*options, "META_SECRET lake_catalog"]
    if read_only:
        options.append("READ_ONLY")
    if version is not None:
        options.append(f"SNAPSHOT_VERSION {version}")
    return f"ATTACH {quoted(target)} AS {ALIAS} ({', '.join(options)})"


def _attach(connection: duckdb.DuckDBPyConnection, settings: LakeSettings, *, read_only: bool, version: int | None) -> None:
    try:
        connection.execute(attach_sql(settings, read_only=read_only, version=version))
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        for secret in _secrets(settings):
            text = text.replace(secret, "***")
        raise ConnectionError(f"cannot open the lake with catalog {settings.catalog_name} and data {settings.data_path}: {text}") from None


def _secrets(settings: LakeSettings) -> list[str]:
    password = settings.postgres_parts(with_password=True).get("password") if settings.is_postgres else None
    key = settings.secret_access_key.get_secret_value() if settings.secret_access_key else None
    return [secret for secret in (password, key) if secret]


def schema_version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Version of the attached lake's tables, None for a lake that has none yet."""
    try:  # a query of duckdb_tables() would count the columns, rows and bytes of every table, in 80 ms
        row = connection.execute(f"SELECT max(schema_version) FROM {LAKE_INFO.name}").fetchone()
    except duckdb.CatalogException:
        return None
    return row[0] if row else None


def check_version(connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> int | None:
    """The lake's version. Raises: LakeTooNew if this code is older than the lake."""
    found = schema_version(connection)
    if found is not None and found > SCHEMA_VERSION:
        raise LakeTooNew(
            f"the lake at {settings.root} has schema version {found}, this dataladder knows up to {SCHEMA_VERSION}; "
            "upgrade dataladder, or use another lake with --lake (this one was left as it was)"
        )
    return found


def ensure_tables(connection: duckdb.DuckDBPyConnection, found_version: int | None) -> bool:
    """Make what the lake lacks in one transaction; true if anything was lacking. The caller holds the writer lock."""
    sql = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = ?"
    present: dict[str, dict[str, str | None]] = {}
    for table_name, column_name, comment in connection.execute(sql, [ALIAS]).fetchall():
        present.setdefault(table_name, {})[column_name] = comment
    statements = [sql for table in TABLES.values() for sql in _missing(table, present.get(table.name, {}))]
    if found_version is None:
        statements.append(f"INSERT INTO {LAKE_INFO.name} VALUES ({SCHEMA_VERSION}, now())")
    elif found_version < SCHEMA_VERSION:
        statements.append(f"UPDATE {LAKE_INFO.name} SET schema_version = {SCHEMA_VERSION}")
    if statements:
        connection.execute("BEGIN")
        try:
            for sql in statements:
                connection.execute(sql)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return bool(statements)


def _missing(table: Table, present: Mapping[str, str | None]) -> list[str]:
    statements = []
    if not present:
        columns = ", ".join(f"{name} {column.type}" for name, column in table.columns.items())
        statements += [f"CREATE TABLE {table.name} ({columns})", f"COMMENT ON TABLE {table.name} IS {quoted(table.doc)}"]
    for name, column in table.columns.items():
        if present and name not in present:
            statements.append(f"ALTER TABLE {table.name} ADD COLUMN {name} {column.type}")
        if not present.get(name):
            statements.append(f"COMMENT ON COLUMN {table.name}.{name} IS {quoted(column.doc)}")
    return statements
