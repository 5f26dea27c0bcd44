"""The ledger: which work is done, why work runs again, and the commit that makes an output appear whole or not at all.

A commit is one DuckLake transaction for any number of outputs. Under the writer lock it leaves out keys that are already there, removes
what another key wrote for the same slot, adds files and rows, and writes the ledger's row. So a repeated, concurrent or killed commit
ends in the same tables. The cost: commits wait for each other, hence few and large ones, one per stage where that can be. A commit that
is killed may leave files that nobody refers to, and nothing else.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage import transaction
from storage.lake import Lake
from storage.staged import Staged, check_slots
from storage.work import Output, Why, Work, differences

__all__ = ["Commit", "Output", "Why", "Work", "commit", "is_done", "pending", "why"]


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did."""

    snapshot: int
    """Snapshot in which the outputs are seen."""
    num_rows: int
    """Rows written, rejects and the ledger's own aside."""
    num_skipped: int
    """Outputs left out because their key was there already."""


def is_done(lake: Lake, work: Work) -> bool:
    """Whether the output of this work is in the lake."""
    return not pending(lake, [work])


def pending(lake: Lake, works: Sequence[Work]) -> list[Work]:
    """Those works whose output is not in the lake, in their order, each once."""
    by_key = {work.key: work for work in works}
    done = _done(lake, list(by_key))
    return [work for key, work in by_key.items() if key not in done]


def why(lake: Lake, work: Work) -> Why:
    """Whether this work runs, and what makes it run again."""
    if is_done(lake, work):
        return Why(work.stage, work.slot, "done")
    stored = lake.rows("SELECT parameters, code, inputs FROM stages WHERE stage = ? AND slot = ?", [work.stage, work.slot])
    if not stored:
        return Why(work.stage, work.slot, "new")
    wanted = (work.parameters_json, work.code_json, work.inputs_json)
    parts = zip(("parameters", "code", "inputs"), stored[0], wanted, strict=True)
    changes = [change for part, old, new in parts for change in differences(part, json.loads(old), json.loads(new))]
    return Why(work.stage, work.slot, "changed", changes)


def commit(lake: Lake, outputs: Sequence[Output], *, also_remove: Sequence[tuple[str, str]] = ()) -> Commit:
    """Bring outputs into the lake in one transaction, each exactly once.

    also_remove: (stage, slot) pairs whose outputs go, such as a file that is no longer in the crawl.
    Raises: ValueError if rows or files do not fit their tables; LakeBusy if others keep the lake in conflict; StorageFull.
    """
    check_slots(outputs)
    staged = [Staged(output) for output in outputs]
    kept = {(output.work.stage, output.work.slot) for output in outputs}
    with lake.writing() as connection:
        with _tidy(lake, staged):
            plan = transaction.write(lake, connection, staged, [slot for slot in also_remove if slot not in kept])
        for entry in plan.repeated:
            entry.discard_staged(lake)
        return Commit(lake.snapshot_id(), sum(entry.num_rows for entry in plan.fresh), len(plan.repeated))


def _done(lake: Lake, keys: list[str]) -> set[str]:
    return {row[0] for row in lake.rows("SELECT key FROM stages WHERE list_contains(?, key)", [keys])} if keys else set()


@contextlib.contextmanager
def _tidy(lake: Lake, staged: list[Staged]) -> Iterator[None]:
    """After a failure, remove the files of outputs that are surely not in the lake: on a full disk they are in the way."""
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):  # the first error is the one to show; a file left over is harmless
            done = _done(lake, [entry.key for entry in staged])
            for entry in staged:
                if entry.key not in done:
                    entry.discard_published(lake)
        raise
