"""`ladder law fit`: a law over anybody's runs, from a CSV or Parquet file, without a lake.

The table says what a person needs to judge the fit; `--format json` is all that the library knows, one object per fit.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli.running import friendly_errors

if TYPE_CHECKING:
    from rich.console import Console

    from lm.law.records import Law


def register(group: typer.Typer) -> None:
    """Add the subcommand."""
    group.command(name="fit")(friendly_errors(fit))


def fit(
    file: Annotated[Path, typer.Argument(help="Runs: .csv, .tsv or .parquet, one row per run and amount of data.")],
    n: Annotated[str, typer.Option(help="Column with the number of parameters.")] = "num_params",
    d: Annotated[str | None, typer.Option(help="Column with the training tokens.")] = None,
    loss: Annotated[str, typer.Option(help="Column with the loss.")] = "value",
    form: Annotated[
        str, typer.Option(help="data_only, chinchilla, gadre, kaplan, loss_to_loss, data_constrained, farseer or bnsl.")
    ] = "chinchilla",
    unique_tokens: Annotated[str | None, typer.Option(help="Column with the different tokens each run had.")] = None,
    flops: Annotated[str | None, typer.Option(help="Column with FLOPs, in place of the tokens: D = C / 6N.")] = None,
    run: Annotated[str | None, typer.Option(help="Column that names the run, where a run has several rows.")] = None,
    run_seed: Annotated[str | None, typer.Option(help="Column with the seed of the run.")] = None,
    by: Annotated[str | None, typer.Option(help="Fit the rows of each value of this column on their own.")] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="With --by: fit all values together, sharing this constant; may be given again.")
    ] = None,
    loss_unit: Annotated[str | None, typer.Option(help="What the loss is counted in, for the record.")] = None,
    objective: Annotated[Literal["huber", "l1", "squares"], typer.Option(help="What is minimised, on the log loss.")] = "huber",
    delta: Annotated[float, typer.Option(help="Scale of the Huber loss.")] = 1e-3,
    weights: Annotated[Literal["equal", "seeds"], typer.Option(help="Equal, or by the noise between seeds at each size.")] = "equal",
    drop_highest: Annotated[int, typer.Option(help="Leave out this many of the highest losses.")] = 0,
    hold: Annotated[list[str] | None, typer.Option(help="Hold a constant, as NAME=VALUE; may be given again.")] = None,
    num_bootstrap: Annotated[int, typer.Option(help="Replicates behind the intervals.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the replicates.")] = 0,
    format: Annotated[Literal["table", "json"], typer.Option(help="For people, or for programs.")] = "table",
) -> None:
    """Fit a law to runs in a file."""
    from lm.law.fitting import fit as fit_law
    from lm.law.frames import groups, read
    from lm.law.objectives import Objective

    settings: dict[str, Any] = {
        "n": n,
        "d": d or (None if flops else "num_tokens"),
        "loss": loss,
        "unique_tokens": unique_tokens,
        "flops": flops,
        "run": run,
        "run_seed": run_seed,
        "loss_unit": loss_unit,
        "objective": Objective(objective, delta),
        "weights": weights,
        "drop_highest": drop_highest,
        "fixed": dict(map(_held, hold or [])),
        "num_bootstrap": num_bootstrap,
        "seed": seed,
    }
    parts = {"": read(file)} if by is None else groups(file, by)
    if share:
        if by is None:
            raise typer.BadParameter("--share fits several recipes together and needs --by, the column that names them")
        _together(parts, form, share, settings, format)
        return
    laws = {name: fit_law(rows, form, **settings) for name, rows in parts.items()}
    if format == "json":
        records = [{**({by: name} if by else {}), **found.record()} for name, found in laws.items()]
        print(json.dumps(records if by else records[0], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for name, found in laws.items():
        _show(console, f"{by} = {name}" if by else file.name, found)


def _together(parts: dict[str, Any], form: str, share: list[str], settings: dict[str, Any], format: str) -> None:
    from lm.law.fitting import points_of
    from lm.law.joint import fit_joint

    points = {name: points_of(rows, **settings) for name, rows in parts.items()}
    how = {name: settings[name] for name in ("objective", "seed", "num_bootstrap")}
    found = fit_joint(points, form, shared=share, **how)
    if format == "json":
        print(json.dumps(found.record(), indent=2, ensure_ascii=False))
        return
    for name, value in found.constants.items():
        low, high = found.intervals[name]
        print(f"{name}: {value:.6g} (90% {low:.4g} to {high:.4g}) {found.unidentified.get(name, '')}".rstrip())
    print(f"objective: {found.objective:.9g}; with nothing shared {found.separate_objective:.9g}")
    print(f"probability of such a rise if the shared constants were one: {found.sharing_costs:.2g}")


def _held(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise typer.BadParameter(f"--hold takes NAME=VALUE with a number; came {text!r}") from None


def _show(console: "Console", title: str, found: "Law") -> None:
    from rich.table import Table

    console.print(f"{title}: {found.form_record.formula}", style="bold", markup=False)
    table = Table("constant", "value", "90% interval", "fits within 0.5%", "unit", "identified")
    for name, value in found.constants.items():
        low, high = found.intervals[name]
        flat = found.profiles[name].flat if name in found.profiles else None
        table.add_row(
            name,
            f"{value:.6g}",
            f"{low:.4g} to {high:.4g}",
            f"{flat[0]:.4g} to {flat[1]:.4g}" if flat else "held",
            found.units[name],
            "no" if name in found.unidentified else "yes",
        )
    console.print(table)
    for line in _lines(found):
        console.print(line, markup=False, soft_wrap=True)


def _lines(found: "Law") -> list[str]:
    how = found.estimator
    reasons = [e.reason for e in found.exclusions]
    left_out = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons))) or "none"
    worst = max(found.residuals, key=lambda r: abs(r.observed / r.fitted - 1.0))
    return [
        f"points: {len(found.points)}; left out: {left_out}; loss: {found.units['loss']}",
        f"objective: {found.objective:.9g}, {how['objective']}; {how['num_starts_agreed']} of {how['num_starts']} starts agree",
        f"largest miss: {worst.observed / worst.fitted - 1.0:+.2%} at N {worst.num_params:,.0f}, D {worst.num_tokens:,.0f}",
        *(f"{name}: {reason}" for name, reason in found.unidentified.items()),
        *(f"warning: {warning}" for warning in found.warnings),
    ]
