"""Several checkpoints in one go: a process that measures a whole run loads its libraries once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lm.evaluation.loss import metrics_and_items
from lm.evaluation.tasks import score_set

OnProgress = Callable[[int, int], None]


def evaluate_each(calls: Sequence[Mapping[str, Any]], *, on_progress: OnProgress | None = None) -> list[tuple[pa.Table, pa.Table]]:
    """The answer of `metrics_and_items` to each set of arguments, in order; `on_progress` gets checkpoints done and in all."""
    answers = []
    for number, call in enumerate(calls):
        answers.append(metrics_and_items(**call))
        if on_progress:
            on_progress(number + 1, len(calls))
    return answers


def score_each(calls: Sequence[Mapping[str, Any]], num_items: Sequence[int], *, on_progress: OnProgress | None = None) -> list[pa.Table]:
    """The answer of `score_set` to each set of arguments, in order; `num_items` says how many items each has, for `on_progress`."""
    answers, total = [], sum(num_items)
    for number, call in enumerate(calls):
        before = sum(num_items[:number])

        def report(done: int, _all: int, before: int = before) -> None:
            if on_progress:
                on_progress(before + done, total)

        answers.append(score_set(**call, on_progress=report))
    return answers
