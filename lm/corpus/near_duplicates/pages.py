"""Single values of a text column of Parquet: the pages that hold them are unpacked and no others.

Arrow unpacks whole row groups; for one document in a hundred that is a hundred times the work. The headers of pages say how many bytes and
rows follow, so the pages of a column chunk can be walked without unpacking any. This reads what `shard_files` writes: data pages of version
1 with plain values, none of them null, packed with zstd. Of anything else it says that it cannot, and the caller reads it as a whole. The
cost is a second reader of a published format (parquet-format, PageHeader in Thrift's compact protocol), checked by tests against Arrow's.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lm.corpus.signals import kernel
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

MAX_CHUNK_BYTES = 16 << 20
"""Larger chunks of a column are left to Arrow, which needs not hold them whole."""
_DATA_PAGE, _PLAIN = 0, 0
_COLUMNS = 4
"""Where a page's data begin, their bytes packed and unpacked, its rows."""


class Chunks:
    """Reads column chunks of one file after the other into one piece of memory, which is not asked of the system again for each."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def texts_at(self, source: pa.NativeFile, file: pq.ParquetFile, group: int, column: str, rows: Array) -> "pa.Array[Any] | None":
        """Texts of these rows of a row group, which are sorted and distinct; None if the column is not of the kind that is read here."""
        index = file.schema.names.index(column)
        chunk, field = file.metadata.row_group(group).column(index), file.schema.column(index)
        if not _is_readable(chunk, field):
            return None
        if len(self._bytes) < chunk.total_compressed_size:
            self._bytes = bytearray(chunk.total_compressed_size)
        data = memoryview(self._bytes)[: chunk.total_compressed_size]
        source.seek(chunk.data_page_offset)
        pages = _pages(data, chunk.num_values) if source.readinto(data) == len(data) else None
        return None if pages is None else _picked(pa.py_buffer(data), pages, rows, field.max_definition_level == 1)


def _is_readable(chunk: Any, field: Any) -> bool:
    """Whether the values of a column are plain texts, one per row."""
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and chunk.compression == "ZSTD"
        and not chunk.has_dictionary_page
        and chunk.total_compressed_size <= MAX_CHUNK_BYTES
        and field.max_repetition_level == 0
        and field.max_definition_level <= 1
        and chunk.is_stats_set
        and chunk.statistics.has_null_count
        and chunk.statistics.null_count == 0
    )


def _read_only(data: Any) -> Array:
    """Bytes as numbers. Whether they may be written to must not decide which kernel is compiled."""
    found = np.frombuffer(data, np.uint8)
    found.setflags(write=False)
    return found


def _pages(data: memoryview, num_rows: int) -> Array | None:
    """One row of `_COLUMNS` per page; None if there is a page of another kind, or rows are missing."""
    out = np.zeros((num_rows, _COLUMNS), np.int64)
    num = _kernels()[0](_read_only(data), out)
    return out[:num] if num >= 0 and out[:num, 3].sum() == num_rows else None


def _picked(data: pa.Buffer, pages: Array, rows: Array, nullable: bool) -> "pa.Array[Any]":
    ends = np.cumsum(pages[:, 3])
    firsts, codec, found = np.searchsorted(rows, ends - pages[:, 3]), pa.Codec("zstd"), []
    lasts, find = np.append(firsts[1:], len(rows)), _kernels()[1]
    for number in np.nonzero(lasts > firsts)[0].tolist():
        start, packed, size, num_rows = pages[number].tolist()
        body = codec.decompress(data.slice(start, packed), size)
        wanted = rows[firsts[number] : lasts[number]] - (ends[number] - num_rows)
        places = np.empty((len(wanted), 2), np.int64)
        if find(_read_only(body), wanted, nullable, places) < 0:
            raise ValueError(f"a page of {num_rows} texts ends before its last one: the file is damaged")
        found += [body[first:last].to_pybytes() for first, last in places.tolist()]
    return pa.array(found, pa.large_binary()).cast(pa.large_string())


@inner
def _varint(data: Array, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and where it ends."""
    value, shift = int64(0), int64(0)
    while at < len(data) and shift < 63:
        byte = int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at


@inner
def _length(data: Array, at: int) -> int:
    """Four bytes, lowest first; -1 where there are no four."""
    if at + 4 > len(data):
        return int64(-1)
    return int64(data[at]) | int64(data[at + 1]) << 8 | int64(data[at + 2]) << 16 | int64(data[at + 3]) << 24


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """walk(data, out): how many pages there are, or -1 where one is no data page with plain values; writes one row of `out` per page.

    find(data, rows, nullable, out): the number of rows, or -1 where a page is too short; writes where the values of its rows begin and end.
    """

    def walk(data: Array, out: Array) -> int:
        at, num, fields, seen = int64(0), 0, np.zeros(8, np.int64), np.zeros(5, np.int64)
        while at < len(data):
            seen[:] = -1  # kind, bytes unpacked, bytes packed, values, encoding
            depth, fields[0] = 0, 0
            while True:
                if at >= len(data):
                    return -1
                head = int64(data[at])
                at += 1
                kind = head & 15
                if kind == 0:  # the end of a structure
                    if depth == 0:
                        break
                    depth -= 1
                    continue
                if head >> 4:
                    fields[depth] += head >> 4
                else:
                    value, at = _varint(data, at)
                    fields[depth] = (value >> 1) ^ -(value & 1)
                if 4 <= kind <= 6:
                    value, at = _varint(data, at)
                    value = (value >> 1) ^ -(value & 1)
                    if depth == 0 and 1 <= fields[0] <= 3:
                        seen[fields[0] - 1] = value
                    elif depth == 1 and fields[0] == 5 and 1 <= fields[1] <= 2:
                        seen[fields[1] + 2] = value
                elif kind == 8:
                    value, at = _varint(data, at)
                    at += min(value, len(data))
                elif kind == 12:
                    depth += 1
                    if depth == len(fields):
                        return -1
                    fields[depth] = 0
                elif kind > 2:  # bytes, fractions, lists: no header of a data page has them
                    return -1
            if seen[0] != _DATA_PAGE or seen[4] != _PLAIN or seen[1:4].min() < 0 or at + seen[2] > len(data) or num == len(out):
                return -1
            out[num, 0], out[num, 1], out[num, 2], out[num, 3] = at, seen[2], seen[1], seen[3]
            at += seen[2]
            num += 1
        return num

    def find(data: Array, rows: Array, nullable: bool, out: Array) -> int:
        at, row = int64(0), int64(0)
        if nullable:  # levels, which say of no value that it is null
            length = _length(data, at)
            if length < 0:
                return -1
            at += 4 + length
        for i in range(len(rows)):
            while True:
                length = _length(data, at)
                if length < 0 or at + 4 + length > len(data):
                    return -1
                at += 4 + length
                row += 1
                if row > rows[i]:
                    break
            out[i, 0], out[i, 1] = at - length, at
        return len(rows)

    data, rows = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    data.setflags(write=False)
    return (
        kernel.compiled(walk, lambda run: run(data, np.zeros((1, _COLUMNS), np.int64))),
        kernel.compiled(find, lambda run: run(data, rows, True, np.zeros((1, 2), np.int64))),
    )
