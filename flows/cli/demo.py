"""`ladder demo`: from a real crawl to a checked forecast, on this machine, in minutes, without network.

The crawl's target is the documentation of the Python packages installed here, served on loopback as an ordinary web site.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from flows.cli.running import friendly_errors, lake_home, prefect_server, say

SITE = "http://python-docs.localhost/"


@friendly_errors
def demo(
    source: Annotated[
        str | None,
        typer.Option(help="Another source, such as warc:GLOB or site:https://...; the documentation of installed packages if not said."),
    ] = None,
    pages: Annotated[int, typer.Option(min=50, help="Pages to crawl at most.")] = 4_000,
    tokens: Annotated[int, typer.Option(min=65_536, help="Training tokens of the top rung, at most.")] = 1_048_576,
    rungs: Annotated[int, typer.Option(min=2, max=10, help="Rungs, each twice the one before.")] = 6,
    recipe: Annotated[str, typer.Option(help="Recipe that chooses the training documents.")] = "slimpajama",
    parallel: Annotated[int, typer.Option(min=1, help="Trainings side by side, one thread each.")] = 2,
) -> None:
    """Crawl a real site, build datasets, train a ladder, forecast the top rung before it trains, and check the forecast."""
    from flows.pipeline import pipeline_flow
    from flows.settings import CrawlSettings, LadderSettings, PipelineSettings, SweepSettings, TokensSettings
    from lm.tokens.rungs import RUNG_MULTIPLE

    rungs = max(2, min(rungs, (tokens // RUNG_MULTIPLE).bit_length()))  # few tokens give fewer rungs, none of them too small
    with target(source, pages) as crawl, prefect_server():
        settings = PipelineSettings(
            crawl=CrawlSettings(**crawl),
            tokens=TokensSettings(validation_recipe=recipe),
            ladder=LadderSettings(recipe=recipe, first_rung_tokens=tokens // 2 ** (rungs - 1), num_rungs=rungs, shrink_to_fit=True),
            sweep=SweepSettings(launch="here", num_parallel=parallel),
        )
        pipeline_flow(settings)
    finish()


@contextmanager
def target(source: str | None, pages: int) -> Iterator[dict[str, Any]]:
    """Settings of the crawl; without a source, the site of documentation is served for as long as the block lasts, if it is needed."""
    asked = {"source": source or f"site:{SITE}", "max_pages": pages}
    if source or _is_crawled(asked):
        yield asked
        return
    from flows.progress import Progress
    from lm.corpus import docsite

    site = docsite.build(cache_dir=lake_home() / "cache" / "docsite", on_progress=Progress("read docstrings", "files"))
    with docsite.serve(site) as server:
        say(f"Serving the documentation of {len(site.packages):,} installed packages, {site.num_pages:,} pages, at {server.url}")
        yield {**asked, "proxy": server.url, "delay_seconds": 0.0, "num_concurrent": 16}


def _is_crawled(asked: dict[str, Any]) -> bool:
    from flows import crawl
    from flows.common import open_lake
    from flows.settings import CrawlSettings

    with open_lake() as lake:
        return not crawl.plan(lake, CrawlSettings(**asked)).todo(lake)


def finish() -> None:
    """Say what came out and where it is."""
    from flows.report import headline, report_path
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        print(headline(lake))
        print(f"Report: {report_path(lake)}")
    say('Look around: `ladder status`, `ladder sql "SELECT * FROM forecasts"`, `ladder up` for the web interface.')
