"""The version of the code behind a stage: a digest per source module, found by reading and never by importing.

From the given modules the imports inside this project are followed, and each module found is digested over its syntax tree without
docstrings, comments and layout, so that better words do not make a stage run again while any change of what runs does. Other projects
count by the version that is installed. The cost: a change in any imported module counts, whether or not the stage calls it; data files
do not count.
"""

import ast
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from storage.digest import digest

FIRST_PARTY = ("lm", "storage")


def code_version(*modules: str) -> dict[str, str]:
    """Digest of each first-party module reached from `modules`, and 'dist:<name>' with the version of each distribution they import.

    Raises: ModuleNotFoundError if one of `modules` is no first-party module.
    """
    for module in modules:
        if _source(module) is None:
            raise ModuleNotFoundError(f"code_version needs modules of {' or '.join(FIRST_PARTY)} by their dotted name; got {module!r}")
    return dict(_version(tuple(sorted(set(modules)))))


@cache
def _version(modules: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    others: set[str] = set()
    waiting = [name for module in modules for name in _with_parents(module)]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found[module], imported = _read(module)
        waiting += [name for name in imported if name.split(".")[0] in FIRST_PARTY]
        others |= {name.split(".")[0] for name in imported} - set(FIRST_PARTY)
    return tuple(sorted((found | _distributions(others)).items()))


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    names = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return [name for name in names if _source(name)]


@cache
def _source(module: str) -> Path | None:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if top in FIRST_PARTY else None
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root, *rest)
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


@cache
def _read(module: str) -> tuple[str, frozenset[str]]:
    path = _source(module)
    assert path is not None, module
    tree = ast.parse(path.read_bytes(), filename=str(path))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imported = frozenset(name for node in _running(tree) for name in _imports(node, package))
    return digest(_canonical(tree)), imported


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node except those under `if TYPE_CHECKING:`, which never run."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from _running(child)


def _imports(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [name for alias in node.names for name in _known(alias.name)]
    if isinstance(node, ast.ImportFrom):
        base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
        start = ".".join(part for part in (base, node.module) if part)
        return [name for alias in node.names for name in (*_known(start), *_known(f"{start}.{alias.name}"))]
    return []


def _known(module: str) -> list[str]:
    return _with_parents(module) if module.split(".")[0] in FIRST_PARTY else [module]


def _canonical(node: object) -> str:
    """The tree as text without positions, docstrings and empty fields, so that Python versions agree on it."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({','.join(f'{name}={_canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node if not _is_text_only(item))}]"
    return repr(node)


def _is_text_only(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _distribution_names() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}


def _distributions(modules: set[str]) -> dict[str, str]:
    outside = {name for name in modules if name not in sys.stdlib_module_names and name != "__future__"}
    names = {found for module in outside for found in _distribution_names().get(module, [module])}
    return {f"dist:{name}": _installed(name) for name in names}


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
