"""What trainings will cost, as a table that is shown before they start: in the terminal, in the log, and as an artifact.

Speeds come from the runs in the lake. A sweep that is launched on other machines is estimated for the device of the newest run, for nobody
knows yet which worker will take it; without any run it is estimated for this machine. The table says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefect.artifacts import create_table_artifact

from flows.common import LOG, in_run
from lm.training import TrainConfig
from lm.training.cost import Cost, Seen, cost_of, speed_of, this_device, this_peak, wall_hours
from storage.lake import Lake

RUNS = """
    SELECT train_flops / train_tokens, tokens_per_second, device FROM runs JOIN stages ON key = produced_by
    WHERE train_tokens > 0 ORDER BY finished_at DESC, run_id
"""
TO_DO, DONE = "to do", "done"


@dataclass(frozen=True, slots=True)
class Row:
    """One training of a table."""

    name: str
    num_rungs: int
    num_tokens: int
    """Tokens of its largest rung."""
    cost: Cost
    """What is left of it."""
    status: str
    """to do, done, or why it is left out."""


@dataclass(frozen=True, slots=True)
class Table:
    """Trainings with their costs, and how many run at once."""

    rows: Sequence[Row]
    num_slots: int

    @property
    def todo(self) -> list[Row]:
        """Trainings that will run."""
        return [row for row in self.rows if row.status == TO_DO]

    def totals(self) -> str:
        """One line: what the trainings that will run cost together."""
        costs = [row.cost for row in self.todo]
        left_out = sum(row.status not in (TO_DO, DONE) for row in self.rows)
        parts = [
            f"{len(costs)} of {len(self.rows)} to train{f', {left_out} left out' if left_out else ''}",
            f"{sum(cost.flops for cost in costs):.3g} FLOPs",
            f"{duration(sum(cost.hours for cost in costs))} of device time",
            f"about {duration(wall_hours([cost.hours for cost in costs], self.num_slots))} on {self.num_slots} at once",
        ]
        if costs and costs[0].money is not None:
            parts.append(f"{sum(cost.money or 0.0 for cost in costs):,.2f} by price")
        if costs:
            parts.append("speed " + "; ".join(sorted({cost.speed for cost in costs})))
        return ", ".join(parts)

    def records(self) -> list[dict[str, Any]]:
        """Plain values, a dictionary per training."""
        return [
            {
                "training": row.name,
                "rungs": row.num_rungs,
                "tokens": f"{row.num_tokens:,}",
                "trained": f"{row.cost.train_tokens:,}",
                "FLOPs": f"{row.cost.flops:.3g}",
                "time": duration(row.cost.hours),
                **({} if row.cost.money is None else {"price": f"{row.cost.money:,.2f}"}),
                "memory": f"{row.cost.memory_bytes / 1e6:,.0f} MB",
                "status": row.status,
            }
            for row in self.rows
        ]

    def lines(self) -> list[str]:
        """The table for a terminal: a heading, a line per training, the totals."""
        records = self.records()
        if not records:
            return ["nothing to train"]
        cells = [list(records[0]), *([str(value) for value in record.values()] for record in records)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        text = (0, len(widths) - 1)
        lines = [
            "  ".join(
                cell.ljust(width) if i in text else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        return [*(line.rstrip() for line in lines), self.totals()]


class Estimator:
    """Costs by what the lake has seen."""

    def __init__(self, lake: Lake, price_per_hour: float | None, *, here: bool = True) -> None:
        self._seen = [Seen(*row) for row in lake.rows(RUNS)]
        self._price = price_per_hour
        self.device = this_device() if here or not self._seen else self._seen[0].device

    @cached_property
    def _peak(self) -> float:
        return this_peak()

    def of(self, config: TrainConfig, rungs_tokens: Sequence[int], reached_tokens: int = 0) -> Cost:
        """What is left of a training."""
        known = any(run.device == self.device for run in self._seen)
        speed = speed_of(config, self._seen, self.device, 1.0 if known else self._peak)
        return cost_of(config, rungs_tokens, speed, reached_tokens=reached_tokens, price_per_hour=self._price)


def duration(hours: float) -> str:
    """Hours as people say them."""
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def show(key: str, table: Table) -> None:
    """Into the log, and as a table artifact beside the flow run, where there is one."""
    for line in table.lines():
        LOG.info("  %s", line)
    if in_run():
        create_table_artifact(table.records(), key=f"{key}-plan", description=table.totals())
