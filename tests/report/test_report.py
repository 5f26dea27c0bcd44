"""The report: every query runs on the lake's tables, words follow the facts, crawled text stays text, and the page needs no network."""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from lm.report import QUERIES, ReportData, curve_png, headline, markdown_tables, numbers, render
from lm.report.markup import escape, markdown_text, script_json, visible
from lm.report.remarks import said
from lm.report.texts import LANGUAGES, Texts


@pytest.fixture(scope="module")
def page(sample: ReportData) -> str:
    return render(sample)


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_every_query_runs_on_the_tables_of_the_lake(empty: ReportData, sample: ReportData) -> None:
    for name, query in QUERIES.items():
        assert tuple(getattr(empty, name).column_names)[-len(query.columns) :] == query.columns
        assert sample.rows(name), name


def test_a_missing_column_is_named(sample: ReportData) -> None:
    with pytest.raises(ValueError, match=r"ReportData\.runs needs the columns run_id, .*; missing: device"):
        replace(sample, runs=sample.runs.drop_columns(["device"]))


def test_funnel_counts_what_is_there(sample: ReportData) -> None:
    steps = {(row["step"], row["recipe"]): row["num_documents"] for row in sample.rows("funnel")}
    texts = steps["texts", None]
    assert steps["captures", None] == 600
    assert steps["documents", None] == 550
    assert texts == 530
    assert steps["recipe", "gopher"] == texts - 75
    last, top = sample.rows("funnel")[-1], sample.rows("rungs")[-1]
    assert (last["num_documents"], last["num_tokens"]) == (top["num_documents"], top["num_tokens"])


def test_a_pair_that_two_presets_compared_counts_once(sample: ReportData) -> None:
    (row,) = sample.rows("duplicates")
    assert row["num_near_pairs"] == sum(row["num_pairs"] for row in sample.rows("near_histogram")) == 60


def test_sources_that_lose_too_much_and_known_items_are_told(sample: ReportData) -> None:
    tables = markdown_tables(sample)
    first, second = tables["losses"].splitlines()[2:]
    assert [cell.strip() for cell in first.strip("|").split("|")[-4:]] == ["100", "80", "80.0%", "loses too much"]
    assert "<script>" not in second
    assert "loses too much" not in second
    (row,) = tables["contamination"].splitlines()[2:]
    assert [cell.strip() for cell in row.strip("|").split("|")[1:]] == ["40", "5", "2", "3", "91.7%", "91.7%"]
    assert "失去过多" in markdown_tables(sample, language="zh")["losses"]


def test_page_asks_nothing_from_a_network(page: str) -> None:
    tags = Tags(page).seen
    linked = {name for name, _ in tags} & {"link", "iframe", "object", "embed", "base", "img", "audio", "video", "form"}
    assert not linked
    assert not [attributes for name, attributes in tags if name == "script" and "src" in attributes]
    addresses = {
        value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href", "xlink:href", "action") and value
    }
    assert not addresses
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "default-src 'none'; script-src 'sha256-" in page


def test_crawled_text_stays_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "<img" not in page.split('<script type="application/json"')[0]
    assert "\u202e" not in page
    assert "evil.example/&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("text", ['<a href="x">', "a|b", "**x**", "[x](javascript:1)", "a\nb", "`x`", "\u202ex", "\x00"])
def test_hostile_text_is_defused(text: str) -> None:
    assert not re.search(r'[<>"]', escape(text))
    assert len(visible(text).splitlines()) == 1
    assert not re.search(r"(?<!\\)[|*\[`<]", markdown_text(text))
    assert "</" not in script_json({"x": text + "</script>"})


def test_bidirectional_and_unseen_characters_are_shown() -> None:
    assert visible("a\u202eb\u200bc\x07") == "a□b□c□"
    assert visible("π-文.example") == "π-文.example"
    assert len(visible("x" * 1000)) == 160


def test_headline_tells_forecast_interval_and_outcome(sample: ReportData) -> None:
    told = headline(sample)
    forecast = max(sample.rows("forecasts"), key=lambda row: row["num_params"])
    for column in ("predicted", "low", "high", "outcome"):
        assert f"{forecast[column]:.3f}" in told
    assert "the mean of 2 seeds" in told
    assert "inside the interval" in told
    assert "600 captured pages gave 550 documents" in told


def test_headline_says_when_the_outcome_fell_outside(sample_with: Callable[..., ReportData]) -> None:
    told = headline(sample_with(surprise=0.2))
    assert "**outside the interval**" in told
    assert "should not be trusted" in told
    assert "above the forecast" in told


def test_headline_says_when_a_forecast_came_late(sample_with: Callable[..., ReportData]) -> None:
    late = sample_with(late=True)
    assert "registered after its rung was trained" in headline(late)
    assert "registered late" in markdown_tables(late)["forecasts"]


def test_headline_before_the_last_rung_and_with_one_seed(sample_with: Callable[..., ReportData]) -> None:
    told = headline(sample_with(trained=5, num_seeds=1))
    assert "has not been measured yet" in told
    assert "one seed only" in told
    assert "no model size was trained with two seeds" in told


def test_headline_without_forecast_and_without_runs(without_forecasts: ReportData, empty: ReportData) -> None:
    assert "No forecast has been registered" in headline(without_forecasts)
    assert headline(empty) == "No model has been trained yet, so there is no curve to speak of."


def test_open_constants_are_named(sample_with: Callable[..., ReportData]) -> None:
    two_sizes = sample_with(sizes=2)
    assert re.search(r"\d \? \|", markdown_tables(two_sizes)["laws"])
    assert "not fixed: " in render(two_sizes)


def test_an_empty_lake_gives_a_page_without_charts(empty: ReportData) -> None:
    page = render(empty)
    assert "Nothing here yet." in page
    assert "script-src 'none'" in page
    assert "<script" not in page


def test_equal_data_gives_an_equal_page(sample: ReportData, page: str) -> None:
    assert render(sample) == page


def test_markdown_tables_are_named_for_artifacts(sample: ReportData, empty: ReportData) -> None:
    tables = markdown_tables(sample)
    assert {"forecasts", "laws", "funnel", "runs", "recipe-gopher", "recipe-raw"} <= set(tables)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in tables)
    assert all(len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1 for table in tables.values())
    assert "laws" not in markdown_tables(empty)


def test_sql_stands_under_each_figure(page: str) -> None:
    for name in QUERIES:
        assert f"-- {name}\n" in page


def test_many_hosts_are_cut_and_counted(sample: ReportData) -> None:
    hosts = [f"h{i}.example" for i in range(300)]
    many = pa.table({"host": hosts, "num_documents": [1] * 300, "num_bytes": [10] * 300})
    page = render(replace(sample, hosts=many))
    assert "Showing the first 25 of 300" in page
    assert "h299.example" not in page


def test_evaluation_sets_are_shown_with_and_without_known_items(sample: ReportData, page: str) -> None:
    assert [
        (row["domain"], row["num_items"]) for row in sample.rows("tasks") if row["num_params"] == sample.rows("tasks")[-1]["num_params"]
    ] == [
        ("piqa", 50),
        ("piqa~clean", 50),
    ]
    assert "piqa~clean" in page
    assert "source:crawl" not in {row["domain"] for row in sample.rows("domains")}


def test_curve_picture_is_written(sample: ReportData, empty: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    assert curve_png(sample, path)
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert width > 1000
    assert height > 600
    assert not curve_png(empty, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_languages_have_the_same_keys_and_blanks() -> None:
    keys = {language: set(texts) for language, texts in LANGUAGES.items()}
    assert len(set(map(frozenset, keys.values()))) == 1
    blanks = {name: {key: set(re.findall(r"{(\w+)}", text)) for key, text in texts.items()} for name, texts in LANGUAGES.items()}
    assert {key for key in blanks["en"] if blanks["en"][key] != blanks["zh"][key]} == set()
    with pytest.raises(ValueError, match="must be one of en, zh; came 'xx'"):
        Texts("xx")


def test_numbers_are_for_people() -> None:
    assert [numbers.short(value) for value in (0, 7, 999, 1000, 262_144, 999_999, 8_388_608, None)] == [
        *("0", "7", "999", "1k", "262k", "1M", "8.39M", "–")
    ]
    assert [numbers.size(value) for value in (12, 1500, 5_930_000)] == ["12 B", "1.5 kB", "5.93 MB"]
    assert [numbers.share(part, 10_000) for part in (0, 1, 1230, 9999, 10_000)] == ["0%", "<0.1%", "12.3%", ">99.9%", "100%"]
    assert [numbers.duration(value) for value in (0.25, 59.9, 200, 7500)] == ["0.2 s", "59.9 s", "3 min 20 s", "2 h 5 min"]
    assert numbers.moment(datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)) == "2026-11-22 01:02:03"
    assert [numbers.constant(value) for value in (0.0, 0.3473, 477.8, 2143.4, 1.5e14)] == ["0", "0.347", "478", "2,143", "1.50e+14"]


def test_decisions_stand_on_the_page_in_both_languages(sample: ReportData, page: str) -> None:
    told = headline(sample)
    assert told.startswith("### The answer")
    assert "### What would change it" in told
    assert "One token of fineweb is worth" in told
    assert "Pay next for" in told
    assert "fineweb 的一个词元相当于 gopher 的" in headline(sample, language="zh")
    for name in ("multipliers", "slices", "repetition", "residuals", "record", "profile-E"):
        assert f'id="chart-en-{name}"' in page
        assert f'id="chart-zh-{name}"' in page
    assert {"recipes", "next-runs", "off", "changed"} <= set(markdown_tables(sample))


def test_one_recipe_of_one_size_says_what_would_answer(alone: ReportData) -> None:
    told = headline(alone)
    assert "Open: which recipe is better" in told
    assert "Lay out a ladder of a second recipe and train 203k parameters up to 8.39M tokens" in told
    assert "Train a second one, such as 102k parameters" in told
    page = render(alone)
    assert 'id="chart-en-multipliers"' not in page
    assert 'id="chart-en-slices"' not in page
    assert "尚无答案：哪个配方更好" in page


def test_what_changed_is_said_with_its_cause(sample: ReportData) -> None:
    table = markdown_tables(sample)["changed"]
    assert "which recipe is better" in table
    assert "after new data and new runs" in render(sample)


def test_a_report_without_conclusions_still_tells_its_story(sample: ReportData) -> None:
    bare = replace(sample, conclusions=sample.conclusions.slice(0, 0))
    assert "Pay next for" not in headline(bare)
    assert "doubling the data once more" in headline(bare)
    assert "Nothing has been concluded yet." in render(bare)


def test_remarks_of_laws_are_said_in_chinese(sample: ReportData, sample_with: Callable[..., ReportData]) -> None:
    rows = [*sample.rows("laws"), *sample_with(sizes=2, num_seeds=1).rows("laws")]
    remarks = {str(one) for row in rows for one in [*json.loads(row["warnings"]), *json.loads(row["unidentified"]).values()]}
    assert remarks
    assert {one for one in remarks if said(one, "zh") == one} == set()
    assert {said(one, "en") for one in remarks} == remarks
    assert said("something new", "zh") == "something new"
