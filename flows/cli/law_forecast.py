"""`ladder law forecast` and `ladder law coverage`: forecasts on anybody's runs, and whether such forecasts would have held, without a lake.

Columns are found by their names, as `lm.law.discover` describes; what was taken for what is printed first.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli.running import friendly_errors

if TYPE_CHECKING:
    from lm.law.discover import Ladder

RUNS = typer.Argument(help="Runs: a CSV, TSV, JSON, JSON lines or Parquet file, or a folder of such.")
FORMAT = typer.Option(help="For people, or for programs.")


def register(group: typer.Typer) -> None:
    """Add the subcommands."""
    group.command(name="forecast")(friendly_errors(forecast))
    group.command(name="coverage")(friendly_errors(coverage))


def forecast(
    runs: Annotated[Path, RUNS],
    tokens: Annotated[float, typer.Option(min=1, help="Training tokens of the run to forecast.")],
    params: Annotated[float | None, typer.Option(min=1, help="Its model size, in the unit of the file; the largest if not said.")] = None,
    num_seeds: Annotated[int, typer.Option(min=1, help="Runs whose mean loss is forecast.")] = 1,
    format: Annotated[Literal["table", "json"], FORMAT] = "table",
) -> None:
    """Forecast a larger run from the runs in a file, with 80% and 90% intervals."""
    rows = [_row(ladder, params, tokens, num_seeds) for ladder in _ladders(runs, quiet=format == "json")]
    if format == "json":
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        (low80, high80), (low90, high90) = row["interval80"], row["interval90"]
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in row["weights"].items())
        print(
            f"{row['ladder']}: {row['predicted']:.4f} at N {row['num_params']:.4g}, D {row['num_tokens']:.4g}; "
            f"80% {low80:.4f} to {high80:.4f}, 90% {low90:.4f} to {high90:.4f}\n"
            f"  from {row['num_points']} points, {row['num_cuts']} hidings of the largest, which made the interval "
            f"{row['own_record']:.2f} times the usual; candidates: {weights}"
        )


def _row(ladder: "Ladder", params: float | None, tokens: float, num_seeds: int) -> dict[str, Any]:
    from lm.law import ensemble
    from lm.law.forecasting import target

    size = params or float(ladder.points.num_params.max())
    made = ensemble.build(ensemble.speaking_for(ladder.points, size))
    stated = made.predictive(target(size, tokens), num_seeds)
    intervals = {f"interval{level:.0%}"[:-1]: [float(end[0]) for end in stated.interval(level)] for level in (0.8, 0.9)}
    return {
        "ladder": f"{ladder.data_set} {ladder.name}",
        "num_params": size,
        "num_tokens": tokens,
        "predicted": float(stated.interval(0.0)[0][0]),
        **intervals,
        "num_points": len(ladder.points),
        "num_cuts": len(made.cuts),
        "own_record": made.own_record(),
        "weights": made.weight_by_name,
    }


def coverage(runs: Annotated[Path, RUNS], format: Annotated[Literal["table", "json"], FORMAT] = "table") -> None:
    """Cut runs below each of their budgets, forecast the rest, and count how often the intervals held."""
    from lm.law.backtesting import score, trials

    ladders = _ladders(runs, quiet=format == "json")
    record = score([trial for one in ladders for trial in trials(one.points, data_set=f"{one.data_set} {one.name}")])
    if not record.outcomes:
        raise typer.BadParameter("no cut leaves 12 runs and others at 2 to 30 times their compute; train more budgets")
    parts = {**record.by_data_set(), "all": record.summary()}
    if format == "json":
        print(json.dumps(parts, indent=2))
        return
    for name, part in parts.items():
        print(
            f"{name}: of {part['num_targets']} runs further out, {part['coverage80']:.0%} inside 80% and {part['coverage90']:.0%} inside "
            f"90% intervals (width {part['mean_width']:.1%}, error {part['mean_error']:.1%})\n"
            f"  naive bootstrap: {part['naive_coverage90']:.0%} inside 90% intervals (width {part['naive_mean_width']:.1%}, "
            f"error {part['naive_mean_error']:.1%})"
        )


def _ladders(runs: Path, *, quiet: bool) -> list["Ladder"]:
    from lm.law.discover import discover

    ladders, notes = discover(runs)
    if not quiet:
        for note in notes:
            print(f"{'used' if note.used else 'skipped'} {note.path}: {note.text}")
    if not ladders:
        raise typer.BadParameter(f"no runs found in {runs}: " + "; ".join(f"{note.path}: {note.text}" for note in notes))
    return ladders
