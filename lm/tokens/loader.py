"""Tokens of a selection for training and evaluation.

`load` gathers a selection's documents from any number of token files into one flat array in rank order, so position in the array
is position in the ladder: the rung of T tokens is its first T tokens, whatever the files and their number. A batch is a slice at
step x batch tokens, so any step is reached at once and nothing of the loader needs saving. The whole rung is held in memory (two
bytes per token up to a vocabulary of 65,536), which a laptop bears up to some billions of tokens; beyond `MAX_BYTES` loading is
refused with the figures, for streaming in shards is not built. Row groups outside the wanted ranks are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm.tokens.selection import TokenData, read_selection

MAX_BYTES = 8 << 30
Array = np.ndarray[tuple[int], np.dtype[np.int64]]
Rows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


class MissingTokensError(Exception):
    """Token files do not hold what a selection or a rung needs."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents, long ones in parts, in rank order. Row i is tokens[offsets[i] : offsets[i + 1]], closed by `end_of_document`."""

    ids: list[str]
    hosts: list[str]
    num_bytes: Array
    offsets: Array
    tokens: np.ndarray[tuple[int], np.dtype[np.uint16 | np.uint32]]
    end_of_document: int


def load(data: TokenData, split: str, num_tokens: int | None = None, max_bytes: int = MAX_BYTES) -> Documents:
    """The documents of a split, or the shortest prefix of them with at least `num_tokens` tokens.

    Raises: FileNotFoundError for a missing file, MissingTokensError if files and selection disagree, MemoryError over `max_bytes`.
    """
    wanted = read_selection(data.selection, split, num_tokens)
    if not len(wanted):
        raise MissingTokensError(f'{data.selection} has no document with split {split!r}; run "ladder rungs" again')
    lengths = wanted.column("num_tokens").to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if (needed := int(offsets[-1]) * 4) > max_bytes:
        raise MemoryError(
            f"{offsets[-1]} tokens need {needed} bytes while loading, above the limit of {max_bytes}; raise max_bytes or lower the rung"
        )
    tokens = np.empty(int(offsets[-1]), dtype=np.uint32)
    num_bytes = np.full(len(wanted), -1, dtype=np.int64)
    for file in data.files:
        _gather(file, wanted, offsets, tokens, num_bytes)
    if missing := int((num_bytes < 0).sum()):
        example = wanted.column("id")[int(np.argmax(num_bytes < 0))]
        raise MissingTokensError(
            f"{missing} of {len(wanted)} documents, such as {example}, are in none of {len(data.files)} token files; "
            'run "ladder tokens" again'
        )
    end = int(tokens[-1])
    if (tokens[offsets[1:] - 1] != end).any():
        raise MissingTokensError(f"documents must all end with one end-of-document token; {data.files[0]} and others mix tokenizers")
    compact = tokens.astype(np.uint16) if int(tokens.max()) < 1 << 16 else tokens
    ids, hosts = _strings(wanted, "id"), _strings(wanted, "host")
    return Documents(ids, hosts, num_bytes, offsets, compact, end)


def _strings(table: pa.Table, name: str) -> list[str]:
    return [str(value) for value in table.column(name).to_pylist()]


def _gather(file: str, wanted: pa.Table, offsets: Array, tokens: np.ndarray, num_bytes: Array) -> None:
    """Copy the wanted documents of one file to their places."""
    if not Path(file).exists():
        raise FileNotFoundError(f'{file}: no such token file; "ladder tokens" writes it')
    ranks, ids = wanted.column("rank").to_numpy(), _strings(wanted, "id")
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            if not _overlaps(parquet, group, ranks[0], ranks[-1]):
                continue
            rows = parquet.read_row_group(group, columns=["rank", "id", "num_bytes", "tokens"])
            places = _places(rows, ranks, ids)
            hits = np.flatnonzero(places >= 0)
            lists: Any = pa.concat_arrays(rows.column("tokens").chunks)
            starts, values = lists.offsets.to_numpy(), lists.values.to_numpy()
            num_bytes[places[hits]] = rows.column("num_bytes").to_numpy()[hits]
            for hit in hits:
                place = places[hit]
                part = values[starts[hit] : starts[hit + 1]]
                if len(part) != offsets[place + 1] - offsets[place]:
                    raise MissingTokensError(
                        f"{file}: document {ids[place]} has {len(part)} tokens, its selection says {offsets[place + 1] - offsets[place]}"
                    )
                tokens[offsets[place] : offsets[place + 1]] = part


def _overlaps(parquet: pq.ParquetFile, group: int, low: int, high: int) -> bool:
    column = parquet.schema_arrow.get_field_index("rank")
    statistics: Any = parquet.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= high and statistics.max >= low)


def _places(rows: pa.Table, ranks: np.ndarray, ids: Sequence[str]) -> Array:
    """For each row its index in the selection, or -1. Ranks find it, the id settles equal ranks."""
    row_ranks = rows.column("rank").to_numpy()
    first = np.searchsorted(ranks, row_ranks, side="left")
    last = np.searchsorted(ranks, row_ranks, side="right")
    places = np.full(len(rows), -1, dtype=np.int64)
    row_ids = rows.column("id")
    for row in np.flatnonzero(first < last):
        document_id = row_ids[int(row)].as_py()
        places[row] = next((place for place in range(first[row], last[row]) if ids[place] == document_id), -1)
    return places


class TokenStream:
    """Training tokens in rank order, cut into batches by step alone.

    The stream starts with an end-of-document token, so every token, the first too, is predicted once and a rung of T tokens is
    exactly T / batch_tokens steps over exactly T tokens.
    """

    def __init__(self, documents: Documents, num_tokens: int) -> None:
        have = len(documents.tokens)
        if have < num_tokens:
            raise MissingTokensError(
                f"the rung needs {num_tokens} training tokens, the selection has {have}: {num_tokens - have} are missing; "
                "add data, loosen the recipe or lower the largest rung"
            )
        self.num_tokens = num_tokens
        self.end_of_document = documents.end_of_document
        self.max_token = int(documents.tokens[:num_tokens].max())
        first = np.array([documents.end_of_document], dtype=documents.tokens.dtype)
        self._tokens = np.concatenate([first, documents.tokens[:num_tokens]])

    @classmethod
    def open(cls, data: TokenData, num_tokens: int) -> "TokenStream":
        """The first `num_tokens` training tokens. Raises: MissingTokensError saying how many are missing."""
        return cls(load(data, "train", num_tokens), num_tokens)

    def batch(self, step: int, batch_tokens: int, context_tokens: int) -> tuple[Rows, Rows]:
        """Inputs and targets of a step, each (batch_tokens / context_tokens, context_tokens); targets are one token ahead."""
        start = step * batch_tokens
        if start + batch_tokens > self.num_tokens:
            raise MissingTokensError(f"step {step} of {batch_tokens} tokens ends beyond the {self.num_tokens} tokens loaded")
        piece = self._tokens[start : start + batch_tokens + 1].astype(np.int64)
        return piece[:-1].reshape(-1, context_tokens), piece[1:].reshape(-1, context_tokens)

    def raw(self, start: int, stop: int) -> bytes:
        """Tokens start to stop as 32-bit numbers, for a digest of what a run has seen."""
        return self._tokens[1 + start : 1 + stop].astype("<u4").tobytes()
