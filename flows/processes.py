"""Work side by side, and one function call in a process of its own: for work that would hold the interpreter, or that must pin its threads.

A Prefect task is a thread of the flow; where it computes in Python it hands the call to a child and waits. The child knows nothing of
Prefect, so it starts in a second, and progress comes back through a pipe. It ends with its parent, also when that is killed. A function
may be given by its name, so that what only the child needs is loaded there alone.
Prefect's own process pool was tried: every child imports Prefect and talks to the server, and its queue took seconds to close.
"""

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, TypeVar

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

T = TypeVar("T")
PR_SET_PDEATHSIG = 1
_STARTING = Lock()


class ChildDiedError(RuntimeError):
    """The process ended without an answer."""


def in_child(function: Callable[..., T] | str, *args: Any, on_progress: Callable[..., None] | None = None, **kwargs: Any) -> T:
    """Call a module's function, or one named "package.module:function", in a child process; `on_progress` is passed to it and called here.

    Raises: what the function raises; ChildDiedError if the process was killed.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_answer, args=(theirs, function, args, kwargs, on_progress is not None), daemon=True)
    with _without_main():
        child.start()
    theirs.close()
    try:
        result: T = _follow(ours, on_progress)
        return result
    except EOFError:
        child.join()
        name = function if isinstance(function, str) else function.__name__
        raise ChildDiedError(_last_words(name, child.exitcode)) from None
    finally:
        child.kill()
        child.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a spawned child from importing the program that starts it, which would load Prefect and all flows there."""
    with _STARTING:
        main = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
        main["__spec__"] = None
        try:
            yield
        finally:
            main.update(hidden)


def side_by_side(task: Any, calls: Sequence[dict[str, Any]], num_parallel: int) -> Iterator[State[Any]]:
    """Run a Prefect task once per set of parameters, at most so many at a time; the final states, in order, as they come in."""
    runner: ThreadPoolTaskRunner[Any]
    with ThreadPoolTaskRunner(max_workers=num_parallel) as runner:
        try:
            futures: list[PrefectFuture[Any]] = [runner.submit(task, parameters=call) for call in calls]
            for future in futures:
                future.wait()
                yield future.state
        except (KeyboardInterrupt, SystemExit):  # threads wait for their children, and the end of the block waits for threads
            for child in active_children():
                child.kill()
            raise


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
    if exitcode == -signal.SIGINT:
        return f"{name}: stopped; run again to go on"
    if exitcode is not None and exitcode < 0:
        return f"{name}: its process was ended by {signal.Signals(-exitcode).name}; out of memory? Run fewer side by side to go on."
    return f"{name}: its process ended with status {exitcode} and no answer"


def _answer(pipe: Connection, function: Callable[..., Any] | str, args: Any, kwargs: dict[str, Any], reports: bool) -> None:
    """What the child does: call, and send progress, then the result or the error."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches children too: they end at once, without a traceback each
    if reports:
        kwargs["on_progress"] = lambda *values: pipe.send(("progress", values))
    try:
        message = ("result", _found(function)(*args, **kwargs))
    except Exception as error:
        message = ("error", error)
    pipe.send(message)


def _found(function: Callable[..., Any] | str) -> Callable[..., Any]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, so that a killed flow leaves no worker behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
