"""`ladder sql`, `ladder lake`, `ladder status`: look into the lake without changing it, and without Prefect."""

import sys
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.running import console_for_tables, friendly_errors


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="sql", rich_help_panel="Lake")(friendly_errors(sql))
    app.command(name="lake", rich_help_panel="Lake")(friendly_errors(lake))
    app.command(name="status", rich_help_panel="Lake")(friendly_errors(status))


def sql(
    query: Annotated[str, typer.Argument(help="One read-only query over the tables of the lake.")],
    format: Annotated[Literal["table", "json", "csv", "parquet"], typer.Option(help="How the rows are written.")] = "table",
) -> None:
    """Query the lake; nothing can be changed."""
    from storage.inspect import run_query
    from storage.lake import Lake

    with Lake.open(read_only=True) as opened:
        found = run_query(opened, query, format)
    if isinstance(found, bytes):
        sys.stdout.buffer.write(found)
    else:
        console_for_tables().print(found)


def lake() -> None:
    """Print the line that attaches the lake in DuckDB."""
    from storage.lake import Lake

    with Lake.open(read_only=True) as opened:
        print(opened.attach_sql())


def status(
    digest: Annotated[bool, typer.Option("--digest", help="Show a digest of the content of every table.")] = False,
) -> None:
    """Show what each stage holds, how fresh it is, and what is running."""
    from storage.inspect import stage_status
    from storage.lake import Lake

    console = console_for_tables()
    with Lake.open(read_only=True) as opened:
        if digest:
            found = opened.digest()
            for name, value in found.tables.items():
                print(f"{value}  {name}")
            print(f"{found.total}  total")
            return
        table = Table("stage", "outputs", "rows", "last finished", title=f"Lake {opened.settings.root}", title_justify="left")
        for stage in stage_status(opened):
            table.add_row(stage.stage, f"{stage.num_outputs:,}", f"{stage.num_rows:,}", _ago(stage.last_finished_at))
    console.print(table)
    _running(console)


def _ago(when: object) -> str:
    from datetime import UTC, datetime

    if not isinstance(when, datetime):
        return "never"
    seconds = int((datetime.now(UTC) - when.astimezone(UTC)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{when.astimezone():%Y-%m-%d %H:%M} ({seconds // size} {unit} ago)"
    return f"{when.astimezone():%Y-%m-%d %H:%M} ({seconds} s ago)"


def _running(console: Console) -> None:
    """Services of this lake and the flow runs under way."""
    from deployments import services
    from deployments.api import Api
    from flows.cli.running import lake_home

    found = services.status(lake_home())
    if found is None or not found.healthy:
        console.print("No services run for this lake; `ladder up` starts them.")
        return
    console.print(f"Prefect: {found.ui}")
    runs = Api(found.url).runs("RUNNING", "PENDING")
    for run in runs:
        console.print(f"  {run['state_type'].lower()}: {run['name']}", markup=False)
    if not runs:
        console.print("  no flow is running")
    sys.stdout.flush()
