"""Look into a lake without being able to change it: queries typed by a person, and what each stage holds.

A query runs on a connection of its own that is attached read-only, may touch no file outside the lake's data, and cannot unlock its own
configuration. That alone would still let `COPY` overwrite a data file and DuckLake's clean-up functions delete one, so a query must
also be a single SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE) and may call only the table functions listed here. The cost: a table
function that is harmless but not listed is refused, and PIVOT, which DuckDB runs as two statements.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table as RichTable

from storage import catalog
from storage.inventory import METADATA
from storage.lake import Lake
from storage.settings import quoted

Format = Literal["table", "json", "csv", "parquet"]

READING_FUNCTIONS = frozenset(
    [
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "summary", "json_each", "json_tree"),
        *("glob", "read_parquet", "parquet_scan", "parquet_metadata", "parquet_file_metadata", "parquet_schema"),
        *("duckdb_tables", "duckdb_columns", "duckdb_views", "duckdb_schemas", "duckdb_databases", "duckdb_functions", "duckdb_types"),
        *("duckdb_settings", "duckdb_keywords", "pragma_version", "pragma_table_info", "pragma_show"),
        *("ducklake_snapshots", "ducklake_current_snapshot", "ducklake_last_committed_snapshot", "ducklake_table_info"),
        *("ducklake_list_files", "ducklake_options", "ducklake_settings"),
        *("ducklake_table_changes", "ducklake_table_insertions", "ducklake_table_deletions"),
        *("snapshots", "current_snapshot", "last_committed_snapshot", "table_info", "options"),
        *("table_changes", "table_insertions", "table_deletions"),
    ]
)
"""Table functions a query may call: they read, and they run no text as SQL."""

_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?", re.IGNORECASE)


class QueryRefused(ValueError):
    """The query could change something, or is none."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """What one stage holds."""

    stage: str
    num_outputs: int
    num_rows: int
    num_rejects: int
    num_bytes: int
    """Bytes of its Parquet files; rows kept in the catalog are not counted."""
    seconds: float
    """Seconds of work behind its outputs, as the stage reported them."""
    last_finished_at: datetime


def run_query(lake: Lake, sql: str, fmt: Format = "table") -> RichTable | bytes:
    """Run one reading query: a rich table for `table`, else the bytes to print.

    Raises: QueryRefused if it is not a single query that only reads; duckdb.Error if DuckDB cannot run it.
    """
    writers: dict[str, Callable[[pa.Table], RichTable | bytes]] = {
        "table": _as_rich,
        "json": _as_json,
        "csv": _as_csv,
        "parquet": _as_parquet,
    }
    if fmt not in writers:
        raise ValueError(f"format must be one of {', '.join(writers)}; got {fmt!r}")
    return writers[fmt](read_query(lake, sql))


def read_query(lake: Lake, sql: str) -> pa.Table:
    """Rows of one reading query, see run_query."""
    connection = catalog.connect(lake.settings, read_only=True, version=lake.version)
    try:
        _lock_down(connection, lake.settings.data_path)
        check_reads_only(connection, sql)
        return connection.execute(sql).to_arrow_table()
    finally:
        connection.close()


def check_reads_only(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises: QueryRefused unless the text is one SELECT-like statement that calls reading table functions only."""
    explained = _EXPLAIN.match(sql)
    body = sql[explained.end() :] if explained else sql
    try:
        row = connection.execute("SELECT json_serialize_sql(?)", [body]).fetchone()
    except duckdb.Error as error:
        raise QueryRefused(f"not a query: {error}") from error
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed["error"]:
        reason = parsed.get("error_message", "")
        raise QueryRefused(f"only a query that reads is run here (SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN): {reason}")
    if len(parsed["statements"]) != 1:
        raise QueryRefused(f"one query at a time; got {len(parsed['statements'])}")
    refused = sorted({name for name in _table_functions(parsed) if name not in READING_FUNCTIONS})
    if refused:
        raise QueryRefused(
            f"a query here may not call the table function {', '.join(refused)}; allowed: {', '.join(sorted(READING_FUNCTIONS))}"
        )


def stage_status(lake: Lake) -> list[StageStatus]:
    """What each stage holds, in the order of first finish."""
    return [StageStatus(*row) for row in lake.rows(_STATUS)]


_STATUS = f"""
WITH sizes AS (
    SELECT k.min_value AS key, sum(f.file_size_bytes) AS num_bytes
    FROM {METADATA}.ducklake_data_file f
    JOIN {METADATA}.ducklake_column c ON c.table_id = f.table_id AND c.column_name = 'produced_by' AND c.end_snapshot IS NULL
    JOIN {METADATA}.ducklake_file_column_stats k ON k.data_file_id = f.data_file_id AND k.column_id = c.column_id
    WHERE f.end_snapshot IS NULL GROUP BY ALL
), set_aside AS (SELECT produced_by AS key, sum(num_rejects) AS num_rejects FROM rejects GROUP BY ALL)
SELECT stage, count(*), sum(num_rows)::BIGINT, coalesce(sum(num_rejects), 0)::BIGINT, coalesce(sum(num_bytes), 0)::BIGINT,
       coalesce(sum(seconds), 0), max(finished_at)
FROM stages LEFT JOIN sizes USING (key) LEFT JOIN set_aside USING (key)
GROUP BY stage ORDER BY min(finished_at), stage
"""


def _lock_down(connection: duckdb.DuckDBPyConnection, data_path: str) -> None:
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET allowed_directories = [{quoted(data_path)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _table_functions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield str(node["function"]["function_name"]).lower()
        for child in node.values():
            yield from _table_functions(child)
    elif isinstance(node, list):
        for child in node:
            yield from _table_functions(child)


def _as_rich(rows: pa.Table) -> RichTable:
    table = RichTable(*rows.column_names)
    for row in rows.to_pylist(maps_as_pydicts="lossy"):
        table.add_row(*("" if value is None else _cell(value) for value in row.values()))
    return table


def _as_json(rows: pa.Table) -> bytes:
    return (json.dumps([_plain(row) for row in rows.to_pylist()], ensure_ascii=False, indent=1, default=str) + "\n").encode()


def _as_csv(rows: pa.Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.column_names)
    writer.writerows(["" if value is None else _cell(value) for value in row.values()] for row in rows.to_pylist())
    return text.getvalue().encode()


def _as_parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def _cell(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else str(value)


def _plain(value: Any) -> Any:
    """A value JSON can hold: NaN and infinity, which it cannot, become null."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
