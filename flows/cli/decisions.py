"""Decisions on the command line: `ladder law simulate`, `compare`, `allocate`, `next`, `repeat`."""

from collections.abc import Callable, Mapping

import typer

from flows.cli.running import friendly_errors


def register(group: typer.Typer) -> None:
    """Add the subcommands."""
    for name, command in COMMANDS.items():
        group.command(name=name)(friendly_errors(command))


COMMANDS: Mapping[str, Callable[..., None]] = {}
