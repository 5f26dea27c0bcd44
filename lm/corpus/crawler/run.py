"""Starts a crawl in a process of its own and waits for it.

A Twisted reactor starts once per process and wants the main thread; a flow crawls many times, from threads. So a crawl is a child process:
options go in as JSON, progress and errors come back as JSON lines, pages through files. It costs a second of start-up, and a crash or
a kill of either side leaves only files that the next call goes on from.
"""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lm.corpus.crawler.journal import PARTIAL, VISITS_FILE
from lm.corpus.crawler.lifeline import child_environment
from lm.corpus.crawler.options import CrawlError, CrawlOptions, CrawlResult, KnownPage, Progress
from storage.records import Reject

RESULT_FILE = "crawl.json"


def crawl_site(
    options: CrawlOptions,
    out_dir: str | Path,
    *,
    previous: Sequence[KnownPage] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> CrawlResult:
    """Crawls a site into `out_dir`, or goes on with a crawl that was interrupted there; a finished one is returned as it is.

    `previous` holds the pages of an earlier crawl (`known_pages`): those that did not change are counted, not kept again.
    Raises: CrawlError if the site gives no pages, ValueError if `out_dir` holds a finished crawl of other options.
    """
    out_dir = Path(out_dir).resolve()
    if (result := read_result(out_dir, options)) is None:
        existed = out_dir.exists()
        try:
            _crawl_in_child(options, out_dir, previous, on_progress or (lambda _: None))
        except CrawlError:
            if not existed:
                _remove_if_empty(out_dir)
            raise
        result = read_result(out_dir, options)
        assert result
    shutil.rmtree(out_dir / PARTIAL, ignore_errors=True)  # left if a crawl was killed after its last word
    return result


def read_result(out_dir: str | Path, options: CrawlOptions | None = None) -> CrawlResult | None:
    """The result of a finished crawl, None if there is none. Raises ValueError if it was made with other options."""
    out_dir = Path(out_dir)
    if not (out_dir / RESULT_FILE).exists():
        return None
    values = json.loads((out_dir / RESULT_FILE).read_text())
    if options is not None and values["options"] != options.identity():
        had, asked = values["options"], options.identity()
        differ = ", ".join(f"{name} {had.get(name)!r}, not {asked[name]!r}" for name in asked if had.get(name) != asked[name])
        raise ValueError(f"{out_dir} holds a finished crawl of other options ({differ}); crawl into another directory, or remove it")
    return CrawlResult(
        warc_files=tuple(str(out_dir / name) for name in values["warc_files"]),
        visits_file=str(out_dir / values["visits_file"]),
        num_pages=values["num_pages"],
        num_unchanged=values["num_unchanged"],
        num_bytes=values["num_bytes"],
        counts=values["counts"],
        rejects=tuple(
            Reject("crawl", values["options"]["start_url"], reason, number, example) for reason, number, example in values["rejects"]
        ),
        seconds=values["seconds"],
    )


def known_pages(out_dir: str | Path) -> list[KnownPage]:
    """The pages a finished crawl saw, unchanged ones included, for the `previous` of the next crawl of that site."""
    with gzip.open(Path(out_dir) / VISITS_FILE, "rt", encoding="utf-8") as file:
        visits = [json.loads(line) for line in file]
    return [
        KnownPage(visit["url"], visit["etag"], visit["last_modified"], visit["payload_digest"], tuple(visit["links"]))
        for visit in visits
        if visit["outcome"] in ("page", "unchanged")
    ]


def _crawl_in_child(options: CrawlOptions, out_dir: Path, previous: Sequence[KnownPage], on_progress: Callable[[Progress], None]) -> None:
    job = {"options": asdict(options), "out_dir": str(out_dir), "previous": [asdict(page) for page in previous], "parent_pid": os.getpid()}
    with tempfile.TemporaryFile("w+") as job_file, tempfile.TemporaryFile("w+") as log:
        json.dump(job, job_file)
        job_file.seek(0)
        command = [sys.executable, "-m", "lm.corpus.crawler"]
        with subprocess.Popen(command, stdin=job_file, stdout=subprocess.PIPE, stderr=log, text=True, env=child_environment()) as child:
            try:
                error = _follow(child, on_progress)
            finally:
                child.kill()  # it has ended, or the caller stopped waiting; killed, it can go on later
        if error or child.returncode not in (0, -9):
            raise CrawlError(error or f"the crawl of {options.start_url} broke off: {_tail(log)}")
        if not (out_dir / RESULT_FILE).exists():
            raise CrawlError(f"the crawl of {options.start_url} was killed; crawl again into {out_dir} to go on")


def _follow(child: "subprocess.Popen[str]", on_progress: Callable[[Progress], None]) -> str | None:
    """Passes progress on until the child is done; returns the error it reports, if any."""
    error: str | None = None
    assert child.stdout
    for line in child.stdout:
        event: dict[str, Any] = json.loads(line)
        if "error" in event:
            error = str(event["error"])
        else:
            on_progress(Progress(**event))
    child.wait()
    return error


def _tail(log: Any) -> str:
    log.seek(0)
    lines = [line for line in log.read().splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it was killed"


def _remove_if_empty(out_dir: Path) -> None:
    with contextlib.suppress(OSError):
        if not any((out_dir / PARTIAL).glob("visits-*")):
            out_dir.rmdir()
