"""Anybody's table of runs as the columns of a fit: an Arrow table, a mapping, or a CSV or Parquet file, with names as they are there.

Rows without a run's name get one from their content, in sorted order, so that a fit does not depend on the order of the rows; rows that
are equal in every number then count as copies of one run. The cost: where several rows are one run's trajectory, the column
that names the run must be given, or sampling errors come out too small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lm.law.points import ONE_OF, Columns

Source = Columns | str | Path
FLOPS_PER_PARAM_TOKEN = 6.0


@dataclass(frozen=True, slots=True)
class Names:
    """Which column holds what. `flops` stands in for the tokens: D = C / (6 N)."""

    n: str = "num_params"
    d: str | None = "num_tokens"
    loss: str = "value"
    unique_tokens: str | None = None
    run: str | None = None
    run_seed: str | None = None
    flops: str | None = None


def read(source: Source) -> pa.Table:
    """The whole table. Raises: ValueError if a file is of another kind than CSV or Parquet, or cannot be read as what it is called."""
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, Mapping):
        lengths = {name: len(values) for name, values in source.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of one fit must be equally long; came: {lengths}")
        return pa.table({name: _array(values) for name, values in source.items()})
    path = Path(source)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in (".csv", ".tsv", ".parquet"):
        raise ValueError(f"runs are read from .csv, .tsv or .parquet; came {path.name}")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ","))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error


def _array(values: Sequence[object]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers and text mixed: `gather` says which row
        return pa.array([None if value is None else str(value) for value in values])


def columns_of(source: Source, names: Names) -> dict[str, list[object]]:
    """The columns that `lm.law.gather` needs. Raises: ValueError that names a missing column and the ones there are."""
    table = read(source)
    wanted = [names.n, names.loss, *(name for name in (names.d or names.flops, names.unique_tokens, names.run, names.run_seed) if name)]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise ValueError(
            f"the runs have no column {', '.join(missing)}; there are: {', '.join(table.column_names)}. "
            "Say which column holds the parameters (n), the tokens (d, or flops) and the loss"
        )
    values: dict[str, list[object]] = {"num_params": table[names.n].to_pylist(), "value": table[names.loss].to_pylist()}
    values["num_tokens"] = table[names.d].to_pylist() if names.d else _tokens(table, names)
    if names.unique_tokens:
        values["unique_tokens"] = table[names.unique_tokens].to_pylist()
    values["seed"] = table[names.run_seed].to_pylist() if names.run_seed else [0] * len(table)
    values["run_id"] = table[names.run].to_pylist() if names.run else _run_ids(values)
    return values | {name: table[name].to_pylist() for name in ONE_OF if name in table.column_names}


def _tokens(table: pa.Table, names: Names) -> list[object]:
    if names.flops is None:
        raise ValueError("a fit needs the training tokens: name their column (d), or one of FLOPs (flops)")
    flops, params = (pc.cast(table[name], pa.float64()) for name in (names.flops, names.n))
    return list(pc.divide(flops, pc.multiply(params, FLOPS_PER_PARAM_TOKEN)).to_pylist())


def _run_ids(values: Mapping[str, Sequence[object]]) -> list[object]:
    keys = [repr(row) for row in zip(*(values[name] for name in sorted(values)), strict=True)]
    place = {key: i for i, key in enumerate(sorted(set(keys)))}
    return [f"run-{place[key] + 1:06d}" for key in keys]


def groups(source: Source, by: str) -> dict[str, pa.Table]:
    """The rows of each value of a column, in sorted order. Raises: ValueError if there is no such column."""
    table = read(source)
    if by not in table.column_names:
        raise ValueError(f"the runs have no column {by}; there are: {', '.join(table.column_names)}")
    found = sorted({str(value) for value in table[by].to_pylist()})
    text = pc.cast(table[by], pa.string())
    return {value: table.filter(pc.equal(text, pa.scalar(value))) for value in found}
