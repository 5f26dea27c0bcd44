"""`ladder evals`: the evaluation sets that documents are compared with."""

from typing import Annotated

import typer

from flows.cli.running import friendly_errors

Part = Annotated[
    str | None, typer.Option(help="Field it stands in, a path such as answers.text if nested; the field of that name if not said.")
]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(name="evals", help="Evaluation sets that documents are compared with.", no_args_is_help=True)
    group.command(name="add")(friendly_errors(add))
    group.command(name="list")(friendly_errors(list_sets))
    group.command(name="remove")(friendly_errors(remove))
    app.add_typer(group, rich_help_panel="Stages")


def add(
    name: Annotated[str, typer.Argument(help="Name of the evaluation set; an earlier one of that name is replaced.")],
    file: Annotated[str, typer.Argument(help="JSON lines, JSON, CSV or TSV.")],
    question: Part = None,
    answer: Part = None,
    context: Part = None,
    id: Annotated[str | None, typer.Option(help="Field that names the item; a digest of its text if there is none.")] = None,
    rows: Annotated[str | None, typer.Option(help="Path of the lists to walk down in nested JSON, such as data.paragraphs.qas.")] = None,
) -> None:
    """Register an evaluation set; `ladder contamination` then looks for it in all texts."""
    from flows.common import open_lake
    from flows.contamination import add_set
    from lm.corpus.contamination.items import Fields

    with open_lake() as lake:
        print(add_set(lake, name, file, Fields(question=question, answer=answer, context=context, id=id, rows=rows)))


def list_sets() -> None:
    """Show every evaluation set: its items, those the documents know, and how well planted copies were found."""
    from rich.console import Console
    from rich.table import Table

    from flows.contamination import SUMMARY
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        rows = lake.query(SUMMARY)
    table = Table(*(name.replace("_", " ") for name in rows.column_names))
    for row in rows.to_pylist():
        table.add_row(*("" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console().print(table if rows.num_rows else "no evaluation sets; add one with `ladder evals add NAME FILE`")


def remove(name: Annotated[str, typer.Argument(help="Name of the evaluation set.")]) -> None:
    """Take an evaluation set out of the lake."""
    from flows.common import open_lake
    from flows.contamination import remove_set

    with open_lake() as lake:
        remove_set(lake, name)
