"""law: fit scaling laws to measured losses, register a forecast for the next rung, and score forecasts whose rung has come in.

A forecast is registered only while its rung has no measurement, and is never replaced: refitting with other code adds laws, not
better-looking predictions. Its outcome is written into its own row later.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import ladder
from flows.common import LOG, Plan, Planned, StageResult, code_of, column, markdown_table, open_lake, publish_markdown, require, settle
from flows.rates import MAIN_RUNS
from flows.settings import LawSettings
from lm import law
from storage import ledger
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work

POINTS = f"""
    SELECT m.run_id, r.num_params, m.num_tokens, r.seed, m.value, m.validation_id, m.rung, m.produced_by
    FROM metrics m JOIN runs r USING (run_id)
    WHERE r.ladder_id = $ladder_id AND m.split = 'validation' AND m.domain = 'all' AND m.name = $metric
      AND m.rung IS NOT NULL AND m.rung <= $max_rung AND r.run_id IN ({MAIN_RUNS})
    ORDER BY r.num_params, m.num_tokens, r.seed, m.run_id
"""

UNSCORED = f"""
    SELECT f.forecast_id, f.low, f.high, f.low80, f.high80, f.quantiles, avg(m.value) AS outcome,
           list(m.run_id ORDER BY m.run_id) AS run_ids
    FROM forecasts f
    JOIN runs r ON r.ladder_id = f.ladder_id AND r.num_params = f.num_params
    JOIN metrics m ON m.run_id = r.run_id AND m.rung = f.rung AND m.name = f.metric AND m.split = 'validation' AND m.domain = 'all'
    WHERE f.outcome IS NULL AND r.run_id IN ({MAIN_RUNS})
    GROUP BY f.forecast_id, f.low, f.high, f.low80, f.high80, f.quantiles, f.num_seeds HAVING count(*) >= f.num_seeds
    ORDER BY f.forecast_id
"""

FORECAST_CODE = ("lm.law.fitting", "lm.law.forecasting")


def points(lake: Lake, settings: LawSettings) -> pa.Table:
    """Losses at the rungs the fit may see."""
    ladder_id = settings.ladder_id or ladder.newest(lake)
    max_rung = settings.max_rung if settings.max_rung is not None else 2**31 - 1
    return lake.query(POINTS, {"ladder_id": ladder_id, "metric": settings.metric, "max_rung": max_rung})


def plan(lake: Lake, settings: LawSettings) -> Plan[pa.Table]:
    """One unit: the laws over the rungs that are measured and that the fit may see."""
    found = points(lake, settings)
    if not found.num_rows:
        return Plan("law", [])
    ladder_id = settings.ladder_id or ladder.newest(lake)
    top = max(column(found, "rung"))
    work = Work(
        stage="law",
        slot=f"{ladder_id[:16]}/{settings.metric}/to-rung-{top}",
        parameters={name: value for name, value in settings.model_dump().items() if name not in ("ladder_id", "max_rung")},
        code=code_of(*FORECAST_CODE),
        inputs={
            f"metrics/{run}/{rung}": key
            for run, rung, key in zip(*(column(found, name) for name in ("run_id", "rung", "produced_by")), strict=True)
        },
    )
    return Plan("law", [Planned(work, found)])


@task(name="fit", cache_policy=NO_CACHE, persist_result=False, task_run_name="fit {work.slot}")
def fit(work: Work, found: pa.Table, settings: LawSettings, ladder_id: str) -> list[Output]:
    """The laws, and the forecasts of the next rung that are not registered yet."""
    started = time.monotonic()
    laws, skipped = law.fit_all(law.gather(found), seed=settings.seed, num_bootstrap=settings.num_bootstrap)
    for form, reason in skipped.items():
        LOG.info("  %s is not fitted: %s", form, reason)
    rows = law.law_rows(laws, ladder_id=ladder_id, metric=settings.metric, curves=law.curve(laws, level=settings.level))
    outputs = [Output(work=work, tables={"laws": pa.Table.from_pylist(rows, schema=None)}, seconds=time.monotonic() - started)]
    with open_lake(read_only=True) as lake:
        outputs += _forecasts(lake, laws, found, settings, ladder_id)
    return outputs


def _forecasts(lake: Lake, laws: Sequence[law.Law], found: pa.Table, settings: LawSettings, ladder_id: str) -> list[Output]:
    target = max(column(found, "rung")) + 1
    rung = lake.rows("SELECT num_tokens FROM rungs WHERE ladder_id = ? AND rung = ?", [ladder_id, target])
    sizes = sorted(set(column(found, "num_params")))
    return [
        _forecast(lake, laws, size, rung[0][0], target, _seeds(found, size), settings, ladder_id)
        for size in sizes
        if rung and not _is_measured_or_registered(lake, ladder_id, rung[0][0], size, settings.metric)
    ]


def _seeds(found: pa.Table, num_params: int) -> int:
    return len({seed for seed, size in zip(column(found, "seed"), column(found, "num_params"), strict=True) if size == num_params})


def _is_measured_or_registered(lake: Lake, ladder_id: str, num_tokens: int, num_params: int, metric: str) -> bool:
    measured = """
        SELECT 1 FROM metrics m JOIN runs r USING (run_id)
        WHERE r.ladder_id = ? AND m.num_tokens = ? AND r.num_params = ? AND m.name = ? AND m.rung IS NOT NULL
    """
    registered = "SELECT 1 FROM forecasts WHERE ladder_id = ? AND num_tokens = ? AND num_params = ? AND metric = ?"
    values = [ladder_id, num_tokens, num_params, metric]
    return bool(lake.rows(f"({measured} LIMIT 1) UNION ALL ({registered} LIMIT 1)", values * 2))


def _forecast(
    lake: Lake, laws: Sequence[law.Law], num_params: int, num_tokens: int, rung: int, num_seeds: int, settings: LawSettings, ladder_id: str
) -> Output:
    prediction = law.forecast(laws, num_params, num_tokens, settings.level, num_seeds=num_seeds)
    row = law.forecast_row(prediction, ladder_id=ladder_id, rung=rung, metric=settings.metric)
    row |= {"registered_at": datetime.now(UTC), "lake_snapshot": lake.snapshot_id()}
    LOG.info(
        "  forecast for %s parameters at %s tokens: %.4f [%.4f, %.4f]",
        f"{num_params:,}",
        f"{num_tokens:,}",
        row["predicted"],
        row["low"],
        row["high"],
    )
    work = Work(
        stage="forecast",
        slot=f"{ladder_id[:16]}/{settings.metric}/{num_params}/{num_tokens}-tokens",
        parameters={"level": settings.level, "num_seeds": num_seeds},
        code=code_of(*FORECAST_CODE),
        inputs={"law": prediction.law_id},
    )
    return Output(work=work, tables={"forecasts": pa.Table.from_pylist([row])})


@task(name="score", cache_policy=NO_CACHE, persist_result=False)
def score() -> int:
    """Write the measured outcome into every forecast whose rung has been trained by all its seeds; how many were scored."""
    with open_lake() as lake:
        outputs = [_scored(*row[:5], quantiles=row[5], outcome=row[6], runs=row[7]) for row in lake.rows(UNSCORED)]
        if outputs:
            ledger.commit(lake, outputs)
        return len(outputs)


def _scored(forecast_id: str, *ends: float | None, quantiles: str | None, outcome: float, runs: list[str]) -> Output:
    inside, inside80 = (None if low is None or high is None else low <= outcome <= high for low, high in (ends[:2], ends[2:]))
    crps = None if quantiles is None else law.crps_of(quantiles, outcome)
    LOG.info("  outcome %.4f, forecast [%.4f, %.4f]: %s", outcome, *ends[:2], "inside" if inside else "OUTSIDE the interval")
    update = """
        UPDATE forecasts SET outcome = ?, inside = ?, inside80 = ?, crps = ?, scored_at = ? WHERE forecast_id = ? AND outcome IS NULL
    """
    values = [outcome, inside, inside80, crps, datetime.now(UTC), forecast_id]
    work = Work(stage="score", slot=forecast_id, parameters={}, code={}, inputs={"runs": digest(*runs)})
    return Output(work=work, tables={}, updates=[(update, values)])


@flow(name="law")
def law_flow(settings: LawSettings = LawSettings()) -> StageResult:
    """Fit laws, register forecasts for the next rung, and score those whose rung has been measured."""
    with open_lake() as lake:
        planned = plan(lake, settings)
        require(planned.units, "validation metrics for this ladder", "ladder evaluate")
        ladder_id = settings.ladder_id or ladder.newest(lake)

        def produce(todo: Sequence[Planned[pa.Table]]) -> list[Output]:
            return [output for unit in todo for output in fit(unit.work, unit.unit, settings, ladder_id)]

        result = settle(lake, planned, produce)
        if lake.rows(UNSCORED):
            score()
        LOG.info("  %s", told_record(lake, ladder_id))
        publish_markdown("law", summary(lake, ladder_id), "Laws and forecasts")
        return result


LAWS = """
    SELECT form, num_params, constants, intervals, num_points FROM laws WHERE ladder_id = ? ORDER BY max_num_tokens, form, num_params
"""
FORECASTS = """
    SELECT num_params, num_tokens, predicted, low80, high80, low, high, level, form_weights, outcome, inside80, inside, crps, registered_at,
           lake_snapshot
    FROM forecasts WHERE ladder_id = ? ORDER BY num_params, rung
"""
RECORD = """
    SELECT count(*) AS registered, count(outcome) AS scored, avg(inside80::INTEGER) AS inside_80, avg(inside::INTEGER) AS inside_interval,
           avg(crps) AS mean_crps, avg(crps / outcome) AS mean_crps_share, avg(abs(predicted / outcome - 1)) AS mean_error
    FROM forecasts WHERE ladder_id = ? OR ?
"""


def told_record(lake: Lake, ladder_id: str) -> str:
    """How forecasts have fared, of this ladder and of the whole lake, in one line."""
    return "; ".join(
        f"{name}: {_told(lake.query(RECORD, [ladder_id, every]).to_pylist()[0])}"
        for name, every in (("record of this ladder", False), ("of all ladders", True))
    )


def _told(row: dict[str, float | None]) -> str:
    told = f"{row['registered']} forecasts, {row['scored']} scored"
    if not row["scored"] or row["inside_interval"] is None or row["mean_error"] is None:
        return told
    told += f", {row['inside_interval']:.0%} inside, {row['mean_error']:.1%} off on average"
    return told if row["mean_crps_share"] is None else f"{told}, mean CRPS {row['mean_crps_share']:.1%} of the loss"


def summary(lake: Lake, ladder_id: str) -> str:
    """Laws and forecasts of a ladder, and how forecasts have fared, as Markdown."""
    tables = [markdown_table(lake.query(sql, [ladder_id])) for sql in (LAWS, FORECASTS)]
    return "\n\n".join([*tables, f"Record: {told_record(lake, ladder_id)}.", markdown_table(lake.query(RECORD, [ladder_id, False]))])
