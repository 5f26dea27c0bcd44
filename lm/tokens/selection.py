"""A selection: the documents a ladder trains and validates on, as a small Parquet file in rank order.

It holds (rank, id, num_tokens, split, host), a row per part of a document, and no tokens, so the token files are shared by all
ladders over one tokenizer and nothing is copied when a recipe changes. Any rung is a prefix of its training rows. The cost is a
lookup per row on loading.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lm.tokens import storage_files

_TYPES: dict[str, pa.DataType] = {
    "rank": pa.uint64(),
    "id": pa.string(),
    "num_tokens": pa.int64(),
    "split": pa.string(),
    "host": pa.string(),
}
SCHEMA = pa.schema(_TYPES)
SPLITS = ("train", "validation")
SHOWN_HOSTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenData:
    """What a training reads: token files, and the selection over them, as paths or URLs."""

    files: tuple[str, ...]
    selection: str
    source: str | None = None
    """Only documents of this one of `sources`; all if None."""
    sources: tuple[str, ...] = ()
    """Hosts, domains with all their hosts, or * for every other host; a host belongs to the longest that fits."""

    def read(self, split: str, num_tokens: int | None = None) -> pa.Table:
        """The rows of a split, as `read_selection`. Raises: ValueError for a source of which there is none."""
        if self.source is None:
            return read_selection(self.selection, split, num_tokens)
        return prefix(of_source(read_selection(self.selection, split), self.source, self.sources, self.selection), num_tokens)


def write_selection(rows: pa.Table, path: str | Path) -> str:
    """Write the rows in rank order, whole or not at all. Returns the path.

    Raises: ValueError for a wrong split, a document in both, a part that comes twice, or no training document.
    """
    table = rows.select(SCHEMA.names).cast(SCHEMA).sort_by([("rank", "ascending"), ("id", "ascending")])
    found = set(table.column("split").unique().to_pylist())
    if not found <= set(SPLITS):
        raise ValueError(f"split must be one of {SPLITS}, got {sorted(map(str, found - set(SPLITS)))}")
    if "train" not in found:
        raise ValueError(f"a selection needs training documents, got {len(table)} rows and none with split 'train'")
    if len(table.group_by(["id", "split"]).aggregate([])) != len(table.group_by("id").aggregate([])):
        raise ValueError("a document stands in both splits of the selection; it must be either in training or in validation")
    if len(table.group_by(["rank", "id"]).aggregate([])) != len(table):
        raise ValueError("a part of a document stands twice in the selection; each must come once")
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f"{out.name}.{os.getpid()}.part")
    pq.write_table(table, beside, compression="zstd")
    os.replace(beside, out)
    return str(out)


def read_selection(path: str | Path, split: str, num_tokens: int | None = None) -> pa.Table:
    """The rows of one split in rank order; with `num_tokens` only the prefix that holds that many tokens.

    Raises: FileNotFoundError that says what makes the file.
    """
    storage_files.require(str(path), "selection", "ladder rungs")
    table = storage_files.read(str(path), SCHEMA.names).select(SCHEMA.names).cast(SCHEMA)
    ranks = table.column("rank").to_numpy()
    if (ranks[1:] < ranks[:-1]).any():
        raise ValueError(f'{path}: rows must stand in rank order, for a rung is a prefix of them; run "ladder rungs" again')
    return prefix(table.filter(pc.field("split") == split), num_tokens)


def prefix(table: pa.Table, num_tokens: int | None) -> pa.Table:
    """The first rows that hold so many tokens; all if None."""
    if num_tokens is None:
        return table
    ends = np.cumsum(table.column("num_tokens").to_numpy())
    return table.slice(0, int(np.searchsorted(ends, num_tokens, side="left")) + 1)


def of_source(table: pa.Table, source: str, sources: Sequence[str], where: str) -> pa.Table:
    """The rows whose host belongs to one of several sources. Raises: ValueError naming the hosts there are, if none does."""
    hosts = sorted(map(str, table.column("host").unique().to_pylist()))
    mine = [host for host in hosts if source_of(host, sources) == source]
    if not mine:
        raise ValueError(f"{where} has no document of source {source!r}; its hosts are {', '.join(hosts[:SHOWN_HOSTS])}")
    return table.filter(pc.is_in(table.column("host"), pa.array(mine, pa.string())))


def source_of(host: str, sources: Sequence[str]) -> str | None:
    """The longest of several sources that is the host, a domain above it, or *; None if none is."""
    fitting = [source for source in sources if source in ("*", host) or host.endswith(f".{source}")]
    return max((source for source in fitting if source != "*"), key=len, default="*" if "*" in fitting else None)
