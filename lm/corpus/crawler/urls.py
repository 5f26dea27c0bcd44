"""Addresses: one spelling for each page, which of them belong to a crawl, and their seeded order.

Only spellings that the standards call equal are merged: letter case of scheme and host, a default port, "." and "..", case of
percent escapes, the fragment. The query is left as it stands, since some sites read it in order; the price is that a site which
shuffles its parameters is seen more than once.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import urljoin, urlsplit, urlunsplit

from w3lib.url import safe_url_string

MAX_URL_CHARS = 2083
"""Longer addresses are traps more often than pages; the limit of old browsers, and Scrapy's."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ESCAPE = re.compile("%[0-9a-fA-F]{2}")
_NO_PAGE = re.compile(
    r"\.(7z|7zip|bz2|rar|tar|gz|tgz|xz|zip|whl|bmp|gif|jpe?g|png|tiff?|svg|ico|webp|mp3|wav|ogg|aac|aiff|mp4|m4a|m4v|avi|mov|mpe?g|flv|webm|wmv"
    r"|xlsx?|pptx?|docx?|od[tsp]|css|js|pdf|ps|exe|bin|dmg|iso|apk|jar|msi|rss|woff2?|ttf)$",
    re.IGNORECASE,
)


@lru_cache(maxsize=1 << 17)
def canonical(url: str) -> str | None:
    """The one spelling of an http or https address, without fragment; None for anything that is not such an address."""
    try:
        parts = urlsplit(safe_url_string(url.strip()))
        port = parts.port
    except (ValueError, UnicodeError):
        return None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if scheme not in _DEFAULT_PORTS or not host or parts.username is not None or len(url) > MAX_URL_CHARS:
        return None
    host = f"[{host}]" if ":" in host else host
    netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path = _ESCAPE.sub(lambda match: match.group().upper(), parts.path or "/")
    if "/." in path:
        path = urlsplit(urljoin(f"{scheme}://{netloc}/", path)).path
    return urlunsplit((scheme, netloc, path, parts.query, ""))


def join(base: str, reference: str) -> str | None:
    """The canonical address that `reference` means on the page `base`."""
    try:
        return canonical(urljoin(base, reference.strip()))
    except ValueError:
        return None


def origin(url: str) -> str:
    """Scheme, host and port: what one robots.txt speaks for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def outside(url: str, allowed_hosts: tuple[str, ...]) -> str | None:
    """Why a canonical address is not part of the crawl: off_host, no_page (its name says picture, archive, ...); None if it is."""
    parts = urlsplit(url)
    if not any(_matches(parts.netloc, host.lower()) for host in allowed_hosts):
        return "off_host"
    return "no_page" if _NO_PAGE.search(parts.path) else None


def _matches(netloc: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return netloc == allowed[2:] or netloc.endswith(allowed[1:])
    return netloc == allowed


def seeded_order(urls: Iterable[str], seed: int) -> list[str]:
    """Addresses in an order that looks random and depends on nothing but the seed and each address."""
    key = str(seed).encode()[:64]
    return sorted(urls, key=lambda url: (blake2b(url.encode(), digest_size=16, key=key).digest(), url))
