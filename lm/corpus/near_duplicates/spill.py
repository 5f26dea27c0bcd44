"""Records cut into partitions on disk: what is joined lies in one partition, and one partition fits in memory.

Records are numpy structures, appended to one file per partition. Files are opened for each flush of a common buffer, so that thousands of
partitions cost no file handles; the price is one write per partition and flush.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import kernel

Array = NDArray[Any]

PARTITION_BYTES = 4 << 20
"""Bytes of records that one partition is meant to hold."""
_BUFFER_BYTES = 4 << 20
_WRITE_BYTES = 8 << 10
"""Least bytes worth a write: with thousands of partitions the buffer grows to hold as much for each."""
_NIBBLE = np.full(256, 255, dtype=np.uint8)
_NIBBLE[[ord(c) for c in "0123456789abcdef"]] = np.arange(16, dtype=np.uint8)
_ID_LETTERS = 32
_NO_ID = "document ids must be 32 hexadecimal digits in lower case, as storage.digest makes them"
ID = np.dtype([("high", "<u8"), ("low", "<u8")])
"""A document id as numbers: both halves of its 128 bits, in the order of the text."""


class Partitions:
    """Append-only records in `num` files of a folder that must exist."""

    def __init__(self, folder: Path, name: str, num: int, dtype: Any) -> None:
        self.num = max(1, num)
        self._folder, self._name, self._dtype = folder, name, np.dtype(dtype)
        self._buffers: list[tuple[Array, Array]] = []
        self._runs: dict[int, list[Array]] = {}
        self._size = 0
        self.num_records = 0

    def append(self, records: Array, partition: Array) -> None:
        """Add records, each to its partition."""
        self._buffers.append((records, partition))
        self.num_records += len(records)
        self._size += records.nbytes + partition.nbytes
        self._flush_if_full()

    def append_runs(self, number: int, *runs: Array) -> None:
        """Add records to one partition, one run after the other. They must not change until the next flush."""
        self._runs.setdefault(number, []).extend(runs)
        for records in runs:
            self.num_records += len(records)
            self._size += records.nbytes
        self._flush_if_full()

    def _flush_if_full(self) -> None:
        if self._size > max(_BUFFER_BYTES, self.num * _WRITE_BYTES):
            self.flush()

    def flush(self) -> None:
        """Write out what is buffered."""
        for number, runs in self._runs.items():
            with open(self.path(number), "ab") as file:
                file.write(b"".join(run.data for run in runs))
        if self._buffers:
            self._flush_records()
        self._runs, self._buffers, self._size = {}, [], 0

    def _flush_records(self) -> None:
        records = np.concatenate([part for part, _ in self._buffers])
        partition = np.concatenate([part for _, part in self._buffers])
        order = np.argsort(partition, kind="stable")
        records, partition = records[order], partition[order]
        edges = np.searchsorted(partition, np.arange(self.num + 1))
        for number in np.nonzero(np.diff(edges))[0].tolist():
            with open(self.path(number), "ab") as file:
                file.write(records[edges[number] : edges[number + 1]].view(np.uint8).data)

    def read(self, number: int) -> Array:
        """Records of one partition, in the order they came."""
        self.flush()
        path = self.path(number)
        return np.fromfile(path, dtype=self._dtype) if path.exists() else np.zeros(0, self._dtype)

    def remove(self, number: int) -> None:
        """Free the disk that a partition takes."""
        self.path(number).unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """File of one partition, which may not be there yet."""
        return self._folder / f"{self._name}-{number:05}"


def encode_ids(ids: Any) -> Array:
    """Ids as `ID` records, which compare as the texts do. Raises: ValueError if an id is not 32 hexadecimal digits."""
    letters, starts = _letters(ids)
    out = np.zeros(len(starts) - 1, ID)
    if not _id_kernel()(letters, starts, _NIBBLE, out["high"], out["low"]):
        raise ValueError(_NO_ID)
    return out


def id_heads(ids: Any) -> Array:
    """The first eight letters of each id as a uint64: equal for equal ids, and a quarter of the work of `encode_ids`.

    Raises: ValueError if an id has not 32 bytes.
    """
    letters, starts = _letters(ids)
    whole = letters[starts[0] : starts[-1]].reshape(-1, _ID_LETTERS)
    return np.ascontiguousarray(whole[:, :8]).view(np.uint64).reshape(-1)


def _letters(ids: Any) -> tuple[Array, Array]:
    """Bytes of a column of ids, and where each id starts and the last one ends."""
    column = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    if not len(column):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    text = column.cast(pa.large_string())
    _, offsets, data = text.buffers()
    if offsets is None or data is None or text.null_count:
        raise ValueError(_NO_ID)
    starts = np.frombuffer(memoryview(offsets), dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    if (np.diff(starts) != _ID_LETTERS).any():
        raise ValueError(_NO_ID)
    return np.frombuffer(memoryview(data), dtype=np.uint8), starts


@cache
def _id_kernel() -> Callable[..., Any]:
    """run(letters, starts, nibbles, high, low): whether all letters are hexadecimal digits; writes both halves of each id."""
    four, no_digit = np.uint64(4), np.uint8(255)

    def run(letters: Array, starts: Array, nibbles: Array, high: Array, low: Array) -> bool:
        for i in range(len(high)):
            for half, first in ((high, starts[i]), (low, starts[i] + 16)):
                number = np.uint64(0)
                for at in range(first, first + 16):
                    digit = nibbles[letters[at]]
                    if digit == no_digit:
                        return False
                    number = (number << four) | np.uint64(digit)
                half[i] = number
        return True

    def trial(function: Callable[..., Any]) -> object:
        letters, starts, out = np.full(32, 48, np.uint8), np.array([0, 32]), np.zeros(1, ID)
        letters.setflags(write=False)
        starts.setflags(write=False)
        return function(letters, starts, _NIBBLE, out["high"], out["low"])

    return kernel.compiled(run, trial)


def decode_ids(ids: Array) -> Any:
    """The inverse of `encode_ids`: an Arrow array of strings."""
    numbers = np.stack([ids["high"], ids["low"]], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
    digits = np.stack([numbers >> 4, numbers & 15], axis=2).reshape(-1)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits]
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets.tobytes()), pa.py_buffer(letters.tobytes()))


def mixed(numbers: Array) -> Array:
    """uint64 numbers whose upper bits depend on all bits, to choose partitions by."""
    spread: Array = (numbers ^ (numbers >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return spread


def partition_of(numbers: Array, num: int) -> Array:
    """int64 partition of each hashed number, from 0 to num - 1."""
    return ((numbers >> np.uint64(32)) * np.uint64(num) >> np.uint64(32)).astype(np.int64)


def num_partitions(num_bytes: int) -> int:
    """Partitions of about `PARTITION_BYTES` each."""
    return max(1, -(-num_bytes // PARTITION_BYTES))
