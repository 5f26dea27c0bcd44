"""Arrow tables in the shape of a lake table: same columns, same order, same types.

DuckDB itself is asked which Arrow type stands for its type names, so that storage/schema stays the only place where types are
written. Large strings stay large: a Parquet file does not tell them apart, and a cast would fail above 2 GB of text.
"""

from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from storage.schema.table import Table


@cache
def arrow_type(duckdb_type: str) -> pa.DataType:
    """The Arrow type DuckDB gives for one of its types."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found: pa.DataType = connection.execute(f"SELECT NULL::{duckdb_type} AS value").to_arrow_table().schema.field(0).type
        return found


def fit(rows: pa.Table, table: Table) -> pa.Table:
    """Bring columns to the order and types of a lake table; produced_by, if there, stays in front.

    Raises: ValueError naming missing or unknown columns, or the value that its type cannot hold.
    """
    wanted = [name for name in table.columns if name != "produced_by" or name in rows.column_names]
    unknown, missing = sorted(set(rows.column_names) - set(wanted)), [name for name in wanted if name not in rows.column_names]
    if unknown or missing:
        raise ValueError(f"rows for table {table.name} must have its columns; missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    columns = {}
    for name in wanted:
        try:
            columns[name] = _cast(rows[name], arrow_type(table.columns[name].type))
        except pa.ArrowException as error:
            raise ValueError(f"column {table.name}.{name} must be {table.columns[name].type}; got {rows[name].type}: {error}") from error
    return pa.table(columns)


def with_produced_by(rows: pa.Table, produced_by: str) -> pa.Table:
    """The same rows with the constant column produced_by in front."""
    if "produced_by" in rows.column_names:
        raise ValueError("rows must come without the column produced_by; it is added when they are stored")
    keys = pa.DictionaryArray.from_arrays(pa.array([0] * rows.num_rows, pa.int8()), pa.array([produced_by]))
    return rows.add_column(0, "produced_by", keys)


def _cast(column: Any, target: pa.DataType) -> Any:
    if column.type == target or (pa.types.is_large_string(column.type) and pa.types.is_string(target)):
        return column
    return column.cast(target)
