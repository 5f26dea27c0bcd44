"""Rows of Parquet files a few at a time, in memory that owes nothing to the size of a file or a row group.

Pages are decoded as they are asked for, out of a small buffer, on the caller's thread. Reading ahead, which is Arrow's choice, costs three
times the CPU here and holds a row group of texts; the price is a disk that waits while rows are compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXT_ROWS = 1024
BAND_ROWS = 4096
"""Rows of texts, and of band keys, that are worth a call and small beside an interpreter."""
_BUFFER_BYTES = 64 << 10


def batches(sources: Iterable[Any], columns: Sequence[str], batch_rows: int = TEXT_ROWS) -> Iterator[pa.RecordBatch]:
    """These columns of one Parquet file after the other; a source is a path or an open binary file."""
    for source in sources:
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            yield from file.iter_batches(batch_rows, columns=list(columns), use_threads=False)
