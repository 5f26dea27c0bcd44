"""Evaluation sets scored by likelihood: minimal pairs, multiple choice, and text to go on with.

| kind | an item | metrics per item |
|---|---|---|
| minimal_pairs | two sentences, the first acceptable | accuracy, accuracy_normalized, margin_nats |
| multiple_choice | a prompt and its choices, one right | accuracy, accuracy_normalized, answer_bits_per_byte |
| cloze | a prompt and what follows | accuracy (greedy decoding says it), answer_nats, answer_bits_per_byte |

The choice with the highest log-likelihood is the answer; normalized, with the highest per UTF-8 byte. Of k choices that tie, each counts
1/k: taking the first, as is usual, would favour the right one of a minimal pair. Scores are written chunk by chunk, each whole or not at
all, so that a process that was killed goes on where it was; chunks do not share a batch, so the scores are those of one go.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load_file

from lm.evaluation import likelihood
from lm.evaluation.likelihood import Scored
from lm.evaluation.records import ITEMS_SCHEMA, TASK
from lm.evaluation.requests import requests_of
from lm.models.build import Model, build
from lm.models.config import ModelConfig
from lm.training.learner import default_device, reproducible

CHUNK_ITEMS = 4096
KINDS = ("minimal_pairs", "multiple_choice", "cloze")
Value = tuple[str, float, float]
"""Name, value and weight of one metric of one item."""


def load_model(weights_file: str, config: ModelConfig, device: str | None = None) -> Model:
    """The model of a checkpoint, in float32. Raises: FileNotFoundError if the weights are not there."""
    if not Path(weights_file).exists():
        raise FileNotFoundError(f'{weights_file}: no such weights; "ladder train" writes them')
    model = build(config).to(device or default_device()).eval()
    model.load_state_dict(load_file(weights_file))
    return model


def score_set(
    weights_file: str,
    config: ModelConfig,
    requests_file: str,
    work_dir: str,
    *,
    run_id: str,
    rung: int,
    evaluation_set: str,
    num_threads: int = 1,
    device: str | None = None,
    dtype: str = "float32",
    on_progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Rows of `item_metrics` for one checkpoint and one set of requests (REQUESTS_SCHEMA), going on from the chunks in `work_dir`.

    `work_dir` belongs to these weights and these requests alone. `on_progress` gets items done and items in all.
    """
    table = pq.read_table(requests_file)
    base = {"run_id": run_id, "rung": rung, "split": TASK, "evaluation_set": evaluation_set}
    model: Model | None = None
    chunks = []
    with reproducible(num_threads):
        for start in range(0, len(table), CHUNK_ITEMS):
            file = Path(work_dir) / f"{start:09d}.parquet"
            if not file.exists():
                model = model or load_model(weights_file, config, device)
                _write(_rows(model, table.slice(start, CHUNK_ITEMS), base, dtype), file)
            chunks.append(pq.read_table(file))
            if on_progress:
                on_progress(min(len(table), start + CHUNK_ITEMS), len(table))
    return pa.concat_tables([ITEMS_SCHEMA.empty_table(), *chunks])


def _rows(model: Model, table: pa.Table, base: Mapping[str, Any], dtype: str) -> pa.Table:
    scored = likelihood.score(model, requests_of(table), dtype=dtype)
    items = table.drop_columns(["shared", "rests"]).to_pylist()
    rows = [
        {**base, "subset": item["subset"], "item": item["item"], "name": name, "value": value, "weight": weight}
        for item, one in zip(items, scored, strict=True)
        for name, value, weight in item_values(item["kind"], one, item["label"], item["num_bytes"])
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS_SCHEMA)


def item_values(kind: str, scored: Scored, label: int, num_bytes: Sequence[int]) -> Iterator[Value]:
    """Metrics of one item; `label` is the place of the right choice. Raises: ValueError for an unknown kind."""
    nats = np.array(scored.log_likelihood)
    if kind == "cloze":
        yield "accuracy", float(scored.greedy[label]), 1.0
        yield "answer_nats", -float(nats[label]), 1.0
    elif kind in KINDS:
        yield "accuracy", _share_of_ties(nats, label), 1.0
        yield "accuracy_normalized", _share_of_ties(nats / np.array(num_bytes), label), 1.0
    else:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if kind == "minimal_pairs":
        yield "margin_nats", float(nats[label] - np.delete(nats, label).max()), 1.0
    else:
        yield "answer_bits_per_byte", -float(nats[label]) / math.log(2) / num_bytes[label], float(num_bytes[label])
    yield "truncated", float(scored.truncated), 1.0


def _share_of_ties(values: np.ndarray, label: int) -> float:
    """1 if the label's value is the highest, 1/k if k are, else 0."""
    best = values == values.max()
    return float(best[label]) / int(best.sum())


def _write(table: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".part")
    pq.write_table(table, beside, compression="zstd")
    beside.replace(file)
