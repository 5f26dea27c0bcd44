"""What a command needs around its work: a Prefect server, lines in the terminal, and errors a person can act on."""

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

P = ParamSpec("P")
T = TypeVar("T")
CONSOLE = Console(stderr=True, highlight=False)


def lake_home() -> Path:
    """Local folder of the lake's services and logs."""
    from storage.lake import Lake
    from storage.outputs import home
    from storage.settings import LakeSettings

    settings = LakeSettings()
    return home(Lake(settings, None, read_only=True)) if "://" in settings.root else Path(settings.root)  # type: ignore[arg-type]


@contextmanager
def prefect_server() -> Iterator[None]:
    """Run flows against PREFECT_API_URL if it is set, else against the lake's own server: the running one, or one for this command."""
    from flows.common import without_heartbeats
    from flows.terminal import log_to_terminal, send_the_rest

    log_to_terminal()
    with without_heartbeats(), _api():
        try:
            yield
        finally:
            send_the_rest()


@contextmanager
def _api() -> Iterator[None]:
    """PREFECT_API_URL names a server that answers."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    from deployments import services

    home = lake_home()
    with services.server(home, echo=say) as url:
        os.environ["PREFECT_API_URL"] = url
        os.environ["PREFECT_HOME"] = str(home / "prefect")
        from prefect.settings import PREFECT_API_URL, temporary_settings

        try:
            with temporary_settings(updates={PREFECT_API_URL: url}):
                yield
        finally:
            del os.environ["PREFECT_API_URL"]


def say(text: str) -> None:
    """One line to the terminal, beside the data that goes to standard output."""
    CONSOLE.print(text, markup=False)


def console_for_tables() -> Console:
    """Standard output, wide enough for a table where no terminal says how wide it is: a pipe, a file, a log."""
    return Console(width=None if Console().is_terminal else 160)


def friendly_errors(command: Callable[P, T]) -> Callable[P, T]:
    """End with one clear message and status 1; LADDER_TRACEBACK=1 shows where it came from."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            CONSOLE.print("stopped; what is finished is kept, the same command goes on with the rest")
            sys.exit(130)
        except Exception as error:
            if os.environ.get("LADDER_TRACEBACK"):
                traceback.print_exc()
            CONSOLE.print(f"[bold red]Error[/]: {_plain(error)}", markup=True)
            sys.exit(1)

    return wrapped


def _plain(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    kind = type(error).__name__
    return (text if kind.endswith(("Error", "Exception")) and len(text) > 20 else f"{kind}: {text}").replace("[", "\\[")
