"""One subcommand per stage. Each plans first: what is done is said at once, without a server; the rest runs as a Prefect flow."""

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import settings as all_settings
from flows.cli import evaluation, forms, law, recipe
from flows.cli.running import friendly_errors, prefect_server

if TYPE_CHECKING:
    from flows.common import Plan
    from storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's command: its module in flows/, its settings class, its help, and the option that is given as an argument."""

    command: str
    module: str
    settings: type[all_settings.StageSettings]
    help: str
    argument: str | None = None
    always_runs: bool = False
    """Whether the flow also looks after what no unit of work stands for, such as a view."""
    has_costs: bool = False
    """Whether the stage can show what it will cost before it starts: `--dry-run`."""


STAGES = [
    Stage("crawl", "crawl", all_settings.CrawlSettings, "Visit a site, download Common Crawl files, or list files that exist.", "source"),
    Stage("documents", "documents", all_settings.DocumentsSettings, "Extract the text of crawled files."),
    Stage("signals", "signals", all_settings.SignalsSettings, "Measure every text and find near-duplicates."),
    Stage("paragraphs", "paragraphs", all_settings.ParagraphsSettings, "Find paragraphs and lines that repeat across texts."),
    Stage("contamination", "contamination", all_settings.ContaminationSettings, "Look for evaluation sets in every text."),
    Stage("recipe", "recipe", all_settings.RecipeSettings, "Apply recipes and count what each rule removes.", always_runs=True),
    Stage("tokens", "tokens", all_settings.TokensSettings, "Make a vocabulary and a validation set, and encode every text."),
    Stage("rungs", "ladder", all_settings.LadderSettings, "Lay out nested amounts of training data."),
    Stage("train", "train", all_settings.TrainSettings, "Train one model with one seed up to a rung."),
    Stage("tune", "tune", all_settings.TuneSettings, "Find each size's learning rate by a small grid.", has_costs=True),
    Stage("sweep", "sweep", all_settings.SweepSettings, "Train a table of runs: sizes, recipes, seeds and more.", has_costs=True),
    Stage("evaluate", "evaluate", all_settings.EvaluateSettings, "Measure checkpoints on the validation set and on evaluation sets."),
    Stage("law", "law", all_settings.LawSettings, "Fit scaling laws, register forecasts and score earlier ones."),
    Stage("report", "report", all_settings.ReportSettings, "Write the report: one HTML file."),
    Stage("refresh", "refresh", all_settings.RefreshSettings, "Nightly: bring what is new and process only that."),
    Stage("pipeline", "pipeline", all_settings.PipelineSettings, "All stages, from a source to a report.", "crawl_source"),
]

PLANS = (
    *("plan_tokenizer", "plan_validation", "plan", "plan_pairs", "plan_keys", "plan_verdict", "plan_scores"),
    *("plan_tasks", "plan_task_metrics"),
)
"""Functions of a stage's module that plan, in the order in which they run."""
OPTIONAL = ("scores", "metrics", "tasks", "task_metrics")
"""Plans that may be empty: nobody need ask for them."""
WHY = inspect.Parameter(
    "why",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--why", help="Only say what would run, and which parameters, code or inputs changed.")],
)
DRY_RUN = inspect.Parameter(
    "dry_run",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--dry-run", help="Only show what would be trained, and what it costs.")],
)


def register(app: typer.Typer) -> None:
    """Add one command per stage."""
    for stage in STAGES:
        if stage.command == "law":
            law.register(app, _command(stage), stage.help)
        elif stage.command == "recipe":
            recipe.register(app, _command(stage), stage.help)
        else:
            app.command(name=stage.command, help=stage.help, rich_help_panel="Stages")(_command(stage))
        if stage.command == "evaluate":
            evaluation.register(app, _command(stage))


def _command(stage: Stage) -> Any:
    @friendly_errors
    def run(settings: all_settings.StageSettings, why: bool, dry_run: bool = False) -> None:
        if dry_run:
            _say_costs(stage, settings)
        else:
            _run(stage, settings, why)

    extra = [WHY, DRY_RUN] if stage.has_costs else [WHY]
    return forms.command(stage.settings, run, stage.help, argument=stage.argument, extra=extra)


def _run(stage: Stage, settings: all_settings.StageSettings, why: bool) -> None:
    from flows.common import open_lake

    with open_lake() as lake:
        plans = _plans(stage, lake, settings)
        if why:
            _say_why(lake, stage, plans)
            return
        if plans and not stage.always_runs and all(plan.units and not plan.todo(lake) and not plan.stale(lake) for plan in plans):
            print(f"{stage.command}: nothing to do, {sum(len(plan.units) for plan in plans)} up to date")
            return
    with prefect_server():
        result = getattr(import_module(f"flows.{stage.module}"), f"{stage.module}_flow")(settings)
        print("\n".join(map(str, result if isinstance(result, list) else [result])))


def _plans(stage: Stage, lake: "Lake", settings: Any) -> "list[Plan[Any]]":
    """What the stage would do, for stages that know before they start; the last plan of tokens and signals needs those before it."""
    module = import_module(f"flows.{stage.module}")
    plans = [getattr(module, name)(lake, settings) for name in PLANS if hasattr(module, name)]
    return [plan for plan in plans if plan.stage not in OPTIONAL or plan.units or plan.stale(lake)]


def _say_costs(stage: Stage, settings: Any) -> None:
    from flows.common import open_lake

    with open_lake() as lake:
        print("\n".join(import_module(f"flows.{stage.module}").costs_of(lake, settings).lines()))


def _say_why(lake: "Lake", stage: Stage, plans: "list[Plan[Any]]") -> None:
    from storage import ledger

    if not plans:
        print(f"{stage.command} plans its stages one after the other; ask each of them")
    for plan in plans:
        for unit in plan.units:
            print(ledger.why(lake, unit.work))
        for slot in plan.stale(lake):
            print(f"{plan.stage} {slot}: goes, nothing refers to it any more")
