"""Columns of the rows that evaluations write: one per item, beside those of the table `metrics`.

An item is a document of the validation set or an item of an evaluation set. Its value has a weight, so that the metric of any group of
items is sum(value * weight) / sum(weight): bytes for bits per byte, tokens for a loss per token, 1 for an accuracy.
"""

from typing import Any

import pyarrow as pa

TASK = "task"
VALIDATION = "validation"
HARNESS = "harness"
"""Values of `split`: our own scores of an evaluation set, the validation set, and scores by lm-evaluation-harness."""

_TYPES: dict[str, Any] = {
    "run_id": pa.string(),
    "rung": pa.int32(),
    "split": pa.string(),
    "evaluation_set": pa.string(),
    "subset": pa.string(),
    "item": pa.string(),
    "name": pa.string(),
    "value": pa.float64(),
    "weight": pa.float64(),
}
ITEMS_SCHEMA = pa.schema(_TYPES)
"""Columns of the table `item_metrics`, without produced_by."""
