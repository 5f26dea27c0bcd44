"""One DuckLake transaction that brings outputs in and takes replaced ones out, tried again while others are in the way."""

import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from storage import catalog, files
from storage.arrow import fit
from storage.lake import Lake
from storage.locks import LakeBusy
from storage.schema import TABLES
from storage.settings import quoted
from storage.staged import Staged

_TRANSIENT = ("database is locked", "transaction conflict", "conflict", "could not serialize", "deadlock detected")
_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """What a commit has to do, seen from inside its transaction."""

    fresh: Sequence[Staged]
    """Outputs that are not in the lake yet."""
    repeated: Sequence[Staged]
    """Outputs whose key is there already."""
    old_keys: Sequence[str]
    """Outputs that go."""
    old_tables: Sequence[str]
    """Tables those have rows in."""


def write(lake: Lake, connection: duckdb.DuckDBPyConnection, staged: Sequence[Staged], also_remove: Sequence[tuple[str, str]]) -> Plan:
    """Bring staged outputs in and take replaced ones out, all or nothing. The caller holds the writer lock.

    Raises: LakeBusy after many conflicts with writers that do not take the lock; StorageFull; duckdb.Error.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _once(lake, connection, staged, also_remove)
        except duckdb.Error as error:
            if not any(sign in str(error).lower() for sign in _TRANSIENT):
                raise explained(error, lake.settings.catalog_name) from error
            if attempt == _ATTEMPTS - 1:
                raise LakeBusy(f"the lake at {lake.settings.root} stayed in conflict over {_ATTEMPTS} attempts: {error}") from error
            time.sleep(min(5.0, 0.05 * 2**attempt) * random.uniform(0.5, 1.0))
    raise AssertionError("the last attempt returns or raises")


def _once(lake: Lake, connection: duckdb.DuckDBPyConnection, staged: Sequence[Staged], also_remove: Sequence[tuple[str, str]]) -> Plan:
    connection.execute("BEGIN")
    try:
        plan = _plan(connection, staged, also_remove)
        for entry in plan.fresh:
            entry.publish(lake)
        _statements(connection, plan)
        connection.execute("COMMIT")
        return plan
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # the error may have ended the transaction already
            connection.execute("ROLLBACK")
        raise


def _plan(connection: duckdb.DuckDBPyConnection, staged: Sequence[Staged], also_remove: Sequence[tuple[str, str]]) -> Plan:
    slots = {(entry.output.work.stage, entry.output.work.slot) for entry in staged}
    slots_text = [chr(31).join(slot) for slot in (*slots, *also_remove)]
    sql = "SELECT key, stage, slot, tables FROM stages WHERE list_contains($keys, key) OR list_contains($slots, stage || chr(31) || slot)"
    rows = connection.execute(sql, {"keys": [entry.key for entry in staged], "slots": slots_text}).fetchall()
    done = {row[0] for row in rows} & {entry.key for entry in staged}
    old = {key: json.loads(tables) for key, _, _, tables in rows if key not in done}
    fresh = [entry for entry in staged if entry.key not in done]
    return Plan(
        fresh, [entry for entry in staged if entry.key in done], list(old), sorted({name for names in old.values() for name in names})
    )


def explained(error: duckdb.Error, catalog_name: str) -> Exception:
    """The error to show in place of DuckDB's: what to do about a disk, else the error itself."""
    text = str(error)
    first_line = text.splitlines()[0]
    if any(sign in text for sign in ("No space left", "disk is full", "File too large")):
        return files.StorageFull(f"no room to commit: {first_line}; nothing was written: free some space and run again")
    if "disk I/O error" in text:
        return OSError(f"the disk did not take the commit into {catalog_name}: {text}; nothing was written: check space, quota and disk")
    return error


def _statements(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    if plan.old_keys:
        _delete(connection, plan)
    for name in TABLES:
        small = [rows for entry in plan.fresh if (rows := entry.small_rows(name)) is not None]
        if small:
            _insert(connection, name, pa.concat_tables(small, promote_options="permissive"))
        _register(connection, name, [path for entry in plan.fresh for path in entry.published.get(name, [])])
    if plan.fresh:
        _insert(connection, "rejects", _as_rows("rejects", [row for entry in plan.fresh for row in _rejects(entry)]))
        _insert(connection, "stages", _as_rows("stages", [_stage(entry) for entry in plan.fresh]))
    for sql, parameters in (update for entry in plan.fresh for update in entry.output.updates):
        connection.execute(sql, list(parameters))


def _delete(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Remove outputs; inlining is off meanwhile, so that a file without rows leaves the list of files."""
    connection.execute("SET SESSION ducklake_default_data_inlining_row_limit = 0")
    try:
        for name in plan.old_tables:
            connection.execute(f"DELETE FROM {name} WHERE produced_by IN (SELECT unnest(?))", [list(plan.old_keys)])
        connection.execute("DELETE FROM stages WHERE key IN (SELECT unnest(?))", [list(plan.old_keys)])
    finally:
        connection.execute(f"SET SESSION ducklake_default_data_inlining_row_limit = {catalog.INLINE_ROWS}")


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    for start in range(0, rows.num_rows, catalog.INLINE_ROWS):
        connection.register("rows_to_insert", rows.slice(start, catalog.INLINE_ROWS))
        try:
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_to_insert")
        finally:
            connection.unregister("rows_to_insert")


def _register(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str]) -> None:
    if paths:
        listed = ", ".join(quoted(path) for path in paths)
        connection.execute(f"CALL ducklake_add_data_files({quoted(catalog.ALIAS)}, {quoted(name)}, [{listed}])")


def _rejects(entry: Staged) -> Iterator[tuple[object, ...]]:
    for reject in entry.output.rejects:
        yield (entry.key, reject.stage, reject.source, reject.reason, reject.num_rejects, reject.example)


def _stage(entry: Staged) -> tuple[object, ...]:
    work = entry.output.work
    texts = (work.stage, work.slot, entry.key, work.parameters_json, work.code_json, work.inputs_json)
    return (*texts, json.dumps(entry.tables), entry.num_rows, datetime.now(UTC), entry.output.seconds)


def _as_rows(name: str, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return fit(pa.table({column: [row[i] for row in rows] for i, column in enumerate(TABLES[name].columns)}), TABLES[name])
