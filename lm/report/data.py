"""What a report is made from: one Arrow table per figure, checked once, here.

The report never opens the lake: whoever has one passes its query function to `gather`. An empty table is allowed and
means that the stage has not run yet; a missing column is a programming error and is named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from lm.report.queries import QUERIES

Row = dict[str, Any]
RunQuery = Callable[[str, Mapping[str, Any] | None], pa.Table]
"""(SQL, named parameters) -> rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """Everything a report shows. Each table is the result of the query of the same name in `lm/report/queries.py`."""

    title: str
    """What was crawled, for people."""
    made_at: str
    """When the report was made, as text; shown, never parsed."""
    lake_snapshot: int | None
    """Snapshot of the lake that was read."""
    stages: pa.Table
    funnel: pa.Table
    recipe_counts: pa.Table
    rejects: pa.Table
    duplicates: pa.Table
    near_histogram: pa.Table
    losses: pa.Table
    contamination: pa.Table
    languages: pa.Table
    hosts: pa.Table
    rungs: pa.Table
    runs: pa.Table
    metrics: pa.Table
    domains: pa.Table
    tasks: pa.Table
    laws: pa.Table
    forecasts: pa.Table
    conclusions: pa.Table

    def __post_init__(self) -> None:
        for name, query in QUERIES.items():
            columns = getattr(self, name).column_names
            missing = [column for column in query.columns if column not in columns]
            if missing:
                raise ValueError(f"ReportData.{name} needs the columns {', '.join(query.columns)}; missing: {', '.join(missing)}")

    def rows(self, name: str) -> list[Row]:
        """A table as a list of rows."""
        found: list[Row] = getattr(self, name).to_pylist()
        return found


def gather(query: RunQuery, *, ladder_id: str, title: str, made_at: str, lake_snapshot: int | None) -> ReportData:
    """Run every query and put the answers together.

    query: runs SQL with named parameters and gives an Arrow table, e.g. `Lake.query`.
    """
    tables = {name: query(text.sql, {"ladder_id": ladder_id} if text.of_ladder else None) for name, text in QUERIES.items()}
    assert {field.name for field in fields(ReportData)} == {"title", "made_at", "lake_snapshot", *tables}
    return ReportData(title=title, made_at=made_at, lake_snapshot=lake_snapshot, **tables)
