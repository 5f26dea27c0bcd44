"""Rows of Parquet files a few at a time, in memory that owes nothing to the size of a file or a row group.

Pages are decoded as they are asked for, out of a small buffer, on the caller's thread. Reading ahead, which is Arrow's choice, costs three
times the CPU here and holds a row group of texts; the price is a disk that waits while rows are compared.

Where few of a file's documents are wanted, their ids are looked up first and only the pages of text that hold them are unpacked.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm.corpus.near_duplicates.marks import Marks
from lm.corpus.near_duplicates.pages import Chunks
from lm.corpus.near_duplicates.spill import encode_ids, id_heads

TEXT_ROWS = 1024
BAND_ROWS = 4096
"""Rows of texts, and of band keys, that are worth a call and small beside an interpreter."""
MIN_PICKED = 16
"""Where one document in so many is wanted or more, a row group is read as a whole: nearly every page holds one."""
_BUFFER_BYTES = 64 << 10


def batches(sources: Iterable[Any], columns: Sequence[str], batch_rows: int = TEXT_ROWS) -> Iterator[pa.RecordBatch]:
    """These columns of one Parquet file after the other; a source is a path or an open binary file."""
    for source in sources:
        with _opened(source) as (_, file):
            yield from _of_groups(file, range(file.num_row_groups), columns, batch_rows)


def band_keys(sources: Iterable[Any], method: str) -> Iterator[pa.RecordBatch]:
    """Columns id and bands of one method. Row groups that hold no other are read without a look at it, those without it not at all."""
    for source in sources:
        with _opened(source) as (_, file):
            column = file.schema.names.index("method")
            for group in range(file.num_row_groups):
                known = file.metadata.row_group(group).column(column).statistics
                low, high = (str(known.min), str(known.max)) if known is not None and known.has_min_max else ("", method)
                if low == high == method:
                    yield from _of_groups(file, [group], ["id", "bands"], BAND_ROWS)
                elif low <= method <= high:
                    for batch in _of_groups(file, [group], ["id", "method", "bands"], BAND_ROWS):
                        yield batch.filter(pc.equal(batch["method"], pa.scalar(method))).select(["id", "bands"])


@contextmanager
def _opened(source: Any) -> Iterator[tuple[pa.NativeFile, pq.ParquetFile]]:
    """The bytes of a source and the Parquet file they are. What the caller opened stays open."""
    mine = pa.OSFile(str(source), mode="r") if isinstance(source, str | Path) else None
    raw = mine or pa.PythonFile(source, mode="r")
    try:
        with pq.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            yield raw, file
    finally:
        if mine:
            mine.close()


class Wanted:
    """Ids that are looked for, and which rows hold them."""

    def __init__(self, ids: Any) -> None:
        self._high = np.sort(encode_ids(ids)["high"])
        self._marks = Marks(len(self._high))
        self._marks.add(id_heads(ids))

    def rows(self, ids: Any) -> NDArray[np.int64]:
        """Positions of these ids that are wanted, in order; two ids with one upper half are taken for each other."""
        rows: NDArray[np.int64] = self._marks.passed(id_heads(ids))
        if len(rows):
            high = encode_ids(ids.take(pa.array(rows, pa.int64())))["high"]
            rows = rows[self._high[np.minimum(np.searchsorted(self._high, high), len(self._high) - 1)] == high]
        return rows


def texts(sources: Iterable[Any], wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """Columns id and text of the documents that are wanted, in one Parquet file after the other, and perhaps of others beside them."""
    chunks = Chunks()
    for source in sources:
        with _opened(source) as (raw, file):
            for group in range(file.num_row_groups):
                yield from _texts_of_group(raw, file, group, wanted, chunks)


def _texts_of_group(raw: pa.NativeFile, file: pq.ParquetFile, group: int, wanted: Wanted, chunks: Chunks) -> Iterator[pa.RecordBatch]:
    ids = pa.concat_arrays([pa.array([], pa.string()), *(batch["id"] for batch in _of_groups(file, [group], ["id"], BAND_ROWS))])
    rows = wanted.rows(ids)
    if not len(rows):
        return
    found = chunks.texts_at(raw, file, group, "text", rows) if len(rows) * MIN_PICKED < len(ids) else None
    if found is not None:
        yield pa.RecordBatch.from_arrays([ids.take(pa.array(rows, pa.int64())), found], names=["id", "text"])
    else:
        yield from _of_groups(file, [group], ["id", "text"], TEXT_ROWS)


def _of_groups(file: pq.ParquetFile, groups: Sequence[int], columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    return file.iter_batches(batch_rows, row_groups=list(groups), columns=list(columns), use_threads=False)
