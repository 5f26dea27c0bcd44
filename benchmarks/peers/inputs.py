"""Texts that the benchmarks measure: pages of a WARC, and articles of a packed Wikipedia."""

import gzip
import html
import itertools
import os
import re
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from lm.corpus.extraction import Extracted, extract
from lm.corpus.records import Capture, ExtractionOptions
from lm.corpus.warc import read_captures

PAGES = "crawl/pages_dev.warc.gz"
ENWIKI = "corpora/enwiki-wikiextractor/enwiki-2018-AA-AC.tar.xz"
BAD_WORDS = "peers/badwords-ldnoobw"
_DOC = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)


def data_dir(what: str) -> Path:
    """The folder with data: the first argument, or DATALADDER_DATA. Ends the program with what to do if there is none."""
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DATALADDER_DATA", "")
    if not named:
        sys.exit(f"{Path(sys.argv[0]).name} needs {what}: give its folder as an argument, or set DATALADDER_DATA")
    return Path(named)


def captures(warc: Path) -> list[Capture]:
    """Pages of an archive."""
    with warc.open("rb") as raw:
        return [found for found in read_captures(raw, 20_000_000) if isinstance(found, Capture)]


def page_texts(warc: Path) -> list[str]:
    """Main texts of the pages of an archive, by our extractor."""
    options = ExtractionOptions()
    found = (extract(capture.body, capture.content_type, options) for capture in captures(warc))
    return [result.text for result in found if isinstance(result, Extracted)]


def wiki_texts(archive: Path, num: int) -> list[str]:
    """The first articles of a packed folder of wikiextractor's files."""
    return list(itertools.islice(_articles(archive), num))


def _articles(archive: Path) -> Iterator[str]:
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar:
            file = tar.extractfile(member) if "wiki_" in member.name and member.isfile() else None
            for article in _DOC.findall(file.read().decode()) if file else []:
                if text := html.unescape(article).strip():
                    yield text


def write_warc(pages: list[Capture], path: Path, times: int) -> None:
    """The pages as one archive, `times` times over under different addresses, one compressed member per record."""
    with path.open("wb") as out:
        for copy in range(times):
            for number, page in enumerate(pages):
                out.write(gzip.compress(_record(page, f"https://copy{copy}.example/{number}"), 6, mtime=0))


def _record(page: Capture, url: str) -> bytes:
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n\r\n".encode() + page.body
    head = "\r\n".join(
        (
            "WARC/1.0",
            "WARC-Type: response",
            f"WARC-Target-URI: {url}",
            "WARC-Date: 2026-01-01T00:00:00Z",
            f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>",
            "Content-Type: application/http; msgtype=response",
            f"Content-Length: {len(http)}\r\n\r\n",
        )
    )
    return head.encode() + http + b"\r\n\r\n"
