"""The command `ladder`: every stage as a subcommand, the lake as SQL, and the demo.

Heavy libraries are imported inside the commands, so that `ladder sql` and `ladder --help` answer at once. Options of stage commands are
made from the same settings that make the web form, so that the two never differ.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import evals, lake, models, services, stages
from flows.cli.demo import demo

app = typer.Typer(
    name="ladder",
    help="How much data does a language model need, and which data is worth it?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    lake_at: Annotated[str | None, typer.Option("--lake", envvar="LADDER_LAKE", help="Where the lake is; ./lake if not said.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log as well.")] = False,
) -> None:
    """Set what every command needs before anything heavy is imported."""
    os.environ["LADDER_LAKE"] = lake_at if lake_at and "://" in lake_at else str(Path(lake_at or "lake").absolute())
    if not verbose:  # the terminal gets our own lines; the server keeps Prefect's log as well
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


lake.register(app)
stages.register(app)
models.register(app)
services.register(app)
evals.register(app)
app.command(name="demo")(demo)
