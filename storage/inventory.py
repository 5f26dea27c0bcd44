"""Which Parquet files hold a table: for readers that need no DuckDB, such as the trainer.

It reads DuckLake's own catalog tables (specification 1.0), because they know each file's rows and the range of `produced_by` without
opening it. The cost: a change of that specification shows here. What the files alone would tell wrongly is refused, not passed on.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage import files

if TYPE_CHECKING:
    from storage.lake import DataFile, Lake

METADATA = "__ducklake_metadata_lake"

_FILES = f"""
SELECT f.path, f.path_is_relative, s.path AS schema_path, t.path AS table_path, f.record_count, f.file_size_bytes, k.min_value, k.max_value
FROM {METADATA}.ducklake_data_file f
JOIN {METADATA}.ducklake_table t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN {METADATA}.ducklake_schema s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
JOIN {METADATA}.ducklake_column c ON c.table_id = t.table_id AND c.column_name = 'produced_by' AND c.end_snapshot IS NULL
LEFT JOIN {METADATA}.ducklake_file_column_stats k ON k.data_file_id = f.data_file_id AND k.column_id = c.column_id
WHERE t.table_name = $table AND f.begin_snapshot <= $version AND (f.end_snapshot IS NULL OR f.end_snapshot > $version)
ORDER BY f.path
"""


class RowsElsewhere(RuntimeError):
    """A table of which some rows stand in the catalog, or were deleted by position: its files alone would tell a different story."""


def data_files(lake: "Lake", table: str, keys: Sequence[str] | None) -> "list[DataFile]":
    """See Lake.data_files."""
    from storage.lake import DataFile

    with lake.connection():
        found = lake.rows(_FILES, {"table": table, "version": lake.snapshot_id()})
        num_rows = lake.value(f'SELECT count(*) FROM "{table}"')
    in_files = sum(row[4] for row in found)
    if num_rows != in_files:
        raise RowsElsewhere(
            f"table {table} has {num_rows} rows, but its Parquet files hold {in_files}: "
            "some rows stand in the catalog or were deleted one by one; read the table with SQL instead"
        )
    base = lake.settings.data_path
    listed = []
    for path, is_relative, schema_path, table_path, rows, size, low, high in found:
        if low != high or low is None:
            raise RuntimeError(f"{path} of table {table} must hold one stage output; it holds produced_by from {low} to {high}")
        listed.append(DataFile(files.join(base, schema_path, table_path, path) if is_relative else path, low, rows, size))
    wanted = None if keys is None else set(keys)
    return [file for file in listed if wanted is None or file.key in wanted]
