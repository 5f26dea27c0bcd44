"""`ladder evals`: evaluation sets, which documents are compared with and models are scored on."""

from typing import Annotated

import typer

from flows.cli.running import console_for_tables, friendly_errors, say

KINDS = "SELECT kind, count(*) FROM evaluation_items WHERE evaluation_set = ? GROUP BY ALL ORDER BY ALL"
Part = Annotated[
    str | None, typer.Option(help="Field it stands in, a path such as answers.text if nested; the field of that name if not said.")
]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(name="evals", help="Evaluation sets: looked for in texts, and scored.", no_args_is_help=True)
    group.command(name="add")(friendly_errors(add))
    group.command(name="list")(friendly_errors(list_sets))
    group.command(name="remove")(friendly_errors(remove))
    app.add_typer(group, rich_help_panel="Stages")


def add(
    name: Annotated[str, typer.Argument(help="Name of the evaluation set; an earlier one of that name is replaced.")],
    file: Annotated[str, typer.Argument(help="JSON lines, JSON, CSV or TSV, .gz or not; a folder or glob of such files, a subset each.")],
    question: Part = None,
    answer: Part = None,
    context: Part = None,
    id: Annotated[str | None, typer.Option(help="Field that names the item; a digest of its text if there is none.")] = None,
    rows: Annotated[str | None, typer.Option(help="Path of the lists to walk down in nested JSON, such as data.paragraphs.qas.")] = None,
    distinct: Annotated[bool, typer.Option("--distinct", help="Items that stand in the file several times count once.")] = False,
    labels_file: Annotated[str | None, typer.Option(help="File with the label of each row in a line, as PIQA has it.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="minimal_pairs, multiple_choice, cloze, a published format such as lambada, or none; by the fields if not said."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Template of the prompt over fields, such as 'Question: {question}\\nAnswer:'.")
    ] = None,
    choices: Annotated[str | None, typer.Option(help="Field with a list of choices, or several fields such as A,B,C,D.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Field of the right choice: number from 0, text or letter. Of a cloze: what follows.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Field that groups items, such as a phenomenon.")] = None,
    delimiter: Annotated[str, typer.Option(help="What stands between prompt and choice; empty for Chinese.")] = " ",
) -> None:
    """Register an evaluation set: `ladder contamination` looks for it in all texts, `ladder evaluate` scores models on it."""
    from flows.common import open_lake
    from flows.contamination import add_set
    from lm.corpus.contamination.items import Fields
    from lm.evaluation.formats import Spec

    fields = Fields(question, answer, context, id, rows, labels_file, distinct)
    with open_lake() as lake:
        print(add_set(lake, name, file, fields, Spec(task, prompt, choices, label, subset, delimiter), say))
        for kind, number in lake.rows(KINDS, [name]):
            print(f"{number:,} items {'are not scored: they have no choices and label' if kind is None else f'are scored as {kind}'}")


def list_sets() -> None:
    """Show every evaluation set: its items, those the documents know, and how well planted copies were found."""
    from rich.table import Table

    from flows.contamination import SUMMARY
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        rows = lake.query(SUMMARY)
    table = Table(*(name.replace("_", " ") for name in rows.column_names))
    for row in rows.to_pylist():
        table.add_row(*("" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console_for_tables().print(table if rows.num_rows else "no evaluation sets; add one with `ladder evals add NAME FILE`")


def remove(name: Annotated[str, typer.Argument(help="Name of the evaluation set.")]) -> None:
    """Take an evaluation set out of the lake."""
    from flows.common import open_lake
    from flows.contamination import remove_set

    with open_lake() as lake:
        remove_set(lake, name)
    print(f"{name} is removed; `ladder contamination` brings what was found up to date")
