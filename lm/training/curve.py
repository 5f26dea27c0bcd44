"""The training curve of a run as rows of the table `metrics`.

A row is the mean over a window of steps; windows end at multiples of `log_every_steps` counted from the run's first step, whenever
the process was stopped, so a resumed run writes the rows of an unbroken one. The trunk's rows have no rung; a branch's rows carry
its rung and begin where it leaves the trunk. Mid-run losses are no results: only the metrics on validation at a rung are.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lm.training.config import RungPlan, TrainConfig
from lm.training.schedule import learning_rate

_TYPES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "rung": pa.int32(),
    "step": pa.int64(),
    "num_tokens": pa.int64(),
    "split": pa.string(),
    "validation_id": pa.string(),
    "domain": pa.string(),
    "name": pa.string(),
    "value": pa.float64(),
    "stderr": pa.float64(),
    "num_items": pa.int64(),
}
METRICS_SCHEMA = pa.schema(_TYPES)
"""Columns of the table `metrics`, without produced_by."""

Point = tuple[int, float, float]


@dataclass(slots=True)
class Curve:
    """Points (step, mean loss, mean gradient norm) so far, the steps of the window that is still open, and steps whose update was skipped.

    Skipped steps are not in the means; those of a window without any other are no numbers.
    """

    points: list[Point] = field(default_factory=list)
    pending: list[tuple[float, float]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Curve":
        """The curve that a state keeps."""
        points = [(step, loss, norm) for step, loss, norm in body["points"]]
        return cls(points, [(loss, norm) for loss, norm in body["pending"]], list(body.get("skipped", [])))

    def add(self, step: int, loss: float, norm: float, *, skipped: bool) -> None:
        """One step of the open window."""
        if skipped:
            self.skipped.append(step)
        else:
            self.pending.append((loss, norm))

    @property
    def num_skipped_open(self) -> int:
        """Steps of the open window whose update was skipped."""
        return len(self.skipped) - bisect_left(self.skipped, self.points[-1][0] if self.points else 0)

    def close_window(self, step: int) -> Point:
        """End the window at a step."""
        num_steps = len(self.pending)
        loss, norm = (sum(values) / num_steps for values in zip(*self.pending, strict=True)) if num_steps else (math.nan, math.nan)
        self.points.append((step, loss, norm))
        self.pending = []
        return self.points[-1]


def rows(run_id: str, config: TrainConfig, body: Mapping[str, Any], rung: int | None, plan: RungPlan | None) -> pa.Table:
    """Rows of one path, several per point; `body` holds its points and skipped steps."""
    records = []
    skipped, before = sorted(body.get("skipped", [])), 0
    for step, loss, norm in body.get("points", []):
        base: dict[str, Any] = {
            "run_id": run_id,
            "rung": rung,
            "step": step,
            "num_tokens": step * config.batch_tokens,
            "split": "train",
            "domain": "all",
        }
        values = {"loss_nats_per_token": loss, "gradient_norm": norm, "learning_rate": learning_rate(config, step - 1, plan)}
        if config.spike_deviations is not None:
            before, seen = bisect_left(skipped, step), before
            values["num_skipped"] = float(before - seen)
        records += [base | {"name": name, "value": value} for name, value in values.items() if math.isfinite(value)]
    return pa.Table.from_pylist(records, schema=METRICS_SCHEMA)


def write(tables: Sequence[pa.Table], path: Path) -> None:
    """One Parquet file."""
    pq.write_table(pa.concat_tables(tables), path)
