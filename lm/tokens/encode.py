"""Documents to token files: Parquet that the trainer streams and a person queries with DuckDB.

A document longer than `PART_TOKENS` becomes several rows, each with a rank of its own. Pages are of very unequal length: among the
docstrings of Python modules the longest page holds more tokens than a small rung, and in rank order of whole documents the last
steps of a rung, which count most, may come from one page. In parts the stream is even, and rows are bounded. The cost: a part does
not see what came before it, so the limit should be several times the context that is trained.

Rows stand in rank order inside each file and carry rank statistics per row group, so that a small rung reads few row groups and
a reader merges many files by rank. Ids are dictionary-coded, which stores a token of a 4,096-entry vocabulary in about 12 bits
before compression. Documents are collected up to `TOKENS_PER_FILE` before a file is sorted and written; that bounds memory (about
four bytes per token twice over) and is why rank order holds per file and not across files. The same batches give the same bytes.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm.tokens.rank import part_name, rank
from lm.tokens.tokenizer import Tokenizer, Tokens

PART_TOKENS = 2048
"""Longest part, its end-of-document token included: sixteen contexts of the demonstration."""
TOKENS_PER_FILE = 1 << 26
TOKENS_PER_ROW_GROUP = 1 << 19
_TYPES: dict[str, pa.DataType] = {
    "produced_by": pa.string(),
    "tokenizer_id": pa.string(),
    "rank": pa.uint64(),
    "id": pa.string(),
    "part": pa.int32(),
    "host": pa.string(),
    "num_bytes": pa.int64(),
    "num_tokens": pa.int64(),
    "tokens": pa.list_(pa.uint32()),
}
SCHEMA = pa.schema(_TYPES)


@dataclass(frozen=True, slots=True)
class TokensResult:
    """What was written: files in order, tokens with end-of-document tokens, documents."""

    files: list[str]
    num_tokens: int
    num_documents: int


@dataclass(slots=True)
class _Pile:
    """Encoded documents of the file in the making."""

    ids: list[str] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    num_bytes: list[int] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    num_tokens: int = 0


def write_tokens(
    batches: Iterable[pa.RecordBatch],
    tokenizer: Tokenizer,
    *,
    rank_key: str,
    tokenizer_id: str,
    produced_by: str,
    out_dir: str | Path,
    num_threads: int = 1,
    part_tokens: int = PART_TOKENS,
    tokens_per_file: int = TOKENS_PER_FILE,
) -> TokensResult:
    """Encode batches with columns id, host, text into `out_dir`/tokens-<n>.parquet with the columns of the table `tokens`.

    Every document, and every part of one longer than `part_tokens`, ends with the end-of-document token. Files appear whole; those
    of an earlier, longer attempt are removed.
    Raises: ValueError if `tokenizer_id` is not the tokenizer's, or if a document comes twice.
    """
    if tokenizer_id != tokenizer.tokenizer_id:
        raise ValueError(f"tokenizer_id must be that of the tokenizer, {tokenizer.tokenizer_id}; got {tokenizer_id}")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    files: list[str] = []
    num_tokens = num_documents = 0
    for pile in _piles(batches, tokenizer, num_threads, part_tokens, tokens_per_file):
        path = out / f"tokens-{len(files):05d}.parquet"
        _write_file(_sorted(pile, tokenizer.end_of_document, rank_key), path, tokenizer_id, produced_by)
        files.append(str(path))
        num_tokens += pile.num_tokens
        num_documents += pile.parts.count(0)
    for stale in out.glob("tokens-*.parquet"):
        if str(stale) not in files:
            stale.unlink()
    return TokensResult(files, num_tokens, num_documents)


def _piles(
    batches: Iterable[pa.RecordBatch], tokenizer: Tokenizer, num_threads: int, part_tokens: int, tokens_per_file: int
) -> Iterator[_Pile]:
    lengths = np.array([len(token) for token in tokenizer.token_bytes], dtype=np.int64)
    pile = _Pile()
    for batch in batches:
        ids, hosts, texts = ([str(value) for value in batch.column(name).to_pylist()] for name in ("id", "host", "text"))
        for document_id, host, tokens in zip(ids, hosts, tokenizer.encode_batch(texts, num_threads), strict=True):
            if pile.ids and pile.num_tokens + len(tokens) > tokens_per_file:
                yield pile
                pile = _Pile()
            for part, start in enumerate(range(0, max(1, len(tokens)), part_tokens - 1)):
                piece = tokens[start : start + part_tokens - 1]
                pile.ids.append(document_id)
                pile.parts.append(part)
                pile.hosts.append(host)
                pile.num_bytes.append(int(lengths[piece].sum()))
                pile.tokens.append(piece)
                pile.num_tokens += len(piece) + 1
    if pile.ids:
        yield pile


def _sorted(pile: _Pile, end_of_document: int, rank_key: str) -> pa.Table:
    """The pile as a table in rank order, documents closed, without the two constant columns."""
    names = [part_name(document_id, part) for document_id, part in zip(pile.ids, pile.parts, strict=True)]
    ranks = rank(names, rank_key)
    order = np.lexsort((np.array(names), ranks))
    for before, after in pairwise(order):
        if names[before] == names[after]:
            raise ValueError(f"documents must come once each, but {names[after]} came twice; select distinct ids")
    end = np.array([end_of_document], dtype=np.uint32)
    lengths = np.array([len(pile.tokens[i]) + 1 for i in order], dtype=np.int64)
    values = np.concatenate([part for i in order for part in (pile.tokens[i], end)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns: dict[str, Any] = {
        "rank": ranks[order],
        "id": [pile.ids[i] for i in order],
        "part": np.array(pile.parts, dtype=np.int32)[order],
        "host": [pile.hosts[i] for i in order],
        "num_bytes": np.array(pile.num_bytes, dtype=np.int64)[order],
        "num_tokens": lengths,
        "tokens": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.uint32())),
    }
    return pa.table(columns, schema=pa.schema([SCHEMA.field(name) for name in columns]))


def _write_file(table: pa.Table, path: Path, tokenizer_id: str, produced_by: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    coded: Any = ["produced_by", "tokenizer_id", "host", "tokens.list.element"]
    try:
        with pq.ParquetWriter(beside, SCHEMA, compression="zstd", use_dictionary=coded) as writer:
            for part in _row_groups(table):
                constants = [pa.array([value] * len(part), pa.string()) for value in (produced_by, tokenizer_id)]
                writer.write_table(pa.table([*constants, *part.columns], schema=SCHEMA))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """Slices of about TOKENS_PER_ROW_GROUP tokens, at least a document each."""
    ends = np.cumsum(table.column("num_tokens").to_numpy())
    start = 0
    while start < len(table):
        limit = (ends[start - 1] if start else 0) + TOKENS_PER_ROW_GROUP
        stop = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
        yield table.slice(start, stop - start)
        start = stop
