"""`ladder law`: without a subcommand the stage itself, with one the library behind it.

Each subcommand stands in a module of its own and adds itself to the group, so that those that need no lake import none.
"""

import inspect
from collections.abc import Callable
from typing import Any

import typer

from flows.cli import decisions, law_fit, law_forecast

CONTEXT = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def register(app: typer.Typer, stage: Callable[..., None], help_text: str) -> None:
    """Add the group. `stage` runs where no subcommand is named."""
    group = typer.Typer(help=help_text, invoke_without_command=True)
    group.callback(invoke_without_command=True, help=help_text)(_unless_subcommand(stage))
    law_fit.register(group)
    law_forecast.register(group)
    decisions.register(group)
    app.add_typer(group, name="law", rich_help_panel="Stages")


def _unless_subcommand(stage: Callable[..., None]) -> Callable[..., None]:
    def callback(**values: Any) -> None:
        if values.pop("ctx").invoked_subcommand is None:
            stage(**values)

    parameters = [CONTEXT, *inspect.signature(stage).parameters.values()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    return callback
