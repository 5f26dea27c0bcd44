"""Several checkpoints in one go: a process that measures a whole run loads its libraries once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lm.evaluation.loss import evaluate


def evaluate_each(calls: Sequence[Mapping[str, Any]], *, on_progress: Callable[[int, int], None] | None = None) -> list[pa.Table]:
    """The answer of `evaluate` to each set of arguments, in order; `on_progress` gets checkpoints done and checkpoints in all."""
    answers = []
    for number, call in enumerate(calls):
        answers.append(evaluate(**call))
        if on_progress:
            on_progress(number + 1, len(calls))
    return answers
