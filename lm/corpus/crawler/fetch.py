"""Requests, through Scrapy's downloader: connections, TLS, proxies, decompression, delays and AutoThrottle per host.

Only Scrapy's downloader and engine are used. Its scheduler takes answers as they come, and its robots, redirect and retry
middlewares act out of sight; a repeatable crawl that counts every address has to decide these itself (`frontier`, `robots`, here).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess, Crawler
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
    StopDownload,
)
from scrapy.http import Request, Response

from lm.corpus.crawler.options import CrawlOptions

NETWORK_FAILURES = {"unknown_host", "refused", "timeout", "connection_lost", "truncated"}
"""Reasons that speak of the way to the host rather than of the page."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (CannotResolveHostError, "unknown_host"),
    (DownloadConnectionRefusedError, "refused"),
    (DownloadTimeoutError, "timeout"),
    (ResponseDataLossError, "truncated"),
    (DownloadFailedError, "connection_lost"),
    (DownloadCancelledError, "too_large"),
    (IgnoreRequest, "too_large"),  # raised while decompressing
)
_TRY_AGAIN = {429, 500, 502, 503, 504, 522, 524}
_MAX_RETRY_AFTER_SECONDS = 120.0
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came for one request: a response, or the reason there is none."""

    url: str
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    not_html: bool = False
    """The body was left unread, as the headers say that it is no page."""
    address: str | None = None
    date: str = ""
    reason: str | None = None
    detail: str = ""

    def header(self, name: str) -> str | None:
        """Value of a header, the last one if it came more than once."""
        values = [value for key, value in self.headers if key.lower() == name.lower().encode()]
        return values[-1].decode("latin-1").strip() if values else None


class Fetcher:
    """Asks for addresses on behalf of one crawl."""

    def __init__(self, crawler: Crawler, options: CrawlOptions) -> None:
        self._crawler = crawler
        self._options = options
        self._wait_until: dict[str, float] = {}
        self._slowed: set[str] = set()
        crawler.signals.connect(_stop_unless_html, signals.headers_received)

    async def get(self, url: str, headers: dict[str, str] | None = None, *, only_html: bool = False, max_bytes: int | None = None) -> Reply:
        """The answer to a GET, after the retries that the options allow."""
        for attempt in range(self._options.max_retries + 1):
            await self._wait(url)
            reply = await self._once(url, headers or {}, only_html, max_bytes or self._options.max_page_bytes)
            again = reply.status in _TRY_AGAIN or reply.reason in NETWORK_FAILURES
            if not again or attempt == self._options.max_retries:
                break
            self._pause(url, reply, attempt)
        return reply

    def slow_down(self, url: str, delay_seconds: float) -> None:
        """One request at a time to this host, at least so far apart."""
        host = urlsplit(url).hostname or ""
        downloader = self._crawler.engine.downloader if self._crawler.engine else None
        assert downloader
        self._slowed.add(host)
        downloader.per_slot_settings[host] = {"delay": delay_seconds, "concurrency": 1, "jitter": 0.0}
        if slot := downloader.slots.get(host):
            slot.delay, slot.concurrency, slot.jitter = delay_seconds, 1, 0.0

    async def _wait(self, url: str) -> None:
        seconds = self._wait_until.get(urlsplit(url).netloc, 0.0) - time.monotonic()
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _pause(self, url: str, reply: Reply, attempt: int) -> None:
        seconds = min(_retry_after(reply.header("Retry-After")) or 0.5 * 2**attempt, _MAX_RETRY_AFTER_SECONDS)
        self._wait_until[urlsplit(url).netloc] = time.monotonic() + seconds

    async def _once(self, url: str, headers: dict[str, str], only_html: bool, max_bytes: int) -> Reply:
        host = urlsplit(url).hostname or ""
        meta: dict[str, Any] = {
            "download_maxsize": max_bytes,
            "download_timeout": self._options.timeout_seconds,
            "only_html": only_html,
            "autothrottle_dont_adjust_delay": host in self._slowed,
        }
        if self._options.proxy or _is_loopback(host):
            meta["proxy"] = self._options.proxy  # a proxy from the environment is not meant for loopback
        request = Request(url, headers=headers, meta=meta, dont_filter=True)
        assert self._crawler.engine
        try:
            response = await self._crawler.engine.download_async(request)
        except Exception as error:  # whatever a stranger's server provokes costs this page only, and is counted
            reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "download_error")
            return Reply(url, reason=reason, detail=f"{type(error).__name__}: {error}"[:300])
        if "Content-Encoding" in response.headers:  # the middleware removes it once it has undone it
            return Reply(url, status=response.status, reason="unknown_encoding", detail=str(response.headers["Content-Encoding"]))
        return _reply(url, response)


def _reply(url: str, response: Response) -> Reply:
    headers = [(name, value) for name, values in response.headers.items() for value in values]
    return Reply(
        url=url,
        status=response.status,
        headers=headers,
        body=response.body,
        not_html="download_stopped" in response.flags,
        address=str(response.ip_address) if response.ip_address else None,
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    )


def _stop_unless_html(headers: Any, request: Request) -> None:
    """Leaves a body unread that no page can be: an archive costs its headers only."""
    kind = (headers.get(b"Content-Type") or b"text/html").decode("latin-1").split(";")[0].strip().lower()
    if request.meta.get("only_html") and kind not in _HTML:
        raise StopDownload(fail=False)


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return float(value) if value.isdigit() else max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Spider(scrapy.Spider):
    """Runs one coroutine inside Scrapy's engine and keeps what it raised."""

    name = "site"

    def __init__(self, work: Callable[[Crawler], Awaitable[None]]) -> None:
        super().__init__()
        self._work = work
        self.error: BaseException | None = None

    async def start(self) -> AsyncIterator[Any]:
        try:
            await self._work(self.crawler)
        except BaseException as error:
            self.error = error
        return
        yield


def run(options: CrawlOptions, work: Callable[[Crawler], Awaitable[None]]) -> None:
    """Runs `work` with a live Scrapy engine; once per process, as a Twisted reactor starts once. Raises what `work` raises."""
    process = AsyncCrawlerProcess(_settings(options))
    crawler = process.create_crawler(_Spider)
    process.crawl(crawler, work=work)
    process.start(install_signal_handlers=False)
    spider = crawler.spider
    if not isinstance(spider, _Spider):
        raise RuntimeError("Scrapy did not start; its log above says why")
    if spider.error:
        raise spider.error


def _settings(options: CrawlOptions) -> dict[str, Any]:
    middlewares = ("defaultheaders.DefaultHeaders", "useragent.UserAgent", "httpcompression.HttpCompression", "httpproxy.HttpProxy")
    return {
        # Replacing the base lists keeps unused parts from being loaded, which halves the start-up time.
        "DOWNLOADER_MIDDLEWARES_BASE": {f"scrapy.downloadermiddlewares.{name}Middleware": 10 * n for n, name in enumerate(middlewares)},
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {"scrapy.extensions.throttle.AutoThrottle": 0},
        "LOG_LEVEL": "CRITICAL",
        "STATS_DUMP": False,
        "USER_AGENT": options.user_agent,
        "CONCURRENT_REQUESTS": options.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": options.concurrency_per_host,
        "DOWNLOAD_DELAY": options.delay_seconds,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_VERIFY_CERTIFICATES": options.verify_certificates,
        "AUTOTHROTTLE_ENABLED": options.autothrottle,
        "AUTOTHROTTLE_START_DELAY": max(options.delay_seconds, 0.5),
        "AUTOTHROTTLE_TARGET_CONCURRENCY": float(options.concurrency_per_host),
    }
