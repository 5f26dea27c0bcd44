"""crawl: a source becomes a list of files that the documents stage reads.

A web site is visited by the crawler and written as WARC; Common Crawl files are downloaded; files that already exist are listed where
they lie and not copied. What came from outside is a record and is never fetched twice: a source that has been crawled is done until
`revisit` asks what is new. A visit that finds nothing new leaves no trace in the lake.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, open_lake, publish_markdown, settle
from flows.progress import Progress
from flows.settings import CrawlSettings
from lm.corpus import commoncrawl, sources
from lm.corpus.crawler import CrawlOptions, CrawlResult, crawl_site, known_pages
from lm.corpus.records import SourceFile
from lm.corpus.sources import Source
from storage.digest import digest, file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home, relative
from storage.records import Reject

WHAT = ("max_pages", "max_depth", "obey_robots", "num_files", "fraction", "seed")
"""Settings that decide what is crawled; the others decide how."""


def plan(lake: Lake, settings: CrawlSettings) -> Plan[Source]:
    """The units of a crawl: one visit of a site, one sample of Common Crawl, or one listing of files."""
    source = sources.parse(settings.source)
    slot = settings.source
    inputs: dict[str, str] = {}
    if source.kind == "site":
        slot = f"{settings.source}#visit-{_visit(lake, settings):04d}"
    elif source.kind != "cc":
        inputs = {file.url: file.digest for file in sources.list_files(source)}
    parameters = {name: getattr(settings, name) for name in WHAT} if source.kind in ("site", "cc") else {}
    work = Work(stage="crawl", slot=slot, parameters=parameters, code={}, inputs=inputs)
    return Plan("crawl", [Planned(work, source)])


def _visit(lake: Lake, settings: CrawlSettings) -> int:
    visits = lake.rows("SELECT count(*) FROM stages WHERE stage = 'crawl' AND starts_with(slot, ?)", [settings.source + "#visit-"])[0][0]
    return int(visits) + 1 if settings.revisit or not visits else int(visits)


@task(name="fetch", retries=2, retry_delay_seconds=10, cache_policy=NO_CACHE, persist_result=False, task_run_name="fetch {settings.source}")
def fetch(settings: CrawlSettings, work: Work) -> Output | None:
    """Bring or list the files of one source; None if a revisit found nothing new."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        source = sources.parse(settings.source)
        if source.kind == "site":
            files, rejects = _visit_site(lake, settings, work)
        elif source.kind == "cc":
            files, rejects = _download(lake, settings, source), []
        else:
            files, rejects = sources.list_files(source), []
    if not files:
        return None
    crawl = crawl_name(settings, work)
    table = pa.table(
        {
            "crawl": [crawl] * len(files),
            "source": [settings.source] * len(files),
            "kind": [source.kind] * len(files),
            "file": [file.url for file in files],
            "num_bytes": pa.array([file.num_bytes for file in files], pa.int64()),
            "file_digest": [file.digest for file in files],
        }
    )
    return Output(work=work, tables={"crawl_files": table}, rejects=rejects, seconds=time.monotonic() - started)


def crawl_name(settings: CrawlSettings, work: Work) -> str:
    """Name of one snapshot of one source; decided by the source and what was asked of it, not by when."""
    source = sources.parse(settings.source)
    if source.kind == "cc":
        return source.pattern
    visit = work.slot.rpartition("#visit-")[2] if source.kind == "site" else "files"
    return f"{source.kind}-{digest(settings.source, *(str(getattr(settings, name)) for name in WHAT))[:8]}-{visit}"


def _visit_site(lake: Lake, settings: CrawlSettings, work: Work) -> tuple[list[SourceFile], list[Reject]]:
    source = sources.parse(settings.source)
    crawls = home(lake) / "crawls"
    options = CrawlOptions(
        start_url=source.pattern,
        max_pages=settings.max_pages,
        max_depth=settings.max_depth,
        delay_seconds=settings.delay_seconds,
        autothrottle=settings.delay_seconds > 0,
        concurrency=settings.num_concurrent,
        concurrency_per_host=settings.num_concurrent,
        obey_robots=settings.obey_robots,
        proxy=settings.proxy,
        seed=settings.seed,
    )
    progress = Progress(f"crawl {source.pattern}", "pages")
    earlier = [known_pages(crawls / name) for name in _earlier_visits(lake, settings, work)]
    previous = list({page.url: page for pages in earlier for page in pages}.values())
    out_dir = crawls / crawl_name(settings, work)
    result = crawl_site(options, out_dir, previous=previous, on_progress=lambda p: progress(p.num_pages, p.max_pages))
    LOG.info("  %s: %s pages new, %s unchanged", source.pattern, f"{result.num_pages:,}", f"{result.num_unchanged:,}")
    if not result.warc_files:
        shutil.rmtree(out_dir)
    return _sealed_files(lake, result), list(result.rejects)


def _earlier_visits(lake: Lake, settings: CrawlSettings, work: Work) -> list[str]:
    sql = "SELECT DISTINCT crawl FROM crawl_files JOIN stages ON produced_by = key WHERE source = ? AND slot < ? ORDER BY crawl"
    return [crawl for (crawl,) in lake.rows(sql, [settings.source, work.slot])]


def _sealed_files(lake: Lake, result: CrawlResult) -> list[SourceFile]:
    """The sealed files, identified by the pages they hold: the bytes of a WARC also tell when each page was fetched."""
    if not result.warc_files:
        return []
    pages = file_digest(result.visits_file)
    return [
        SourceFile(relative(lake, file), Path(file).stat().st_size, digest(pages, str(number)))
        for number, file in enumerate(result.warc_files)
    ]


def _download(lake: Lake, settings: CrawlSettings, source: Source) -> list[SourceFile]:
    urls = commoncrawl.plan(
        source.pattern, num_files=settings.num_files, fraction=settings.fraction, seed=settings.seed, base_url=settings.base_url
    )
    progress = Progress(f"download {source.pattern}", "files")
    return [_download_one(lake, source, url, number, len(urls), progress) for number, url in enumerate(urls)]


def _download_one(lake: Lake, source: Source, url: str, number: int, total: int, progress: Progress) -> SourceFile:
    dest = home(lake) / "crawls" / source.pattern / Path(url).name
    commoncrawl.download(url, dest)
    progress(number + 1, total)
    return SourceFile(relative(lake, str(dest)), dest.stat().st_size, file_digest(dest))


@flow(name="crawl", flow_run_name="crawl {settings.source}")
def crawl_flow(settings: CrawlSettings) -> StageResult:
    """Bring one source into the lake: visit a site, download from Common Crawl, or list files that exist."""
    with open_lake() as lake:

        def produce(todo: Sequence[Planned[Source]]) -> list[Output]:
            return [output for p in todo if (output := fetch(settings, p.work)) is not None]

        result = settle(lake, plan(lake, settings), produce)
        publish_markdown("crawl", f"**{settings.source}**: {result}", "What the crawl brought")
        return result
