"""Which pages a crawl visits, and in which order: the part that makes a crawl repeatable.

A crawl that takes answers as they come keeps other pages each time. Here a level is finished before the next begins: the start page,
then the pages of the sitemaps, then all links found on these, and so on. Within a level addresses stand in a seeded order and are kept
in that order until the page limit is reached; an address that gives no page takes no place. The pages kept are then a function of the site,
the seed and the limit, whatever the timing, and a larger limit keeps a superset. The cost is that the last few requests of each level
run with little company.

A redirect's target is visited after the level that led to it, without adding depth.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from lm.corpus.crawler.journal import Visit
from lm.corpus.crawler.options import CrawlOptions
from lm.corpus.crawler.urls import canonical, outside, seeded_order

MAX_REDIRECTS = 10
"""Hops from one address before it is given up; RFC 9110 leaves the number open, browsers use 20."""


class Frontier:
    """Walks a site level by level. `visit` gives what an address holds, `forbidden` the reason not to ask for it."""

    def __init__(
        self,
        options: CrawlOptions,
        allowed_hosts: tuple[str, ...],
        visit: Callable[[str], Awaitable[Visit]],
        forbidden: Callable[[str], Awaitable[str | None]],
    ) -> None:
        self._options = options
        self._hosts = allowed_hosts
        self._visit = visit
        self._forbidden = forbidden
        self._seen: set[str] = set()
        self.visits: list[Visit] = []
        """Every address asked for."""
        self.num_pages = 0
        """Pages among them, unchanged ones included."""
        self.counts: Counter[str] = Counter()
        """Addresses under their outcome or the reason they were set aside."""
        self.examples: dict[str, str] = {}
        """The first address, in alphabetical order, for each of these."""

    async def walk(self, sitemap_pages: Callable[[], Awaitable[Iterable[str]]]) -> None:
        """Visits the start page, the pages of the sitemaps, and what they link to."""
        start = canonical(self._options.start_url) or self._options.start_url
        found = await self._group({start})
        found |= await self._group(set(await sitemap_pages()))
        for _ in range(self._options.max_depth):
            found = await self._group(found)
        for url in found - self._seen:
            self.set_aside(url, outside(url, self._hosts) or "depth_limit")

    def set_aside(self, url: str, reason: str) -> None:
        """Counts an address under a reason."""
        self.counts[reason] += 1
        self.examples[reason] = min(url, self.examples.get(reason, url))

    async def _group(self, urls: set[str]) -> set[str]:
        """Visits addresses of one depth and the targets of their redirects; returns all links found."""
        found: set[str] = set()
        for hop in range(MAX_REDIRECTS + 1):
            level = await self._admit(urls)
            urls = set()
            for visit in await self._keep(level):
                if visit.outcome in ("page", "unchanged"):
                    found.update(visit.links)
                elif visit.outcome == "redirect":
                    urls.update(visit.links)
            if not urls:
                break
            if hop == MAX_REDIRECTS:
                for url in urls - self._seen:
                    self.set_aside(url, "too_many_redirects")
        return found

    async def _admit(self, urls: set[str]) -> list[str]:
        new = urls - self._seen
        self._seen |= new
        level = []
        for url in seeded_order(new, self._options.seed):
            reason = outside(url, self._hosts) or await self._forbidden(url)
            if reason:
                self.set_aside(url, reason)
            else:
                level.append(url)
        return level

    async def _keep(self, level: list[str]) -> list[Visit]:
        """Visits addresses in order until the page limit is reached: as many at once as there are pages left to keep."""
        visits: list[Visit] = []
        while level and (left := self._options.max_pages - self.num_pages) > 0:
            batch, level = level[:left], level[left:]
            for visit in await self._visit_all(batch):
                self.num_pages += visit.outcome in ("page", "unchanged")
                self.set_aside(visit.url, visit.outcome)
                visits.append(visit)
        for url in level:
            self.set_aside(url, "page_limit")
        self.visits += visits
        return visits

    async def _visit_all(self, urls: list[str]) -> list[Visit]:
        results: dict[str, Visit] = {}
        queue = iter(urls)

        async def work() -> None:
            for url in queue:
                results[url] = await self._visit(url)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._options.concurrency, len(urls))):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return [results[url] for url in urls]
