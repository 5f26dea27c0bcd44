"""The figures of decisions, as Altair charts: what a token is worth, budgets, repetition, profiles, residuals, the record of forecasts.

All are drawn from stored conclusions, laws and forecasts; none computes anything but its own axes. Colours and type are those of
`lm/report/charts.py`.
"""

import json
import math
from typing import Any

import altair as alt

from lm.law.decisions.conclusions import answer_of
from lm.law.decisions.words import number
from lm.report import numbers
from lm.report.charts import SERIES, SHAPES, Spec, finish
from lm.report.data import ReportData, Row
from lm.report.story import conclusions, main_metric, newest_law
from lm.report.texts import Texts

WIDEST = 100.0
"""Multipliers are drawn between the inverse of this and this."""


def multipliers(data: ReportData, texts: Texts) -> Spec | None:
    """What one token of each recipe is worth in tokens of the reported one, with its interval. None without a second recipe."""
    rows: list[Row] = []
    for row in conclusions(data, "recipes"):
        one = answer_of(row).get("comparison")
        if one:
            ends = {name: _within(one["multiplier"][name]) for name in ("value", "low", "high")}
            rows.append({"pair": texts("pair", a=one["a"], b=one["b"]), **ends, "told": _told(one["multiplier"])})
    if not rows:
        return None
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("pair:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, ticks=False))
    )
    reach = [1.0, *(float(row[name]) for row in rows for name in ("low", "high"))]
    scale = alt.Scale(type="log", nice=False, domain=[min(reach) / 1.2, max(reach) * 1.2])
    x = alt.X("low:Q", title=texts("axis_multiplier"), scale=scale, axis=alt.Axis(format="~g", tickCount=6, labelOverlap=True))
    tip = [alt.Tooltip("pair:N"), alt.Tooltip("told:N", title=texts("axis_multiplier"))]
    one = (
        alt.Chart(alt.InlineData(values=[{"at": 1.0}]))
        .mark_rule(strokeDash=[4, 4], color="var(--soft)")
        .encode(x=alt.X("at:Q", scale=scale))
    )
    bars = base.mark_rule(strokeWidth=2.4, color=SERIES[1]).encode(x=x, x2="high:Q", tooltip=tip)
    marks = base.mark_point(filled=True, size=80, opacity=1, color=SERIES[1]).encode(
        x=alt.X("value:Q", scale=alt.Scale(type="log")), tooltip=tip
    )
    return finish(alt.layer(one, bars, marks), 46 * len(rows) + 14)


def _within(value: float | None) -> float:
    return WIDEST if value is None else min(WIDEST, max(1.0 / WIDEST, value))


def _told(estimate: Row) -> str:
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def slices(data: ReportData, texts: Texts) -> Spec | None:
    """Loss against model size at several budgets, with the best size of each: isoFLOP curves and the frontier through them."""
    answer = _answer(data, "allocation")
    found = (answer.get("slices") or []) if answer else []
    rows, best = [], []
    for one in found:
        budget = texts("budget", flops=numbers.short(one["flops"]))
        rows += [{"size": n, "loss": loss, "low": low, "high": high, "budget": budget} for n, loss, low, high in one["curve"]]
        size, loss = one["num_params"], one["loss"]
        best.append({"size": size["value"], "low": size["low"], "high": size["high"], "loss": loss["value"], "budget": budget})
    if not rows:
        return None
    order = [row["budget"] for row in best]
    color = alt.Color("budget:N", title=None, sort=order, scale=alt.Scale(domain=order, range=SERIES[: len(order)]))
    x = alt.X("size:Q", title=texts("axis_size"), scale=alt.Scale(type="log", nice=False), axis=_short_axis())
    y = alt.Y("loss:Q", title=texts("axis_loss"), scale=alt.Scale(zero=False))
    lines = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=color)
    marks = alt.Chart(alt.InlineData(values=best)).encode(y=y)
    tip = [alt.Tooltip("budget:N"), alt.Tooltip("size:Q", format=",.0f", title=texts("axis_size")), alt.Tooltip("loss:Q", format=".3f")]
    return finish(
        alt.layer(
            lines.mark_area(opacity=0.1).encode(y=alt.Y("low:Q", title=texts("axis_loss")), y2="high:Q"),
            lines.mark_line(strokeWidth=1.8).encode(y=y, tooltip=tip),
            marks.mark_line(color="var(--ink)", strokeDash=[5, 4], strokeWidth=1.2).encode(x=x),
            marks.mark_rule(strokeWidth=2.2).encode(x=alt.X("low:Q", scale=alt.Scale(type="log", nice=False)), x2="high:Q", color=color),
            marks.mark_point(filled=True, size=75, opacity=1).encode(x=x, color=color, tooltip=tip),
        ),
        330,
    )


def repetition(data: ReportData, texts: Texts) -> Spec | None:
    """Loss against epochs over the unique tokens there are."""
    answer = _answer(data, "repetition")
    if not answer or "repetition" not in answer:
        return None
    found = answer["repetition"]
    rows = [{"epochs": e, "loss": loss, "low": low, "high": high} for e, loss, low, high in found["curve"]]
    stop = [{"epochs": found["worth_it_epochs"]["value"], "told": texts("half_worth")}]
    x = alt.X(
        "epochs:Q", title=texts("axis_epochs"), scale=alt.Scale(type="log"), axis=alt.Axis(values=[1, 2, 4, 8, 16, 32, 64], format="~g")
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x)
    tip = [
        alt.Tooltip("epochs:Q", title=texts("axis_epochs")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("loss", "low", "high")),
    ]
    mark = alt.Chart(alt.InlineData(values=stop)).encode(x=x)
    return finish(
        alt.layer(
            base.mark_area(opacity=0.14, color=SERIES[1]).encode(
                y=alt.Y("low:Q", title=texts("axis_loss"), scale=alt.Scale(zero=False)), y2="high:Q"
            ),
            base.mark_line(strokeWidth=1.8, color=SERIES[1], point=alt.OverlayMarkDef(size=28, color=SERIES[1])).encode(
                y="loss:Q", tooltip=tip
            ),
            mark.mark_rule(strokeDash=[4, 4], color="var(--soft)"),
            mark.mark_text(align="left", dx=6, y=10, color="var(--soft)").encode(text="told:N"),
        ),
        240,
    )


def residuals(data: ReportData, texts: Texts) -> Spec | None:
    """Measured minus fitted, as a share, for the newest law of each size (or of all sizes)."""
    metric = main_metric(data)
    sizes = sorted({row["num_params"] for row in data.rows("metrics")}, reverse=True)
    seen: dict[str, Row] = {}
    for size in sizes:
        law = newest_law(data, metric, size)
        for one in json.loads(law["residuals"]) if law else []:
            if one["num_params"] == size:
                error = one["observed"] / one["fitted"] - 1.0
                key = f"{one['run_id']}/{one['num_tokens']}"
                seen[key] = {"tokens": one["num_tokens"], "error": error, "size": numbers.short(size), "run": one["run_id"][:12]}
    if not seen:
        return None
    names = [numbers.short(size) for size in sizes]
    color = alt.Color("size:N", title=texts("legend_size"), scale=alt.Scale(domain=names, range=(SERIES * 4)[: len(names)]))
    shape = alt.Shape("size:N", title=texts("legend_size"), scale=alt.Scale(domain=names, range=(SHAPES * 4)[: len(names)]))
    x = alt.X("tokens:Q", title=texts("axis_tokens"), scale=alt.Scale(type="log", nice=False, padding=18), axis=_short_axis())
    points = alt.Chart(alt.InlineData(values=list(seen.values()))).mark_point(filled=True, size=44, opacity=0.85)
    zero = alt.Chart(alt.InlineData(values=[{"at": 0.0}])).mark_rule(color="var(--soft)", strokeDash=[4, 4]).encode(y="at:Q")
    y = alt.Y("error:Q", title=texts("axis_residual"), axis=alt.Axis(format="+.1%"))
    tip = [alt.Tooltip("size:N"), alt.Tooltip("tokens:Q", format=",.0f"), alt.Tooltip("error:Q", format="+.2%"), alt.Tooltip("run:N")]
    return finish(alt.layer(zero, points.encode(x=x, y=y, color=color, shape=shape, tooltip=tip)), 230)


def profile(data: ReportData, texts: Texts, constant: str) -> Spec | None:
    """How much worse the best fit gets when one constant is held at a value; flat means that the data does not fix it."""
    answer = _answer(data, "constants")
    found = next((one for one in answer["profiles"] if one["constant"] == constant), None) if answer else None
    if found is None:
        return None
    least = min(found["objectives"])
    limit = max(found["likely"][1], answer["constants"].get(constant, 0.0) if answer else 0.0) * 1.6
    rows = [
        {"value": v, "worse": min(9.99, o / least - 1.0)}
        for v, o in zip(found["values"], found["objectives"], strict=True)
        if math.isfinite(o) and v <= limit
    ]
    inside = [row for row in rows if row["worse"] <= 2.0]
    low, high = found["likely"]
    base = alt.Chart(alt.InlineData(values=inside or rows))
    x = alt.X("value:Q", title=constant, scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(format="~g"))
    band = alt.Chart(alt.InlineData(values=[{"low": low, "high": min(high, limit)}])).mark_rect(color=SERIES[1], opacity=0.12)
    return finish(
        alt.layer(
            band.encode(x=alt.X("low:Q", title=constant, scale=alt.Scale(zero=False, nice=False)), x2="high:Q"),
            base.mark_line(color=SERIES[1], strokeWidth=1.8, point=alt.OverlayMarkDef(size=22, color=SERIES[1])).encode(
                x=x,
                y=alt.Y("worse:Q", title=texts("axis_worse"), axis=alt.Axis(format="+%", tickCount=4)),
                tooltip=[
                    alt.Tooltip("value:Q", title=constant, format=".4g"),
                    alt.Tooltip("worse:Q", title=texts("axis_worse"), format="+.2%"),
                ],
            ),
        ),
        170,
    )


def profiled(data: ReportData) -> list[str]:
    """Constants whose profile is worth a figure: E and the exponents."""
    answer = _answer(data, "constants")
    return [one["constant"] for one in answer["profiles"] if one["constant"] == "E" or one["constant"].islower()] if answer else []


def record(data: ReportData, texts: Texts) -> Spec | None:
    """Every scored forecast: where the outcome fell, with the interval as the unit. None before the first outcome."""
    rows = []
    for row in data.rows("forecasts"):
        if row["outcome"] is None:
            continue
        side = (row["high"] if row["outcome"] >= row["predicted"] else row["low"]) - row["predicted"]
        rows.append(
            {
                "which": texts("forecast_of", size=numbers.short(row["num_params"]), tokens=numbers.short(row["num_tokens"])),
                "at": math.copysign((row["outcome"] - row["predicted"]) / side, row["outcome"] - row["predicted"]) if side else 0.0,
                "inside": texts("verdict_inside" if row["inside"] else "verdict_outside"),
                "miss": row["outcome"] / row["predicted"] - 1.0,
            }
        )
    if not rows:
        return None
    reach = max(1.4, *(abs(row["at"]) * 1.1 for row in rows))
    y = alt.Y("which:N", title=None, sort=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False))
    x = alt.X("at:Q", title=texts("axis_record"), scale=alt.Scale(domain=[-reach, reach]), axis=alt.Axis(tickCount=5, format="+.1f"))
    band = (
        alt.Chart(alt.InlineData(values=[{"low": -1.0, "high": 1.0}]))
        .mark_rect(color=SERIES[3], opacity=0.13)
        .encode(x="low:Q", x2="high:Q")
    )
    zero = alt.Chart(alt.InlineData(values=[{"at": 0.0}])).mark_rule(color="var(--soft)", strokeDash=[4, 4]).encode(x="at:Q")
    words = [texts("verdict_inside"), texts("verdict_outside")]
    color = alt.Color("inside:N", title=None, scale=alt.Scale(domain=words, range=[SERIES[3], SERIES[0]]))
    shape = alt.Shape("inside:N", title=None, scale=alt.Scale(domain=words, range=["circle", "cross"]))
    tip = [alt.Tooltip("which:N"), alt.Tooltip("miss:Q", format="+.2%"), alt.Tooltip("inside:N")]
    marks = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=85, opacity=1)
        .encode(x=x, y=y, color=color, shape=shape, tooltip=tip)
    )
    return finish(alt.layer(band, zero, marks), 30 * len({row["which"] for row in rows}) + 20)


def _answer(data: ReportData, question: str) -> dict[str, Any] | None:
    row = next((row for row in conclusions(data, question) if row["status"] != "open"), None)
    return answer_of(row) if row else None


def _short_axis() -> alt.Axis:
    return alt.Axis(labelExpr="replace(format(datum.value, '.3~s'), 'G', 'B')", labelOverlap=True, grid=False, tickCount=6)
