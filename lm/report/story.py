"""What the data says, in words: the paragraphs that open the report and the Prefect artifact.

Each sentence is chosen by what the tables hold, and the unwelcome ones are as long as the others: an outcome outside its interval, a
forecast registered too late, constants that the data leaves open. The cost of fixed sentences is that they are plain.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lm.law.decisions import words
from lm.law.decisions.conclusions import QUESTIONS, answer_of
from lm.report import numbers
from lm.report.data import ReportData, Row
from lm.report.remarks import said
from lm.report.texts import Texts

PREFERRED_METRIC = "loss_nats_per_token"
MOST_SENTENCES = 6
"""Conclusions told in words per part; tables hold them all."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The measured curve of one model size: mean loss per rung, in order."""

    num_params: int
    num_tokens: tuple[int, ...]
    values: tuple[float, ...]
    num_seeds: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the opening page: the key of its heading, and its paragraphs."""

    heading: str
    paragraphs: tuple[str, ...]


def parts(data: ReportData, texts: Texts) -> list[Part]:
    """The opening page: the answer, how sure it is, what would change it, and the data behind it. `**` marks bold."""
    metric = main_metric(data)
    told = {
        "head_answer": [" ".join(_finding(data, texts, metric)), *_concluded(data, texts, ("amount", "recipes", "ranking", "allocation"))],
        "head_sure": [" ".join(_certainty(data, texts, metric)), *_concluded(data, texts, ("constants",))],
        "head_change": _concluded(data, texts, ("next_run", "crawl", "repetition")) + _still_open(data, texts),
        "head_data": [" ".join(_material(data, texts))],
    }
    return [Part(heading, tuple(filter(None, said))) for heading, said in told.items() if any(said)]


def paragraphs(data: ReportData, texts: Texts) -> list[str]:
    """The same without headings."""
    return [paragraph for part in parts(data, texts) for paragraph in part.paragraphs]


def conclusions(data: ReportData, question: str) -> list[Row]:
    """The newest conclusions on a question, for the metric that is told."""
    metric = main_metric(data)
    return [row for row in data.rows("conclusions") if row["age"] == 1 and row["metric"] == metric and row["question"] == question]


def _concluded(data: ReportData, texts: Texts, questions: Sequence[str]) -> list[str]:
    found = [(question, [row for row in conclusions(data, question) if row["status"] != "open"]) for question in questions]
    told = [(row, question) for question, rows in found for row in rows if question != "ranking" or _places(row) > 2]
    return [words.sentence(row, texts.language) for row, _ in told[:MOST_SENTENCES]]


def _places(row: Row) -> int:
    return len(answer_of(row)["ranking"]["places"])


def _still_open(data: ReportData, texts: Texts) -> list[str]:
    """What cannot be answered, and what would; one sentence where two questions lack the same thing."""
    rows = [row for question in QUESTIONS for row in conclusions(data, question) if row["status"] == "open" and question != "ranking"]
    return [words.sentence(row, texts.language) for row in rows] if data.rows("metrics") else []


def main_metric(data: ReportData) -> str:
    """The metric that is told: the one forecast, else loss per token, else what there is."""
    names = [row["metric"] for row in data.rows("forecasts")] or [row["metric"] for row in data.rows("laws")]
    names = names or [row["name"] for row in data.rows("metrics")]
    return PREFERRED_METRIC if PREFERRED_METRIC in names or not names else str(names[0])


def curves(data: ReportData, metric: str) -> list[Curve]:
    """Measured curves, smallest model first."""
    cells: dict[int, dict[int, list[float]]] = {}
    for row in data.rows("metrics"):
        if row["name"] == metric:
            cells.setdefault(row["num_params"], {}).setdefault(row["num_tokens"], []).append(row["value"])
    return [
        Curve(
            size,
            tuple(sorted(rungs)),
            tuple(sum(rungs[tokens]) / len(rungs[tokens]) for tokens in sorted(rungs)),
            min(len(values) for values in rungs.values()),
        )
        for size, rungs in sorted(cells.items())
    ]


def top_forecasts(data: ReportData, metric: str) -> list[Row]:
    """Forecasts of the largest rung, largest model first."""
    rows = [row for row in data.rows("forecasts") if row["metric"] == metric]
    top = max((row["num_tokens"] for row in rows), default=None)
    return sorted((row for row in rows if row["num_tokens"] == top), key=lambda row: -row["num_params"])


def is_late(forecast: Row) -> bool:
    """Whether a forecast was registered after its rung had been trained."""
    registered, trained = forecast["registered_at"], forecast["trained_at"]
    return registered is not None and trained is not None and registered > trained


def law_of(data: ReportData, forecast: Row) -> Row | None:
    """The law a forecast was made with."""
    return next((law for law in data.rows("laws") if law["law_id"] == forecast["law_id"]), None)


def _finding(data: ReportData, texts: Texts, metric: str) -> list[str]:
    found = curves(data, metric)
    if not found:
        return [texts("story_no_runs")]
    told = [_fall(found[-1], texts, metric)]
    forecasts = top_forecasts(data, metric)
    if not forecasts:
        return [*told, texts("story_no_forecast")]
    told.append(_forecast(forecasts[0], texts))
    told += [texts("story_late")] if is_late(forecasts[0]) else []
    told += [_other_forecast(row, texts) for row in forecasts[1:]]
    return told + _record(data, texts, metric, len(forecasts))


def _fall(curve: Curve, texts: Texts, metric: str) -> str:
    if len(curve.values) < 2:
        return texts("story_one_rung")
    return texts(
        "story_fell" if curve.values[-1] < curve.values[0] else "story_rose",
        first=numbers.short(curve.num_tokens[0]),
        last=numbers.short(curve.num_tokens[-1]),
        metric=texts.maybe("metric", metric),
        unit=texts.maybe("unit", metric),
        size=numbers.short(curve.num_params),
        high=numbers.loss(curve.values[0]),
        low=numbers.loss(curve.values[-1]),
    )


def _forecast_words(row: Row) -> dict[str, str]:
    return {
        "tokens": numbers.short(row["num_tokens"]),
        "size": numbers.short(row["num_params"]),
        "predicted": numbers.loss(row["predicted"]),
        "low": numbers.loss(row["low"]),
        "high": numbers.loss(row["high"]),
        "level": f"{row['level']:.0%}",
    }


def _forecast(row: Row, texts: Texts) -> str:
    words = _forecast_words(row)
    if row["outcome"] is None:
        return texts("story_forecast_open", **words)
    seeds = row["num_seeds"] or 1
    return texts(
        "story_forecast_inside" if row["inside"] else "story_forecast_outside",
        **words,
        outcome=numbers.loss(row["outcome"]),
        seeds=texts("seed_outcome_one") if seeds == 1 else texts("seed_outcome_many", seeds=str(seeds)),
        miss=numbers.percent(row["outcome"] / row["predicted"] - 1.0),
        direction=texts("above" if row["outcome"] > row["predicted"] else "below"),
    )


def _other_forecast(row: Row, texts: Texts) -> str:
    words = _forecast_words(row)
    if row["outcome"] is None:
        return texts("story_other_open", **words)
    return texts("story_other", **words, outcome=numbers.loss(row["outcome"]), verdict=texts("inside" if row["inside"] else "outside"))


def _record(data: ReportData, texts: Texts, metric: str, num_told: int) -> list[str]:
    scored = [row for row in data.rows("forecasts") if row["outcome"] is not None and row["metric"] == metric]
    if len(scored) <= num_told:
        return []
    return [texts("story_record", scored=str(len(scored)), inside=str(sum(bool(row["inside"]) for row in scored)))]


def _certainty(data: ReportData, texts: Texts, metric: str) -> list[str]:
    forecasts = top_forecasts(data, metric)
    law = law_of(data, forecasts[0]) if forecasts else None
    if law is None:
        return []
    told = [_grounds(data, law, texts, metric), *_main_doubt(forecasts[0], texts), _open_constants(law, texts)]
    excluded = json.loads(law["exclusions"])
    if excluded:
        told.append(
            texts("story_excluded", excluded=texts("points_one") if len(excluded) == 1 else texts("points_many", points=str(len(excluded))))
        )
    told += [texts("story_warning", warning=said(str(warning), texts.language)) for warning in json.loads(law["warnings"])]
    return told if conclusions(data, "amount") else [*told, *_next_doubling(data, forecasts[0]["num_params"], texts, metric)]


def _grounds(data: ReportData, law: Row, texts: Texts, metric: str) -> str:
    used = [curve for curve in curves(data, metric) if law["num_params"] in (None, curve.num_params)]
    rungs = {tokens for curve in used for tokens in curve.num_tokens if tokens <= law["max_num_tokens"]}
    seeds = min((curve.num_seeds for curve in used), default=1)
    return texts(
        "story_sure_points",
        points=str(law["num_points"]),
        rungs=texts("rungs_count", rungs=str(len(rungs))),
        seeds=texts("one_seed") if seeds == 1 else texts("many_seeds", seeds=str(seeds)),
    )


def _main_doubt(forecast: Row, texts: Texts) -> list[str]:
    if not forecast["components"]:
        return []
    parts = json.loads(forecast["components"])
    sizes = {
        "form_error": parts["form_error"],
        "seed_noise": parts["seed_noise"],
        "sampling": max(parts["sampling_low"], parts["sampling_high"]),
    }
    largest = max(sizes, key=lambda name: sizes[name])
    unseen = largest == "form_error" and not parts["num_hidden_errors"]
    return [texts(f"story_sure_by_{largest}{'_unseen' if unseen else ''}")]


def _open_constants(law: Row, texts: Texts) -> str:
    names = list(json.loads(law["unidentified"]))
    if not names:
        return texts("story_fixed_constants")
    return texts("story_open_constants", constants=", ".join(names), them=texts("it" if len(names) == 1 else "them"))


def _next_doubling(data: ReportData, num_params: int, texts: Texts, metric: str) -> list[str]:
    """What twice the largest amount trained would bring, by the newest law that covers the size."""
    measured = next((curve for curve in curves(data, metric) if curve.num_params == num_params), None)
    law = newest_law(data, metric, num_params)
    if measured is None or law is None:
        return []
    here, there = (point_on_curve(law, num_params, tokens) for tokens in (measured.num_tokens[-1], 2 * measured.num_tokens[-1]))
    if here is None or there is None or there["fitted"] >= here["fitted"]:
        return []
    clear = there["high"] < here["fitted"]
    return [
        texts(
            "story_next_clear" if clear else "story_next_unclear",
            size=numbers.short(num_params),
            gain=numbers.percent(1.0 - there["fitted"] / here["fitted"]),
            next=numbers.loss(there["fitted"]),
            low=numbers.loss(there["low"]),
            high=numbers.loss(there["high"]),
        )
    ]


def newest_law(data: ReportData, metric: str, num_params: int) -> Row | None:
    """The law over the most data that covers a size; its own law before a joint one."""
    laws = [law for law in data.rows("laws") if law["metric"] == metric and law["num_params"] in (None, num_params)]
    return max(laws, key=lambda law: (law["max_num_tokens"], law["num_params"] is not None), default=None)


def point_on_curve(law: Row, num_params: int, num_tokens: float) -> dict[str, float] | None:
    """The drawn law at an amount of data, between its two nearest drawn points; None outside the drawn range."""
    drawn: Sequence[dict[str, Any]] = [point for point in json.loads(law["curve"]) if point["num_params"] == num_params]
    for left, right in pairwise(drawn):
        if left["num_tokens"] <= num_tokens <= right["num_tokens"]:
            weight = (num_tokens - left["num_tokens"]) / (right["num_tokens"] - left["num_tokens"])
            return {name: left[name] + weight * (right[name] - left[name]) for name in ("fitted", "low", "high")}
    return None


def _material(data: ReportData, texts: Texts) -> list[str]:
    steps = {row["step"]: row for row in data.rows("funnel") if row["step"] != "recipe"}
    if not all(step in steps and steps[step]["num_documents"] for step in ("captures", "documents", "texts")):
        return []
    words = {name: numbers.count(steps[name]["num_documents"]) for name in ("captures", "documents", "texts")}
    told = [texts("story_data", **words)]
    rungs = data.rows("rungs")
    kept = {row["recipe"]: row["num_documents"] for row in data.rows("funnel") if row["step"] == "recipe"}
    if rungs and rungs[-1]["recipe"] in kept:
        top = rungs[-1]
        told.append(
            texts(
                "story_recipe",
                recipe=str(top["recipe"]),
                share=numbers.share(kept[top["recipe"]], steps["texts"]["num_documents"]),
                used=numbers.short(top["num_tokens"]),
                available=numbers.short(top["num_available_tokens"]),
            )
        )
        alarms = sum(1 for row in data.rows("recipe_counts") if row["alarm"] and row["recipe"] == top["recipe"])
        told += [texts("story_alarm", alarms=str(alarms))] if alarms else []
    return told
