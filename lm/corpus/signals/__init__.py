"""Raw values of documents, measured in one fused pass over their UTF-8 bytes.

Every signal of `storage.signals` comes out of compiled kernels that read the Arrow buffers where they lie: no Python string is made and
nothing is pickled. Threads take ranges of documents; a row depends on its document alone, so their number changes no value. The cost
of one pass is that a new signal means measuring again, which the digest of these sources makes the stage notice.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import kernel
from storage.signals import SIGNALS

Texts: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"
B = TypeVar("B")
RANGES_PER_THREAD = 8
_NUMPY_TYPES = {"INTEGER": np.int32, "DOUBLE": np.float64}


def utf8_buffers(texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes of all texts, and where each starts and the last ends.

    Raises: ValueError on other types, on nulls, and on strings that are no UTF-8, of which a kernel would look up characters that are none;
    that they are is looked at here, at 15 GB/s.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise ValueError(f"texts must be Arrow strings, not {array.type}")
    if array.null_count:
        raise ValueError(f"texts must not be null, but {array.null_count} of {len(array)} are")
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"texts must be UTF-8, but Arrow says: {error}") from error
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if len(array) == 0 or offsets is None:
        return np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    starts = np.frombuffer(memoryview(offsets), dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    letters = np.frombuffer(memoryview(data) if data is not None else b"", dtype=np.uint8)
    for view in (starts, letters):  # whether Arrow's memory may be written to must not decide which kernel is compiled
        view.setflags(write=False)
    return letters, starts


def ranges(offsets: NDArray[np.int64], num_ranges: int) -> list[tuple[int, int]]:
    """Ranges of documents of about equal bytes that cover all."""
    num_documents = len(offsets) - 1
    goals = np.linspace(offsets[0], offsets[-1], num_ranges + 1)[1:-1]
    cuts = [0, *np.searchsorted(offsets[:-1], goals).tolist(), num_documents]
    return [(first, last) for first, last in pairwise(cuts) if first < last]


def over_ranges(offsets: NDArray[np.int64], num_threads: int, make_buffers: Callable[[], B], run: Callable[[int, int, B], object]) -> None:
    """Call `run(first, last, buffers)` for ranges that cover all documents, so many at a time, each thread with buffers of its own.

    Equal bytes are not equal work: of two halves one took 1.5 times as long as the other. So each thread takes small ranges until none
    is left.
    """
    free: SimpleQueue[B] = SimpleQueue()
    for _ in range(num_threads):
        free.put(make_buffers())

    def work(part: tuple[int, int]) -> None:
        buffers = free.get()
        try:
            run(*part, buffers)
        finally:
            free.put(buffers)

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(work, ranges(offsets, num_threads * RANGES_PER_THREAD if num_threads > 1 else 1)))


def compute(texts: Texts, num_threads: int = 1) -> pa.Table:
    """All signals of the texts, one row per text, columns as in `SIGNALS`.

    An empty text has 0 everywhere. Raises ValueError if texts are not Arrow strings or hold nulls.
    """
    data, offsets = utf8_buffers(texts)
    rows = np.zeros((len(offsets) - 1, len(SIGNALS)))
    if len(rows):
        measure(data, offsets, rows, max(1, num_threads))
    columns: dict[str, Any] = {
        name: pa.array(rows[:, i].astype(_NUMPY_TYPES[signal.type])) for i, (name, signal) in enumerate(SIGNALS.items())
    }
    return pa.table(columns)


def measure(data: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.float64], num_threads: int) -> None:
    """Fill rows of zeros, `num_threads` ranges of documents at a time."""
    max_bytes = int(np.diff(offsets).max())
    run, tables = kernel.measure_kernel(), kernel.tables(max_bytes)
    over_ranges(
        offsets,
        num_threads,
        lambda: kernel.buffers(max_bytes),
        lambda first, last, buffers: run(data, offsets, first, last, tables, buffers, rows),
    )
