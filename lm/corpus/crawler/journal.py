"""What a crawl has done so far, on disk, so that a crawl killed at any moment goes on where it was.

Each visit appends first its WARC record to a segment, then one line to a journal; both files are new in every sitting, so nothing torn
is ever written over. A visit counts once its line is whole and its record reads back. At the end the records are copied, sorted by
address, into sealed files. The copy costs the crawl's size on disk once more; in return an unfinished crawl shows no file at all, and
a finished one does not depend on the order in which answers came.
"""

import gzip
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lm.corpus.crawler.options import SEAL_BYTES
from lm.corpus.crawler.records import info_record

PARTIAL = "partial"
VISITS_FILE = "visits.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Visit:
    """One address that was asked for, and what came."""

    url: str
    outcome: str
    """page, unchanged, redirect, sitemap, sitemap_index, or the reason nothing was kept: http_404, timeout, ..."""
    links: tuple[str, ...] = ()
    """Links of a page, target of a redirect, entries of a sitemap."""
    detail: str = ""
    """More about the outcome: nofollow, or the words of an error."""
    etag: str | None = None
    last_modified: str | None = None
    payload_digest: str | None = None
    num_bytes: int = 0
    place: tuple[int, int, int] | None = None
    """Segment, offset and length of the WARC record of a captured page."""


def visit_from_json(values: dict[str, Any]) -> Visit:
    """The visit that a journal line holds."""
    place = values.get("place")
    return Visit(**{**values, "links": tuple(values.get("links", ())), "place": tuple(place) if place else None})


class Journal:
    """The unfinished part of one crawl directory."""

    def __init__(self, out_dir: Path, identity: str) -> None:
        """Opens or continues; a journal whose `identity` differs (its answers would too) is thrown away."""
        self.directory = out_dir / PARTIAL
        self._segments: dict[int, Path] = {}
        self._files: tuple[int, IO[bytes], IO[bytes]] | None = None
        self.visits: dict[tuple[bool, str], Visit] = {}
        """Finished visits by (is it a sitemap, address)."""
        self._open_identity(identity)
        self._recover()
        self.num_recovered = len(self.visits)

    def add(self, is_sitemap: bool, visit: Visit, record: bytes | None = None) -> Visit:
        """Writes down a finished visit, and its WARC record if it has one."""
        sitting, segment, lines = self._open_files()
        if record is not None:
            visit = Visit(**{**_values(visit), "place": (sitting, segment.tell(), len(record))})
            segment.write(record)
            segment.flush()
        lines.write(json.dumps({"sitemap": is_sitemap, **_values(visit)}, ensure_ascii=False).encode() + b"\n")
        lines.flush()
        self.visits[is_sitemap, visit.url] = visit
        return visit

    def seal(self, visits: Iterable[Visit], out_dir: Path, *, user_agent: str, robots: str) -> tuple[list[str], str]:
        """Copies the captured pages among `visits` into sealed WARC files and writes the visits file; returns their names."""
        self.close()
        visits = sorted(visits, key=lambda visit: visit.url)
        names = self._seal_pages([visit for visit in visits if visit.place], out_dir, user_agent, robots)
        with _beside(out_dir / VISITS_FILE) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            for visit in visits:
                kept = {name: value for name, value in _values(visit).items() if name != "place"}
                packed.write(json.dumps(kept, ensure_ascii=False).encode() + b"\n")
        return names, VISITS_FILE

    def close(self) -> None:
        """Closes the files; the next `add` opens new ones."""
        for file in self._files[1:] if self._files else ():
            file.close()
        self._files = None

    def remove(self) -> None:
        """Removes the unfinished part."""
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _open_identity(self, identity: str) -> None:
        path = self.directory / "identity.json"
        if path.exists() and path.read_text() != identity:
            for old in [*self.directory.glob("visits-*"), *self.directory.glob("segment-*")]:
                old.unlink()
        with _beside(path) as file:
            file.write(identity.encode())

    def _recover(self) -> None:
        for path in sorted(self.directory.glob("segment-*.warc.gz")):
            self._segments[int(path.name[8:-8])] = path
        for path in sorted(self.directory.glob("visits-*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline is a torn line
                try:
                    values = json.loads(line)
                except ValueError:  # a disk that lost power may hold anything
                    continue
                is_sitemap, visit = values.pop("sitemap"), visit_from_json(values)
                if visit.place is None or self._reads_back(visit.place):
                    self.visits[is_sitemap, visit.url] = visit

    def _reads_back(self, place: tuple[int, int, int]) -> bool:
        try:
            zlib.decompress(self._read(place), 31)
        except (OSError, KeyError, zlib.error):
            return False
        return True

    def _read(self, place: tuple[int, int, int]) -> bytes:
        segment, offset, length = place
        with open(self._segments[segment], "rb") as file:
            file.seek(offset)
            return file.read(length)

    def _open_files(self) -> tuple[int, IO[bytes], IO[bytes]]:
        if self._files is None:
            sitting = len(list(self.directory.glob("visits-*.jsonl")))
            self._segments[sitting] = self.directory / f"segment-{sitting:03}.warc.gz"
            # The segment comes first: its number is free only while no journal of that number exists.
            segment = open(self._segments[sitting], "wb")  # noqa: SIM115
            self._files = sitting, segment, open(self.directory / f"visits-{sitting:03}.jsonl", "xb")  # noqa: SIM115
        return self._files

    def _seal_pages(self, pages: Sequence[Visit], out_dir: Path, user_agent: str, robots: str) -> list[str]:
        for stale in out_dir.glob("pages-*"):
            stale.unlink()
        names: list[str] = []
        while pages:
            name = f"pages-{len(names):05}.warc.gz"
            date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            with _beside(out_dir / name) as file:
                file.write(info_record(name, date, user_agent, robots))
                taken = self._copy(pages, file)
            names.append(name)
            pages = pages[taken:]
        return names

    def _copy(self, pages: Sequence[Visit], file: IO[bytes]) -> int:
        for position, visit in enumerate(pages):
            assert visit.place
            if file.tell() > SEAL_BYTES:
                return position
            file.write(self._read(visit.place))
        return len(pages)


def _values(visit: Visit) -> dict[str, Any]:
    return {name: getattr(visit, name) for name in Visit.__slots__}  # asdict copies deeply, which costs more than the request


class _beside:
    """A file written beside its place and renamed when whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")

    def __enter__(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.part, "wb")
        return self.file

    def __exit__(self, kind: Callable[..., object] | None, *_: object) -> None:
        with self.file:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
        if kind is None:
            os.replace(self.part, self.path)


def write_beside(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    with _beside(path) as file:
        file.write(data)
