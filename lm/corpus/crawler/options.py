"""What a crawl is asked, what it knows from an earlier visit, and what it answers.

Records only, standard library only, so that a caller can build options without loading a crawler. They are checked here, once,
when they are made; everything behind them trusts them. They cross to the crawling process as JSON, which keeps them plain.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from storage.records import Reject

USER_AGENT = "dataladder/0.1 (research crawler; obeys robots.txt)"
SEAL_BYTES = 256 << 20
"""A sealed WARC file is closed when it passes this size."""

_CHANGES_NO_PAGE = {"delay_seconds", "autothrottle", "concurrency", "concurrency_per_host", "proxy", "timeout_seconds", "max_retries"}
_CHANGES_NO_PAGE |= {"max_failures_in_a_row", "verify_certificates"}


class CrawlError(Exception):
    """A crawl that cannot give its pages: the site does not answer, forbids it, or has none. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlOptions:
    """One site to crawl and how politely."""

    start_url: str
    """Address to start from, http or https."""
    max_pages: int = 1000
    """Pages to keep at most, unchanged ones included. A larger limit keeps all pages of a smaller one."""
    max_depth: int = 8
    """Links to follow from the start page or a page of the sitemap; 0 for these alone."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts (with port unless it is the scheme's own) to stay within; "*.example.org" for all below one. Empty: the start's host."""
    delay_seconds: float = 1.0
    """Least time between two requests to one host; the host's Crawl-delay wins if longer."""
    autothrottle: bool = True
    """Lengthen the delay when the host answers slowly."""
    concurrency: int = 16
    """Requests under way at once."""
    concurrency_per_host: int = 4
    """Requests under way at once to one host."""
    obey_robots: bool = True
    """Obey robots.txt and the page's own nofollow."""
    use_sitemaps: bool = True
    """Start from the pages of the site's sitemaps too."""
    user_agent: str = USER_AGENT
    """Name told to the site; robots.txt is read for it."""
    proxy: str | None = None
    """HTTP proxy for every request, e.g. http://127.0.0.1:8080."""
    seed: int = 0
    """Seeds the order within a level, and so which pages a limit keeps."""
    max_page_bytes: int = 8 << 20
    """A longer page is set aside (after decompression)."""
    timeout_seconds: float = 30.0
    """A page that takes longer is set aside."""
    max_retries: int = 2
    """Further tries after a network failure or an answer of 429 or 5xx."""
    max_failures_in_a_row: int = 40
    """So many pages lost to the network without one between them end the crawl; what was fetched is kept for the next call."""
    verify_certificates: bool = True
    """Refuse a host whose TLS certificate is not valid."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.start_url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"start_url must be an http or https address without a user name, got {self.start_url!r}")
        for name, least in (("max_pages", 1), ("max_depth", 0), ("concurrency", 1), ("concurrency_per_host", 1), ("max_page_bytes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.delay_seconds < 0 or self.timeout_seconds <= 0:
            raise ValueError(f"need delay_seconds >= 0 and timeout_seconds > 0, got {self.delay_seconds} and {self.timeout_seconds}")

    def identity(self) -> dict[str, Any]:
        """The options that decide which pages come back; speed and route are left out."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items() if name not in _CHANGES_NO_PAGE
        }


@dataclass(frozen=True, slots=True)
class KnownPage:
    """A page of an earlier crawl, so that an unchanged one need not be sent or kept again."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    payload_digest: str | None = None
    """BLAKE2b-128 of the payload (`storage.digest.digest`), in hex."""
    links: tuple[str, ...] | None = None
    """Addresses the page links to. Without them (None) the page is asked for whole, as "304 Not Modified" would hide its links."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a crawl is."""

    num_pages: int
    """Pages kept, unchanged ones included."""
    max_pages: int
    num_visits: int
    """Addresses asked for, whatever came."""
    num_bytes: int
    """Payload bytes of the pages captured."""


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """A finished crawl."""

    warc_files: tuple[str, ...]
    """Sealed WARC files, records sorted by address; none if every page was unchanged."""
    visits_file: str
    """One JSON line per address that was asked for, with validators and links (.jsonl.gz)."""
    num_pages: int
    """Pages captured in the WARC files."""
    num_unchanged: int
    """Pages the previous crawl holds already."""
    num_bytes: int
    """Payload bytes captured."""
    counts: Mapping[str, int]
    """Every address met, counted once, under its outcome or the reason it was set aside."""
    rejects: tuple[Reject, ...]
    """What was set aside, as rows of the table `rejects`."""
    seconds: float
    """Wall time; of the last sitting if the crawl was interrupted."""


def options_from_json(values: Mapping[str, Any]) -> CrawlOptions:
    """Options as they were before `asdict` and JSON."""
    names = {field.name for field in fields(CrawlOptions)}
    kept = {name: value for name, value in values.items() if name in names}
    return CrawlOptions(**{**kept, "allowed_hosts": tuple(kept.get("allowed_hosts", ()))})
