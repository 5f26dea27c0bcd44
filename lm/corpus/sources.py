"""Where data comes from: a specification such as `warc:s3://bucket/*.warc.gz`, and the files it stands for.

A file is identified by its content, not by its path or time of change, so that overwritten input is noticed and copied input is
not read again. A local file is hashed whole (about 1 GB/s, far less than reading its records costs). A remote one is identified
by what its store tells (etag or checksum, and size); where the store tells neither, its bytes are read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import fsspec

from lm.corpus.records import SourceFile
from storage.digest import DIGEST_BYTES, digest

KINDS: Mapping[str, str] = {
    "site": "a web site to crawl, site:https://example.org",
    "warc": "WARC or ARC files, warc:GLOB",
    "wet": "WET files, wet:GLOB",
    "jsonl": "files of one JSON object per line, jsonl:GLOB",
    "parquet": "Parquet files with a text column, parquet:GLOB",
    "text": "files of plain text, one document each, text:GLOB",
    "wiki": "files of wikiextractor's <doc> elements, wiki:GLOB",
    "cc": "a Common Crawl, cc:CC-MAIN-YYYY-WW",
}
_IDENTITY_FIELDS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed specification: what kind of input, and where."""

    kind: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.pattern}"


def parse(spec: str) -> Source:
    """Parse `kind:where`.

    Raises: ValueError naming the kinds there are and what came.
    """
    kind, colon, pattern = spec.strip().partition(":")
    if not colon or kind not in KINDS or not pattern:
        kinds = "\n".join(f"  {name:8} {meaning}" for name, meaning in KINDS.items())
        raise ValueError(f"a source must be kind:where, with one of these kinds:\n{kinds}\ngot {spec!r}")
    if kind == "site" and (urlsplit(pattern).scheme not in ("http", "https") or not urlsplit(pattern).hostname):
        raise ValueError(f"a site must be a whole address such as site:https://example.org, got {spec!r}")
    return Source(kind, pattern)


def list_files(source: Source, storage_options: Mapping[str, Any] | None = None) -> list[SourceFile]:
    """The files a source stands for, sorted by address, each with the identity of its content.

    Raises: FileNotFoundError if nothing matches; ValueError for kinds that have no files yet (site, cc).
    """
    if source.kind in ("site", "cc"):
        raise ValueError(f"{source} has no files before it is fetched; crawl the site or plan the Common Crawl download first")
    fs, pattern = fsspec.core.url_to_fs(source.pattern, **dict(storage_options or {}))
    found = _exact(fs, pattern) or fs.glob(pattern, detail=True)
    infos = [info for info in found.values() if info["type"] == "file"]
    if not infos:
        raise FileNotFoundError(f"{source} matches no file; check the path and quote the pattern, so that the shell leaves it alone")
    return sorted((_describe(fs, info) for info in infos), key=lambda file: file.url)


def _exact(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """A pattern that is a path as it stands: one file, or every file directly inside a directory."""
    if not fs.exists(path):
        return {}
    info = fs.info(path)
    return {info["name"]: info} if info["type"] == "file" else {entry["name"]: entry for entry in fs.ls(path, detail=True)}


def _describe(fs: Any, info: Mapping[str, Any]) -> SourceFile:
    url, local = fs.unstrip_protocol(info["name"]), "file" in _protocols(fs)
    size = info["size"]
    identity = None if local else next((str(info[name]) for name in _IDENTITY_FIELDS if info.get(name)), None)
    if identity is None or size is None:
        content, size = _hash(fs, info["name"])
        return SourceFile(info["name"] if local else url, size, content)
    return SourceFile(url, int(size), digest(identity, str(size)))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _hash(fs: Any, name: str) -> tuple[str, int]:
    """Plain BLAKE2b-128 of the bytes, and how many there are."""
    hasher, size = hashlib.blake2b(digest_size=DIGEST_BYTES), 0
    with fs.open(name, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return hasher.hexdigest(), size
