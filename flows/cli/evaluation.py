"""`ladder eval`: without a subcommand it measures, as `ladder evaluate` does, and shows the scores; `compare` sets two runs side by side.

The lake is only read here; what is measured, and where it goes, is the flow's.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from flows.cli.groups import unless_subcommand
from flows.cli.running import friendly_errors, say

Name = Annotated[
    str, typer.Argument(help="A run by id, its beginning or its size; recipe:NAME or recipe:NAME/SIZE for all its seeds; @RUNG.")
]
Ladder = Annotated[str | None, typer.Option(help="Ladder; the newest if not said.")]
HELP = "Measure checkpoints and show their scores; `ladder eval compare` sets two side by side."


def register(app: typer.Typer, stage: Callable[..., None]) -> None:
    """Add the group. `stage` is the command of the stage evaluate."""
    group = typer.Typer(help=HELP, invoke_without_command=True)
    group.callback(invoke_without_command=True, help=HELP)(unless_subcommand(_then_show(stage)))
    group.command(name="show")(friendly_errors(show))
    group.command(name="compare")(friendly_errors(compare))
    app.add_typer(group, name="eval", rich_help_panel="Stages")


def _then_show(stage: Callable[..., None]) -> Callable[..., None]:
    import inspect

    def run(**values: Any) -> None:
        stage(**values)
        if not values.get("why"):
            friendly_errors(show)(ladder_id=values.get("ladder_id"))

    run.__signature__ = inspect.signature(stage)  # type: ignore[attr-defined]
    return run


def show(
    ladder_id: Ladder = None,
    all_rungs: Annotated[bool, typer.Option("--all-rungs", help="Every rung, not only the largest of each run.")] = False,
    subsets: Annotated[str | None, typer.Option(help="Show the subsets of this evaluation set.")] = None,
) -> None:
    """Show the scores of evaluation sets: value, standard error, items; ~clean is without items that the training data holds."""
    from flows import ladder
    from flows.evaluate import RESULTS
    from storage.lake import Lake

    query = RESULTS
    if subsets:
        query = query.replace("NOT contains(m.domain, '/')", f"starts_with(m.domain, '{subsets.replace(chr(39), '')}/')")
    with Lake.open(read_only=True) as lake:
        rows = lake.query(query, {"ladder_id": ladder_id or ladder.newest(lake), "all": all_rungs})
    if not rows.num_rows:
        say("no scores of evaluation sets; register one with `ladder evals add NAME FILE`, then `ladder evaluate`")
        return
    heads = ("model", "seed", "rung", "tokens", "set", "metric", "value", "stderr", "items")
    found = rows.to_pylist()
    known = {row["domain"].partition("~")[0] for row in found if row["domain"].endswith("~known")}
    clean = {row["domain"].partition("~")[0] for row in found if row["domain"].endswith("~clean")}
    _print(heads, (_shown(row) for row in found if not row["domain"].endswith("~clean") or row["domain"].partition("~")[0] in known))
    if clean - known:  # their ~clean rows are equal to the others
        say(f"the training data holds no item of {', '.join(sorted(clean - known))}")


def _shown(row: dict[str, Any]) -> list[str]:
    domain = row["domain"] if row["split"] == "task" else f"{row['domain']} (harness)"
    numbers = [f"{row['value']:.4f}", "" if row["stderr"] is None else f"{row['stderr']:.4f}", f"{row['num_items'] or 0:,}"]
    return [row["model"], str(row["seed"]), str(row["rung"]), f"{row['num_tokens']:,}", domain, row["name"], *numbers]


def compare(
    a: Name,
    b: Name,
    sets: Annotated[list[str] | None, typer.Option(help="Evaluation sets, or 'validation'; everything both have if not said.")] = None,
    over_seeds: Annotated[bool, typer.Option("--over-seeds", help="Take all seeds of each run's size and ladder.")] = False,
    num_samples: Annotated[int, typer.Option(min=100, help="Samples of the bootstrap.")] = 2000,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Level of the interval.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Compare two runs, checkpoints or recipes on the same items: B minus A, its interval, and p of no difference."""
    from flows import comparing
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        sides = [comparing.chosen(lake, name, over_seeds=over_seeds) for name in (a, b)]
        for letter, side in zip("AB", sides, strict=True):
            runs = ", ".join(f"{one.run_id[:8]} seed {one.seed}" for one in side)
            say(f"{letter}: {side[0].model}, rung {side[0].rung}: {runs}")
        found = list(comparing.compare(lake, sides[0], sides[1], sets or (), num_samples=num_samples, level=level, seed=seed))
    heads = ("set", "metric", "A", "B", "B - A", f"{level:.0%} interval", "p", "items", "unpaired")
    _print(heads, (_difference(one) for one in found))


def _difference(one: Any) -> list[str]:
    found, name = one.difference, one.split if one.split == "validation" else one.evaluation_set
    name = f"{name} (harness)" if one.split == "harness" else name
    values = [f"{found.value_a:.4f}", f"{found.value_b:.4f}", f"{found.difference:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}"]
    return [name, one.name, *values, f"{found.p:.4f}", f"{found.num_items:,}", f"{one.num_unpaired:,}"]


def _print(heads: Iterable[str], rows: Iterable[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 160).print(table)
