"""The documentation site as a whole: its packages and modules, and what each address holds.

`build` makes a small manifest (names, places in packs, digests); text stays in the packs of the cache directory until its page is asked
for.
The site's digest covers every text and the code that renders it: equal digests mean equal bytes at every address.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from html import escape
from pathlib import Path
from typing import Any

from lm.corpus.crawler.lifeline import child_environment
from lm.corpus.docsite import docstring, render
from lm.corpus.docsite.scan import Entry, read_index
from lm.corpus.docsite.sources import FILES_PER_UNIT, Unit, find_units
from storage.digest import digest, file_digest

URLS_PER_SITEMAP = 5000
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Site:
    """A documentation site. Made by `build`; `manifest` is its file, from which another process loads it."""

    manifest: Path
    digest: str
    """Identifies every byte of every page."""
    packages: Mapping[str, Mapping[str, str]]
    """Name, version, licence and summary by package name."""
    modules: Mapping[tuple[str, str], tuple[str, Entry]]
    """Pack file and place in it, by package and module name, in order."""
    counts: Mapping[str, int]
    """Files of the environment: modules shown, and the reasons others are not."""

    @classmethod
    def load(cls, manifest: str | Path) -> "Site":
        """The site of a manifest that `build` wrote."""
        values = json.loads(Path(manifest).read_text())
        modules = {(package, entry[0]): (pack, Entry(*entry)) for package, pack, entry in values["modules"]}
        return cls(Path(manifest), values["digest"], values["packages"], modules, values["counts"])

    @property
    def num_pages(self) -> int:
        """HTML pages: modules, package indexes, the front page and the page about the site."""
        return len(self.modules) + len(self.packages) + 2

    @property
    def num_doc_chars(self) -> int:
        """Characters of docstrings over all modules."""
        return sum(entry.num_chars for _, entry in self.modules.values())

    def get(self, path: str, base: str) -> tuple[str, bytes] | None:
        """Content type and body at a path, None if nothing is there. `base` is the site's address, for robots.txt and sitemaps."""
        if path.endswith(".html") and path.count("/") == 2:
            package, name = path[1:-5].split("/")
            return self._module(package, name)
        if path.startswith("/sitemap") or path == "/robots.txt":
            return self._for_crawlers(path, base)
        if path == "/":
            return HTML, render.root_page(list(self.packages.values()))
        if path == "/about.html":
            return HTML, render.about_page()
        if path == "/search/":
            return HTML, render.plain_page("Search", "There is nothing to search here; robots.txt asks crawlers to stay away.")
        package = path[1:-1]
        if path == f"/{package}/" and package in self.packages:
            modules = [(entry.name, entry.summary) for _, entry in self._by_package[package]]
            return HTML, render.package_page(self.packages[package], modules)
        return None

    @cached_property
    def _by_package(self) -> dict[str, list[tuple[str, Entry]]]:
        groups: dict[str, list[tuple[str, Entry]]] = {name: [] for name in self.packages}
        for (package, _), place in self.modules.items():
            groups[package].append(place)
        return groups

    @cached_property
    def _children(self) -> dict[tuple[str, str], list[str]]:
        children: dict[tuple[str, str], list[str]] = {}
        for package, name in self.modules:
            children.setdefault((package, name.rpartition(".")[0]), []).append(name)
        return children

    def _module(self, package: str, name: str) -> tuple[str, bytes] | None:
        place = self.modules.get((package, name))
        if place is None:
            return None
        siblings = self._children[package, name.rpartition(".")[0]]
        page = render.module_page(self._read(*place), self.packages[package], siblings, self._children.get((package, name), []))
        return HTML, page

    def _read(self, pack: str, entry: Entry) -> dict[str, Any]:
        with open(self.manifest.parent / pack, "rb") as file:
            file.seek(entry.offset)
            module: dict[str, Any] = json.loads(zlib.decompress(file.read(entry.length)))
        return module

    def _for_crawlers(self, path: str, base: str) -> tuple[str, bytes] | None:
        if path == "/robots.txt":
            return "text/plain; charset=utf-8", f"User-agent: *\nDisallow: /search/\n\nSitemap: {base}/sitemap.xml\n".encode()
        paths = self._paths
        num_maps = -(-len(paths) // URLS_PER_SITEMAP)
        names = [f"/sitemap-{number}.xml" for number in range(num_maps)]
        if path == "/sitemap.xml":
            return "application/xml", _xml("sitemapindex", "sitemap", base, names) if num_maps > 1 else _xml("urlset", "url", base, paths)
        if num_maps > 1 and path in names:
            start = names.index(path) * URLS_PER_SITEMAP
            return "application/xml", _xml("urlset", "url", base, paths[start : start + URLS_PER_SITEMAP])
        return None

    @cached_property
    def _paths(self) -> list[str]:
        pages = [f"/{package}/{name}.html" for package, name in self.modules]
        return ["/", "/about.html", *(f"/{name}/" for name in self.packages), *pages]


def build(
    cache_dir: str | Path,
    *,
    packages: Collection[str] | None = None,
    max_modules: int | None = None,
    search_path: Sequence[str] | None = None,
    standard_library: bool = True,
    num_workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Site:
    """The site of the packages installed here (or of some of them), reading only what the cache does not hold yet.

    `max_modules` keeps that many modules: whole units of files in a shuffled order that is always the same, so that a smaller site is part
    of a larger one and takes less time to read. `on_progress` gets files read and files to read.
    Raises: ValueError if there is no module to show.
    """
    cache = Path(cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    units = sorted(find_units(packages, search_path, standard_library), key=_shuffled)
    workers, report = num_workers or os.cpu_count() or 1, on_progress or (lambda _done, _all: None)
    if max_modules is None:
        _scan_all(units, cache, workers, report)
        return _join(units, cache, None)
    num_taken = 0
    while num_taken < len(units) and _num_modules(units[:num_taken], cache) < max_modules:
        missing = max_modules - _num_modules(units[:num_taken], cache)
        num_taken += max(1, missing // (FILES_PER_UNIT // 2))  # about half of all files have a page
        _scan_all(units[:num_taken], cache, workers, report)
    return _join(units[:num_taken], cache, max_modules)


def _join(units: Sequence[Unit], cache: Path, max_modules: int | None) -> Site:
    """The site of scanned units, whose order decides which modules a limit keeps."""
    counts: Counter[str] = Counter()
    found: dict[tuple[str, str], tuple[str, Entry]] = {}
    for unit in units:
        entries, unit_counts = read_index(cache / _pack(unit))
        counts.update(unit_counts)
        for entry in entries:
            found.setdefault((unit.package, entry.name), (_pack(unit), entry))
    if not found:
        raise ValueError("no installed package has a documented module; install packages, or name others")
    modules = {place: found[place] for place in sorted(list(found)[:max_modules])}
    shown = {package for package, _ in modules}
    described = {
        unit.package: {"name": unit.package, "version": unit.version, "licence": unit.licence, "summary": unit.summary}
        for unit in sorted(units, key=lambda unit: unit.package)
        if unit.package in shown
    }
    manifest = cache / f"site-{_identity(described, modules)}.json"
    listed = [[package, pack, list(asdict(entry).values())] for (package, _), (pack, entry) in modules.items()]
    values = {"digest": manifest.stem.removeprefix("site-"), "packages": described, "counts": counts, "modules": listed}
    part = manifest.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(values))
    os.replace(part, manifest)
    return Site.load(manifest)


def _identity(described: Mapping[str, Mapping[str, str]], modules: Mapping[tuple[str, str], tuple[str, Entry]]) -> str:
    code = [file_digest(str(module.__file__)) for module in (docstring, render)] + [file_digest(__file__)]
    texts = [f"{package}/{name}:{entry.digest}" for (package, name), (_, entry) in modules.items()]
    return digest(*code, json.dumps(described, sort_keys=True), *texts)


def _shuffled(unit: Unit) -> bytes:
    """Sorts units alike wherever a package is installed."""
    return blake2b(f"{unit.package}/{unit.files[0][0]}".encode()).digest()


def _num_modules(units: Sequence[Unit], cache: Path) -> int:
    return sum(len(read_index(cache / _pack(unit))[0]) for unit in units)


def _scan_all(units: Sequence[Unit], cache: Path, num_workers: int, on_progress: Callable[[int, int], None]) -> None:
    todo = sorted((unit for unit in units if not (cache / _pack(unit)).exists()), key=lambda unit: -sum(size for _, size, _ in unit.files))
    total = sum(len(unit.files) for unit in units)
    done = total - sum(len(unit.files) for unit in todo)
    on_progress(done, total)
    tasks: queue.SimpleQueue[Unit] = queue.SimpleQueue()
    results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    for unit in todo:
        tasks.put(unit)
    for _ in range(min(num_workers, len(todo))):
        threading.Thread(target=_drive, args=(tasks, results, cache), daemon=True).start()
    for _ in todo:
        result = results.get()
        if isinstance(result, BaseException):
            raise RuntimeError(f"could not read the installed packages into {cache}: {result}") from result
        done += result
        on_progress(done, total)


def _drive(tasks: "queue.SimpleQueue[Unit]", results: "queue.SimpleQueue[int | BaseException]", cache: Path) -> None:
    """Feeds one worker process until there are no more tasks."""
    command = [sys.executable, "-m", "lm.corpus.docsite", "scan"]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment()) as worker:
            assert worker.stdin
            assert worker.stdout
            while True:
                unit = tasks.get_nowait()
                worker.stdin.write(json.dumps({"unit": asdict(unit), "pack": str(cache / _pack(unit))}) + "\n")
                worker.stdin.flush()
                if worker.stdout.readline() != "done\n":
                    raise RuntimeError(f"the worker that read {unit.package} {unit.version} broke off")
                results.put(len(unit.files))
    except queue.Empty:
        pass
    except Exception as error:
        results.put(error)


def _pack(unit: Unit) -> str:
    return f"{unit.package}-{unit.key}.pack"


def _xml(root: str, kind: str, base: str, paths: Sequence[str]) -> bytes:
    entries = "\n".join(f"<{kind}><loc>{escape(base + path)}</loc></{kind}>" for path in paths)
    namespace = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{namespace}">\n{entries}\n</{root}>\n'.encode()
