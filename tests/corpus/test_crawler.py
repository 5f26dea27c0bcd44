"""The crawler against a real site on loopback that counts every request."""

import gzip
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator

from lm.corpus.crawler import CrawlError, CrawlOptions, CrawlResult, KnownPage, crawl_site, known_pages

HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(HTML))
    delay: float = 0.0


class Site:
    """A web site made of a dictionary; every request is counted."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer | Callable[[Any], Answer]] = {}
        self.requests: Counter[str] = Counter()
        self.times: list[tuple[str, float]] = []
        self.jitter = 0.0
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests[self.path] += 1
                site.times.append((self.path, time.monotonic()))
                answer = site.pages.get(self.path, Answer(b"no such page", 404))
                answer = answer(self) if callable(answer) else answer
                time.sleep(answer.delay + random.random() * site.jitter)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 304:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:  # the crawler hangs up on pages that are too large
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path: str, *links: str, text: str = "", **headers: str) -> None:
        anchors = " ".join(f'<a href="{link}">{link}</a>' for link in links)
        body = f"<!doctype html><html><head><title>{path}</title></head><body>{anchors}<p>Page {path}. {text}</p></body></html>"
        self.pages[path] = Answer(body.encode(), headers={**HTML, **{name.replace("_", "-"): value for name, value in headers.items()}})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def options(site: Site, **changes: Any) -> CrawlOptions:
    return CrawlOptions(**{"start_url": site.url + "/", "delay_seconds": 0.0, "autothrottle": False, "concurrency_per_host": 16, **changes})


def captured(result: CrawlResult) -> dict[str, bytes]:
    """Address to payload over the sealed files, which must be in order and whole."""
    pages = {}
    for name in result.warc_files:
        with open(name, "rb") as file:
            for record in ArchiveIterator(file, parse_http=False):
                if record.headers["WARC-Type"] == "response":
                    assert record.verify_block_digest()
        with open(name, "rb") as file:
            for record in ArchiveIterator(file):
                if record.headers["WARC-Type"] == "response":
                    body = record.reader.read()
                    assert record.http_headers["Content-Length"] == str(len(body))
                    pages[record.headers["WARC-Target-URI"]] = body
    assert list(pages) == sorted(pages)
    return pages


def tree(site: Site, width: int, depth: int, prefix: str = "/t") -> None:
    """A site whose every page links to `width` further ones."""
    site.page("/", *[f"{prefix}{child}" for child in range(width)])
    level = [f"{prefix}{child}" for child in range(width)]
    for remaining in range(depth - 1, -1, -1):
        children = {path: [f"{path}.{child}" for child in range(width)] if remaining else [] for path in level}
        for path in level:
            site.page(path, *children[path], "/")
        level = [child for path in level for child in children[path]]


def test_crawl_follows_links_and_counts_everything_else(site: Site, tmp_path: Path) -> None:
    site.page("/", "/a", "/a#part", "/missing", "/old", "/file", "/big", "/picture.png", "http://other.invalid/x", "mailto:a@b", "/out")
    site.page("/a", "b?x=2&a=1")
    site.page("/b?x=2&a=1")
    site.page("/new")
    site.pages["/old"] = Answer(status=301, headers={"Location": "/new"})
    site.pages["/out"] = Answer(status=302, headers={"Location": "http://elsewhere.invalid/"})
    site.pages["/file"] = Answer(b"%PDF", headers={"Content-Type": "application/pdf"})
    site.pages["/big"] = Answer(b"x" * 200_000)
    result = crawl_site(options(site, max_page_bytes=100_000), tmp_path / "c")
    pages = captured(result)
    assert {url.removeprefix(site.url) for url in pages} == {"/", "/a", "/b?x=2&a=1", "/new"}
    assert pages[site.url + "/a"] == site.pages["/a"].body  # type: ignore[union-attr]
    expected = {"page": 4, "http_404": 1, "redirect": 2, "not_html": 1, "too_large": 1, "no_page": 1, "off_host": 2}
    assert result.counts == expected
    assert {reject.reason: reject.num_rejects for reject in result.rejects} == {
        reason: number for reason, number in expected.items() if reason not in ("page", "redirect")
    }
    assert result.num_pages == 4
    assert result.num_bytes == sum(len(body) for body in pages.values())
    assert max(site.requests.values()) == 1
    assert not (tmp_path / "c" / "partial").exists()


def test_finished_directory_is_returned_without_a_request(site: Site, tmp_path: Path) -> None:
    site.page("/")
    first = crawl_site(options(site), tmp_path / "c")
    site.requests.clear()
    assert crawl_site(options(site, delay_seconds=1.0), tmp_path / "c") == first
    assert not site.requests
    with pytest.raises(ValueError, match="max_pages 1000, not 7"):
        crawl_site(options(site, max_pages=7), tmp_path / "c")


def test_robots_are_obeyed_and_crawl_delay_kept(site: Site, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /private\nCrawl-delay: 0.4\n", headers={"Content-Type": "text/plain"})
    site.page("/", "/private/x", "/a", "/b")
    for path in ("/a", "/b", "/private/x"):
        site.page(path)
    result = crawl_site(options(site), tmp_path / "c")
    assert result.counts == {"page": 3, "robots": 1}
    assert "/private/x" not in site.requests
    asked = [moment for path, moment in site.times if path in ("/", "/a", "/b")]
    assert all(later - earlier > 0.35 for earlier, later in itertools.pairwise(asked))
    careless = crawl_site(options(site, obey_robots=False), tmp_path / "d")
    assert careless.counts == {"page": 4}


def test_robots_that_forbid_all_or_fail_give_a_clear_error(site: Site, tmp_path: Path) -> None:
    site.page("/")
    site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /\n", headers={"Content-Type": "text/plain"})
    with pytest.raises(CrawlError, match=r"robots\.txt .* forbids every address"):
        crawl_site(options(site), tmp_path / "c")
    site.pages["/robots.txt"] = Answer(status=500)
    with pytest.raises(CrawlError, match=r"does not answer: .*robots\.txt answers 500"):
        crawl_site(options(site, max_retries=0), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_unreachable_site_and_site_without_pages(site: Site, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(CrawlError, match=r"does not answer.*refused"):
        crawl_site(CrawlOptions(start_url=nobody, delay_seconds=0, max_retries=0), tmp_path / "c")
    with pytest.raises(CrawlError, match=r"gave no page .*http_404 1"):
        crawl_site(options(site), tmp_path / "c")
    site.pages["/"] = Answer(status=301, headers={"Location": "http://www.other.invalid/"})
    with pytest.raises(CrawlError, match=r"redirects to http://www\.other\.invalid/: start there"):
        crawl_site(options(site), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_sitemaps_index_gzip_and_text(site: Site, tmp_path: Path) -> None:
    def urlset(*paths: str) -> bytes:
        entries = "".join(f"<url><loc>{site.url}{path}</loc></url>" for path in paths)
        return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'.encode()

    index = "".join(f"<sitemap><loc>{site.url}{path}</loc></sitemap>" for path in ("/s1.xml.gz", "/s2.txt", "/gone.xml", "/broken.xml"))
    site.pages["/robots.txt"] = Answer(f"Sitemap: {site.url}/index.xml\n".encode(), headers={"Content-Type": "text/plain"})
    site.pages["/index.xml"] = Answer(f"<sitemapindex>{index}</sitemapindex>".encode(), headers={"Content-Type": "application/xml"})
    site.pages["/s1.xml.gz"] = Answer(gzip.compress(urlset("/one", "/two")), headers={"Content-Type": "application/gzip"})
    site.pages["/s2.txt"] = Answer(f"{site.url}/three\nhttp://other.invalid/\n".encode(), headers={"Content-Type": "text/plain"})
    site.pages["/broken.xml"] = Answer(b"<html>no</html>")
    for path in ("/", "/one", "/two", "/three"):
        site.page(path)
    result = crawl_site(options(site, max_depth=0), tmp_path / "c")
    assert {url.removeprefix(site.url) for url in captured(result)} == {"/", "/one", "/two", "/three"}
    expected = {"page": 4, "off_host": 1, "sitemap": 2, "sitemap_index": 1, "sitemap_404": 1, "sitemap_unreadable": 1}
    assert result.counts == expected


def test_page_limit_nests_and_does_not_depend_on_timing(site: Site, tmp_path: Path) -> None:
    tree(site, 5, 3)
    site.pages["/t1"] = Answer(status=404)
    site.pages["/t2.0"] = Answer(status=302, headers={"Location": "/moved"})
    site.page("/moved", "/t9")
    site.page("/t9")
    kept: dict[int, set[str]] = {}
    for limit in (7, 50):
        site.jitter = 0.02
        first = captured(crawl_site(options(site, max_pages=limit), tmp_path / f"a{limit}"))
        site.jitter = 0.0
        second = captured(crawl_site(options(site, max_pages=limit, concurrency=3), tmp_path / f"b{limit}"))
        assert first == second
        assert len(first) == limit
        kept[limit] = set(first)
    assert kept[7] < kept[50]
    other = captured(crawl_site(options(site, max_pages=7, seed=1), tmp_path / "seed"))
    assert set(other) != kept[7]


def test_depth_limit_counts_what_lies_deeper(site: Site, tmp_path: Path) -> None:
    tree(site, 2, 3)
    result = crawl_site(options(site, max_depth=1), tmp_path / "c")
    assert result.counts == {"page": 3, "depth_limit": 4}
    assert result.num_pages == 3


def test_later_visit_keeps_only_what_changed(site: Site, tmp_path: Path) -> None:
    def conditional(path: str, tag: str, *links: str) -> None:
        site.page(path, *links, text=tag, ETag=f'"{tag}"')
        whole = site.pages[path]
        assert isinstance(whole, Answer)
        site.pages[path] = lambda request: Answer(status=304) if request.headers.get("If-None-Match") == f'"{tag}"' else whole

    conditional("/", "1", "/a", "/plain")
    conditional("/a", "1", "/deep")
    conditional("/deep", "1")
    site.page("/plain")
    first = crawl_site(options(site), tmp_path / "first")
    assert first.num_pages == 4
    conditional("/deep", "2", "/fresh")
    site.page("/fresh")
    site.requests.clear()
    second = crawl_site(options(site), tmp_path / "second", previous=known_pages(tmp_path / "first"))
    assert {url.removeprefix(site.url) for url in captured(second)} == {"/deep", "/fresh"}
    assert (second.num_pages, second.num_unchanged) == (2, 3)
    third = crawl_site(options(site), tmp_path / "third", previous=known_pages(tmp_path / "second"))
    assert (third.warc_files, third.num_pages, third.num_unchanged) == ((), 0, 5)
    without_links = [KnownPage(page.url, page.etag, None, page.payload_digest) for page in known_pages(tmp_path / "third")]
    fourth = crawl_site(options(site), tmp_path / "fourth", previous=without_links)
    assert fourth.num_unchanged == 5


def test_killed_crawl_goes_on_and_ends_the_same(site: Site, tmp_path: Path) -> None:
    tree(site, 4, 3)
    site.jitter = 0.03
    whole = crawl_site(options(site), tmp_path / "whole")
    num_requests = Counter(site.requests)
    site.requests.clear()
    script = f"""
        from lm.corpus.crawler import CrawlOptions, crawl_site
        options = CrawlOptions(start_url={site.url + "/"!r}, delay_seconds=0.0, autothrottle=False, concurrency=4)
        crawl_site(options, {str(tmp_path / "c")!r})
    """
    for target in (10, 40):
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2]) as parent:
            wait_for(lambda target=target: sum(site.requests.values()) > target)  # type: ignore[misc]
            os.kill(parent.pid, signal.SIGKILL)
        wait_for(lambda: not site_busy(site))
        assert not (tmp_path / "c" / "crawl.json").exists()
    torn = sorted((tmp_path / "c" / "partial").glob("visits-*.jsonl"))[-1]
    torn.write_bytes(torn.read_bytes()[:-20])  # as a crash in mid-line leaves it
    resumed = crawl_site(options(site), tmp_path / "c")
    assert captured(resumed) == captured(whole)
    assert resumed.counts == whole.counts
    again = sum((site.requests - num_requests).values()) - site.requests["/robots.txt"] - site.requests["/sitemap.xml"]
    assert again <= 2 * 4 + 1  # what was under way when it was killed, and the torn line
    assert not (tmp_path / "c" / "partial").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def site_busy(site: Site) -> bool:
    before = sum(site.requests.values())
    time.sleep(0.3)
    return sum(site.requests.values()) != before


def test_site_that_goes_away_keeps_what_was_fetched(site: Site, tmp_path: Path) -> None:
    tree(site, 6, 2)
    hung: Callable[[Any], Answer] = lambda _: Answer(delay=2)  # noqa: E731
    real = dict(site.pages)
    for path in list(site.pages):
        if path.count(".") == 1:
            site.pages[path] = hung
    slow = options(site, timeout_seconds=0.3, max_retries=0, max_failures_in_a_row=8)
    with pytest.raises(CrawlError, match="stopped answering: 8 addresses in a row"):
        crawl_site(slow, tmp_path / "c")
    assert not (tmp_path / "c" / "crawl.json").exists()
    site.pages = real
    site.requests.clear()
    assert crawl_site(options(site), tmp_path / "c").num_pages == 43
    assert site.requests["/"] == 0


def test_timeouts_and_server_errors_are_tried_again_then_counted(site: Site, tmp_path: Path) -> None:
    site.page("/", "/slow", "/flaky", "/broken")
    site.pages["/slow"] = Answer(b"late", delay=4.0)
    site.pages["/broken"] = Answer(status=503, headers={"Retry-After": "0"})
    site.pages["/flaky"] = lambda _: Answer(b"<p>fine</p>") if site.requests["/flaky"] > 1 else Answer(status=500)
    result = crawl_site(options(site, timeout_seconds=1.5, max_retries=1), tmp_path / "c")
    assert result.counts == {"page": 2, "timeout": 1, "http_503": 1}
    assert site.requests["/broken"] == 2


def test_compressed_pages_are_stored_as_their_headers_say(site: Site, tmp_path: Path) -> None:
    body = b"<html><body>" + b"text " * 500 + b"</body></html>"
    site.pages["/"] = Answer(gzip.compress(body), headers={**HTML, "Content-Encoding": "gzip"})
    result = crawl_site(options(site), tmp_path / "c")
    assert captured(result) == {site.url + "/": body}


def test_nofollow_is_obeyed(site: Site, tmp_path: Path) -> None:
    site.pages["/"] = Answer(b'<meta name="robots" content="noindex, nofollow"><a href="/a">a</a>')
    site.page("/a")
    assert crawl_site(options(site), tmp_path / "c").counts == {"page": 1, "nofollow": 1}


def test_progress_is_told_and_an_error_in_it_stops_the_crawl(site: Site, tmp_path: Path) -> None:
    tree(site, 3, 2)
    told: list[int] = []
    crawl_site(options(site, max_pages=5), tmp_path / "c", on_progress=lambda progress: told.append(progress.num_pages))
    assert told[-1] == 5

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crawl_site(options(site), tmp_path / "d", on_progress=stop)
    assert crawl_site(options(site), tmp_path / "d").num_pages == 13


def test_redirect_loops_end(site: Site, tmp_path: Path) -> None:
    site.page("/", "/loop", "/chain0")
    site.pages["/loop"] = Answer(status=302, headers={"Location": "/loop2"})
    site.pages["/loop2"] = Answer(status=302, headers={"Location": "/loop"})
    for hop in range(30):
        site.pages[f"/chain{hop}"] = Answer(status=302, headers={"Location": f"/chain{hop + 1}"})
    result = crawl_site(options(site), tmp_path / "c")
    assert result.num_pages == 1
    assert result.counts["too_many_redirects"] == 1
