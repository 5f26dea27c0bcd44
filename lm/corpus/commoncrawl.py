"""Which files of a Common Crawl to take.

A crawl lists its files in `crawl-data/CC-MAIN-YYYY-WW/warc.paths.gz` (or `wet.paths.gz`). Files are drawn in the order of a
seeded hash of their path, so a sample of 20 contains the sample of 10, and one per cent of a crawl is drawn the same way on every
machine. The order is the sample's own; that of the listing has no part in it. The cost: files are drawn whole, and one file is
some 30,000 pages of one hour.
"""

import hashlib
import math
import re
import zlib
from typing import Literal
from urllib.parse import urljoin

from lm.corpus.download import DownloadError, download, fetch_bytes

__all__ = ["BASE_URL", "DownloadError", "download", "plan"]

BASE_URL = "https://data.commoncrawl.org/"
_CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}(?:-\d{2})?")


def plan(
    crawl: str,
    *,
    num_files: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    kind: Literal["warc", "wet"] = "warc",
    base_url: str = BASE_URL,
) -> list[str]:
    """Addresses of the drawn files, in drawing order: a smaller sample with the same seed is a prefix of a larger one.

    Give either num_files or fraction (of the crawl's files, rounded up). Asking for more files than there are gives all.
    Raises: ValueError for a bad argument or listing; DownloadError if the listing cannot be fetched.
    """
    _check(crawl, num_files, fraction, kind)
    url = urljoin(base_url.rstrip("/") + "/", f"crawl-data/{crawl}/{kind}.paths.gz")
    paths = _parse_listing(fetch_bytes(url), url)
    count = num_files if num_files is not None else math.ceil((fraction or 0) * len(paths) - 1e-9)
    drawn = sorted(paths, key=lambda path: (_order(seed, path), path))[:count]
    return [urljoin(base_url.rstrip("/") + "/", path) for path in drawn]


def _check(crawl: str, num_files: int | None, fraction: float | None, kind: str) -> None:
    if not _CRAWL.fullmatch(crawl):
        raise ValueError(f"a Common Crawl must be named like CC-MAIN-2024-22, got {crawl!r}")
    if kind not in ("warc", "wet"):
        raise ValueError(f"kind must be warc or wet, got {kind!r}")
    if (num_files is None) == (fraction is None):
        raise ValueError(f"give either num_files or fraction, got num_files={num_files} and fraction={fraction}")
    if num_files is not None and num_files < 1:
        raise ValueError(f"num_files must be at least 1, got {num_files}")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")


def _parse_listing(data: bytes, url: str) -> list[str]:
    """Paths of a listing, which may be gzipped; each must stay below the base address."""
    try:
        text = (zlib.decompress(data, 31) if data.startswith(b"\x1f\x8b") else data).decode("ascii")
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"the listing {url} must be lines of paths, gzipped, but cannot be read: {error}") from error
    paths = [line.strip() for line in text.splitlines() if line.strip()]
    if bad := [path for path in paths if not path.startswith("crawl-data/") or ".." in path]:
        raise ValueError(f"paths in {url} must start with crawl-data/, got {bad[0][:200]!r}")
    if not paths:
        raise ValueError(f"the listing {url} must name at least one file, but is empty")
    return sorted(set(paths))


def _order(seed: int, path: str) -> bytes:
    return hashlib.blake2b(path.encode(), digest_size=8, key=seed.to_bytes(16, "little", signed=True)).digest()
