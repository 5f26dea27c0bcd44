"""The tables of decisions: recipes beside each other, runs to pay for next, what being off costs, and what changed since the last time."""

from collections.abc import Callable, Mapping

from lm.law.decisions.conclusions import answer_of, causes, changes
from lm.law.decisions.words import interval, loss, number, percent, say
from lm.report.data import ReportData
from lm.report.markup import Cell, Table
from lm.report.story import conclusions, main_metric
from lm.report.texts import Texts


def _heads(texts: Texts, *keys: str) -> list[Cell | str]:
    return [Cell(texts(f"col_{key.lstrip('#')}"), "number" if key.startswith("#") else "text") for key in keys]


def recipes(data: ReportData, texts: Texts) -> Table:
    """Every pair with its probability, multiplier and crossing, and the ranking at one amount beside it."""
    rows = []
    for row in conclusions(data, "recipes"):
        one = answer_of(row).get("comparison")
        if not one:
            continue
        p = one["probability"]
        better, worse = (one["b"], one["a"]) if p >= 0.5 else (one["a"], one["b"])
        base, at = one["baseline"], one["crossing"]["amount"]
        first = None if base is None else one["b"] if base["loss_b"] < base["loss_a"] else one["a"]
        tie = row["verdict"] == "tie"
        rows.append(
            [
                Cell(texts("tie", a=better, b=worse) if tie else texts("beats", a=better, b=worse), "text" if tie else "good"),
                Cell(percent(max(p, 1.0 - p)), "number"),
                Cell(interval(one["multiplier"]), "number", title=texts("pair", a=one["a"], b=one["b"])),
                Cell(interval(one["gain"], loss), "number"),
                Cell(f"{number(at['value'])} ({percent(one['crossing']['probability'])})" if at else texts("no_crossing"), "number"),
                Cell(first or "–", "flag" if first and not tie and first != better else "text"),
            ]
        )
    return _heads(texts, "recipe", "#probability", "#multiplier", "#gain", "#crossing", "single_budget"), rows


def ranking(data: ReportData, texts: Texts) -> Table:
    """All recipes in order; equal places are ties."""
    rows = []
    for row in conclusions(data, "ranking"):
        for place in answer_of(row).get("ranking", {}).get("places", []):
            cells = [Cell(str(place["tier"]), "number"), Cell(place["recipe"]), Cell(interval(place["loss"], loss), "number")]
            rows.append([*cells, Cell(percent(place["probability_best"]), "number")])
    rows = rows if len(rows) > 2 else []  # of two, the comparison says it all
    return _heads(texts, "#place", "recipe", "#loss", "#best"), rows


def next_runs(data: ReportData, texts: Texts) -> Table:
    """The advised runs in order, with what each is expected to do and why."""
    rows = []
    for row in conclusions(data, "next_run"):
        for i, choice in enumerate(answer_of(row).get("advice", {}).get("choices", []), start=1):
            run = choice["candidate"]
            rows.append(
                [
                    Cell(str(i), "number"),
                    Cell(run["recipe"]),
                    Cell(number(run["num_params"]), "number"),
                    Cell(number(run["num_tokens"]), "number"),
                    Cell(number(run["flops"]), "number"),
                    Cell(percent(choice["width_left"]), "number"),
                    Cell(percent(choice["probability_right"]), "number"),
                    Cell(say(texts.language, f"kind_{run['kind']}"), "wide"),
                ]
            )
    return _heads(texts, "#order", "recipe", "#params", "#tokens", "#flops", "#width_left", "#right", "reason"), rows


def off(data: ReportData, texts: Texts) -> Table:
    """What a size away from the best one costs at the same budget."""
    rows = []
    for row in conclusions(data, "allocation"):
        for one in answer_of(row).get("allocation", {}).get("off", []):
            extra = one["extra_loss"]
            told = " … ".join("∞" if extra[name] is None else f"{extra[name]:.1%}" for name in ("low", "high"))
            value = "∞" if extra["value"] is None else f"{extra['value']:.1%}"
            cells = [Cell(f"{one['factor']:g} x", "number"), Cell(loss(one["loss"]), "number"), Cell(value, "number", below=told)]
            rows.append([*cells, Cell(percent(one["wasted_compute"]), "number")])
    return _heads(texts, "#size_factor", "#loss", "#extra_loss", "#wasted"), rows


def changed(data: ReportData, texts: Texts) -> Table:
    """Conclusions that are not what they were, with both."""
    before, now = _two_ages(data)
    if not before:
        return _heads(texts, "question", "subject", "before", "now"), []
    none = say(texts.language, "none")
    rows = [
        [
            Cell(say(texts.language, f"question_{one.question}")),
            Cell(one.subject or "–"),
            Cell(one.before or none),
            Cell(one.after or none, "flag"),
        ]
        for one in changes(before, now)
    ]
    return _heads(texts, "question", "subject", "before", "now"), rows


def change_lead(data: ReportData, texts: Texts) -> str:
    """The sentence above the changes: how many, and what changed in the inputs."""
    before, now = _two_ages(data)
    if not now:
        return say(texts.language, "no_conclusions")
    if not before:
        return say(texts.language, "first_time")
    found = causes(before[0], now[0])
    why = say(texts.language, "and").join(say(texts.language, cause) for cause in found) or say(texts.language, "nothing_changed_in_inputs")
    count = len(changes(before, now))
    return say(texts.language, "some_changed", number=str(count), why=why) if count else say(texts.language, "none_changed", why=why)


def _two_ages(data: ReportData) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    rows = [row for row in data.rows("conclusions") if row["metric"] == main_metric(data)]
    return [row for row in rows if row["age"] == 2], [row for row in rows if row["age"] == 1]


BY_NAME: Mapping[str, Callable[[ReportData, Texts], Table]] = {
    "recipes": recipes,
    "ranking": ranking,
    "next_runs": next_runs,
    "off": off,
    "changed": changed,
}
