"""A command that is a stage of its own and also has subcommands, such as `ladder law` and `ladder recipe`."""

import inspect
from collections.abc import Callable
from typing import Any

import typer

CONTEXT = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def unless_subcommand(stage: Callable[..., None]) -> Callable[..., None]:
    """The stage as a callback that runs only where no subcommand is named."""

    def callback(**values: Any) -> None:
        if values.pop("ctx").invoked_subcommand is None:
            stage(**values)

    parameters = [CONTEXT, *inspect.signature(stage).parameters.values()]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    return callback
