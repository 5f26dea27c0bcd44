"""The figures, as Altair charts.

Colours are names of CSS variables, so one chart serves light, dark and print, and changes with them without a script. Where there
is no style sheet (the PNG), the light palette is put in their place. Nothing in a chart is built from crawled text: hosts and
examples appear in tables only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt

from lm.report import numbers
from lm.report.data import ReportData, Row
from lm.report.story import is_late, law_of, main_metric, newest_law, top_forecasts
from lm.report.texts import Texts

Spec = dict[str, Any]

LIGHT: Mapping[str, str] = {
    "--ink": "#1f2529",
    "--soft": "#5d676e",
    "--line": "#dedad2",
    "--paper": "#fcfbf8",
    "--series-1": "#b4501e",
    "--series-2": "#0f6b8a",
    "--series-3": "#6b4a96",
    "--series-4": "#3d7a3a",
    "--series-5": "#9a7300",
    "--series-6": "#a8325a",
    "--bar": "#0f6b8a",
}
"""The light palette. The style sheet holds the same names, and a dark value for each."""
SERIES = [f"var(--series-{i})" for i in range(1, 7)]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-left"]
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', sans-serif"
CHART_WIDTH = 760
CURVE_HEIGHT = 400
BESIDE = -11
"""Pixels by which a forecast stands left of its rung, and the outcome right of it, so that neither covers the points."""


def curve(data: ReportData, texts: Texts) -> Spec | None:
    """Loss against tokens: points by size and seed, law lines with their bands, forecasts and outcomes. None without points."""
    metric = main_metric(data)
    points = [_point(row) for row in data.rows("metrics") if row["name"] == metric]
    if not points:
        return None
    sizes = [numbers.short(size) for size in sorted({row["num_params"] for row in data.rows("metrics")}, reverse=True)]
    drawn = _drawn_laws(data, metric)
    forecasts = [_mark(row) for row in top_forecasts(data, metric)]
    seeds = sorted({str(row["seed"]) for row in points})
    x = alt.X("tokens:Q", title=texts("axis_tokens"), scale=alt.Scale(type="log", nice=False, padding=18), axis=_token_axis(points, drawn))
    color = alt.Color("size:N", title=texts("legend_size"), scale=alt.Scale(domain=sizes, range=_cycle(SERIES, len(sizes))))
    unit = texts.maybe("unit", metric)
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False, nice=True))
    tip = [alt.Tooltip("size:N", title=texts("legend_size")), alt.Tooltip("tokens:Q", title=texts("axis_tokens"), format=",.0f")]
    layers = []
    if drawn:
        base = alt.Chart(alt.InlineData(values=drawn)).encode(x=x, color=color)
        layers.append(base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=unit), y2="high:Q", detail="law:N"))
        layers.append(
            base.mark_line(strokeWidth=1.6).encode(
                y=alt.Y("fitted:Q", title=unit),
                detail="law:N",
                tooltip=[
                    *tip,
                    alt.Tooltip("fitted:Q", title=texts("tip_fitted"), format=".3f"),
                    alt.Tooltip("range:N", title=texts("tip_interval")),
                ],
            )
        )
    if forecasts:
        layers += _forecast_layers(forecasts, x, color, unit, tip, texts)
    shape = alt.Shape("seed:N", title=texts("col_seed"), scale=alt.Scale(domain=seeds, range=_cycle(SHAPES, len(seeds))))
    layers.append(
        alt.Chart(alt.InlineData(values=points))
        .mark_point(filled=True, size=46, opacity=0.9, stroke="var(--paper)", strokeWidth=0.7)
        .encode(
            x=x,
            y=y,
            color=color,
            shape=shape,
            tooltip=[
                *tip,
                alt.Tooltip("seed:N", title=texts("col_seed")),
                alt.Tooltip("value:Q", title=texts("tip_observed"), format=".4f"),
            ],
        )
    )
    return finish(alt.layer(*layers), CURVE_HEIGHT)


def rules(data: ReportData, texts: Texts, recipe: str) -> Spec | None:
    """Texts removed first by each rule of a recipe, the largest first. None if it removes nothing."""
    rows = [
        {"rule": row["rule"], "removed": row["num_removed"], "failing": row["num_failing"]}
        for row in data.rows("recipe_counts")
        if row["recipe"] == recipe and row["num_removed"]
    ]
    if not rows:
        return None
    chart = _bars(rows, "rule", "removed", texts("axis_removed"))
    return finish(chart, 26 * len(rows))


def funnel(data: ReportData, texts: Texts) -> Spec | None:
    """Documents kept by each step, in order."""
    rows = [{"step": step_name(row, texts), "documents": row["num_documents"]} for row in data.rows("funnel") if row["num_documents"]]
    return finish(_bars(rows, "step", "documents", texts("axis_documents")), 30 * len(rows)) if rows else None


def step_name(row: Row, texts: Texts) -> str:
    """A step of the funnel in words."""
    return texts(f"funnel_{row['step']}", recipe=str(row["recipe"]))


def near_histogram(data: ReportData, texts: Texts) -> Spec | None:
    """Near-duplicate pairs by similarity."""
    rows = [{"low": row["bin"], "high": row["bin"] + 0.05, "pairs": row["num_pairs"]} for row in data.rows("near_histogram")]
    if not rows:
        return None
    low = min(0.6, *(row["low"] for row in rows)) if len(rows) > 1 else min(0.6, rows[0]["low"])
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color="var(--bar)", stroke="var(--paper)")
        .encode(
            x=alt.X(
                "low:Q",
                bin="binned",
                title=texts("axis_jaccard"),
                scale=alt.Scale(domain=[low, 1.0]),
                axis=alt.Axis(format=".2f", grid=False, values=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            ),
            x2="high:Q",
            y=alt.Y("pairs:Q", title=texts("axis_pairs")),
            tooltip=[alt.Tooltip("pairs:Q", title=texts("axis_pairs"), format=",")],
        )
    )
    return finish(chart, 190)


def curve_png(data: ReportData, path: str | Path, *, language: str = "en", scale: float = 2.0) -> bool:
    """Write the curve as a picture in the light palette; false, and nothing written, if there is no curve yet."""
    import vl_convert

    texts = Texts(language)
    spec = curve(data, texts)
    if spec is None:
        return False
    metric = main_metric(data)
    spec = in_light(spec)
    spec |= {"width": CHART_WIDTH, "background": LIGHT["--paper"], "padding": 18}
    spec["title"] = {"text": f"{texts('curve_title')}: {data.title}", "subtitle": texts.maybe("unit", metric), "anchor": "start"}
    Path(path).write_bytes(vl_convert.vegalite_to_png(spec, scale=scale))
    return True


def in_light(spec: Spec) -> Spec:
    """The chart with the light palette's colours in place of CSS variables."""
    text = json.dumps(spec)
    for name, value in LIGHT.items():
        text = text.replace(f"var({name})", value)
    found: Spec = json.loads(text)
    return found


def _point(row: Row) -> Row:
    return {"tokens": row["num_tokens"], "value": row["value"], "size": numbers.short(row["num_params"]), "seed": str(row["seed"])}


def _drawn_laws(data: ReportData, metric: str) -> list[Row]:
    """For each size, the law its newest forecast was made with, or the newest law where there is no forecast."""
    chosen = {row["num_params"]: law_of(data, row) for row in top_forecasts(data, metric)}
    rows = []
    for size in sorted({row["num_params"] for row in data.rows("metrics")}):
        law = chosen.get(size) or newest_law(data, metric, size)
        for point in json.loads(law["curve"]) if law else []:
            if point["num_params"] == size:
                interval = f"{numbers.loss(point['low'])} – {numbers.loss(point['high'])}"
                rows.append(
                    {
                        "tokens": point["num_tokens"],
                        "fitted": point["fitted"],
                        "low": point["low"],
                        "high": point["high"],
                        "range": interval,
                        "size": numbers.short(size),
                        "law": numbers.short(size),
                    }
                )
    return rows


def _mark(row: Row) -> Row:
    return {
        "tokens": row["num_tokens"],
        "size": numbers.short(row["num_params"]),
        "predicted": row["predicted"],
        "low": row["low"],
        "high": row["high"],
        "outcome": row["outcome"],
        "registered": numbers.moment(row["registered_at"]) + (" (late)" if is_late(row) else ""),
        "trained": numbers.moment(row["trained_at"]),
        "range": f"{numbers.loss(row['low'])} – {numbers.loss(row['high'])}",
    }


def _forecast_layers(forecasts: list[Row], x: alt.X, color: alt.Color, unit: str, tip: list[alt.Tooltip], texts: Texts) -> list[Any]:
    tips = [
        *tip,
        alt.Tooltip("predicted:Q", title=texts("tip_forecast"), format=".4f"),
        alt.Tooltip("range:N", title=texts("tip_interval")),
        alt.Tooltip("registered:N", title=texts("col_registered")),
        alt.Tooltip("trained:N", title=texts("col_rung_trained")),
    ]
    base = alt.Chart(alt.InlineData(values=forecasts)).encode(x=x, color=color)
    layers: list[Any] = [
        base.mark_rule(strokeWidth=2.2, xOffset=BESIDE).encode(y=alt.Y("low:Q", title=unit), y2="high:Q", tooltip=tips),
        base.mark_tick(orient="horizontal", size=12, thickness=2.2, xOffset=BESIDE).encode(y=alt.Y("low:Q", title=unit)),
        base.mark_tick(orient="horizontal", size=12, thickness=2.2, xOffset=BESIDE).encode(y=alt.Y("high:Q", title=unit)),
        base.mark_point(shape="diamond", size=150, opacity=1, strokeWidth=2.2, fill="var(--paper)", xOffset=BESIDE).encode(
            y=alt.Y("predicted:Q", title=unit), tooltip=tips
        ),
    ]
    measured = [row for row in forecasts if row["outcome"] is not None]
    if measured:
        outcome = alt.Tooltip("outcome:Q", title=texts("tip_outcome"), format=".4f")
        layers.append(
            alt.Chart(alt.InlineData(values=measured))
            .mark_point(shape="cross", size=110, filled=True, opacity=1, color="var(--ink)", angle=45, xOffset=-BESIDE)
            .encode(x=x, y=alt.Y("outcome:Q", title=unit), tooltip=[*tip, outcome, alt.Tooltip("range:N", title=texts("tip_interval"))])
        )
    return layers


def _token_axis(points: list[Row], drawn: list[Row]) -> alt.Axis:
    """A tick at every measured amount of data, thinned if there are many."""
    rungs = sorted({row["tokens"] for row in points})
    every = max(1, (len(rungs) + 7) // 8)
    ticks = rungs[::-1][::every][::-1]
    top = max([row["tokens"] for row in drawn], default=rungs[-1])
    while len(rungs) > 1 and ticks[-1] * 2 <= top * 1.001:
        ticks.append(ticks[-1] * 2)
    return alt.Axis(values=ticks, format="~s", labelExpr="replace(format(datum.value, '.3~s'), 'G', 'B')", labelOverlap=True, grid=False)


def _bars(rows: list[Row], name: str, value: str, title: str) -> Any:
    y = alt.Y(f"{name}:N", title=None, sort=None, axis=alt.Axis(labelLimit=230, ticks=False, domain=False, labelPadding=8))
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickCount=5, format="~s"), scale=alt.Scale(domainMin=0))
    tip = [alt.Tooltip(f"{name}:N"), alt.Tooltip(f"{value}:Q", format=",")]
    bars = alt.Chart(alt.InlineData(values=rows)).mark_bar(color="var(--bar)", height={"band": 0.68}).encode(y=y, x=x, tooltip=tip)
    labels = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_text(align="left", dx=5, color="var(--soft)")
        .encode(y=y, x=x, text=alt.Text(f"{value}:Q", format=","))
    )
    return alt.layer(bars, labels)


def _cycle(values: list[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def finish(chart: Any, height: int) -> Spec:
    """The chart as a specification, in the page's type and colours."""
    configured = (
        chart.properties(width="container", height=height)
        .configure(background="transparent", font=FONT, autosize={"type": "fit-x", "contains": "padding"})
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--soft)",
            titleColor="var(--soft)",
            titleFontWeight="normal",
            titleFontSize=12,
            labelFontSize=11.5,
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
            titlePadding=9,
        )
        .configure_legend(
            labelColor="var(--ink)",
            titleColor="var(--soft)",
            titleFontWeight="normal",
            orient="top",
            symbolStrokeColor="transparent",
            symbolOpacity=1,
            symbolBaseFillColor="var(--soft)",
            symbolBaseStrokeColor="transparent",
            labelFontSize=12,
        )
        .configure_title(color="var(--ink)", subtitleColor="var(--soft)", fontSize=16, subtitleFontSize=12, offset=12)
        .configure_text(fontSize=11)
    )
    found: Spec = configured.to_dict()
    return found
