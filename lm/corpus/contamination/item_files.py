"""Files of evaluation sets, row by row: JSON lines, JSON, CSV or TSV, gzipped or not.

Nested JSON is walked along a path such as data.paragraphs.qas; each object at its end comes with the fields of those around it, so that a
paragraph's text serves all its questions. The cost: a file is held in memory as a whole.
"""

import csv
import glob
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class ItemsError(ValueError):
    """A file that cannot be read as an evaluation set; the message says what must hold and what there is."""


def files_of(name: str, path: str | Path) -> list[Path]:
    """The files of a set, sorted. Raises: ItemsError if there is none."""
    text = str(path)
    names = glob.glob(text if any(sign in text for sign in "*?[") else f"{text}/*") if not Path(text).is_file() else [text]
    files = sorted(Path(found) for found in names if Path(found).is_file())
    if not files:
        raise ItemsError(f"evaluation set {name}: there is no file {text}")
    return files


def rows_of(file: Path, path: str | None) -> Iterator[Row | None]:
    """Rows of a file, along a path of nested JSON if one is given; None for a value that is no object with fields.

    Raises: ItemsError if the file cannot be read as what its name says.
    """
    text = content(file)
    kind = file.with_suffix("").suffix.lower() if file.suffix == ".gz" else file.suffix.lower()
    way = path.split(".") if path else []
    try:
        if kind in (".csv", ".tsv"):
            yield from _cells(file, text, "\t" if kind == ".tsv" else ",")
        elif kind in (".jsonl", ".ndjson"):
            for line in filter(str.strip, text.split("\n")):  # not splitlines: JSON may hold U+2028 and U+0085 as they are
                yield from _walk(_json(line), way, {})
        elif kind == ".json":
            values = _values(text)
            value = values[0] if len(values) == 1 else values
            yield from _walk(value if way else _from_columns(value), way, {})
        else:
            raise ItemsError(f"{file} must end in .jsonl, .json, .csv or .tsv, or in one of these and .gz")
    except ItemsError:
        raise
    except (ValueError, csv.Error, RecursionError) as error:
        raise ItemsError(f"{file} is not valid {kind[1:].upper()}: {error}") from error


def _cells(file: Path, text: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        extra = row.pop(None, [])
        if any(extra):
            raise ItemsError(
                f"{file}: line {reader.line_num} must have at most {len(reader.fieldnames or [])} cells, as the first line has, but has "
                f"{len(reader.fieldnames or []) + len(extra)}; put cells that hold {delimiter!r} in quotation marks"
            )
        yield row


def _json(text: str) -> Any:
    """A JSON value; half of a surrogate pair, which no UTF-8 text can hold, becomes a question mark."""
    value = json.loads(text)
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) if _HALF_PAIR.search(text) else value


def _values(text: str) -> list[Any]:
    """The one value of a JSON text, or those of lines, which go by the name .json often enough."""
    try:
        return [_json(text)]
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        return [_json(line) for line in filter(str.strip, text.split("\n"))]


def _from_columns(value: Any) -> Any:
    """Rows of a table that is written by columns, lists of one length; any other value as it is."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(column, list) for column in value.values()):
        return value
    sizes = {len(column) for column in value.values()}
    return (
        [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
        if len(sizes) == 1 and max(sizes) > 1
        else value
    )


def content(file: Path) -> str:
    """Text of a file, unpacked. Raises: ItemsError if it is no UTF-8 text."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ItemsError(f"{file} cannot be read: {error}") from error
    try:
        return (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise ItemsError(f"{file} cannot be unpacked as gzip: {error}") from error
    except UnicodeDecodeError as error:
        raise ItemsError(f"{file} is not UTF-8 text: {error}") from error


def _walk(value: Any, path: Sequence[str], around: Row) -> Iterator[Row | None]:
    """Objects at the end of a path, each with the fields of those around it; None where the path ends elsewhere."""
    if isinstance(value, list):
        for entry in value:
            yield from _walk(entry, path, around)
    elif isinstance(value, Mapping):
        inner = {**around, **{key: field for key, field in value.items() if key not in path[:1]}}
        if not path:
            yield inner
        else:
            yield from _walk(value.get(path[0]), path[1:], inner)
    else:
        yield None
