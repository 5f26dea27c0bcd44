"""refresh: the nightly deployment. Bring what is new, process only that, and say what changed since the last time.

Training is not part of it: it costs more than a night's pages usually change. The new ladder stands ready for the next sweep. Where a
ladder has been measured, the report is written again, and its artifacts say which conclusions changed and why.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import (
    Plan,
    Planned,
    StageResult,
    markdown_table,
    open_lake,
    publish_markdown,
    require,
    settle,
    stage_keys,
    without_heartbeats,
)
from flows.contamination import contamination_flow
from flows.crawl import crawl_flow
from flows.decisions import MEASURED
from flows.documents import documents_flow
from flows.ladder import ladder_flow
from flows.recipe import recipe_flow
from flows.report import report_flow
from flows.settings import CrawlSettings, LadderSettings, RefreshSettings
from flows.signals import signals_flow
from flows.tokens import tokens_flow
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work

SIZE = """
    SELECT '{recipe}' AS recipe, (SELECT count(*) FROM captures) AS num_captures, count(*) AS num_documents,
           sum(d.num_bytes)::BIGINT AS num_bytes, sum(t.num_tokens)::BIGINT AS num_tokens, count(DISTINCT d.host) AS num_hosts
    FROM (SELECT id, any_value(num_bytes) AS num_bytes, min(host) AS host FROM documents GROUP BY id) d
    LEFT JOIN (SELECT id, sum(num_tokens) AS num_tokens FROM tokens WHERE tokenizer_id = $tokenizer_id GROUP BY id) t USING (id)
    {kept}
"""

HISTORY = """
    SELECT s.finished_at, x.recipe, x.num_captures, x.num_documents, x.num_bytes, x.num_tokens, x.num_hosts
    FROM statistics x JOIN stages s ON x.produced_by = s.key
    QUALIFY dense_rank() OVER (ORDER BY s.finished_at DESC) <= 2 ORDER BY s.finished_at DESC, x.recipe
"""


@flow(name="refresh")
def refresh_flow(settings: RefreshSettings = RefreshSettings()) -> list[StageResult]:
    """Ask every source for what is new, process it, and compare the data with yesterday's."""
    with open_lake(read_only=True) as lake:
        crawls = _crawls(lake, settings)
    require(crawls, "source to refresh", "ladder crawl SOURCE")
    with without_heartbeats():
        results, failures = _every_stage(settings, crawls)
    if failures:
        raise RefreshError(
            f"{len(failures)} of {len(crawls)} sources could not be asked; the others are processed:\n" + "\n".join(failures)
        )
    return results


class RefreshError(RuntimeError):
    """Some sources could not be asked for what is new."""


def _every_stage(settings: RefreshSettings, crawls: Sequence[CrawlSettings]) -> tuple[list[StageResult], list[str]]:
    """What the stages did, and a line for each source that could not be asked."""
    results, failures = _crawl_all(crawls)
    results += [documents_flow(settings.documents), *signals_flow(settings.signals)]
    results += [*contamination_flow(settings.contamination), recipe_flow(settings.recipe)]
    results += tokens_flow(settings.tokens)
    with open_lake(read_only=True) as lake:
        ladder = settings.ladder or _last_ladder(lake)
    if ladder:
        results.append(ladder_flow(ladder))
    with open_lake() as lake:
        results.append(settle(lake, _plan(lake), lambda todo: [count(planned.work, planned.unit) for planned in todo]))
        measured = bool(lake.rows(MEASURED))
        publish_markdown("refresh", summary(lake, results, failures), "What changed since the last refresh")
    if measured:
        results.append(report_flow())
    return results, failures


def _crawl_all(crawls: Sequence[CrawlSettings]) -> tuple[list[StageResult], list[str]]:
    """Ask every source; one that does not answer keeps none of the others from being asked."""
    results: list[StageResult] = []
    failures: list[str] = []
    for crawl in crawls:
        state = crawl_flow(crawl, return_state=True)
        if state.is_completed():
            results.append(state.result())
        else:
            failures.append(f"  {crawl.source}: {state.message}")
    return results, failures


def _crawls(lake: Lake, settings: RefreshSettings) -> list[CrawlSettings]:
    """How each source is asked: as it was the last time, but with a visit to what is new."""
    known = dict(lake.rows("SELECT source, max(produced_by) FROM crawl_files GROUP BY source ORDER BY source"))
    names = settings.sources or list(known)
    asked = dict(lake.rows("SELECT key, parameters FROM stages WHERE stage = 'crawl'"))
    return [
        CrawlSettings(source=name, revisit=True, delay_seconds=settings.delay_seconds, **_how(json.loads(asked.get(known.get(name), "{}"))))
        for name in names
    ]


def _how(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in CrawlSettings.model_fields and value is not None}


def _last_ladder(lake: Lake) -> LadderSettings | None:
    """The settings of the newest ladder; more data may fill rungs that were shrunk before."""
    parameters = lake.value("SELECT parameters FROM stages WHERE stage = 'ladder' ORDER BY finished_at DESC LIMIT 1")
    return LadderSettings(**json.loads(parameters)) if parameters else None


def _plan(lake: Lake) -> Plan[list[str]]:
    """One unit: the size of the data, if anything changed."""
    recipes = stage_keys(lake, "recipe")
    inputs = {**recipes, **stage_keys(lake, "tokens"), **stage_keys(lake, "documents")}
    work = Work(stage="statistics", slot=digest(*sorted(inputs.values())), parameters={}, code={}, inputs=inputs)
    return Plan("statistics", [Planned(work, [slot.partition("/")[2] for slot in recipes])])


@task(name="count", cache_policy=NO_CACHE, persist_result=False)
def count(work: Work, recipes: Sequence[str]) -> Output:
    """Documents, bytes, tokens and hosts, in all and per recipe."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        tokenizer = lake.value("SELECT tokenizer_id FROM tokenizers JOIN stages ON produced_by = key ORDER BY finished_at DESC LIMIT 1")
        kept = {recipe: f'WHERE id IN (SELECT id FROM "recipe_{recipe}" WHERE kept)' for recipe in recipes}
        tables = [
            lake.query(SIZE.format(recipe=name, kept=where), {"tokenizer_id": tokenizer}) for name, where in {"all": "", **kept}.items()
        ]
        rows = pa.concat_tables(tables)
        rows = rows.append_column("lake_snapshot", pa.array([lake.snapshot_id()] * rows.num_rows, pa.int64()))
    return Output(work=work, tables={"statistics": rows}, seconds=time.monotonic() - started)


def summary(lake: Lake, results: Sequence[StageResult], failures: Sequence[str] = ()) -> str:
    """What ran, and the size of the data beside what it was before, as Markdown."""
    lines = "\n".join([*(f"- {result}" for result in results), *(f"- could not be asked: {failure.strip()}" for failure in failures)])
    changed = any(result.num_new for result in results)
    head = "Something is new." if changed else "Nothing is new: no stage had anything to do."
    return f"{head}\n\n{lines}\n\nThe data now and at the refresh before that changed it:\n\n{markdown_table(lake.query(HISTORY))}"
