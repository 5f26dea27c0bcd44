"""`ladder up` and `ladder down`: Prefect on this machine."""

from typing import Annotated

import typer

from flows.cli.running import friendly_errors, lake_home, say


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in {"up": up, "down": down}.items():
        app.command(name=name, rich_help_panel="Services")(friendly_errors(command))


def up(port: Annotated[int | None, typer.Option(help="Port of the server on loopback; 4200 or the next free one.")] = None) -> None:
    """Start Prefect's server, the work pools and deployments, and a worker per pool."""
    from deployments import services
    from storage.lake import Lake

    Lake.open().close()
    found = services.up(lake_home(), port=port, echo=say)
    print(found.ui)


def down() -> None:
    """End exactly what `ladder up` started."""
    from deployments import services

    services.down(lake_home(), echo=say)
