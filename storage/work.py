"""What a stage is asked to do and what came of it: records that the ledger compares and stores.

Work is addressed by its content: the key is a digest over stage, slot, parameters, code and inputs, so equal work has one key on every
machine. The slot says what the output is about (a WARC file, a recipe); new work for the same slot replaces the old output. The cost:
whatever decides an output must be named in one of the three mappings, or a change of it goes unseen.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from storage.digest import digest
from storage.records import Reject


def canonical_json(value: Any, about: str) -> str:
    """One text for one value: sorted names, no spaces, no NaN. Raises: TypeError or ValueError naming `about` otherwise."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{about} must be plain JSON (text, numbers, lists, mappings); got {value!r}: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One unit of work of a stage."""

    stage: str
    """Name of the stage: crawl, documents, ..."""
    slot: str
    """What the output is about; one live output per stage and slot."""
    parameters: Mapping[str, Any]
    """What was asked for, as plain JSON values."""
    code: Mapping[str, str]
    """Digest of each source module, see storage.code.code_version."""
    inputs: Mapping[str, str]
    """Digest or key of each input."""

    @property
    def key(self) -> str:
        """Digest over all of it, in hex."""
        return digest(self.stage, self.slot, self.parameters_json, self.code_json, self.inputs_json)

    @property
    def parameters_json(self) -> str:
        """Parameters as stored in the ledger."""
        return canonical_json(dict(self.parameters), f"parameters of {self.stage} {self.slot}")

    @property
    def code_json(self) -> str:
        """Code versions as stored in the ledger."""
        return canonical_json(dict(self.code), f"code of {self.stage} {self.slot}")

    @property
    def inputs_json(self) -> str:
        """Inputs as stored in the ledger."""
        return canonical_json(dict(self.inputs), f"inputs of {self.stage} {self.slot}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What came of one unit of work, to be committed."""

    work: Work
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    """Rows to insert, by table, without produced_by."""
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Parquet files to register, by table, with produced_by; the commit moves them to their final place."""
    rejects: Sequence[Reject] = ()
    """What was set aside."""
    updates: Sequence[tuple[str, Sequence[Any]]] = ()
    """UPDATE statements with their parameters, run in the same transaction; for a value that arrives after its row, such as an outcome."""
    seconds: float = 0.0
    """Seconds of work behind the output."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between stored and wanted work; None where a side has nothing."""

    part: str
    """parameters, code or inputs."""
    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.part} {self.name}: added, {self.new}"
        if self.new is None:
            return f"{self.part} {self.name}: removed, was {self.old}"
        return f"{self.part} {self.name}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Why:
    """Why work runs or does not: done, new, or changed with every difference."""

    stage: str
    slot: str
    state: str
    changes: Sequence[Change] = ()

    def __str__(self) -> str:
        reasons = {"done": "done: nothing changed", "new": "runs: no output yet", "changed": "runs again:"}
        return "\n".join([f"{self.stage} {self.slot}: {reasons[self.state]}", *(f"  {change}" for change in self.changes)])

    def __rich__(self) -> Any:
        head = Text(str(self).splitlines()[0], style={"done": "green", "new": "cyan", "changed": "yellow"}[self.state])
        if not self.changes:
            return head
        table = RichTable("part", "name", "was", "is", box=None, padding=(0, 2))
        for change in self.changes:
            table.add_row(*(Text("-" if cell is None else str(cell)) for cell in (change.part, change.name, change.old, change.new)))
        return Group(head, table)


def differences(part: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every name whose value differs, sorted by name."""
    names = sorted(old.keys() | new.keys())
    return [Change(part, name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]
