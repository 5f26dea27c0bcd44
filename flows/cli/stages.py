"""One subcommand per stage. Each plans first: what is done is said at once, without a server; the rest runs as a Prefect flow."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from rich import print as say

from flows.cli import forms
from flows.cli.running import friendly_errors, prefect_server


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's command: its module in flows/, its settings class, and the field given as an argument."""

    command: str
    module: str
    settings: str
    help: str
    positional: str | None = None

    @property
    def flow(self) -> Any:
        """The Prefect flow."""
        return getattr(import_module(f"flows.{self.module}"), f"{self.module}_flow")

    @property
    def plans(self) -> list[Callable[..., Any]]:
        """Functions (lake, settings) -> planned units, for stages that can say beforehand what they would do."""
        module = import_module(f"flows.{self.module}")
        return [getattr(module, name) for name in ("plan", "plan_pairs") if hasattr(module, name)]


STAGES = [
    Stage(
        "crawl", "crawl", "CrawlSettings", "Bring a source: visit a site, download Common Crawl files, or list files that exist.", "source"
    ),
    Stage("documents", "documents", "DocumentsSettings", "Extract the text of crawled files."),
    Stage("signals", "signals", "SignalsSettings", "Measure every text and find near-duplicates."),
    Stage("recipe", "recipe", "RecipeSettings", "Apply recipes and count what each rule removes."),
    Stage("tokens", "tokens", "TokensSettings", "Train or load a tokenizer and encode every text; draw the validation set."),
    Stage("rungs", "ladder", "LadderSettings", "Lay out nested amounts of training data."),
    Stage("sweep", "sweep", "SweepSettings", "Train sizes x seeds up to a rung."),
    Stage("train", "train", "TrainSettings", "Train one model with one seed up to a rung."),
    Stage("evaluate", "evaluate", "EvaluateSettings", "Measure checkpoints on the validation set."),
    Stage("law", "law", "LawSettings", "Fit scaling laws, register forecasts and score earlier ones."),
    Stage("report", "report", "ReportSettings", "Write the report: one HTML file."),
    Stage("refresh", "refresh", "RefreshSettings", "Nightly: bring what is new and process only that."),
    Stage("pipeline", "pipeline", "PipelineSettings", "All stages, from a source to a report.", "source"),
]

WHY = inspect.Parameter(
    "why",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--why", help="Only show what would run, and which parameters, code or inputs changed.")],
)


def register(app: typer.Typer) -> None:
    """Add one command per stage."""
    for stage in STAGES:
        app.command(name=stage.command, help=stage.help, rich_help_panel="Stages")(_lazy(stage))


def _lazy(stage: Stage) -> Any:
    """The stage's command, with options read from its settings model."""
    model = getattr(import_module("flows.settings"), stage.settings)
    return forms.command(model, lambda settings, why: _run(stage, settings, why), stage.help, positional=stage.positional, extra=[WHY])


@friendly_errors
def _run(stage: Stage, settings: Any, why: bool) -> None:
    if stage.plans and _up_to_date(stage, settings, why):
        return
    with prefect_server():
        for line in _lines(stage.flow(settings)):
            say(line)


def _up_to_date(stage: Stage, settings: Any, why: bool) -> bool:
    """Say what is planned; whether there is nothing left to do (or nothing was to be done but to say)."""
    from flows.common import open_lake
    from storage import ledger

    with open_lake() as lake:
        planned = [p for plan in stage.plans for p in plan(lake, settings)]
        pending = ledger.pending(lake, [p.work for p in planned])
        if why:
            for p in planned:
                say(str(ledger.why(lake, p.work)))
            return True
    if planned and not pending and stage.command not in ("crawl",):
        say(f"{stage.command}: nothing to do, {len(planned)} up to date")
        return True
    return False


def _lines(result: Any) -> list[str]:
    return [str(line) for line in result] if isinstance(result, list) else [str(result)]
