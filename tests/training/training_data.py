"""A small run for the tests of training and evaluation: made-up documents over 64 tokens that a model can learn."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm.models.config import from_depth
from lm.tokens.encode import SCHEMA
from lm.tokens.rank import rank
from lm.tokens.selection import TokenData, write_selection
from lm.training.config import TrainConfig

VOCAB = 64
MODEL = from_depth(1, vocab_size=VOCAB, context_tokens=16)
CONFIG = TrainConfig(model=MODEL, seed=3, learning_rate=0.01, batch_tokens=64, warmup_tokens=256, log_every_steps=5)
RUNGS = [1280, 2560, 5120]


def make_data(directory: Path, num_documents: int = 400, seed: int = 0) -> TokenData:
    """Documents that count upwards with a step of their own; token 0 ends them. One in ten is for validation."""
    draw = np.random.default_rng(seed)
    ids = [hashlib.blake2b(f"{seed}/{i}".encode(), digest_size=16).hexdigest() for i in range(num_documents)]
    documents = []
    for document_id, place in zip(ids, rank(ids, "key"), strict=True):
        length, start, step = draw.integers(3, 40), draw.integers(0, 63), draw.integers(1, 4)
        tokens = [*(1 + (start + step * np.arange(length)) % 63).tolist(), 0]
        documents.append(
            {
                "produced_by": "stage",
                "tokenizer_id": "t",
                "rank": int(place),
                "id": document_id,
                "part": 0,
                "host": f"host{length % 3}.org",
                "num_bytes": 2 * int(length),
                "num_tokens": len(tokens),
                "tokens": tokens,
            }
        )
    documents.sort(key=lambda row: row["rank"])
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for part in range(2):
        files.append(str(directory / f"tokens-{part}.parquet"))
        pq.write_table(pa.Table.from_pylist(documents[part::2], schema=SCHEMA), files[-1])
    splits = ["validation" if row["id"][0] in "0" else "train" for row in documents]
    rows = pa.Table.from_pylist(documents, schema=SCHEMA).append_column("split", pa.array(splits))
    return TokenData(files=tuple(files), selection=write_selection(rows, directory / "selection.parquet"))
