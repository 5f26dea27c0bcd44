"""The crawling process: `python -m lm.corpus.crawler`, a job as JSON on stdin, JSON lines on stdout.

A line is either {"num_pages", "max_pages", "num_visits", "num_bytes"} or {"error": words for the user}. It ends with its parent.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lm.corpus.crawler.journal import PARTIAL
from lm.corpus.crawler.lifeline import follow_parent
from lm.corpus.crawler.options import CrawlError, KnownPage, Progress, options_from_json
from lm.corpus.crawler.run import RESULT_FILE

_REPORT_SECONDS = 0.25
_LOCK_SECONDS = 15.0


def main() -> int:
    """Runs the job on stdin; 0 if it ended with a result, 1 if with an error line."""
    job = json.load(sys.stdin)
    follow_parent(job["parent_pid"], at_once=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides: it kills this process when it is interrupted itself
    out_dir = Path(job["out_dir"])
    try:
        with _only_one(out_dir):
            if not (out_dir / RESULT_FILE).exists():
                _crawl(job, out_dir)
    except CrawlError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot write the crawl to {out_dir}: {error}; make room or fix it, then crawl again to go on")
    return 0


def _crawl(job: dict[str, Any], out_dir: Path) -> None:
    from lm.corpus.crawler import fetch
    from lm.corpus.crawler.crawl import SiteCrawl

    options = options_from_json(job["options"])
    known = [KnownPage(**{**page, "links": None if page["links"] is None else tuple(page["links"])}) for page in job["previous"]]
    crawl = SiteCrawl(options, out_dir, known, _Reporter())
    try:
        fetch.run(options, crawl.work)
        crawl.seal()
    except BaseException:
        crawl.leave()
        raise


class _Reporter:
    """Writes progress lines, not more often than a reader can use."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if (now := time.monotonic()) >= self._next or progress.num_pages == progress.max_pages:
            self._next = now + _REPORT_SECONDS
            print(json.dumps(asdict(progress)), flush=True)


@contextlib.contextmanager
def _only_one(out_dir: Path) -> Iterator[None]:
    """Holds the directory for this process; a second crawl of it waits a little, then says so."""
    path = out_dir / PARTIAL / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + _LOCK_SECONDS
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                    yield
                    return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise CrawlError(f"another process is crawling into {out_dir}; wait for it, or use another directory") from None
        time.sleep(0.1)


def _fail(words: str) -> int:
    print(json.dumps({"error": words}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
