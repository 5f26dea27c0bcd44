"""Evaluation sets from files: JSON lines, JSON, CSV or TSV, with a mapping from fields to question, answer and context.

Nested JSON is walked along `rows`, a path such as data.paragraphs.qas; a field is looked for in the innermost object first and then in
those around it, so that a paragraph's text serves all its questions. A field may be a path itself (answers.text); of a list the first
value that is there is taken. A field that was named and is nowhere is an error, because an empty column would look like a clean corpus.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.digest import digest

PARTS = ("question", "answer", "context")
_TYPES: dict[str, Any] = {name: pa.string() for name in ("evaluation_set", "item", *PARTS)}
EVALUATION_ITEMS = pa.schema(_TYPES)
Row = Mapping[str, Any]


class ItemsError(ValueError):
    """A file that cannot be read as an evaluation set; the message says what must hold and what there is."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Where the parts of an item stand. None: the field of that name, if there is one."""

    question: str | None = None
    answer: str | None = None
    context: str | None = None
    id: str | None = None
    rows: str | None = None
    """Path of the lists to walk down, for nested JSON."""


def read_items(name: str, path: str | Path, fields: Fields = Fields()) -> pa.Table:
    """Rows of the table `evaluation_items`, in the order of the file. An item without any part is left out; none at all is an error.

    Raises: ItemsError if the file cannot be read, a named field is nowhere, or no item has text.
    """
    file = Path(path)
    if not file.is_file():
        raise ItemsError(f"evaluation set {name}: there is no file {file}")
    rows = list(_rows(file, fields.rows))
    columns = {part: [_text(row, _field(fields, part)) for row in rows] for part in PARTS}
    _complain(name, file, fields, rows, columns)
    ids = _ids(rows, columns, fields.id)
    used = [i for i in range(len(rows)) if any(columns[part][i] for part in PARTS)]
    table = {part: [columns[part][i] for i in used] for part in PARTS}
    return pa.table({"evaluation_set": [name] * len(used), "item": [ids[i] for i in used], **table}, schema=EVALUATION_ITEMS)


def _field(fields: Fields, part: str) -> str:
    return getattr(fields, part) or part


def _complain(name: str, file: Path, fields: Fields, rows: Sequence[Row], columns: Mapping[str, Sequence[str | None]]) -> None:
    known = sorted({key for row in rows[:100] for key in row})
    for part in PARTS:
        wanted = getattr(fields, part)
        if wanted and not any(columns[part]):
            raise ItemsError(f"evaluation set {name}: {file} has no text in the field {wanted!r} for --{part}; it has {', '.join(known)}")
    if not any(text for column in columns.values() for text in column):
        raise ItemsError(
            f"evaluation set {name}: no item of {file} has a question, answer or context; say where they are with --question, --answer or "
            f"--context. Fields: {', '.join(known) or 'none'}"
        )


def _ids(rows: Sequence[Row], columns: Mapping[str, Sequence[str | None]], field: str | None) -> list[str]:
    """The id field where it is given and tells items apart, else a digest of the item; a repeated one gets its number."""
    found, seen = [], dict[str, int]()
    for i, row in enumerate(rows):
        text = _text(row, field or "id") if field or "id" in row else None
        id = text or digest(*(columns[part][i] or "" for part in PARTS))[:16]
        seen[id] = seen.get(id, 0) + 1
        found.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return found


def _rows(file: Path, path: str | None) -> Iterator[Row]:
    text = file.read_text(encoding="utf-8-sig")
    kind = file.suffix.lower()
    try:
        if kind in (".csv", ".tsv"):
            csv.field_size_limit(1 << 30)
            yield from csv.DictReader(io.StringIO(text), delimiter="\t" if kind == ".tsv" else ",")
        elif kind in (".jsonl", ".ndjson"):
            for line in filter(str.strip, text.splitlines()):
                yield from _walk(json.loads(line), path.split(".") if path else [], {})
        elif kind == ".json":
            yield from _walk(json.loads(text), path.split(".") if path else [], {})
        else:
            raise ItemsError(f"{file} must end in .jsonl, .json, .csv or .tsv")
    except (json.JSONDecodeError, csv.Error) as error:
        raise ItemsError(f"{file} is not valid {kind[1:].upper()}: {error}") from error


def _walk(value: Any, path: Sequence[str], around: Row) -> Iterator[Row]:
    """Objects at the end of a path, each with the fields of those around it."""
    if isinstance(value, list):
        for entry in value:
            yield from _walk(entry, path, around)
    elif isinstance(value, Mapping):
        inner = {**around, **{key: field for key, field in value.items() if key not in path[:1]}}
        if not path:
            yield inner
        elif path[0] in value:
            yield from _walk(value[path[0]], path[1:], inner)


def _text(value: Any, path: str) -> str | None:
    """Text at the end of a path; the first of several."""
    head, _, rest = path.partition(".")
    if isinstance(value, list):
        return next((text for entry in value if (text := _text(entry, path))), None)
    if not isinstance(value, Mapping):
        return None
    found = value.get(path, value.get(head))
    if rest and path not in value:
        return _text(found, rest)
    while isinstance(found, list):
        found = next(iter(found), None)
    return str(found).strip() or None if isinstance(found, str | int | float) and not isinstance(found, bool) else None
