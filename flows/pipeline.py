"""pipeline: everything, from a source to a report, with the forecast in its place.

All rungs but the top one are trained and measured first; the laws over them forecast the top rung; the forecast is in the lake before the
top rung trains, and is scored after.
"""

from prefect import flow

from flows import ladder
from flows.common import StageResult, open_lake, without_heartbeats
from flows.contamination import contamination_flow
from flows.crawl import crawl_flow
from flows.documents import documents_flow
from flows.evaluate import evaluate_flow
from flows.ladder import ladder_flow
from flows.law import law_flow
from flows.recipe import recipe_flow
from flows.report import report_flow
from flows.settings import EvaluateSettings, LawSettings, PipelineSettings, ReportSettings, SweepSettings
from flows.signals import signals_flow
from flows.sweep import sweep_flow
from flows.tokens import tokens_flow


@flow(name="pipeline", flow_run_name="pipeline {settings.crawl.source}")
def pipeline_flow(settings: PipelineSettings) -> list[StageResult]:
    """From a source to a report: crawl, documents, signals, contamination, recipe, tokens, ladder, runs, metrics, law, forecast."""
    with without_heartbeats():
        return _every_stage(settings)


def _every_stage(settings: PipelineSettings) -> list[StageResult]:
    results = [crawl_flow(settings.crawl), documents_flow(settings.documents), *signals_flow(settings.signals)]
    results += contamination_flow(settings.contamination)
    results += [recipe_flow(settings.recipe), *tokens_flow(settings.tokens), ladder_flow(settings.ladder)]
    with open_lake(read_only=True) as lake:
        ladder_id = ladder.current(lake, settings.ladder)
        top = ladder.top_rung(lake, ladder_id)
    for max_rung in [top - 1, top] if top else [top]:
        results += _train_and_fit(settings, ladder_id, max_rung)
    return [*results, report_flow(ReportSettings(ladder_id=ladder_id, metric=settings.law.metric))]


def _train_and_fit(settings: PipelineSettings, ladder_id: str, max_rung: int) -> list[StageResult]:
    """Train and measure up to a rung, then fit; a forecast of the next rung is registered, one for this rung is scored."""
    sweep = SweepSettings(**{**settings.sweep.model_dump(), "ladder_id": ladder_id, "max_rung": max_rung})
    law = LawSettings(**{**settings.law.model_dump(), "ladder_id": ladder_id, "max_rung": max_rung})
    evaluate = EvaluateSettings(ladder_id=ladder_id, num_parallel=sweep.num_parallel)
    return [sweep_flow(sweep), *evaluate_flow(evaluate), law_flow(law)]
