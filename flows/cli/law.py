"""`ladder law`: without a subcommand the stage itself, with one the library behind it.

Each subcommand stands in a module of its own and adds itself to the group, so that those that need no lake import none.
"""

from collections.abc import Callable

import typer

from flows.cli import decisions, law_fit, law_forecast
from flows.cli.groups import unless_subcommand


def register(app: typer.Typer, stage: Callable[..., None], help_text: str) -> None:
    """Add the group. `stage` runs where no subcommand is named."""
    group = typer.Typer(help=help_text, invoke_without_command=True)
    group.callback(invoke_without_command=True, help=help_text)(unless_subcommand(stage))
    law_fit.register(group)
    law_forecast.register(group)
    decisions.register(group)
    app.add_typer(group, name="law", rich_help_panel="Stages")
