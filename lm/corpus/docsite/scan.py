"""Docstrings of one unit of files, read with `ast` and packed into one file.

Nothing is imported, so reading a package has no effects and needs none of its dependencies. A pack holds each module as compressed
JSON and an index at its end; the server reads single modules out of it, and never holds all text in memory. `work` is a worker
process: a unit as JSON per line on stdin, "done" per line on stdout. Workers are plain processes, since multiprocessing would import
the caller's main module again in each.
"""

import ast
import gc
import json
import os
import re
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm.corpus.docsite.sources import Unit, module_name
from storage.digest import digest

MIN_DOC_CHARS = 200
"""A module that says less has no page."""
MAX_SIGNATURE_CHARS = 400

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Entry:
    """A module's place in a pack."""

    name: str
    num_chars: int
    summary: str
    digest: str
    offset: int
    length: int


def scan(unit: Unit, pack: Path) -> None:
    """Writes the docstrings of a unit's modules to a pack, whole or not at all."""
    counts: Counter[str] = Counter()
    entries: list[list[Any]] = []
    part = pack.with_name(f"{pack.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        for path, _, _ in unit.files:
            module = read_module(Path(unit.root), path, counts)
            if module is None:
                continue
            text = json.dumps(module, ensure_ascii=False, separators=(",", ":")).encode()
            blob = zlib.compress(text, 6)
            num_chars = len(module["doc"]) + sum(len(member[3]) for member in module["members"])
            entries.append([module["name"], num_chars, _summary(module["doc"]), digest(text), file.tell(), len(blob)])
            file.write(blob)
        index = zlib.compress(json.dumps({"entries": entries, "counts": counts}).encode())
        file.write(index + len(index).to_bytes(8, "little"))
    os.replace(part, pack)


def read_index(pack: Path) -> tuple[list[Entry], dict[str, int]]:
    """The modules in a pack, and how many files gave none, by reason."""
    with open(pack, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(8), "little")
        file.seek(-8 - length, os.SEEK_END)
        index = json.loads(zlib.decompress(file.read(length)))
    return [Entry(*values) for values in index["entries"]], index["counts"]


def read_module(root: Path, path: str, counts: Counter[str]) -> dict[str, Any] | None:
    """Name, docstring and members of one module; None, and a reason counted, if there is nothing to show."""
    name = module_name(path)
    if name is None:
        counts["not_a_module"] += 1
        return None
    try:
        source = (root / path).read_bytes()
        if _num_quoted_bytes(source) < MIN_DOC_CHARS:  # saves parsing half of all files
            counts["few_docstrings"] += 1
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        module = {"name": name, "doc": _doc(tree), "members": list(_members(tree, ""))}
    except OSError:
        counts["unreadable"] += 1
        return None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        counts["not_python"] += 1
        return None
    if len(module["doc"]) + sum(len(member[3]) for member in module["members"]) < MIN_DOC_CHARS:
        counts["few_docstrings"] += 1
        return None
    counts["modules"] += 1
    return module


def _members(node: ast.AST, prefix: str) -> Iterator[list[str]]:
    """[kind, qualified name, signature, docstring] of each documented class and function, in the order of the file."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            if doc := _doc(child):
                kind = "class" if isinstance(child, ast.ClassDef) else "method" if prefix else "function"
                yield [kind, prefix + child.name, _signature(child), doc]
            if isinstance(child, ast.ClassDef):
                yield from _members(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _members(child, prefix)


def _num_quoted_bytes(source: bytes) -> int:
    """Bytes between triple quotes: no less than the docstrings hold, but for those in single quotes."""
    return sum(len(text) for quote in (b'"""', b"'''") for text in source.split(quote)[1::2])


def _doc(node: ast.Module | _Definition) -> str:
    return _CONTROL.sub("", ast.get_docstring(node, clean=True) or "").strip()


def _signature(node: _Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return _CONTROL.sub("", f"({bases})" if bases else "")[:MAX_SIGNATURE_CHARS]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return _CONTROL.sub("", f"({ast.unparse(node.args)}){returns}")[:MAX_SIGNATURE_CHARS]


def _summary(doc: str) -> str:
    return " ".join(doc.split("\n\n")[0].split())[:120]


def work() -> None:
    """Scans the units on stdin, until it ends."""
    gc.disable()  # trees of syntax nodes hold no cycles, and looking for some takes a third of the time
    for line in sys.stdin:
        job = json.loads(line)
        files = tuple((path, size, changed) for path, size, changed in job["unit"].pop("files"))
        scan(Unit(**job["unit"], files=files), Path(job["pack"]))
        print("done", flush=True)
