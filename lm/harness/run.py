"""One evaluation by lm-evaluation-harness, without a network, as rows of `metrics` and `item_metrics`.

The libraries behind the harness are told to stay offline before they are imported, and to keep their cache in a folder of ours. Values
are the harness's; standard errors are made here from its samples, for its own bootstrap starts processes and takes minutes.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lm.evaluation.aggregate import as_record
from lm.evaluation.estimates import Estimate, mean
from lm.evaluation.records import HARNESS, ITEMS_SCHEMA
from lm.evaluation.tasks import load_model
from lm.models.config import ModelConfig
from lm.tokens import tokenizer
from lm.training.curve import METRICS_SCHEMA
from lm.training.learner import reproducible

OFFLINE = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")


def evaluate(
    weights_file: str,
    config: ModelConfig,
    tokenizer_file: str,
    tasks: Sequence[Mapping[str, Any]],
    cache_dir: str,
    place: Mapping[str, Any],
    *,
    num_threads: int = 1,
    device: str | None = None,
    dtype: str = "float32",
) -> tuple[pa.Table, pa.Table]:
    """Rows of `metrics` and `item_metrics`, split 'harness', for one checkpoint; `place` as in `lm/evaluation/loss.py`.

    Raises: ImportError if the package lm-eval is missing.
    """
    _stay_offline(cache_dir)
    from lm_eval import simple_evaluate

    from lm.harness.adapter import LadderLM

    with reproducible(num_threads):
        model = LadderLM(load_model(weights_file, config, device), tokenizer.load(tokenizer_file), dtype)
        found = simple_evaluate(model=model, tasks=[dict(task) for task in tasks], bootstrap_iters=0, log_samples=True)
    assert found is not None
    samples = {task: list(_samples(rows)) for task, rows in found["samples"].items()}
    base = {**place, "split": HARNESS}
    metrics = [base | row for task, values in found["results"].items() for row in _metrics(task, values, samples.get(task, []))]
    keys = {"run_id": place["run_id"], "rung": place["rung"], "split": HARNESS, "subset": None, "weight": 1.0}
    items = [
        keys | {"evaluation_set": task, "item": item, "name": name, "value": value}
        for task in samples
        for item, name, value in samples[task]
    ]
    return pa.Table.from_pylist(metrics, schema=METRICS_SCHEMA), pa.Table.from_pylist(items, schema=ITEMS_SCHEMA)


def _stay_offline(cache_dir: str) -> None:
    os.environ.update(OFFLINE, HF_HOME=str(Path(cache_dir).absolute()), TOKENIZERS_PARALLELISM="false")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def _samples(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Item, metric and value of every sample; metrics that are no number per sample are the harness's to add up."""
    for row in rows:
        for name in row["metrics"]:
            if isinstance(row[name], int | float | np.number):
                yield str(row["doc"].get("item", row["doc_id"])), name, float(row[name])


def _metrics(task: str, values: Mapping[str, Any], samples: Sequence[tuple[str, str, float]]) -> Iterator[dict[str, Any]]:
    for key, value in values.items():
        name, _, _filter = key.partition(",")
        if not _filter or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        each = np.array([one for _, metric, one in samples if metric == name])
        yield as_record(task, name, _estimate(name, float(value), each))


def _estimate(name: str, value: float, each: np.ndarray) -> Estimate:
    """The harness's value with a standard error where it is the mean of its samples, or the exponential of their negative mean."""
    if not len(each):
        return Estimate(value, None, 0)
    whole = mean(each)
    if name == "perplexity" and whole.stderr is not None:
        return Estimate(value, value * whole.stderr, len(each))
    return Estimate(value, whole.stderr if np.isclose(whole.value, value) else None, len(each))
