"""The ledger: which work is done, why work runs again, and the commit that makes an output appear whole or not at all.

A commit is one DuckLake transaction for any number of outputs. Under the writer lock it leaves out keys that are already there, removes
what another key wrote for the same slot, adds files and rows, and writes the ledger's row. So a repeated, concurrent or killed commit
ends in the same tables. The cost: commits wait for each other, hence few and large ones, one per stage where that can be.

Files are moved to a name of their own under the table's directory just before they are registered: a later attempt of the same work can
then never overwrite a file that a snapshot refers to. A commit that dies between leaves a file nobody refers to, and nothing else.
"""

import contextlib
import json
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage import catalog, files
from storage.arrow import fit, with_produced_by
from storage.lake import Lake
from storage.locks import LakeBusy
from storage.schema import TABLES
from storage.settings import quoted
from storage.work import Output, Why, Work, differences

__all__ = ["Commit", "Output", "Why", "Work", "commit", "is_done", "pending", "why"]

_TRANSIENT = (
    "database is locked",
    "transaction conflict",
    "conflict",
    "could not serialize",
    "deadlock detected",
    "database schema has changed",
)
_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did."""

    snapshot: int
    """Snapshot in which the outputs are seen."""
    num_rows: int
    """Rows written, rejects and the ledger's own aside."""
    num_skipped: int
    """Outputs left out because their key was there already."""


def is_done(lake: Lake, work: Work) -> bool:
    """Whether the output of this work is in the lake."""
    return not pending(lake, [work])


def pending(lake: Lake, works: Sequence[Work]) -> list[Work]:
    """Those works whose output is not in the lake, in their order, each once."""
    by_key = {work.key: work for work in works}
    done = _done(lake, list(by_key))
    return [work for key, work in by_key.items() if key not in done]


def why(lake: Lake, work: Work) -> Why:
    """Whether this work runs, and what makes it run again."""
    if is_done(lake, work):
        return Why(work.stage, work.slot, "done")
    stored = lake.rows("SELECT parameters, code, inputs FROM stages WHERE stage = ? AND slot = ?", [work.stage, work.slot])
    if not stored:
        return Why(work.stage, work.slot, "new")
    wanted = (work.parameters_json, work.code_json, work.inputs_json)
    parts = zip(("parameters", "code", "inputs"), stored[0], wanted, strict=True)
    return Why(
        work.stage, work.slot, "changed", [c for name, old, new in parts for c in differences(name, json.loads(old), json.loads(new))]
    )


def commit(lake: Lake, outputs: Sequence[Output], *, also_remove: Sequence[tuple[str, str]] = ()) -> Commit:
    """Bring outputs into the lake in one transaction, each exactly once.

    also_remove: (stage, slot) pairs whose outputs go, such as a file that is no longer in the crawl.
    Raises: ValueError if rows or files do not fit their tables; LakeBusy if others keep the lake in conflict; StorageFull.
    """
    prepared = [_Prepared.of(lake, output) for output in outputs]
    _check_slots(outputs)
    with lake.writing() as connection:
        done = _done(lake, [entry.key for entry in prepared])
        fresh = [entry for entry in prepared if entry.key not in done]
        old = _replaced(connection, [(entry.output.work.stage, entry.output.work.slot) for entry in fresh] + list(also_remove))
        if fresh or old:
            for entry in fresh:
                entry.publish(lake)
            _retried(lake, connection, fresh, old)
        snapshot = lake.snapshot_id()
    for entry in prepared:
        if entry.key in done:
            entry.discard(lake)
    return Commit(snapshot, sum(entry.num_rows for entry in fresh), len(prepared) - len(fresh))


class _Prepared:
    """An output checked against its tables before the lock is taken."""

    def __init__(self, output: Output, key: str, rows: dict[str, pa.Table], paths: dict[str, list[str]], num_rows: int) -> None:
        self.output, self.key, self.rows, self.paths, self.num_rows = output, key, rows, paths, num_rows

    @classmethod
    def of(cls, lake: Lake, output: Output) -> "_Prepared":
        key = output.work.key
        _check_tables(output)
        rows = {name: with_produced_by(fit(table, TABLES[name]), key) for name, table in output.tables.items()}
        paths = {name: list(found) for name, found in output.files.items()}
        num_rows = sum(table.num_rows for table in rows.values())
        if not is_done(lake, output.work):  # files of finished work may be gone: whoever was first has moved them
            num_rows += sum(_check_file(lake, name, path, key) for name, found in paths.items() for path in found)
        return cls(output, key, rows, paths, num_rows)

    def publish(self, lake: Lake) -> None:
        options = lake.settings.s3fs_options()
        for name, found in self.paths.items():
            for index, path in enumerate(found):
                target = files.join(lake.settings.data_path, "main", name, f"{self.key}-{uuid.uuid4().hex[:12]}.parquet")
                files.move(path, target, options)
                found[index] = target

    def discard(self, lake: Lake) -> None:
        for path in (path for found in self.paths.values() for path in found):
            files.remove(path, lake.settings.s3fs_options())


def _done(lake: Lake, keys: list[str]) -> set[str]:
    return {row[0] for row in lake.rows("SELECT key FROM stages WHERE list_contains(?, key)", [keys])} if keys else set()


def _check_slots(outputs: Sequence[Output]) -> None:
    keys: dict[tuple[str, str], str] = {}
    for work in (output.work for output in outputs):
        if keys.setdefault((work.stage, work.slot), work.key) != work.key:
            raise ValueError(f"one commit must hold one output per stage and slot; got two for {work.stage} {work.slot}")
    if len(keys) != len(outputs):
        raise ValueError("one commit must hold each output once; got the same work twice")


def _check_tables(output: Output) -> None:
    names = set(output.tables) | set(output.files)
    unknown, own = sorted(names - TABLES.keys()), sorted(names & {"stages", "rejects", "lake_info"})
    if unknown or own:
        raise ValueError(f"{output.work.stage} {output.work.slot} writes unknown tables {unknown} or tables the ledger writes itself {own}")
    for sql, _ in output.updates:
        if not sql.lstrip().upper().startswith("UPDATE "):
            raise ValueError(f"updates of {output.work.stage} {output.work.slot} must be UPDATE statements; got: {sql}")


def _check_file(lake: Lake, table: str, path: str, key: str) -> int:
    if not path.startswith(lake.settings.data_path):
        raise ValueError(f"a file to register must be under {lake.settings.data_path} (see Lake.staging_dir); got {path}")
    with files.open_read(path, lake.settings.s3fs_options()) as file:
        metadata = pq.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    if set(names) != set(TABLES[table].columns):
        missing, unknown = set(TABLES[table].columns) - set(names), set(names) - set(TABLES[table].columns)
        raise ValueError(f"{path} must have the columns of table {table}; missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    index = names.index("produced_by")
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group).column(index).statistics
        if found is None or {found.min, found.max} != {key}:
            raise ValueError(f"{path} must hold produced_by = {key} in every row; row group {group} does not")
    return metadata.num_rows


def _replaced(connection: duckdb.DuckDBPyConnection, slots: list[tuple[str, str]]) -> list[str]:
    if not slots:
        return []
    stages, names = [stage for stage, _ in slots], [slot for _, slot in slots]
    sql = "SELECT key FROM stages SEMI JOIN (SELECT unnest(?) AS stage, unnest(?) AS slot) USING (stage, slot)"
    return [row[0] for row in connection.execute(sql, [stages, names]).fetchall()]


def _retried(lake: Lake, connection: duckdb.DuckDBPyConnection, fresh: list[_Prepared], old: list[str]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute("BEGIN")
            _write(connection, fresh, old)
            connection.execute("COMMIT")
            return
        except duckdb.Error as error:
            _rollback(connection)
            if not _is_transient(error):
                raise _explained(error) from error
            if attempt == _ATTEMPTS - 1:
                raise LakeBusy(f"the lake at {lake.settings.root} stayed in conflict over {_ATTEMPTS} attempts: {error}") from error
            time.sleep(min(5.0, 0.05 * 2**attempt) * random.uniform(0.5, 1.0))
        except BaseException:
            _rollback(connection)
            raise


def _write(connection: duckdb.DuckDBPyConnection, fresh: list[_Prepared], old: list[str]) -> None:
    if old:
        _delete(connection, old)
    for entry in fresh:
        for name, rows in entry.rows.items():
            _insert(connection, name, rows)
        for name, paths in entry.paths.items():
            for path in paths:
                connection.execute(f"CALL ducklake_add_data_files({quoted(catalog.ALIAS)}, {quoted(name)}, {quoted(path)})")
        for sql, parameters in entry.output.updates:
            connection.execute(sql, list(parameters))
    if fresh:
        _insert(connection, "rejects", _rejects(fresh))
        _insert(connection, "stages", _stages(fresh))


def _delete(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    """Remove outputs; inlining is off meanwhile, so that a file without rows leaves the list of files."""
    connection.execute("SET ducklake_default_data_inlining_row_limit = 0")
    try:
        for name, table in TABLES.items():
            column = "produced_by" if "produced_by" in table.columns else "key" if name == "stages" else None
            if column:
                connection.execute(f"DELETE FROM {name} WHERE {column} IN (SELECT unnest(?))", [keys])
    finally:
        connection.execute(f"SET ducklake_default_data_inlining_row_limit = {catalog.INLINE_ROWS}")


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    if rows.num_rows:
        connection.register("rows_to_insert", rows)
        try:
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_to_insert")
        finally:
            connection.unregister("rows_to_insert")


def _rejects(fresh: list[_Prepared]) -> pa.Table:
    rows = [
        (entry.key, reject.stage, reject.source, reject.reason, reject.num_rejects, reject.example)
        for entry in fresh
        for reject in entry.output.rejects
    ]
    return _table("rejects", rows)


def _stages(fresh: list[_Prepared]) -> pa.Table:
    now = time.time_ns() // 1000
    rows = []
    for entry in fresh:
        work = entry.output.work
        texts = (work.stage, work.slot, entry.key, work.parameters_json, work.code_json, work.inputs_json)
        rows.append((*texts, entry.num_rows, pa.scalar(now, pa.timestamp("us", "UTC")).as_py(), entry.output.seconds))
    return _table("stages", rows)


def _table(name: str, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    columns = list(TABLES[name].columns)
    return fit(pa.table({column: [row[i] for row in rows] for i, column in enumerate(columns)}), TABLES[name])


def _rollback(connection: duckdb.DuckDBPyConnection) -> None:
    with contextlib.suppress(duckdb.Error):  # none is open if BEGIN itself failed, or if the error has ended it already
        connection.execute("ROLLBACK")


def _is_transient(error: duckdb.Error) -> bool:
    return any(sign in str(error).lower() for sign in _TRANSIENT)


def _explained(error: duckdb.Error) -> Exception:
    text = str(error)
    if "No space left" in text or "disk is full" in text or "File too large" in text:
        return files.StorageFull(f"no room to commit: {text.splitlines()[0]}; nothing was written: free some space and run again")
    return error
