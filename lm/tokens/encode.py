"""Documents to token files: Parquet that the trainer streams and a person queries with DuckDB.

A document longer than `PART_TOKENS` becomes several rows, each with a rank of its own. Pages are of very unequal length: among the
docstrings of Python modules the longest page holds more tokens than a small rung, and in rank order of whole documents the last
steps of a rung, which count most, may come from one page. In parts the stream is even, and rows are bounded. The cost: a part does
not see what came before it, so the limit should be several times the context that is trained.

Rows stand in rank order, and where there are several files each holds a range of ranks; row groups carry rank statistics. So a small
rung reads few row groups, and the output of a later crawl lies beside the earlier ones and is merged by whoever reads: nothing is
written again. Ids are dictionary-coded, which stores a token of a 4,096-entry vocabulary in about 12 bits before compression;
Parquet has no 16-bit numbers of its own, so the column is uint32 for every vocabulary and readers narrow it to uint16. What is more
than one file's worth is first written in sorted piles of `TOKENS_PER_FILE`, then range by range: the price is writing twice, and
memory stays at some eight bytes per token of one file. The same documents give the same bytes, whatever order they come in.
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
CONSTANTS = ("produced_by", "tokenizer_id")


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
    piles: list[Path] = []
    num_tokens = num_documents = 0
    try:
        for pile in _piles(batches, tokenizer, num_threads, part_tokens, tokens_per_file):
            piles.append(out / f"pile-{len(piles):05d}.parquet")
            table = _sorted(_table(pile, tokenizer.end_of_document, rank_key))
            _write_file(table, piles[-1], tokenizer_id, produced_by)
            num_tokens += pile.num_tokens
            num_documents += pile.parts.count(0)
        files = _by_range(piles, out, -(-num_tokens // tokens_per_file), tokenizer_id, produced_by)
    finally:
        for left in out.glob("pile-*.parquet"):
            left.unlink()
    for stale in out.glob("tokens-*.parquet"):
        if str(stale) not in files:
            stale.unlink()
    return TokensResult(files, num_tokens, num_documents)


def _by_range(piles: list[Path], out: Path, num_files: int, tokenizer_id: str, produced_by: str) -> list[str]:
    """Turn sorted piles into files of equal ranges of ranks. A single pile is its file."""
    names = [out / f"tokens-{number:05d}.parquet" for number in range(num_files if len(piles) > 1 else len(piles))]
    if len(piles) == 1:
        os.replace(piles[0], names[0])
        return [str(names[0])]
    limits = [(number << 64) // num_files for number in range(num_files + 1)] if piles else []
    files = []
    for (low, high), name in zip(pairwise(limits), names, strict=True):
        table = pa.concat_tables([_slice(pile, low, high - 1) for pile in piles])
        if len(table):
            _write_file(_sorted(table), name, tokenizer_id, produced_by)
            files.append(str(name))
    return files


def _slice(pile: Path, low: int, high: int) -> pa.Table:
    """Rows of a pile with ranks from low to high, both included."""
    with pq.ParquetFile(pile) as file:
        column = file.schema_arrow.get_field_index("rank")
        statistics: list[Any] = [file.metadata.row_group(group).column(column).statistics for group in range(file.num_row_groups)]
        groups = [group for group, found in enumerate(statistics) if found.min <= high and found.max >= low]
        rows = file.read_row_groups(groups, columns=[name for name in SCHEMA.names if name not in CONSTANTS])
    ranks = rows.column("rank").to_numpy()
    first, last = np.searchsorted(ranks, np.uint64(low), "left"), np.searchsorted(ranks, np.uint64(high), "right")
    return rows.slice(int(first), int(last - first))


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


def _table(pile: _Pile, end_of_document: int, rank_key: str) -> pa.Table:
    """The pile as a table without the two constant columns, documents closed."""
    names = [part_name(document_id, part) for document_id, part in zip(pile.ids, pile.parts, strict=True)]
    end = np.array([end_of_document], dtype=np.uint32)
    lengths = np.array([len(tokens) + 1 for tokens in pile.tokens], dtype=np.int64)
    values = np.concatenate([part for tokens in pile.tokens for part in (tokens, end)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns: dict[str, Any] = {
        "rank": rank(names, rank_key),
        "id": pile.ids,
        "part": np.array(pile.parts, dtype=np.int32),
        "host": pile.hosts,
        "num_bytes": np.array(pile.num_bytes, dtype=np.int64),
        "num_tokens": lengths,
        "tokens": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.uint32())),
    }
    return pa.table(columns, schema=pa.schema([SCHEMA.field(name) for name in columns]))


def _sorted(table: pa.Table) -> pa.Table:
    """The rows in rank order; of equal ranks by name. Raises: ValueError if a document stands there twice."""
    ids, parts = table.column("id").to_pylist(), table.column("part").to_pylist()
    names = [part_name(str(document_id), int(part or 0)) for document_id, part in zip(ids, parts, strict=True)]
    order = np.lexsort((np.array(names), table.column("rank").to_numpy()))
    for before, after in pairwise(order):
        if names[before] == names[after]:
            raise ValueError(f"documents must come once each, but {names[after]} came twice; select distinct ids")
    return table.take(order)


def _write_file(table: pa.Table, path: Path, tokenizer_id: str, produced_by: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    coded: Any = ["produced_by", "tokenizer_id", "host", "tokens.list.element"]
    try:
        with pq.ParquetWriter(beside, SCHEMA, compression="zstd", use_dictionary=coded) as writer:
            for part in _row_groups(table):
                constants = [pa.array([value] * len(part), pa.string()) for value in (produced_by, tokenizer_id)]
                writer.write_table(pa.table([*constants, *part.combine_chunks().columns], schema=SCHEMA))
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
