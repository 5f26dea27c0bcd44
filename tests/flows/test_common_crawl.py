"""`cc:` against a server on loopback that lays its files out as Common Crawl does."""

import functools
import gzip
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lm.corpus.crawler.records import response_record
from tests.flows import corpus_maker
from tests.flows.conftest import Ladder

pytestmark = pytest.mark.slow
CRAWL = "CC-MAIN-2024-10"


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line per request."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    """A server with a crawl of four WARC files of three pages each."""
    folder = tmp_path / "served" / "crawl-data" / CRAWL
    paths = [f"crawl-data/{CRAWL}/segments/1/warc/part-{number:05d}.warc.gz" for number in range(4)]
    for number, path in enumerate(paths):
        target = tmp_path / "served" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(page(3 * number + i) for i in range(3)))
    (folder / "warc.paths.gz").write_bytes(gzip.compress("\n".join(paths).encode() + b"\n"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def page(number: int) -> bytes:
    """One page as a WARC record."""
    body = f"<html><body><main><p>{corpus_maker.text(number)}</p></main></body></html>".encode()
    headers = [(b"Content-Type", b"text/html; charset=utf-8")]
    return response_record(f"http://example.org/{number}", 200, headers, body, date="2024-02-20T00:00:00Z", address=None)


def test_a_sample_is_downloaded_and_a_larger_one_contains_it(ladder: Ladder, base_url: str) -> None:
    ladder("crawl", f"cc:{CRAWL}", "--base-url", base_url, "--num-files", "1")
    first = ladder("sql", "SELECT file FROM crawl_files", "--format", "csv").splitlines()[1:]
    ladder("crawl", f"cc:{CRAWL}", "--base-url", base_url, "--num-files", "3")
    both = ladder("sql", "SELECT file FROM crawl_files", "--format", "csv").splitlines()[1:]
    assert len(first) == 1
    assert len(both) == 3
    assert set(first) < set(both)
    ladder("documents")
    assert ladder("sql", "SELECT count(*) AS n FROM documents", "--format", "csv").splitlines() == ["n", "9"]
