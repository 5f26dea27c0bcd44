"""Put the report together: one HTML file that opens without a network.

Charts are drawn twice: as still pictures (SVG) that need no script, and by the inlined Vega libraries, which replace them with
charts that answer to the pointer and the width. A content security policy in the page forbids every request and every
script but the page's own, so that neither a library nor a crawled host name can fetch anything. The page holds every language; a
switch at its top, which is style and no script, shows one. The price is about 1 MB of script in each file, and every table twice.
"""

import base64
import hashlib
import json
import re
from functools import cache, lru_cache
from importlib import resources

import vl_convert

from lm.law.decisions import words
from lm.report import charts, decision_charts, decision_tables, numbers, tables
from lm.report.data import ReportData
from lm.report.markup import Table, escape, html_table, markdown_table, script_json, sentence
from lm.report.queries import QUERIES
from lm.report.story import Part, conclusions, curves, main_metric, parts, top_forecasts
from lm.report.texts import LANGUAGES, Texts

NAMES = {"en": "English", "zh": "中文"}
_BUNDLE = "window.vegaEmbed = vegaEmbed;"
_DRAW = """
const specs = JSON.parse(document.getElementById("charts").textContent);
function draw() {
  for (const [id, spec] of Object.entries(specs)) {
    const place = document.getElementById(id);
    if (!place.offsetParent || place.querySelector(".live")) continue;
    const still = place.firstElementChild;
    const live = document.createElement("div");
    live.className = "live";
    place.append(live);
    vegaEmbed(live, spec, {actions: false, renderer: "svg", ast: true, tooltip: {theme: "custom"}})
      .then(() => { still.remove(); }, error => { live.remove(); console.error(error); });
  }
}
const choices = document.querySelectorAll("nav.languages input");
function choose() {
  for (const choice of choices) if (choice.checked) document.documentElement.lang = choice.value;
  draw();
}
for (const choice of choices) choice.addEventListener("change", choose);
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", draw);
choose();
"""


def render(data: ReportData, *, language: str = "en") -> str:
    """The report as one HTML document in all languages; `language` is the one that is shown first."""
    pages = [_Page(data, Texts(name)) for name in sorted(LANGUAGES, key=lambda name: name != language)]
    bodies = [page.html() for page in pages]
    specs = {name: spec for page in pages for name, spec in page.specs.items()}
    scripts = [_library(), _DRAW] if specs else []
    data_block = f'<script type="application/json" id="charts">{script_json(specs)}</script>' if specs else ""
    first = Texts(language)
    return (
        f'<!doctype html>\n<html lang="{first("html_lang")}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(data.title)} · {escape(first('kicker'))}</title>\n<style>\n{_style()}</style>\n</head>\n"
        f"<body>\n{_switch(pages)}\n{''.join(bodies)}\n{data_block}\n"
        f"{''.join(f'<script>{script}</script>' for script in scripts)}\n</body>\n</html>\n"
    )


def _switch(pages: "list[_Page]") -> str:
    """The choice of language: radio buttons, so that it works without a script."""
    choices = "".join(
        f'<label><input type="radio" name="language" id="in-{page.texts.language}" value="{page.texts("html_lang")}"'
        f"{' checked' if number == 0 else ''}><span>{escape(NAMES[page.texts.language])}</span></label>"
        for number, page in enumerate(pages)
    )
    return f'<nav class="languages" aria-label="{escape(pages[0].texts("language"))}">{choices}</nav>'


def headline(data: ReportData, *, language: str = "en") -> str:
    """The opening page as Markdown."""
    texts = Texts(language)
    told = parts(data, texts)
    if len(told) < 2:
        return "\n\n".join(paragraph for part in told for paragraph in part.paragraphs)
    return "\n\n".join(f"### {texts(part.heading)}\n\n" + "\n\n".join(part.paragraphs) for part in told)


def markdown_tables(data: ReportData, *, language: str = "en") -> dict[str, str]:
    """The main tables as Markdown, by a name of letters, digits and dashes: forecasts, laws, ..., recipe-<name>."""
    texts = Texts(language)
    found = {name: make(data, texts) for name, make in tables.BY_NAME.items() if data.rows(name)}
    decided = {name.replace("_", "-"): make(data, texts) for name, make in decision_tables.BY_NAME.items()}
    found |= {name: table for name, table in decided.items() if table[1]}
    for recipe in recipes(data):
        found[f"recipe-{re.sub('[^a-z0-9]+', '-', recipe.lower()).strip('-')}"] = tables.rules_of(data, texts, recipe)
    return {name: markdown_table((heads, rows[: tables.MAX_ROWS])) for name, (heads, rows) in found.items()}


def recipes(data: ReportData) -> list[str]:
    """Recipes that were counted, the ladder's own first."""
    names = sorted({str(row["recipe"]) for row in data.rows("recipe_counts")})
    used = [str(row["recipe"]) for row in data.rows("rungs")]
    return sorted(names, key=lambda name: (name not in used, name))


class _Page:
    """One language's page; collects the charts while the sections are written."""

    def __init__(self, data: ReportData, texts: Texts) -> None:
        self.data, self.texts = data, texts
        self.specs: dict[str, charts.Spec] = {}

    def html(self) -> str:
        """The page as a main element."""
        body = "".join(
            [
                self._header(),
                self._story(),
                self._curve(),
                self._recipes(),
                self._next_runs(),
                self._plain("forecasts", class_="forecasts"),
                self._record(),
                self._allocation(),
                self._repetition(),
                self._laws(),
                self._residuals(),
                self._profiles(),
                self._changed(),
                self._funnel(),
                self._rules(),
                self._duplicates(),
                self._plain("losses"),
                self._plain("contamination"),
                '<div class="pair">' + self._plain("languages", "") + self._plain("hosts", "") + "</div>",
                self._plain("rungs"),
                self._plain("runs"),
                self._plain("domains"),
                self._plain("tasks"),
                self._plain("rejects"),
                self._plain("stages"),
                f"<footer>{sentence(self.texts('foot'))}</footer>",
            ]
        )
        return f'<main lang="{self.texts("html_lang")}" id="page-{self.texts.language}">\n{body}\n</main>'

    def _header(self) -> str:
        snapshot = self.data.lake_snapshot
        made = (
            self.texts("made_without_snapshot", made_at=self.data.made_at)
            if snapshot is None
            else self.texts("made", made_at=self.data.made_at, snapshot=str(snapshot))
        )
        kicker = f'<p class="kicker">{escape(self.texts("kicker"))}</p>'
        return f'<header>{kicker}<h1>{escape(self.data.title)}</h1><p class="made">{escape(made)}</p></header>'

    def _story(self) -> str:
        told = "".join(self._part(part) for part in parts(self.data, self.texts))
        tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in self._tiles())
        return f'<div class="story">{told}</div><div class="tiles">{tiles}</div>'

    def _part(self, part: Part) -> str:
        said = "".join(f"<p>{sentence(text)}</p>" for text in part.paragraphs)
        return f'<section class="{part.heading}"><h2>{escape(self.texts(part.heading))}</h2>{said}</section>'

    def _tiles(self) -> list[tuple[str, str]]:
        metric = main_metric(self.data)
        found = curves(self.data, metric)
        steps = {row["step"]: row for row in self.data.rows("funnel")}
        tiles = [(numbers.short(steps["texts"]["num_documents"]), self.texts("tile_texts"))] if "texts" in steps else []
        rungs = self.data.rows("rungs")
        tiles += [(numbers.short(rungs[-1]["num_available_tokens"]), self.texts("tile_tokens"))] if rungs else []
        tiles += [(str(len(self.data.rows("runs"))), self.texts("tile_runs"))]
        for row in top_forecasts(self.data, metric)[:1]:
            label = self.texts("tile_forecast", low=numbers.loss(row["low"]), high=numbers.loss(row["high"]))
            tiles.append((numbers.loss(row["predicted"]), label))
        if found:
            label = self.texts("tile_loss", unit=self.texts.maybe("unit", metric), tokens=numbers.short(found[-1].num_tokens[-1]))
            tiles.append((numbers.loss(found[-1].values[-1]), label))
        return tiles

    def _curve(self) -> str:
        metric = main_metric(self.data)
        first = next(iter(top_forecasts(self.data, metric)), None)
        seeds = tables.num_seeds(self.data)
        lead = self.texts(
            "curve_lead",
            level=f"{first['level']:.0%}" if first else "90%",
            seeds=self.texts("seed_outcome_one") if seeds <= 1 else self.texts("seed_outcome_many", seeds=str(seeds)),
        )
        return self._section("curve", lead, self._chart("curve", charts.curve(self.data, self.texts)), ["metrics", "laws", "forecasts"])

    def _recipes(self) -> str:
        chart = self._chart("multipliers", decision_charts.multipliers(self.data, self.texts))
        pairs, order = (self._decided(name) for name in ("recipes", "ranking"))
        return self._section("recipes", self.texts("recipes_lead"), (chart + pairs + order) or self._missing("recipes"), ["conclusions"])

    def _next_runs(self) -> str:
        return self._section(
            "next_runs", self.texts("next_runs_lead"), self._decided("next_runs") or self._missing("next_run"), ["conclusions"]
        )

    def _record(self) -> str:
        scored = [row for row in self.data.rows("forecasts") if row["outcome"] is not None]
        chart = self._chart("record", decision_charts.record(self.data, self.texts))
        told = self.texts("record_lead")
        if scored:
            inside, level = sum(bool(row["inside"]) for row in scored), f"{scored[0]['level']:.0%}"
            told = self.texts("record_count", inside=str(inside), scored=str(len(scored)), level=level) + " " + told
        return self._section("record", told, chart, ["forecasts"])

    def _allocation(self) -> str:
        chart = self._chart("slices", decision_charts.slices(self.data, self.texts))
        content = chart + (self._decided("off") if chart else "")
        return self._section("allocation", self.texts("allocation_lead"), content or self._missing("allocation"), ["conclusions"])

    def _repetition(self) -> str:
        chart = self._chart("repetition", decision_charts.repetition(self.data, self.texts))
        return self._section("repetition", self.texts("repetition_lead"), chart or self._missing("repetition"), ["conclusions"])

    def _residuals(self) -> str:
        return self._section(
            "residuals", self.texts("residuals_lead"), self._chart("residuals", decision_charts.residuals(self.data, self.texts)), ["laws"]
        )

    def _profiles(self) -> str:
        names = decision_charts.profiled(self.data)
        drawn = "".join(self._chart(f"profile-{name}", decision_charts.profile(self.data, self.texts, name)) for name in names)
        content = f'<div class="profiles">{drawn}</div>' if drawn else self._missing("constants")
        return self._section("profiles", self.texts("profiles_lead"), content, ["conclusions"])

    def _changed(self) -> str:
        told = decision_tables.change_lead(self.data, self.texts)
        return self._section("changed", told, self._decided("changed") or " ", ["conclusions"])

    def _decided(self, name: str) -> str:
        table = decision_tables.BY_NAME[name](self.data, self.texts)
        return self._table(table) if table[1] else ""

    def _missing(self, question: str) -> str:
        """What is open about a question, and what would answer it."""
        rows = conclusions(self.data, question)
        return "".join(f'<p class="none">{sentence(words.sentence(row, self.texts.language))}</p>' for row in rows)

    def _laws(self) -> str:
        table = tables.laws(self.data, self.texts)
        notes = "".join(f"<li>{sentence(note)}</li>" for note in tables.law_notes(self.data, self.texts))
        content = self._table(table, class_="laws") + (f'<ul class="notes">{notes}</ul>' if notes else "") if table[1] else ""
        return self._section("laws", self.texts("laws_lead"), content, ["laws"])

    def _funnel(self) -> str:
        chart = self._chart("funnel", charts.funnel(self.data, self.texts))
        return self._section("funnel", self.texts("funnel_lead"), chart + self._table(tables.funnel(self.data, self.texts)), ["funnel"])

    def _rules(self) -> str:
        parts = []
        for i, recipe in enumerate(recipes(self.data)):
            chart = (
                self._chart(f"rules-{i}", charts.rules(self.data, self.texts, recipe))
                or f'<p class="none">{escape(self.texts("rules_none"))}</p>'
            )
            table = self._table(tables.rules_of(self.data, self.texts, recipe), class_="rules")
            is_open = " open" if i == 0 else ""
            parts.append(f"<details class='recipe'{is_open}><summary>{escape(recipe)}</summary>{chart}{table}</details>")
        return self._section("rules", self.texts("rules_lead"), "".join(parts), ["recipe_counts"])

    def _duplicates(self) -> str:
        row = next(iter(self.data.rows("duplicates")), None)
        if row is None or not row["num_documents"]:
            return self._section("duplicates", "", "", ["duplicates"])
        keys = {
            "documents": "num_documents",
            "texts": "num_texts",
            "repeated": "num_repeated_texts",
            "pairs": "num_near_pairs",
            "near": "num_near_texts",
        }
        lead = self.texts("duplicates_lead", **{word: numbers.count(row[column]) for word, column in keys.items()})
        chart = self._chart("near", charts.near_histogram(self.data, self.texts))
        return self._section("duplicates", lead, chart or " ", ["duplicates", "near_histogram"])

    def _plain(self, name: str, lead: str | None = None, class_: str = "") -> str:
        table = tables.BY_NAME[name](self.data, self.texts)
        text = self.texts(f"{name}_lead") if lead is None else lead
        return self._section(name, text, self._table(table, class_=class_) if table[1] else "", [name])

    def _table(self, table: Table, class_: str = "") -> str:
        heads, rows = table
        shown = html_table((heads, rows[: tables.MAX_ROWS]), class_=class_)
        if len(rows) <= tables.MAX_ROWS:
            return shown
        return shown + f'<p class="more">{escape(self.texts("all_rows", shown=str(tables.MAX_ROWS), total=numbers.count(len(rows))))}</p>'

    def _section(self, name: str, lead: str, content: str, queries: list[str]) -> str:
        sql = "\n\n".join(f"-- {query}{QUERIES[query].sql.rstrip()}" for query in queries)
        content = content or f'<p class="none">{escape(self.texts("nothing"))}</p>'
        lead_html = f'<p class="lead">{sentence(lead)}</p>' if lead else ""
        return (
            f'<section id="{self.texts.language}-{name}"><h2>{escape(self.texts(f"{name}_title"))}</h2>{lead_html}{content}'
            f'<details class="sql"><summary>{escape(self.texts("sql"))}</summary><pre>{sentence(sql)}</pre></details></section>'
        )

    def _chart(self, name: str, spec: charts.Spec | None) -> str:
        if spec is None:
            return ""
        place = f"{self.texts.language}-{name}"
        self.specs[f"chart-{place}"] = spec
        still = _still(json.dumps({**spec, "width": charts.CHART_WIDTH}))
        return f'<figure id="chart-{place}"><div class="still">{_as_element(still)}</div></figure>'


@lru_cache(maxsize=64)
def _still(spec: str) -> str:
    """A chart as a picture; both languages share those without words."""
    drawn: str = vl_convert.vegalite_to_svg(json.loads(spec))
    return drawn


def _as_element(svg: str) -> str:
    """An SVG document as an element of the page."""
    return svg[svg.index("<svg") :]


def _policy(scripts: list[str]) -> str:
    """Forbid every request; allow the page's own scripts by their hash."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts) or "'none'"
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the installed package."""
    bundle: str = vl_convert.javascript_bundle(_BUNDLE)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _style() -> str:
    return resources.files("lm.report").joinpath("style.css").read_text(encoding="utf-8")
