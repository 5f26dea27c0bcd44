"""The tables of the report, each from one or two tables of `ReportData`. Used for HTML and for Markdown alike."""

import json
from collections.abc import Callable, Mapping

from lm.report import numbers
from lm.report.charts import step_name
from lm.report.data import ReportData, Row
from lm.report.markup import Cell, Table
from lm.report.remarks import said
from lm.report.story import curves, is_late, main_metric
from lm.report.texts import Texts

MAX_ROWS = 25


def _number(text: str, bar: float | None = None, title: str = "") -> Cell:
    return Cell(text, "number", bar, title)


def _heads(texts: Texts, *keys: str) -> list[Cell]:
    """Heads of columns; a key that starts with # is a column of numbers."""
    return [Cell(texts(f"col_{key.lstrip('#')}"), "number" if key.startswith("#") else "text") for key in keys]


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def forecasts(data: ReportData, texts: Texts) -> Table:
    """Every forecast with its outcome and the two times that must be in order."""
    heads = _heads(texts, "#params", "#tokens", "metric", "#predicted", "#interval", "#outcome", "verdict", "registered", "rung_trained")
    return _without_one_metric((heads, [_forecast(row, texts) for row in data.rows("forecasts")]), column=2)


def _without_one_metric(table: Table, column: int) -> Table:
    """The table without its column of metrics if that says the same in every row."""
    heads, rows = table
    if len({cell if isinstance(cell, str) else cell.text for cell in (row[column] for row in rows)}) > 1:
        return table
    return [*heads[:column], *heads[column + 1 :]], [[*row[:column], *row[column + 1 :]] for row in rows]


def _forecast(row: Row, texts: Texts) -> list[Cell]:
    interval = f"{numbers.loss(row['low'])} – {numbers.loss(row['high'])}"
    return [
        _number(numbers.short(row["num_params"]), title=numbers.count(row["num_params"])),
        _number(numbers.short(row["num_tokens"]), title=numbers.count(row["num_tokens"])),
        Cell(texts.maybe("unit", row["metric"])),
        _number(numbers.loss(row["predicted"])),
        _number(interval, title=f"{row['level']:.0%}"),
        _number(numbers.loss(row["outcome"])),
        _verdict(row, texts),
        Cell(numbers.moment(row["registered_at"])),
        Cell(numbers.moment(row["trained_at"])),
    ]


def _verdict(row: Row, texts: Texts) -> Cell:
    if row["outcome"] is None:
        return Cell(texts("verdict_open"))
    word = Cell(texts("verdict_inside"), "good") if row["inside"] else Cell(texts("verdict_outside"), "flag")
    return Cell(f"{word.text}, {texts('verdict_late')}", "flag") if is_late(row) else word


def laws(data: ReportData, texts: Texts) -> Table:
    """Every law: each constant with its interval below, and dimmed where the data does not fix it."""
    rows = data.rows("laws")
    names = sorted({name for row in rows for name in json.loads(row["constants"])}, key=lambda name: (name != "E", name.lower(), name))
    heads = [*_heads(texts, "form", "#params", "metric", "#upto", "#points"), *(Cell(name, "number") for name in names)]
    return _without_one_metric((heads, [_law(row, names, texts) for row in rows]), column=2)


def _law(row: Row, names: list[str], texts: Texts) -> list[Cell]:
    values, intervals, open_ones = (json.loads(row[name]) for name in ("constants", "intervals", "unidentified"))
    constants = [
        Cell(
            numbers.constant(values[name]),
            "open" if name in open_ones else "number",
            title=said(str(open_ones.get(name, "")), texts.language),
            below=" … ".join(numbers.constant(end) for end in intervals[name]),
        )
        if name in values
        else Cell("")
        for name in names
    ]
    return [
        Cell(texts.maybe("form", row["form"])),
        _number(numbers.short(row["num_params"]) if row["num_params"] else texts("joint")),
        Cell(texts.maybe("unit", row["metric"])),
        _number(numbers.short(row["max_num_tokens"])),
        _number(numbers.count(row["num_points"])),
        *constants,
    ]


def law_notes(data: ReportData, texts: Texts) -> list[str]:
    """What must be known to read the laws: constants that are not fixed, warnings, and points left out; each note once, per law."""
    notes = []
    for row in data.rows("laws"):
        reasons: dict[str, list[str]] = {}
        for name, reason in json.loads(row["unidentified"]).items():
            reasons.setdefault(said(str(reason), texts.language), []).append(name)
        found = [texts("not_fixed", names=", ".join(names), reason=reason) for reason, names in reasons.items()]
        found += [said(str(warning), texts.language) for warning in json.loads(row["warnings"])]
        left_out: dict[str, int] = {}
        for exclusion in json.loads(row["exclusions"]):
            left_out[exclusion["reason"]] = left_out.get(exclusion["reason"], 0) + 1
        found += [texts("excluded", number=str(number), reason=texts.maybe("reason", reason)) for reason, number in left_out.items()]
        if found:
            size = numbers.short(row["num_params"]) if row["num_params"] else texts("joint")
            which = texts("law_named", form=texts.maybe("form", row["form"]), size=size, tokens=numbers.short(row["max_num_tokens"]))
            notes.append(texts("note", which=which, found=texts("semicolon").join(one.rstrip(".?") for one in found)))
    return notes


def funnel(data: ReportData, texts: Texts) -> Table:
    """What each step keeps."""
    rows = data.rows("funnel")
    whole = next((row["num_documents"] for row in rows if row["step"] == "texts"), None)
    cells = [
        [
            Cell(step_name(row, texts)),
            _number(numbers.count(row["num_documents"])),
            _number(numbers.share(row["num_documents"], whole) if row["step"] in ("recipe", "ladder") else ""),
            _number(numbers.size(row["num_bytes"])),
            _number(numbers.short(row["num_tokens"]), title=numbers.count(row["num_tokens"])),
        ]
        for row in rows
    ]
    return _heads(texts, "step", "#documents", "#of_previous", "#bytes", "#tokens"), cells


def rules_of(data: ReportData, texts: Texts, recipe: str) -> Table:
    """What each rule of a recipe removes."""
    whole = next((row["num_documents"] for row in data.rows("funnel") if row["step"] == "texts"), None)
    per_byte = tokens_per_byte(data)
    cells = [
        [
            Cell(str(row["rule"]), "code"),
            _number(numbers.count(row["num_failing"])),
            _number(numbers.count(row["num_removed"]), _ratio(row["num_removed"], whole)),
            _number(numbers.share(row["num_removed"], whole)),
            _number(numbers.size(row["num_removed_bytes"])),
            _number(
                numbers.short(row["num_removed_bytes"] * per_byte) if per_byte and row["num_removed_bytes"] is not None else numbers.NOTHING
            ),
            Cell(texts.maybe("alarm", row["alarm"]) if row["alarm"] else "", "flag" if row["alarm"] else "text"),
        ]
        for row in data.rows("recipe_counts")
        if row["recipe"] == recipe
    ]
    return _heads(texts, "rule", "#failing", "#removed", "#share", "#bytes", "#est_tokens", "alarm"), cells


def tokens_per_byte(data: ReportData) -> float | None:
    """Tokens per byte over the tokenized texts, to estimate tokens where only bytes are known."""
    row = next((row for row in data.rows("funnel") if row["step"] == "texts"), None)
    return _ratio(row["num_tokens"], row["num_bytes"]) if row else None


def rejects(data: ReportData, texts: Texts) -> Table:
    """What was set aside, by stage and reason."""
    cells = [
        [
            Cell(str(row["stage"])),
            Cell(str(row["reason"]), "code"),
            _number(numbers.count(row["num_rejects"])),
            Cell(str(row["example"] or ""), "wide"),
        ]
        for row in data.rows("rejects")
    ]
    return _heads(texts, "stage", "reason", "#rejects", "example"), cells


def losses(data: ReportData, texts: Texts) -> Table:
    """What the policies for duplicates take from each crawl and host, alarms first."""
    cells = [
        [
            Cell(str(row["recipe"]), "code"),
            Cell(f"{texts.maybe('source', row['kind'])} {row['source']}"),
            _number(numbers.count(row["num_documents"])),
            _number(numbers.count(row["num_removed"]), _ratio(row["num_removed"], row["num_documents"])),
            _number(numbers.share(row["num_removed"], row["num_documents"])),
            Cell(texts("alarm_source") if row["alarm"] else "", "flag" if row["alarm"] else "text"),
        ]
        for row in data.rows("losses")
    ]
    return _heads(texts, "recipe", "source", "#documents", "#lost", "#share", "alarm"), cells


def contamination(data: ReportData, texts: Texts) -> Table:
    """What the documents hold of each evaluation set, and how well planted copies were found."""
    cells = [
        [
            Cell(str(row["evaluation_set"]), "code"),
            _number(numbers.count(row["num_items"])),
            _number(numbers.count(row["num_touched"])),
            _number(numbers.count(row["num_contaminated"]), _ratio(row["num_contaminated"], row["num_items"])),
            _number(numbers.count(row["num_documents"])),
            _number(numbers.share(row["num_right"], row["num_found"])),
            _number(numbers.share(row["num_right"], row["num_copies"])),
        ]
        for row in data.rows("contamination")
    ]
    return _heads(texts, "evaluation_set", "#scored", "#touched", "#known", "#documents", "#precision", "#recall"), cells


def languages(data: ReportData, texts: Texts) -> Table:
    """Documents per language."""
    return _places(data, texts, "languages", "language")


def hosts(data: ReportData, texts: Texts) -> Table:
    """Documents per host."""
    return _places(data, texts, "hosts", "host")


def _places(data: ReportData, texts: Texts, table: str, column: str) -> Table:
    rows = data.rows(table)
    whole = sum(row["num_documents"] for row in rows)
    top = max((row["num_documents"] for row in rows), default=0)
    cells = [
        [
            Cell(str(row[column])),
            _number(numbers.count(row["num_documents"]), _ratio(row["num_documents"], top)),
            _number(numbers.share(row["num_documents"], whole)),
            _number(numbers.size(row["num_bytes"])),
        ]
        for row in rows
    ]
    return _heads(texts, column, "#documents", "#share", "#bytes"), cells


def domains(data: ReportData, texts: Texts) -> Table:
    """Bits per byte by host, for the largest model."""
    rows = data.rows("domains")
    largest = max((row["num_params"] for row in rows), default=None)
    cells = [
        [
            Cell(str(row["domain"])),
            _number(numbers.count(row["num_items"])),
            _number(numbers.loss(row["first_value"])),
            _number(numbers.loss(row["value"])),
        ]
        for row in rows
        if row["num_params"] == largest
    ]
    return _heads(texts, "part", "#items", "#first", "#bpb"), cells


def tasks(data: ReportData, texts: Texts) -> Table:
    """Scores of evaluation sets, for the largest model."""
    rows = data.rows("tasks")
    largest = max((row["num_params"] for row in rows), default=None)
    cells = [
        [
            Cell(str(row["domain"])),
            Cell(texts.maybe("task", row["name"])),
            _number(numbers.count(row["num_items"])),
            _number(numbers.loss(row["first_value"])),
            _number(numbers.loss(row["value"])),
            _number(numbers.loss(row["stderr"])),
        ]
        for row in rows
        if row["num_params"] == largest
    ]
    return _heads(texts, "evaluation_set", "metric", "#scored", "#first", "#largest", "#stderr"), cells


def rungs(data: ReportData, texts: Texts) -> Table:
    """The nested amounts of data."""
    cells = [
        [
            _number(str(row["rung"])),
            Cell(str(row["recipe"])),
            _number(numbers.count(row["num_tokens"]), _ratio(row["num_tokens"], row["num_available_tokens"])),
            _number(numbers.count(row["num_documents"])),
            _number(numbers.short(row["num_available_tokens"])),
        ]
        for row in data.rows("rungs")
    ]
    return _heads(texts, "#rung", "recipe", "#tokens", "#documents", "#available"), cells


def runs(data: ReportData, texts: Texts) -> Table:
    """Every run, with its loss at its largest rung."""
    metric = main_metric(data)
    last: dict[str, Row] = {}
    for row in data.rows("metrics"):
        if row["name"] == metric and row["num_tokens"] >= last.get(row["run_id"], row)["num_tokens"]:
            last[row["run_id"]] = row
    shape = ("model", "#params", "#non_embedding", "#seed", "#tokens", "#trained", "#flops")
    heads = _heads(texts, *shape, "#speed", "#mfu", "#waiting", "#memory", "#seconds", "device", "#final")
    return heads, [_run(row, last.get(row["run_id"])) for row in data.rows("runs")]


def _run(row: Row, last: Row | None) -> list[Cell]:
    return [
        Cell(str(row["model"]), title=row["run_id"]),
        _number(numbers.short(row["num_params"]), title=numbers.count(row["num_params"])),
        _number(numbers.short(row["num_params_non_embedding"])),
        _number(str(row["seed"])),
        _number(numbers.short(row["num_tokens"])),
        _number(numbers.short(row["train_tokens"])),
        _number(numbers.short(row["train_flops"])),
        _number(numbers.count(row["tokens_per_second"])),
        _number(numbers.share(row["mfu"], 1.0)),
        _number(numbers.share(row["waiting_share"], 1.0)),
        _number(numbers.size(row["memory_bytes"])),
        _number(numbers.duration(row["seconds"])),
        Cell(str(row["device"])),
        _number(numbers.loss(last["value"] if last else None)),
    ]


def stages(data: ReportData, texts: Texts) -> Table:
    """What each stage has done."""
    cells = [
        [
            Cell(str(row["stage"])),
            _number(numbers.count(row["num_outputs"])),
            _number(numbers.count(row["num_rows"])),
            _number(numbers.duration(row["seconds"])),
            Cell(numbers.moment(row["finished_at"])),
        ]
        for row in data.rows("stages")
    ]
    return _heads(texts, "stage", "#outputs", "#rows", "#seconds", "finished"), cells


BY_NAME: Mapping[str, Callable[[ReportData, Texts], Table]] = {
    "forecasts": forecasts,
    "laws": laws,
    "funnel": funnel,
    "languages": languages,
    "hosts": hosts,
    "losses": losses,
    "contamination": contamination,
    "domains": domains,
    "tasks": tasks,
    "runs": runs,
    "rungs": rungs,
    "rejects": rejects,
    "stages": stages,
}
"""Tables that need nothing but the data, by name."""


def num_seeds(data: ReportData) -> int:
    """Seeds per size at the least, for captions."""
    return min((curve.num_seeds for curve in curves(data, main_metric(data))), default=0)
