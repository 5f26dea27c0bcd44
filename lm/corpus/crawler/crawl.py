"""One crawl from options to sealed files: joins frontier, robots, requests and journal. Runs inside the crawling process.

Every answer is written down before it counts, and an address that is already written down is not asked for again. Going on after a
kill is then the same walk over the same answers, and ends with the same files.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scrapy.crawler import Crawler

from lm.corpus.crawler import fetch
from lm.corpus.crawler.fetch import Fetcher, Reply
from lm.corpus.crawler.frontier import Frontier
from lm.corpus.crawler.journal import Journal, Visit, write_beside
from lm.corpus.crawler.links import MAX_SITEMAP_BYTES, page_links, sitemap_entries
from lm.corpus.crawler.options import CrawlError, CrawlOptions, KnownPage, Progress
from lm.corpus.crawler.records import response_record
from lm.corpus.crawler.robots import MAX_ROBOTS_BYTES, Robots
from lm.corpus.crawler.run import RESULT_FILE
from lm.corpus.crawler.urls import canonical, join, outside, seeded_order
from lm.corpus.payload import payload_digest
from storage.digest import digest

MAX_SITEMAPS = 500
"""Sitemap files read at most; at 50,000 addresses each that is more than any crawl here keeps."""
_KEPT = {"page", "unchanged", "redirect", "sitemap", "sitemap_index"}
"""Outcomes that set nothing aside."""


class SiteCrawl:
    """The state of one crawl while it runs."""

    def __init__(self, options: CrawlOptions, out_dir: Path, known: Sequence[KnownPage], on_progress: Callable[[Progress], None]) -> None:
        self.options = options
        self.out_dir = out_dir
        self.known = {page.url: page for page in known}
        self.on_progress = on_progress
        self.start = canonical(options.start_url) or options.start_url
        self.hosts = (self.start.split("/")[2], *options.allowed_hosts)
        self.journal = Journal(out_dir, _fetch_identity(options, known))
        self.began = time.monotonic()
        self._lost: list[Visit] = []
        self._num_pages = self._num_visits = self._num_bytes = 0

    async def work(self, crawler: Crawler) -> None:
        """The whole crawl, inside Scrapy's engine."""
        self.fetcher = Fetcher(crawler, self.options)
        self.robots = Robots(self.options, lambda url: self.fetcher.get(url, max_bytes=MAX_ROBOTS_BYTES), self.fetcher.slow_down)
        self.frontier = Frontier(self.options, self.hosts, self._visit, self.robots.forbidden)
        if self.options.obey_robots and (problem := (await self.robots.rules(self.start)).unreadable):
            raise CrawlError(f"the site does not answer: {problem}; check the address and the network, then crawl again")
        await self.frontier.walk(self._sitemap_pages)
        self._write_down_lost()

    def seal(self) -> None:
        """Writes the sealed files and the result; raises CrawlError if there is no page at all."""
        counts, examples = self.frontier.counts, self.frontier.examples
        if self.frontier.num_pages == 0:
            raise CrawlError(self._why_empty())
        visits = [self.journal.visits[False, visit.url] for visit in self.frontier.visits]
        robots = "obey" if self.options.obey_robots else "ignore"
        names, visits_file = self.journal.seal(visits, self.out_dir, user_agent=self.options.user_agent, robots=robots)
        num_nofollow = sum(visit.detail == "nofollow" for visit in visits)
        result: dict[str, Any] = {
            "options": self.options.identity(),
            "warc_files": names,
            "visits_file": visits_file,
            "num_pages": counts["page"],
            "num_unchanged": counts["unchanged"],
            "num_bytes": sum(visit.num_bytes for visit in visits if visit.outcome == "page"),
            "counts": dict(sorted({**counts, **({"nofollow": num_nofollow} if num_nofollow else {})}.items())),
            "rejects": [[reason, counts[reason], examples[reason]] for reason in sorted(counts) if reason not in _KEPT],
            "seconds": round(time.monotonic() - self.began, 3),
        }
        write_beside(self.out_dir / RESULT_FILE, json.dumps(result, indent=1, ensure_ascii=False).encode())
        self.journal.remove()

    def leave(self) -> None:
        """After a failure: keeps what a later call can go on from, removes what is of no use."""
        self.journal.close()
        if not any(visit.outcome in ("page", "unchanged") for visit in self.journal.visits.values()):
            self.journal.remove()

    async def _visit(self, url: str) -> Visit:
        visit = self.journal.visits.get((False, url)) or await self._ask(url)
        self._num_visits += 1
        self._num_pages += visit.outcome in ("page", "unchanged")
        self._num_bytes += visit.num_bytes if visit.outcome == "page" else 0
        self.on_progress(Progress(self._num_pages, self.options.max_pages, self._num_visits, self._num_bytes))
        return visit

    async def _ask(self, url: str) -> Visit:
        known = self.known.get(url)
        reply = await self.fetcher.get(url, _conditions(known), only_html=True)
        if reply.reason in fetch.NETWORK_FAILURES:
            return self._lose(Visit(url, reply.reason, detail=reply.detail))
        self._write_down_lost()
        visit = _page(reply, known)
        if visit.outcome != "page":
            return self.journal.add(False, visit)
        record = response_record(url, reply.status, reply.headers, reply.body, date=reply.date, address=reply.address)
        return self.journal.add(False, visit, record)

    def _lose(self, visit: Visit) -> Visit:
        """Holds a page lost to the network back from the journal until another answers: a site that went away is no answer."""
        self._lost.append(visit)
        if len(self._lost) >= self.options.max_failures_in_a_row:
            first = self._lost[0]
            raise CrawlError(
                f"the site stopped answering: {len(self._lost)} addresses in a row were lost, the first {first.url} ({first.outcome}); "
                "what was fetched before is kept, crawl again into the same directory to go on"
            )
        return visit

    def _write_down_lost(self) -> None:
        for visit in self._lost:
            self.journal.add(False, visit)
        self._lost.clear()

    async def _sitemap_pages(self) -> list[str]:
        """Every page that the start host's sitemaps list."""
        if not self.options.use_sitemaps:
            return []
        named = (await self.robots.rules(self.start)).sitemaps
        level, seen, pages = list(named) or [join(self.start, "/sitemap.xml") or ""], set[str](), dict[str, None]()
        while level:
            new = seeded_order(set(level) - seen, self.options.seed)
            level = []
            for url in new:
                seen.add(url)
                if reason := outside(url.removesuffix(".gz"), self.hosts) or ("sitemap_limit" if len(seen) > MAX_SITEMAPS else None):
                    self.frontier.set_aside(url, reason)
                    continue
                visit = self.journal.visits.get((True, url)) or self.journal.add(True, _sitemap(await self._document(url)))
                if named or visit.outcome in _KEPT:  # a guessed sitemap that is not there is nothing lost
                    self.frontier.set_aside(url, visit.outcome)
                level += visit.links if visit.outcome == "sitemap_index" else ()
                pages.update(dict.fromkeys(visit.links if visit.outcome == "sitemap" else ()))
        return list(pages)

    async def _document(self, url: str) -> Reply:
        reply = await self.fetcher.get(url, max_bytes=MAX_SITEMAP_BYTES)
        target = join(url, reply.header("Location") or "") if 300 <= reply.status < 400 else None
        if target and not outside(target.removesuffix(".gz"), self.hosts):
            reply = replace(await self.fetcher.get(target, max_bytes=MAX_SITEMAP_BYTES), url=url)
        return reply

    def _why_empty(self) -> str:
        counts, start = self.frontier.counts, self.start
        if counts["robots"] == sum(counts.values()):
            return f"robots.txt of {start} forbids every address found to {self.options.user_agent!r}; ask the site's owner"
        first = next((visit for visit in self.frontier.visits if visit.url == start), None)
        hint = ""
        if first and first.outcome == "redirect" and counts["off_host"]:
            hint = f"; it redirects to {first.links[0]}: start there, or allow that host"
        met = ", ".join(f"{reason} {number}" for reason, number in sorted(counts.items()))
        return f"{start} gave no page (met: {met}){hint}"


def _page(reply: Reply, known: KnownPage | None) -> Visit:
    """What a reply means for a page."""
    etag, last_modified = reply.header("ETag"), reply.header("Last-Modified")
    if reply.reason:
        return Visit(reply.url, reply.reason, detail=reply.detail)
    if reply.status == 304 and known and known.links is not None:
        etag, last_modified = etag or known.etag, last_modified or known.last_modified
        return Visit(reply.url, "unchanged", known.links, "", etag, last_modified, known.payload_digest)
    if 300 <= reply.status < 400 and (target := join(reply.url, reply.header("Location") or "")) and target != reply.url:
        return Visit(reply.url, "redirect", (target,))
    if reply.status != 200:
        return Visit(reply.url, f"http_{reply.status}")
    if reply.not_html or not reply.body.strip():
        return Visit(reply.url, "not_html" if reply.not_html else "empty_body", detail=reply.header("Content-Type") or "")
    links, nofollow = page_links(reply.body, reply.header("Content-Type") or "", reply.url)
    identity = payload_digest(reply.body)
    outcome = "unchanged" if known and known.payload_digest == identity else "page"
    detail = "nofollow" if nofollow else ""
    return Visit(reply.url, outcome, () if nofollow else links, detail, etag, last_modified, identity, len(reply.body))


def _sitemap(reply: Reply) -> Visit:
    if reply.reason or reply.status != 200:
        return Visit(reply.url, f"sitemap_{reply.reason or reply.status}", detail=reply.detail)
    try:
        entries, is_index = sitemap_entries(reply.body, reply.url)
    except ValueError as error:
        return Visit(reply.url, "sitemap_unreadable", detail=str(error))
    return Visit(reply.url, "sitemap_index" if is_index else "sitemap", entries)


def _conditions(known: KnownPage | None) -> dict[str, str]:
    if known is None or known.links is None:
        return {}
    pairs = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in pairs.items() if value}


def _fetch_identity(options: CrawlOptions, known: Sequence[KnownPage]) -> str:
    """What an answer depends on besides its address: another limit or seed may go on with the same answers."""
    asked = {name: value for name, value in options.identity().items() if name in ("user_agent", "obey_robots", "max_page_bytes")}
    before = sorted([page.url, page.etag or "", page.last_modified or "", page.payload_digest or ""] for page in known)
    return json.dumps({**asked, "previous": digest(json.dumps(before))})
