"""Fetch a large file over HTTP, going on where a broken download stopped.

Bytes go to `NAME.part` beside the destination and are renamed when their number is right, so a file that is there is whole. The
server's identity of the content (strong ETag, else Last-Modified, and the size) is kept in `NAME.part.json`; a rest is asked for
with If-Range, so a file that changed meanwhile is fetched anew instead of being joined from two versions. The choice of urllib
keeps this free of dependencies; the cost is one connection per attempt.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lm.corpus.records import Progress

_CHUNK_BYTES = 1 << 18
_PROGRESS_BYTES = 1 << 20
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BROKEN = (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError)
USER_AGENT = "dataladder"


class DownloadError(OSError):
    """A file could not be fetched; what came so far is kept for the next attempt."""


class _Incomplete(ConnectionError):
    """The connection ended before the length that was announced."""


def download(
    url: str,
    dest: str | Path,
    *,
    num_attempts: int = 5,
    backoff_seconds: float = 1.0,
    timeout_seconds: float = 60.0,
    on_progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `dest` unless it is there; an attempt that brings a megabyte starts the count of attempts anew.

    Raises: DownloadError if the server cannot be reached, refuses, or keeps breaking off; ValueError for an address that is not HTTP.
    """
    dest = Path(dest)
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"an address to download must be http or https, got {url!r}")
    if dest.exists():
        return dest
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = dest.with_name(dest.name + ".part")
    failures, last = 0, 0
    while True:
        try:
            _fetch(url, part, timeout_seconds, on_progress)
            break
        except _BROKEN as error:
            size = part.stat().st_size if part.exists() else 0
            failures, last = (failures + 1 if size < last + _PROGRESS_BYTES else 1), max(size, last)
            _give_up_or_wait(url, part, error, failures, num_attempts, backoff_seconds)
    os.replace(part, dest)
    _state_file(part).unlink(missing_ok=True)
    return dest


def fetch_bytes(
    url: str, *, max_bytes: int = 64 << 20, num_attempts: int = 5, backoff_seconds: float = 1.0, timeout_seconds: float = 60.0
) -> bytes:
    """A small file, whole, in memory. Raises: DownloadError."""
    failures = 0
    while True:
        try:
            with _open(url, {}, timeout_seconds) as response:
                data = bytes(response.read(max_bytes + 1))
            if len(data) > max_bytes:
                raise DownloadError(f"{url} must be at most {max_bytes} bytes to be read at once, but is larger")
            return data
        except _BROKEN as error:
            failures += 1
            _give_up_or_wait(url, None, error, failures, num_attempts, backoff_seconds)


def _give_up_or_wait(url: str, part: Path | None, error: Exception, failures: int, num_attempts: int, backoff_seconds: float) -> None:
    """Wait twice as long after each failure; raise once there were enough, or at an answer that will not change."""
    is_final = isinstance(error, urllib.error.HTTPError) and error.code not in _RETRIED_STATUS
    if is_final or failures >= num_attempts:
        kept = f"; {part.stat().st_size} bytes are kept in {part} and the next attempt goes on there" if part and part.exists() else ""
        why = f"HTTP {error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else str(getattr(error, "reason", error))
        raise DownloadError(
            f"cannot fetch {url}: {why} (attempt {failures} of {num_attempts}); check the address and the network{kept}"
        ) from error
    time.sleep(min(60.0, backoff_seconds * 2 ** (failures - 1)))


def _fetch(url: str, part: Path, timeout_seconds: float, on_progress: Progress | None) -> None:
    """One attempt: bring the partial file to its full length, or raise with what came kept."""
    state = _read_state(part)
    have = part.stat().st_size if part.exists() and state else 0
    if state and have == state["num_bytes"]:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": state["identity"]} if state and have else {}
    try:
        response = _open(url, headers, timeout_seconds)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what we hold is longer than the file now is
            _forget(part)
            raise _Incomplete(f"{url} is shorter than the {have} bytes fetched of it before") from error
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        total = _total(response, have if resumed else 0)
        if not resumed:
            have = 0
            _write_state(part, response.headers, total)
        have = _append(response, part, have, total, on_progress)
    if total is not None and have != total:
        if have > total:
            _forget(part)
        raise _Incomplete(f"{url} ended after {have} of {total} bytes")


def _append(response: Any, part: Path, have: int, total: int | None, on_progress: Progress | None) -> int:
    """Write the answer behind what is there; returns the length now."""
    with open(part, "r+b" if have else "wb") as file:
        file.seek(have)
        file.truncate()
        while chunk := _read(response):
            file.write(chunk)
            have += len(chunk)
            if on_progress:
                on_progress(have, total or have)
    return have


def _read(response: Any) -> bytes:
    """The next bytes; those that came before the connection broke count as an end, which the length then shows."""
    try:
        return bytes(response.read1(_CHUNK_BYTES))
    except http.client.IncompleteRead as error:
        return bytes(error.partial)


def _total(response: Any, have: int) -> int | None:
    """Length of the whole file; None if the server does not say, and then the end of the answer is believed."""
    length = response.headers.get("Content-Length")
    return have + int(length) if length and length.isdigit() else None


def _open(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers})
    return urllib.request.urlopen(request, timeout=timeout_seconds)


def _state_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path) -> dict[str, Any] | None:
    """Identity of the content whose first bytes are in the partial file; None if unknown, and then it is fetched anew."""
    try:
        state = json.loads(_state_file(part).read_text())
        return {"identity": str(state["identity"]), "num_bytes": int(state["num_bytes"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_state(part: Path, headers: Mapping[str, str], total: int | None) -> None:
    """Keep the identity before the first byte is written; without one a broken download starts over."""
    _forget(part)
    etag = headers.get("ETag", "")
    identity = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    if identity and total is not None:
        temporary = _state_file(part).with_suffix(".new")
        temporary.write_text(json.dumps({"identity": identity, "num_bytes": total}))
        os.replace(temporary, _state_file(part))


def _forget(part: Path) -> None:
    _state_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)
