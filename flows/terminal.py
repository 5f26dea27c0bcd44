"""Lines of the `ladder` logger: to the terminal of whoever runs a command, and to the flow run's log in the UI."""

import logging
import sys

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler

NAME = "ladder-terminal"


def log_to_terminal() -> None:
    """Print the lines of the `ladder` logger with their time, and send them to the server as the log of their run."""
    logger = logging.getLogger("ladder")
    if any(handler.name == NAME for handler in logger.handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.name = NAME
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.addHandler(APILogHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def send_the_rest() -> None:
    """Send what the server has not got yet, while it still runs; otherwise the end of the process waits for a server that is gone."""
    for handler in logging.getLogger("ladder").handlers:
        handler.flush()
    EventsWorker.drain_all(timeout=5)
