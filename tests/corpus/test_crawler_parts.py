"""Parts of the crawler by themselves: order, journal, addresses, links."""

import asyncio
import random
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from lm.corpus.crawler import CrawlOptions
from lm.corpus.crawler.frontier import Frontier
from lm.corpus.crawler.journal import Journal, Visit
from lm.corpus.crawler.links import page_links, sitemap_entries
from lm.corpus.crawler.records import response_record
from lm.corpus.crawler.urls import canonical, join, outside, seeded_order

HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize("address", ["file:///etc/passwd", "example.org", "http://", "http://user@example.org/", "http://a.org:x/"])
def test_start_must_be_a_web_address(address: str) -> None:
    with pytest.raises(ValueError, match="start_url must be an http"):
        CrawlOptions(start_url=address)


def test_order_is_a_function_of_the_site() -> None:
    """Random graphs with failures and redirects, visited with random delays: equal limits keep equal pages, larger ones more."""

    async def walk(graph: dict[str, Visit], limit: int, noise: random.Random) -> tuple[list[str], dict[str, int]]:
        async def visit(url: str) -> Visit:
            for _ in range(noise.randrange(8)):
                await asyncio.sleep(0)
            return graph.get(url) or Visit(url, "http_404")

        async def forbidden(url: str) -> str | None:
            return "robots" if url.endswith("7") else None

        async def sitemap() -> list[str]:
            return sorted(graph)[:5]

        options = CrawlOptions(start_url="http://a.org/0", max_pages=limit, max_depth=4, concurrency=noise.randrange(1, 9))
        frontier = Frontier(options, ("a.org",), visit, forbidden)
        await frontier.walk(sitemap)
        return [visit.url for visit in frontier.visits if visit.outcome == "page"], dict(frontier.counts)

    for trial in range(30):
        site = random.Random(trial)
        urls = [f"http://a.org/{number}" for number in range(60)]
        graph = {}
        for url in urls:
            links = tuple(site.sample(urls, site.randrange(6)))
            graph[url] = Visit(url, "redirect", links[:1]) if links and site.random() < 0.2 else Visit(url, "page", links)
        graph[urls[0]] = Visit(urls[0], "page", tuple(urls[1:9]))
        kept: list[str] = []
        for limit in (1, 2, 5, 9, 20, 100):
            pages, counts = asyncio.run(walk(graph, limit, random.Random(1)))
            assert (pages, counts) == asyncio.run(walk(graph, limit, random.Random(2)))
            assert pages[: len(kept)] == kept
            assert len(pages) <= limit
            kept = pages


def test_journal_survives_torn_files_and_seals_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm.corpus.crawler.journal.SEAL_BYTES", 2000)
    html = [(b"Content-Type", b"text/html"), (b"Content-Encoding", b"br"), (b"X-Odd", b"a\r\n b")]
    journal = Journal(tmp_path, "same")
    for number in range(20):
        body = random.Random(number).randbytes(300)
        record = response_record(f"http://a.org/{number}", 200, html, body, date="2026-01-01T00:00:00Z", address="127.0.0.1")
        journal.add(False, Visit(f"http://a.org/{number}", "page", num_bytes=300), record)
    journal.close()
    (segment,) = (tmp_path / "partial").glob("segment-*")
    with open(segment, "r+b") as file:
        file.truncate(segment.stat().st_size - 10)
    journal = Journal(tmp_path, "same")
    assert journal.num_recovered == 19
    names, _ = journal.seal(journal.visits.values(), tmp_path, user_agent="tester", robots="obey")
    assert len(names) > 2
    urls = []
    for name in names:
        with open(tmp_path / name, "rb") as file:
            for read in ArchiveIterator(file):
                if read.headers["WARC-Type"] == "response":
                    urls.append(read.headers["WARC-Target-URI"])
                    assert read.http_headers["X-Crawler-Content-Encoding"] == "br"
                    assert read.http_headers["X-Odd"] == "a  b"
    assert urls == sorted(f"http://a.org/{number}" for number in range(19))
    assert Journal(tmp_path, "other").num_recovered == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        ("https://example.org:443/a/../b/./c?z=1&a=2#x", "https://example.org/b/c?z=1&a=2"),
        ("http://example.org:8080/%7ea%2fb", "http://example.org:8080/%7Ea%2Fb"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://[::1]:8000/", "http://[::1]:8000/"),
        ("http://user:secret@example.org/", None),
        ("javascript:void(0)", None),
        ("file:///etc/passwd", None),
        ("http://example.org:99999/", None),
        ("http://[broken/", None),
        ("http://example.org/" + "x" * 3000, None),
    ],
)
def test_one_spelling_per_address(written: str, meant: str | None) -> None:
    assert canonical(written) == meant


def test_scope_and_order() -> None:
    assert outside("http://a.example.org/", ("*.example.org",)) is None
    assert outside("http://badexample.org/", ("*.example.org",)) == "off_host"
    assert outside("http://a.org:81/", ("a.org",)) == "off_host"
    assert outside("http://a.org/x.ZIP", ("a.org",)) == "no_page"
    urls = [f"http://a.org/{number}" for number in range(50)]
    assert seeded_order(urls, 1) == seeded_order(reversed(urls), 1) != seeded_order(urls, 2)
    assert join("http://a.org/x/y", "../z?q") == "http://a.org/z?q"
    assert join("http://a.org/", "http://[bad") is None


def test_links_of_odd_pages() -> None:
    page = """<head><base href="/base/"><meta http-equiv="refresh" content="5; URL='next'"></head>
        <a href=" one ">1</a><a href="#top">top</a><a href="one">again</a><a name="x">x</a><area href="tel:1">
        <iframe src="/frame"></iframe>"""
    links, nofollow = page_links(page.encode(), "text/html", "http://a.org/dir/page")
    assert links == ("http://a.org/base/next", "http://a.org/base/one", "http://a.org/frame")
    assert not nofollow
    assert page_links(b"\xff\xfe\x00<a", "text/html; charset=nonsense", "http://a.org/") == ((), False)
    with pytest.raises(ValueError, match="not a sitemap"):
        sitemap_entries(b"<html></html>", "http://a.org/s.xml")
    with pytest.raises(ValueError, match="broken gzip"):
        sitemap_entries(b"\x1f\x8bxxxxxxxxxxx", "http://a.org/s.xml")
