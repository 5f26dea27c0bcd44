"""Rows of a Parquet file, one after the other, from files that nobody has checked.

What stands in a Parquet file as a string need not be UTF-8, and a time need not be one that Python knows; Arrow notices neither before it
makes Python values of a whole batch. So strings are handed on as bytes, for the caller to decode, and a value that cannot be made is None.
A few kilobytes can also hold gigabytes of equal strings. So a batch has fewer rows where rows are large, and strings are read as
a dictionary, in which each stands once. The cost is some ten microseconds per row. A damaged row group costs itself alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

BROKEN = (pa.ArrowException, OSError, ValueError)
"""What Arrow raises for a damaged file."""
_MAX_BATCH_ROWS = 256
_BATCH_BYTES = 16 << 20
_NO_VALUE = (ValueError, OverflowError, LookupError)
"""What a time out of range and a zone that nobody knows raise."""
Row = dict[str, Any]


def rows(raw: BinaryIO, wanted: Sequence[str]) -> Iterator[tuple[int, Row | str]]:
    """Number and values of each row; in the place of what cannot be read of a row group, the number of its first row and what was wrong.

    Only columns that are wanted and there are read, or the first of all if none is. Strings come as bytes. Raises: one of BROKEN if the
    file is no Parquet file.
    """
    plain = pq.ParquetFile(raw)
    schema = plain.schema_arrow
    columns = [name for name in dict.fromkeys(wanted) if name in schema.names] or schema.names[:1]
    strings = [name for name in columns if _is_string(schema.types[schema.names.index(name)])]
    file = pq.ParquetFile(raw, read_dictionary=strings, metadata=plain.metadata)
    first = 0
    for group in range(file.metadata.num_row_groups):
        number = first
        try:
            for batch in file.iter_batches(_batch_rows(file, group), row_groups=[group], columns=columns):
                values = {name: _values(batch.column(at)) for at, name in enumerate(batch.schema.names)}
                for at in range(batch.num_rows):
                    yield number, {name: value(at) for name, value in values.items()}
                    number += 1
        except BROKEN as error:
            yield number, str(error)
        first += file.metadata.row_group(group).num_rows


def _is_string(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _batch_rows(file: pq.ParquetFile, group: int) -> int:
    """Rows of a batch, by the mean size of a row. Columns are not asked: Arrow ends the process where one is damaged."""
    found = file.metadata.row_group(group)
    return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * int(found.num_rows) // max(1, int(found.total_byte_size))))


def _values(column: Any) -> Callable[[int], Any]:
    """A function from the place in a column to the value there."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        value, places = _values(column.dictionary), column.indices
        return lambda at: value(place) if (place := places[at].as_py()) is not None else None
    if pa.types.is_string(kind):
        column = column.cast(pa.binary())
    elif pa.types.is_large_string(kind):
        column = column.cast(pa.large_binary())

    def value_at(at: int) -> Any:
        try:
            return column[at].as_py()
        except _NO_VALUE:
            return None

    return value_at
