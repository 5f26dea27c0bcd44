"""Items of evaluation sets: rows of files, with a mapping from fields to question, answer and context.

Where the rows are those of a task that models can be scored on (`lm/evaluation/formats.py`), the prompt, the choices and the right one
come with them, so that a set which is registered once serves both; question and answer are then the task's unless they are named.

A field may be a path (answers.text); of a list the first value that is there is taken. A field that was named and is nowhere is an error,
because an empty column would look like a clean corpus.
What is left out is counted under a reason: values that are no objects, rows without text, and equal items where only one is asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm.corpus.contamination.item_files import ItemsError, Row, content, files_of, rows_of
from lm.evaluation import formats
from lm.evaluation.formats import AS_IT_IS, FormatError, Spec, Task
from storage.digest import digest

PARTS = ("question", "answer", "context")
_TYPES: dict[str, Any] = {name: pa.string() for name in ("evaluation_set", "item", *PARTS)}
EVALUATION_ITEMS = pa.schema(_TYPES)
"""What documents are compared with."""
_TASK_TYPES: dict[str, Any] = {name: pa.string() for name in ("kind", "subset", "prompt")}
_TASK_TYPES |= {"choices": pa.list_(pa.string()), "label": pa.int32()}
SCORED_ITEMS = pa.schema(_TYPES | _TASK_TYPES)
"""The same with what models are scored on: columns of the table `evaluation_items`."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Where the parts of an item stand. None: the field of that name, if there is one."""

    question: str | None = None
    answer: str | None = None
    context: str | None = None
    id: str | None = None
    rows: str | None = None
    """Path of the lists to walk down, for nested JSON."""
    labels_file: str | None = None
    """File with the label of each row in a line, for sets that keep them apart; it becomes the field `label`."""
    distinct: bool = False
    """Items that stand in the file several times count once."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A set as it was read: rows of the table `evaluation_items`, and how many rows of the files are none of them, by reason."""

    items: pa.Table
    left_out: Mapping[str, int]


NO_OBJECT, NO_TEXT, REPEATED = "no object with fields", "no question, answer or context", "there already"
"""Why a row is left out."""


def read_items(name: str, path: str | Path, fields: Fields = Fields(), spec: Spec = AS_IT_IS) -> pa.Table:
    """The items of `read_set`."""
    return read_set(name, path, fields, spec).items


def read_set(name: str, path: str | Path, fields: Fields = Fields(), spec: Spec = AS_IT_IS) -> Reading:
    """Rows of the table `evaluation_items`, in the order of the file. An item without any part is left out; none at all is an error.

    `path` may be a folder or a glob: then each file is a subset named after it, unless its rows name theirs.
    Raises: ItemsError if a file cannot be read, a named field is nowhere, no item has text, or a row is not the task that is asked for.
    """
    files = files_of(name, path)
    walked = [(row, file) for file in files for row in rows_of(file, fields.rows)]
    found = [(row, file) for row, file in walked if row is not None]
    rows = _labelled(name, [row for row, _ in found], fields.labels_file)
    tasks = [_task(name, row, i, spec) for i, row in enumerate(rows)]
    columns = {part: [_text(row, _field(fields, part)) for row in rows] for part in PARTS}
    _complete(columns, tasks, fields)
    _complain(name, files[0], fields, rows, columns)
    ids = _ids(rows, columns, fields.id)
    used = [i for i in range(len(rows)) if any(columns[part][i] for part in PARTS)]
    distinct = _once(used, columns, tasks) if fields.distinct else used
    left_out = Counter({NO_OBJECT: len(walked) - len(found), NO_TEXT: len(rows) - len(used), REPEATED: len(used) - len(distinct)})
    used = distinct
    table: dict[str, Any] = {part: [columns[part][i] for i in used] for part in PARTS}
    stems = [file.name.split(".")[0] if len(files) > 1 else None for _, file in found]
    table |= {"subset": [(task.subset if task else None) or stem for task, stem in ((tasks[i], stems[i]) for i in used)]}
    for column in ("kind", "prompt", "choices", "label"):
        table[column] = [getattr(task, column) if (task := tasks[i]) and task.kind else None for i in used]
    items = pa.table({"evaluation_set": [name] * len(used), "item": [ids[i] for i in used], **table}, schema=SCORED_ITEMS)
    return Reading(items, +left_out)


def _once(used: Sequence[int], columns: Mapping[str, Sequence[str | None]], tasks: Sequence[Task | None]) -> list[int]:
    """The first of items that are equal in all their parts."""
    first: dict[tuple[Any, ...], int] = {}
    for i in used:
        first.setdefault((*(columns[part][i] for part in PARTS), tasks[i]), i)
    return list(first.values())


def _labelled(name: str, rows: list[Row], labels_file: str | None) -> list[Row]:
    if labels_file is None:
        return rows
    labels = content(Path(labels_file)).split()
    if len(labels) != len(rows):
        raise ItemsError(f"evaluation set {name}: {labels_file} has {len(labels)} labels for {len(rows)} rows; it needs one per row")
    return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]


def _task(name: str, row: Row, place: int, spec: Spec) -> Task | None:
    try:
        return formats.read(row, spec)
    except (FormatError, KeyError, TypeError) as error:
        if _is_unlabelled(row) and not spec.label:
            return _without_label(row, spec)
        raise ItemsError(
            f"evaluation set {name}: row {place + 1} is not the task its fields say: {error}; name fields with --choices and --label, "
            "or say --task none"
        ) from error


def _without_label(row: Row, spec: Spec) -> Task | None:
    """What is asked in a row whose answer is kept back: documents are compared with it, no model is scored on it."""
    try:
        found = formats.read({**row, "label": 0, "gold": 0}, spec)
    except (FormatError, KeyError, TypeError):
        return None
    return replace(found, kind="") if found else None


def _is_unlabelled(row: Row) -> bool:
    """A row of a test set whose answers are kept back: no label, an empty one, or -1."""
    return str(row.get("label", row.get("gold", ""))).strip() in ("", "-1", "None")


def _complete(columns: dict[str, list[str | None]], tasks: Sequence[Task | None], fields: Fields) -> None:
    """Question and answer of tasks, where no field was named for them."""
    for i, task in enumerate(tasks):
        if task and not fields.question and columns["context"][i] != task.question:
            columns["question"][i] = columns["question"][i] or task.question
        if task and task.kind and not fields.answer:
            columns["answer"][i] = task.choices[task.label].strip() if task.kind != "minimal_pairs" else None


def _field(fields: Fields, part: str) -> str:
    return getattr(fields, part) or part


def _complain(name: str, file: Path, fields: Fields, rows: Sequence[Row], columns: Mapping[str, Sequence[str | None]]) -> None:
    known = sorted({str(key) for row in rows[:100] for key in row})
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
    if isinstance(found, bool):
        return str(found).lower()
    return str(found).strip() or None if isinstance(found, str | int | float) and found == found else None
