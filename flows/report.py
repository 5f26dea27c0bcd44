"""report: one HTML file that opens without network, and the same summary as artifacts of the flow run.

Conclusions are drawn first, where runs or data have changed since the last ones. The file is <lake>/report.html, its curve alone
<lake>/curve.png. Both are written again only if something they show has changed.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from flows import decisions
from flows.common import Plan, Planned, StageResult, code_of, in_run, open_lake, publish_markdown, settle
from flows.settings import ReportSettings
from lm import report
from storage import files
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home

SHOWN = "SELECT key FROM stages WHERE stage NOT IN ('report', 'statistics', 'decisions') ORDER BY key"


def report_path(lake: Lake) -> Path:
    """Where the report is."""
    return home(lake) / "report.html"


def plan(lake: Lake, settings: ReportSettings) -> Plan[tuple[Work, str]]:
    """One unit: the report over the lake as it is now. A file that was removed is written again."""
    ladder_id = decisions.reported(lake, settings.ladder_id)
    concluded = [unit.work.key for unit in decisions.plan(lake, ladder_id, settings.metric).units]
    inputs = {"lake": digest(*(key for (key,) in lake.rows(SHOWN))), "conclusions": digest(*concluded)}
    work = Work(stage="report", slot="report", parameters={"ladder_id": ladder_id}, code=code_of("lm.report"), inputs=inputs)
    asked = work if report_path(lake).exists() else replace(work, inputs={**inputs, "file": "missing"})
    return Plan("report", [Planned(asked, (work, ladder_id))])


@task(name="write report", cache_policy=NO_CACHE, persist_result=False)
def write(work: Work, ladder_id: str) -> Output:
    """The HTML file, and its curve as a picture."""
    with open_lake(read_only=True) as lake:
        data = gathered(lake, ladder_id)
        report.curve_png(data, report_path(lake).with_name("curve.png"))
        files.write_bytes(str(report_path(lake)), report.render(data).encode())
    return Output(work=work)


def gathered(lake: Lake, ladder_id: str) -> report.ReportData:
    """What the report shows, read from the lake."""
    sources = [source for (source,) in lake.rows("SELECT DISTINCT source FROM crawl_files ORDER BY source")]
    return report.gather(
        lake.query,
        ladder_id=ladder_id,
        title=", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else ""),
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        lake_snapshot=lake.snapshot_id(),
    )


def headline(lake: Lake) -> str:
    """The paragraph in words, for the terminal."""
    return report.headline(gathered(lake, decisions.reported(lake)))


@flow(name="report")
def report_flow(settings: ReportSettings = ReportSettings()) -> StageResult:
    """Draw conclusions, write the report and keep its words and tables as artifacts, in both languages."""
    with open_lake() as lake:
        ladder_id = decisions.reported(lake, settings.ladder_id)
        decisions.settle_decisions(lake, ladder_id, settings.metric)
        result = settle(lake, plan(lake, settings), lambda todo: [write(*unit.unit) for unit in todo])
        data = gathered(lake, ladder_id)
        for language, suffix in (("en", ""), ("zh", "-zh")):
            publish_markdown(f"report{suffix}", report.headline(data, language=language), "What the data says")
            publish_markdown(f"conclusions{suffix}", decisions.note(lake, ladder_id, settings.metric, language), "What changed, and why")
        for name, table in report.markdown_tables(data).items():
            publish_markdown(f"report-{name.replace('_', '-')}", table, name.replace("_", " "))
        if in_run():
            create_link_artifact(report_path(lake).as_uri(), link_text="report.html", key="report-file", description="The report")
        return result
