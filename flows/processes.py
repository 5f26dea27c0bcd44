"""Work side by side, and one function call in a process of its own: for work that would hold the interpreter, or that must pin its threads.

A Prefect task is a thread of the flow; where it computes in Python it hands the call to a child and waits. The child knows nothing of
Prefect, so it starts in a second, and progress comes back through a pipe. It ends with its parent, also when that is killed.
Prefect's own process pool was tried: every child imports Prefect and talks to the server, and its queue took seconds to close.
"""

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

T = TypeVar("T")
PR_SET_PDEATHSIG = 1


class ChildDiedError(RuntimeError):
    """The process ended without an answer."""


def in_child(function: Callable[..., T], *args: Any, on_progress: Callable[..., None] | None = None, **kwargs: Any) -> T:
    """Call a module's function in a child process; `on_progress`, if given, is passed to it and called here.

    Raises: what the function raises; ChildDiedError if the process was killed.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_answer, args=(theirs, function, args, kwargs, on_progress is not None), daemon=True)
    child.start()
    theirs.close()
    try:
        result: T = _follow(ours, on_progress)
        return result
    except EOFError:
        child.join()
        raise ChildDiedError(_last_words(function.__name__, child.exitcode)) from None
    finally:
        child.kill()
        child.join()


def side_by_side(task: Any, calls: Sequence[dict[str, Any]], num_parallel: int) -> Iterator[State[Any]]:
    """Run a Prefect task once per set of parameters, at most so many at a time; the final states, in order, as they come in."""
    runner: ThreadPoolTaskRunner[Any]
    with ThreadPoolTaskRunner(max_workers=num_parallel) as runner:
        futures: list[PrefectFuture[Any]] = [runner.submit(task, parameters=call) for call in calls]
        for future in futures:
            future.wait()
            yield future.state


def _follow(pipe: Connection, on_progress: Callable[..., None] | None) -> Any:
    while True:
        kind, value = pipe.recv()
        if kind == "progress" and on_progress:
            on_progress(*value)
        elif kind == "error":
            raise value
        elif kind == "result":
            return value


def _last_words(name: str, exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"{name}: its process was ended by {signal.Signals(-exitcode).name}; out of memory? Run fewer side by side to go on."
    return f"{name}: its process ended with status {exitcode} and no answer"


def _answer(pipe: Connection, function: Callable[..., Any], args: Any, kwargs: dict[str, Any], reports: bool) -> None:
    """What the child does: call, and send progress, then the result or the error."""
    die_with_parent()
    if reports:
        kwargs["on_progress"] = lambda *values: pipe.send(("progress", values))
    try:
        message = ("result", function(*args, **kwargs))
    except Exception as error:
        message = ("error", error)
    pipe.send(message)


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, so that a killed flow leaves no worker behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
