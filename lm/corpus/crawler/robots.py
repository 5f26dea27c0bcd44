"""robots.txt: what may be asked for, how fast, and where the sitemaps are.

Read by Protego, the parser Scrapy uses, and acted on as RFC 9309 says: an answer of 4xx allows everything, 5xx or no answer forbids
everything. Kept apart from Scrapy's middleware, which allows everything when robots.txt cannot be read, and knows no Crawl-delay.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

from lm.corpus.crawler.fetch import Reply
from lm.corpus.crawler.options import CrawlOptions
from lm.corpus.crawler.urls import join, origin

MAX_ROBOTS_BYTES = 512 << 10
"""RFC 9309 asks for at least 500 KiB."""
_MAX_HOPS = 5
"""RFC 9309: at least five redirects."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one robots.txt says to this crawler."""

    parser: Protego | None = None
    """None: nothing is said, everything is allowed."""
    unreadable: str | None = None
    """Why robots.txt could not be read, in which case everything is forbidden."""
    sitemaps: tuple[str, ...] = ()
    delay_seconds: float = 0.0


class Robots:
    """The rules of every host a crawl meets, each fetched once."""

    def __init__(self, options: CrawlOptions, get: Callable[[str], Awaitable[Reply]], slow_down: Callable[[str, float], None]) -> None:
        self._options = options
        self._get = get
        self._slow_down = slow_down
        self._rules: dict[str, Rules] = {}

    async def forbidden(self, url: str) -> str | None:
        """The reason not to ask for an address: robots or robots_unreadable; None if it is allowed."""
        if not self._options.obey_robots:
            return None
        rules = await self.rules(url)
        if rules.unreadable:
            return "robots_unreadable"
        return "robots" if rules.parser and not rules.parser.can_fetch(url, self._options.user_agent) else None

    async def rules(self, url: str) -> Rules:
        """The rules for the host of an address."""
        place = origin(url)
        if place not in self._rules:
            rules = self._rules[place] = await self._read(f"{place}/robots.txt")
            if rules.delay_seconds > self._options.delay_seconds and self._options.obey_robots:
                self._slow_down(url, rules.delay_seconds)
        return self._rules[place]

    async def _read(self, url: str) -> Rules:
        reply = await self._get(url)
        for _ in range(_MAX_HOPS):
            target = join(url, reply.header("Location") or "") if 300 <= reply.status < 400 else None
            if not target:
                break
            url = target
            reply = await self._get(url)
        if reply.reason and reply.reason != "too_large":
            return Rules(unreadable=f"{url} cannot be read ({reply.reason}: {reply.detail})")
        if reply.status >= 500 or reply.status == 429:
            return Rules(unreadable=f"{url} answers {reply.status}")
        if reply.status != 200:
            return Rules()
        return self._parse(reply.body.decode("utf-8", "replace"), url)

    def _parse(self, text: str, url: str) -> Rules:
        parser, agent = Protego.parse(text), self._options.user_agent
        rate = parser.request_rate(agent)
        delay = max(float(parser.crawl_delay(agent) or 0.0), rate.seconds / rate.requests if rate and rate.requests else 0.0)
        sitemaps = (join(url, sitemap) for sitemap in parser.sitemaps)
        return Rules(parser, sitemaps=tuple(dict.fromkeys(sitemap for sitemap in sitemaps if sitemap)), delay_seconds=delay)
