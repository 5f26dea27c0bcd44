"""One input file to its captures and documents: the unit of parallel work of the stage.

A shard is read once, in order, and written as it is read, so memory is bounded by one row group and one page. Everything that
does not become a document is counted under a reason. The same file gives the same bytes out, whoever runs it: nothing depends on
time, paths of output or other shards. The cost: a page that occurs in two files of a crawl is two captures here; they share their
capture_id, and the documents' ids tell equal texts apart from different ones.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec

from lm.corpus.extraction import Extracted, NoText, engine_named, extract, finish, media_type
from lm.corpus.language import detect
from lm.corpus.payload import payload_digest
from lm.corpus.records import Capture, ExtractionOptions, Problem, Progress, RejectCounter, ShardResult, SourceFile
from lm.corpus.rows import read_jsonl, read_parquet, read_text, read_wiki
from lm.corpus.shard_files import ShardFiles
from lm.corpus.warc import read_captures
from storage.digest import digest

_PROGRESS_SECONDS = 0.5
_DOCUMENTS_AT_ONCE = 64
"""Languages are told for so many texts in a row: pages drive the model out of the processor's cache, and each would fetch it anew."""
Reader = Callable[[BinaryIO, str, ExtractionOptions], Iterator[Capture | Problem]]


def _read_archive(raw: BinaryIO, name: str, options: ExtractionOptions) -> Iterator[Capture | Problem]:
    return read_captures(raw, options.max_page_bytes)


READERS: Mapping[str, Reader] = {
    "warc": _read_archive,
    "wet": _read_archive,
    "site": _read_archive,
    "cc": _read_archive,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "text": read_text,
    "wiki": read_wiki,
}
"""Reader by the kind of the source; a site and a Common Crawl come as archives."""
WITH_PAGES = ("warc", "site", "cc")
"""Kinds of sources whose files hold pages; the others bring text."""


def extract_shard(
    file: SourceFile,
    *,
    crawl: str,
    kind: str,
    options: ExtractionOptions,
    out_dir: str,
    produced_by: str,
    on_progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> ShardResult:
    """Write captures.parquet and documents.parquet for one input file. `name` stands in the rows for its address, if it has a better one.

    Raises: ValueError for an unknown kind or extractor, or a file that is not what was listed; FileNotFoundError if it is gone.
    """
    started = time.monotonic()
    known_as = replace(file, url=name or file.url)
    counter = RejectCounter(known_as.url)
    with ShardFiles(out_dir, produced_by) as files:
        shard = _Shard(known_as, crawl, options, files, counter)
        for found in read_shard(file, kind, options, name=known_as.url, on_progress=on_progress, storage_options=storage_options):
            shard.add(found)
        shard.write_documents()
    return ShardResult(
        captures_path=str(files.captures.path),
        documents_path=str(files.documents.path),
        num_captures=files.num_captures,
        num_documents=files.num_documents,
        rejects=counter.rejects(),
        seconds=time.monotonic() - started,
    )


def read_shard(
    file: SourceFile,
    kind: str,
    options: ExtractionOptions,
    *,
    name: str,
    on_progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Capture | Problem]:
    """Every capture and problem of one input file, in the order of the file.

    Raises: as `extract_shard`, once it is asked for the first.
    """
    engine_named(options.extractor)
    if kind not in READERS:
        raise ValueError(f"kind must be one of {', '.join(READERS)}, got {kind!r}")
    report = on_progress or _no_progress
    with fsspec.open(file.url, "rb", **dict(storage_options or {})) as raw:
        _check_size(raw, file)
        yield from _with_progress(READERS[kind](raw, name, options), raw, file.num_bytes, report)
    report(file.num_bytes, file.num_bytes)


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a capture from others of its crawl."""

    url: str
    """Its address, or its file and place where it has none."""
    payload_digest: str
    capture_id: str


def identify(found: Capture, crawl: str, file: str) -> Identity:
    """Who a capture is; the same however often its file is read."""
    url = found.url.strip() or f"{file}#{found.file_offset}"
    payload = payload_digest(found.body)
    return Identity(url, payload, digest(crawl, url, payload))


def _no_progress(done: int, total: int) -> None:
    pass


def _check_size(raw: BinaryIO, file: SourceFile) -> None:
    size = raw.seek(0, 2)
    raw.seek(0)
    if size != file.num_bytes:
        raise ValueError(f"{file.url} must have the {file.num_bytes} bytes it was listed with, but has {size}; list the source again")


def _with_progress(items: Iterator[Capture | Problem], raw: BinaryIO, total: int, report: Progress) -> Iterator[Capture | Problem]:
    """The same items, with a report twice a second at most."""
    reported = time.monotonic()
    for item in items:
        yield item
        if (now := time.monotonic()) - reported > _PROGRESS_SECONDS:
            report(min(raw.tell(), total), total)
            reported = now


class _Shard:
    """What becomes of each item of one file."""

    def __init__(self, file: SourceFile, crawl: str, options: ExtractionOptions, files: ShardFiles, counter: RejectCounter) -> None:
        self._file, self._crawl, self._options, self._files, self._counter = file, crawl, options, files, counter
        self._seen: set[bytes] = set()
        self._documents: list[dict[str, Any]] = []

    def add(self, found: Capture | Problem) -> None:
        """Write an item's capture, keep its document, and count what is set aside."""
        if isinstance(found, Problem):
            self._counter.add(found.reason, f"{self._file.url}#{found.place}")
            return
        identity = identify(found, self._crawl, self._file.url)
        key = bytes.fromhex(identity.capture_id)
        if key in self._seen:
            self._counter.add("duplicate_capture", identity.url)
            return
        self._seen.add(key)
        host = host_of(found.url) or self._crawl
        self._files.add_capture(self._capture_row(found, identity, host))
        result = text_of(found, self._options)
        if isinstance(result, NoText):
            self._counter.add(result.reason, identity.url)
        else:
            self._documents.append(self._document_row(result, identity, host))
        if len(self._documents) == _DOCUMENTS_AT_ONCE:
            self.write_documents()

    def write_documents(self) -> None:
        """Tell the languages of the documents at hand, and write them."""
        for row in self._documents:
            row["language"], row["language_score"] = detect(row["text"])
            self._files.add_document(row)
        self._documents.clear()

    def _capture_row(self, capture: Capture, identity: Identity, host: str) -> dict[str, Any]:
        return {
            "capture_id": identity.capture_id,
            "crawl": self._crawl,
            "url": identity.url,
            "host": host,
            "file": self._file.url,
            "file_offset": capture.file_offset,
            "status": capture.status,
            "content_type": media_type(capture.content_type),
            "payload_digest": identity.payload_digest,
            "num_bytes": len(capture.body),
            "etag": capture.etag,
            "last_modified": capture.last_modified,
            "fetched_at": capture.fetched_at,
        }

    def _document_row(self, result: Extracted, identity: Identity, host: str) -> dict[str, Any]:
        """All but its language."""
        data = result.text.encode()
        return {
            "id": digest(data),
            "capture_id": identity.capture_id,
            "crawl": self._crawl,
            "url": identity.url,
            "host": host,
            "title": result.title,
            "extractor": result.extractor,
            "lang_attribute": result.language,
            "published_at": result.published_at,
            "num_chars": len(result.text),
            "num_bytes": len(data),
            "text": result.text,
        }


def host_of(url: str) -> str | None:
    """Host of an address in lower case, without port; None if it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".") or None
    except ValueError:
        return None


def text_of(capture: Capture, options: ExtractionOptions) -> Extracted | NoText:
    """Text that came with the capture, or extracted from its payload."""
    if capture.reason:
        return NoText(capture.reason)
    if capture.extractor:
        return finish(capture.body.decode("utf-8", "replace"), capture.title, capture.extractor, options)
    return extract(capture.body, capture.content_type, options)
