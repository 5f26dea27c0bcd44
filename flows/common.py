"""What every stage flow shares: settings, the open lake, and the one way in which a stage decides what to do.

A stage is a list of `Work` units. The lake's ledger knows which are done; the rest is computed and committed in one transaction, so
a stage's output appears whole or not at all. The orchestrator's cache plays no part, so that a lake moved to another server, or
used without one, still knows what is done. The cost: a stage killed before its commit computes its unfinished units again.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import pyarrow as pa
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from storage import ledger
from storage.code import code_version
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.settings import LakeSettings

LOG = logging.getLogger("ladder")
Unit = TypeVar("Unit")


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage did: units found done, units computed now, rows written."""

    stage: str
    num_done: int
    num_new: int
    num_rows: int
    seconds: float

    def __str__(self) -> str:
        """One line for people."""
        if not self.num_new:
            return f"{self.stage}: nothing to do, {self.num_done} up to date"
        return f"{self.stage}: {self.num_new} new, {self.num_done} up to date, {self.num_rows:,} rows in {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Planned(Generic[Unit]):
    """A unit of work, and what the stage needs to know to compute it."""

    work: Work
    unit: Unit


@dataclass(frozen=True, slots=True)
class Plan(Generic[Unit]):
    """All units of a stage, done or not. `owns` says which slots of the ledger belong to the plan: those it no longer names are removed."""

    stage: str
    units: Sequence[Planned[Unit]]
    owns: Callable[[str], bool] | None = None

    def todo(self, lake: Lake) -> list[Planned[Unit]]:
        """Units the ledger does not have."""
        open_keys = {work.key for work in ledger.pending(lake, [planned.work for planned in self.units])}
        return [planned for planned in self.units if planned.work.key in open_keys]

    def stale(self, lake: Lake) -> list[str]:
        """Slots of the ledger that this plan owns and no longer names."""
        if self.owns is None:
            return []
        live = {planned.work.slot for planned in self.units}
        slots = [slot for (slot,) in lake.rows("SELECT slot FROM stages WHERE stage = ? ORDER BY slot", [self.stage])]
        return [slot for slot in slots if slot not in live and self.owns(slot)]


def open_lake(read_only: bool = False) -> Lake:
    """The lake that LADDER_LAKE names."""
    return Lake.open(LakeSettings(), read_only=read_only)


@lru_cache
def code_of(*modules: str) -> Mapping[str, str]:
    """Code version of a stage: digests of these modules and of all first-party modules they import."""
    return code_version(*modules)


def in_run() -> bool:
    """Whether a Prefect flow or task run surrounds the caller."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


@contextmanager
def without_heartbeats() -> Iterator[None]:
    """Flows in here send no heartbeats: a flow that does ends with up to a second of waiting for the thread that sends them.

    For flows inside one that sends its own, and for commands in a terminal, whose runs nobody starts again.
    """
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def publish_markdown(key: str, markdown: str, description: str) -> None:
    """Keep a summary beside the flow run, where there is one."""
    if in_run():
        create_markdown_artifact(markdown, key=key, description=description)


def settle(
    lake: Lake,
    plan: Plan[Unit],
    produce: Callable[[Sequence[Planned[Unit]]], Sequence[Output]],
    *,
    replaces: Callable[[Sequence[Output]], list[str]] | None = None,
) -> StageResult:
    """Compute what the ledger does not have and commit it in one transaction, together with the removal of what the plan dropped.

    `replaces` names further slots of the stage that the outputs take the place of, for what shows only once they are computed.
    """
    started = time.monotonic()
    todo, stale = plan.todo(lake), plan.stale(lake)
    for planned in todo:
        LOG.debug("%s", ledger.why(lake, planned.work))
    outputs = produce(todo) if todo else []
    if replaces:
        stale = sorted({*stale, *replaces(outputs)})
    num_rows = 0
    if outputs or stale:
        num_rows = ledger.commit(lake, outputs, also_remove=[(plan.stage, slot) for slot in stale]).num_rows
    result = StageResult(plan.stage, len(plan.units) - len(todo), len(outputs), num_rows, time.monotonic() - started)
    LOG.info("%s", result)
    return result


def every_slot(_slot: str) -> bool:
    """A plan that names all slots of its stage owns them all."""
    return True


def stage_keys(lake: Lake, stage: str, prefix: str = "") -> dict[str, str]:
    """Slot and key of every live output of a stage: the inputs of the next one."""
    rows = lake.rows("SELECT slot, key FROM stages WHERE stage = ? AND starts_with(slot, ?) ORDER BY slot", [stage, prefix])
    return {f"{stage}/{slot}": key for slot, key in rows}


def recipe_key(lake: Lake, recipe: str) -> str:
    """Key of the recipe's output."""
    keys = dict(lake.rows("SELECT slot, key FROM stages WHERE stage = 'recipe'"))
    if recipe not in keys:
        raise MissingInputError(f"The lake has no recipe {recipe!r} (it has {sorted(keys)}). Run `ladder recipe --recipes {recipe}` first.")
    return str(keys[recipe])


def require(rows: Sequence[Any], what: str, producer: str) -> None:
    """Stop with the name of the command that makes what is missing."""
    if not rows:
        raise MissingInputError(f"The lake has no {what}. Run `{producer}` first.")


class MissingInputError(RuntimeError):
    """A stage was asked to run before the one it reads from."""


def works_of(lake: Lake, stage: str) -> list[Work]:
    """The work behind every live output of a stage."""
    rows = lake.rows("SELECT slot, parameters, code, inputs FROM stages WHERE stage = ? ORDER BY slot", [stage])
    return [Work(stage=stage, slot=slot, parameters=json.loads(p), code=json.loads(c), inputs=json.loads(i)) for slot, p, c, i in rows]


def pinned(lake: Lake, work: Work) -> Work:
    """The output that stands in this slot with the same parameters, whatever code and data it was made from; else `work` itself.

    For what is drawn once and then kept, such as a vocabulary.
    """
    for earlier in works_of(lake, work.stage):
        if earlier.slot == work.slot and dict(earlier.parameters) == dict(work.parameters):
            return earlier
    return work


def column(rows: pa.Table, name: str) -> list[Any]:
    """A column as Python values."""
    return list(rows[name].to_pylist())


def markdown_table(rows: pa.Table) -> str:
    """Rows as a Markdown table, for artifacts."""
    names = rows.column_names
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_cell(row[name]) for name in names) for row in rows.to_pylist()]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
