"""Bring the documents of a selection from any number of token files into rank order.

Every file is sorted by rank and carries statistics per row group, so only row groups within the wanted ranks are read. Files need not
know of each other: the output of a later crawl lies beside the earlier ones, and its documents fall into their places here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm.tokens import storage_files

Array = np.ndarray[tuple[int], np.dtype[np.int64]]
TokenArray = np.ndarray[tuple[int], np.dtype[np.uint16 | np.uint32]]


class MissingTokensError(Exception):
    """Token files do not hold what a selection or a rung needs."""


class Gatherer:
    """Token files, with what stands at their ends read once."""

    def __init__(self, files: Sequence[str]) -> None:
        for file in files:
            storage_files.require(file, "token file", "ladder tokens")
        self.files = tuple(files)
        self._metadata = {file: storage_files.metadata(file) for file in files}

    def gather(self, wanted: pa.Table) -> tuple[TokenArray, Array]:
        """Tokens of the wanted rows of a selection, one after another, and the bytes each row stands for.

        Raises: MissingTokensError if files and selection disagree.
        """
        lengths = wanted.column("num_tokens").to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.empty(int(offsets[-1]), dtype=np.uint32)
        num_bytes = np.full(len(wanted), -1, dtype=np.int64)
        for file in self.files:
            self._gather(file, wanted, offsets, tokens, num_bytes)
        if missing := int((num_bytes < 0).sum()):
            example = wanted.column("id")[int(np.argmax(num_bytes < 0))]
            raise MissingTokensError(
                f"{missing} of {len(wanted)} documents, such as {example}, are in none of {len(self.files)} token files; "
                'run "ladder tokens" again'
            )
        if len(tokens) and (tokens[offsets[1:] - 1] != tokens[-1]).any():
            raise MissingTokensError(f"documents must all end with one end-of-document token; {self.files[0]} and others mix tokenizers")
        return (tokens.astype(np.uint16) if int(tokens.max(initial=0)) < 1 << 16 else tokens), num_bytes

    def largest_token(self, low: int, high: int) -> int:
        """A bound on the ids of rows whose rank lies within low and high, from statistics alone."""
        bounds = [
            _statistics(metadata, group, "tokens.list.element").max
            for metadata in self._metadata.values()
            for group in range(metadata.num_row_groups)
            if _overlaps(metadata, group, low, high)
        ]
        return int(max(bounds, default=0))

    def _gather(self, file: str, wanted: pa.Table, offsets: Array, tokens: np.ndarray, num_bytes: Array) -> None:
        """Copy the wanted documents of one file to their places."""
        ranks, ids = wanted.column("rank").to_numpy(), strings(wanted, "id")
        metadata = self._metadata[file]
        groups = [group for group in range(metadata.num_row_groups) if _overlaps(metadata, group, ranks[0], ranks[-1])]
        if not groups:
            return
        with storage_files.open_parquet(file, metadata) as parquet:
            for group in groups:
                rows = parquet.read_row_group(group, columns=["rank", "id", "num_bytes", "tokens"])
                places = _places(rows, ranks, ids)
                hits = np.flatnonzero(places >= 0)
                lists: Any = pa.concat_arrays(rows.column("tokens").chunks)
                starts, values = lists.offsets.to_numpy(), lists.values.to_numpy()
                num_bytes[places[hits]] = rows.column("num_bytes").to_numpy()[hits]
                for hit in hits:
                    place = places[hit]
                    part = values[starts[hit] : starts[hit + 1]]
                    if len(part) != (expected := offsets[place + 1] - offsets[place]):
                        raise MissingTokensError(f"{file}: document {ids[place]} has {len(part)} tokens, its selection says {expected}")
                    tokens[offsets[place] : offsets[place + 1]] = part


def strings(table: pa.Table, name: str) -> list[str]:
    """A column of texts."""
    return [str(value) for value in table.column(name).to_pylist()]


def _statistics(metadata: pq.FileMetaData, group: int, column: str) -> Any:
    row_group = metadata.row_group(group)
    found = [row_group.column(i) for i in range(row_group.num_columns) if row_group.column(i).path_in_schema == column]
    return found[0].statistics if found else None


def _overlaps(metadata: pq.FileMetaData, group: int, low: int, high: int) -> bool:
    statistics = _statistics(metadata, group, "rank")
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= high and statistics.max >= low)


def _places(rows: pa.Table, ranks: np.ndarray, ids: Sequence[str]) -> Array:
    """For each row its index in the selection, or -1. Ranks find it, the id settles equal ranks."""
    row_ranks = rows.column("rank").to_numpy()
    first = np.searchsorted(ranks, row_ranks, side="left")
    last = np.searchsorted(ranks, row_ranks, side="right")
    places = np.full(len(rows), -1, dtype=np.int64)
    row_ids = strings(rows, "id")
    for row in np.flatnonzero(first < last):
        places[row] = next((place for place in range(first[row], last[row]) if ids[place] == row_ids[row]), -1)
    return places
