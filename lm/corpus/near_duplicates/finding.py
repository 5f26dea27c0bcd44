"""Proposal and check in one call, for streams out of the lake and for tables in memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lm.corpus.minhash import band_table
from lm.corpus.near_duplicates.proposing import MAX_BUCKET, propose
from lm.corpus.near_duplicates.verifying import MIN_JACCARD, PAIRS, verify

BATCH_ROWS = 1024


def compare(
    new: pa.Table,
    texts: pa.Table,
    preset: str,
    old: pa.Table | None = None,
    *,
    min_jaccard: float = MIN_JACCARD,
    max_bucket: int = MAX_BUCKET,
) -> pa.Table:
    """Verified pairs of documents in tables, sorted: columns id and bands of the new and old ones, id and text of all."""
    with tempfile.TemporaryDirectory(prefix="ladder-") as folder:
        batches = old.to_batches(BATCH_ROWS) if old is not None else []
        num = new.num_rows + (old.num_rows if old is not None else 0)
        proposal = propose(new.to_batches(BATCH_ROWS), batches, num, Path(folder), max_bucket)

        def texts_of(ids: pa.Table) -> Iterator[pa.RecordBatch]:
            wanted = texts.filter(pc.is_in(texts["id"], value_set=ids["id"].combine_chunks()))
            yield from wanted.to_batches(BATCH_ROWS)

        found = [PAIRS.empty_table(), *verify(proposal, texts_of, preset, Path(folder), min_jaccard=min_jaccard)]
    return pa.concat_tables(found).sort_by([("id_a", "ascending"), ("id_b", "ascending")])


def find(ids: "pa.Array[Any]", texts: "pa.Array[Any]", preset: str, *, min_jaccard: float = MIN_JACCARD) -> pa.Table:
    """All verified pairs among these texts: band keys, proposal and check."""
    table = pa.table({"id": ids, "text": texts})
    return compare(band_table(ids, texts, preset).select(["id", "bands"]), table, preset, min_jaccard=min_jaccard)
