"""The Python files of the environment: every installed distribution and the standard library, cut into units of work.

A unit is a few hundred files of one package, named by the digest of all that its content depends on (package, version, Python, each
file's path, size and modification time). The digest is its cache key: an upgraded package is read again, and nothing else is.
"""

import importlib.metadata
import platform
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.digest import digest

FORMAT = "1"
"""Raise when what `scan` takes from a file changes."""
FILES_PER_UNIT = 150
OWN_PACKAGE = "dataladder"
"""Left out, so that the site does not change with this code."""

_NOT_IN_LIBRARY = {"test", "tests", "idlelib", "turtledemo", "site-packages", "dist-packages", "_bundled", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Unit:
    """Some files of one package."""

    package: str
    version: str
    licence: str
    summary: str
    root: str
    files: tuple[tuple[str, int, int], ...]
    """(path below root, size in bytes, modification time in ns)."""

    @property
    def key(self) -> str:
        """Digest of everything the unit's content depends on."""
        lines = [f"{path}\t{size}\t{changed}" for path, size, changed in self.files]
        return digest(FORMAT, f"{sys.version_info[:2]}", self.package, self.version, "\n".join(lines))


def find_units(packages: Collection[str] | None, search_path: Sequence[str] | None, standard_library: bool) -> list[Unit]:
    """All units, in order. `packages` limits them to some names, `search_path` says where to look (default: sys.path)."""
    wanted = None if packages is None else {_normal(name) for name in packages}
    found: dict[str, list[Unit]] = {}
    for distribution in importlib.metadata.distributions(path=list(sys.path if search_path is None else search_path)):
        name = _normal(distribution.metadata["Name"] or "")
        if name and name != OWN_PACKAGE and name not in found and (wanted is None or name in wanted):
            found[name] = list(_units_of(name, distribution))
    if standard_library and (wanted is None or "python" in wanted):
        found["python"] = list(_library_units())
    return [unit for name in sorted(found) for unit in found[name]]


def module_name(path: str) -> str | None:
    """Dotted name of the module in a file, None if no import statement could name it."""
    parts = path.removesuffix(".py").split("/")
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _units_of(name: str, distribution: importlib.metadata.Distribution) -> Iterator[Unit]:
    paths = sorted({str(path) for path in distribution.files or [] if path.suffix == ".py" and ".." not in path.parts})
    meta = distribution.metadata.json
    licence = str(meta.get("license_expression") or meta.get("license") or "see the package").strip().split("\n")[0]
    summary = str(meta.get("summary") or "").strip()
    yield from _cut(name, distribution.version, licence[:80], summary, Path(str(distribution.locate_file(""))), paths)


def _library_units() -> Iterator[Unit]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path.relative_to(root) for path in root.rglob("*.py")]
    kept = sorted(path.as_posix() for path in paths if not _NOT_IN_LIBRARY.intersection(path.parts))
    yield from _cut("python", platform.python_version(), "PSF-2.0", "The Python standard library", root, kept)


def _cut(name: str, version: str, licence: str, summary: str, root: Path, paths: Sequence[str]) -> Iterator[Unit]:
    files = []
    for path in paths:
        if (root / path).is_file():
            stat = (root / path).stat()
            files.append((path, stat.st_size, stat.st_mtime_ns))
    for start in range(0, len(files), FILES_PER_UNIT):
        yield Unit(name, version, licence, summary, str(root), tuple(files[start : start + FILES_PER_UNIT]))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
