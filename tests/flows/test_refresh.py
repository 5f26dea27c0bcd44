"""The nightly refresh on a real site on loopback: unchanged pages cost nothing, one new page is all that is processed."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.flows import corpus_maker
from tests.flows.conftest import Ladder

pytestmark = pytest.mark.slow


class Site:
    """Pages by path, changed by the test; answers conditional requests."""

    def __init__(self, num_pages: int) -> None:
        self.pages: dict[str, str] = {}
        for number in range(num_pages):
            self.add(number)

    def add(self, number: int) -> None:
        """One more page; the front page links to it."""
        paragraphs = "".join(f"<p>{line}</p>" for line in corpus_maker.text(number).splitlines())
        self.pages[f"/page-{number}.html"] = f"<html><title>Page {number}</title><body><main>{paragraphs}</main></body></html>"
        links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in self.pages if path != "/")
        self.pages["/"] = f"<html><title>Start</title><body><ul>{links}</ul></body></html>"


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    """A site of some pages and its address."""
    site = Site(300)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = site.pages.get(self.path, "").encode()
            etag = f'"{hashlib.md5(page, usedforsecurity=False).hexdigest()}"'
            status = 404 if not page else 304 if self.headers.get("If-None-Match") == etag else 200
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page) if status == 200 else 0))
            self.end_headers()
            if status == 200:
                self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield site, f"site:http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def refresh(ladder: Ladder) -> str:
    """One nightly run."""
    return ladder(
        "refresh",
        "--delay-seconds",
        "0",
        "--recipe-recipes",
        "slimpajama",
        "--tokens-vocab-size",
        "300",
        "--tokens-validation-bytes",
        "60000",
    )


def count(ladder: Ladder, table: str) -> int:
    """Rows of a table."""
    found = json.loads(ladder("sql", f"SELECT count(*) AS n FROM {table}", "--format", "json"))
    return int(found[0]["n"])


def test_refresh_brings_only_what_is_new(ladder: Ladder, site: tuple[Site, str]) -> None:
    served, source = site
    ladder("crawl", source, "--delay-seconds", "0")
    refresh(ladder)
    before, captures = ladder.digest(), count(ladder, "captures")

    assert "nothing to do" in refresh(ladder)
    assert ladder.digest() == before

    served.add(999)
    output = refresh(ladder)
    assert count(ladder, "captures") == captures + 2  # the new page, and the front page that links to it
    assert "documents: 1 new, 1 up to date" in output
    assert count(ladder, "statistics") == 4  # two recipes' sizes, 'all' and slimpajama, at two refreshes
