"""report: one HTML file that opens without network, and the same summary as artifacts of the flow run.

The file is <lake>/report.html, its curve alone <lake>/curve.png. Both are written again only if something it shows has changed.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from flows import ladder
from flows.common import Plan, Planned, StageResult, code_of, in_run, open_lake, publish_markdown, settle
from flows.settings import ReportSettings
from lm import report
from storage import files
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import home

SHOWN = "SELECT key FROM stages WHERE stage NOT IN ('report', 'statistics') ORDER BY key"


def report_path(lake: Lake) -> Path:
    """Where the report is."""
    return home(lake) / "report.html"


def plan(lake: Lake, settings: ReportSettings) -> Plan[tuple[Work, str]]:
    """One unit: the report over the lake as it is now. A file that was removed is written again."""
    ladder_id = settings.ladder_id or ladder.newest(lake)
    inputs = {"lake": digest(*(key for (key,) in lake.rows(SHOWN)))}
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
    return report.headline(gathered(lake, ladder.newest(lake)))


@flow(name="report")
def report_flow(settings: ReportSettings = ReportSettings()) -> StageResult:
    """Write the report and keep its words and tables as artifacts."""
    with open_lake() as lake:
        result = settle(lake, plan(lake, settings), lambda todo: [write(*unit.unit) for unit in todo])
        data = gathered(lake, settings.ladder_id or ladder.newest(lake))
        publish_markdown("report", report.headline(data), "What the data says")
        for name, table in report.markdown_tables(data).items():
            publish_markdown(f"report-{name.replace('_', '-')}", table, name.replace("_", " "))
        if in_run():
            create_link_artifact(report_path(lake).as_uri(), link_text="report.html", key="report-file", description="The report")
        return result
