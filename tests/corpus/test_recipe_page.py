"""The page of a recipe: nothing of a text can act in it."""

import re
from typing import Any

from lm.corpus import recipe_page, recipes
from lm.corpus.recipe_page import CLOSEST, FAILS, GOES, Sample
from lm.corpus.verdicts import Verdict

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\x00\u202egnp\x1b[31m &amp; \" ' <!--"
COUNTS = [
    {"rule": "all", "num_failing": 2, "num_removed": 2, "alarm": None},
    {"rule": "too_short", "num_failing": 1, "num_removed": 1, "alarm": "removes_everything"},
    {"rule": "kept", "num_failing": 1, "num_removed": 1, "alarm": None},
]


def made(*others: Sample) -> str:
    verdicts = [Verdict("too_short", "normalized_chars", 12, ">= 200", False, "source")]
    hostile: dict[str, Any] = {"url": f"javascript:{HOSTILE}", "title": HOSTILE, "num_bytes": 12, "language": '"><b', "evidence": [HOSTILE]}
    samples = [
        Sample(id="id1", section="too_short", role=GOES, verdicts=verdicts, text=HOSTILE, **hostile),
        Sample(id="id2", section="kept", role=GOES, verdicts=[], text="x", url="u", title=None, num_bytes=9, language="zh"),
        *others,
    ]
    return recipe_page.page(recipes.load("slimpajama"), COUNTS, samples)


def test_every_text_is_escaped_and_nothing_can_run_or_load() -> None:
    page = made()
    tags = set(re.findall(r"<(/?[a-z!][a-z0-9]*)", page))
    known = [
        "!doctype",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "details",
        "summary",
        "span",
        "b",
        "svg",
        "rect",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
    ]
    assert {tag.removeprefix("/") for tag in tags} <= set(known)
    assert not re.search(r"\son[a-z]+=|href=|src=", page.replace("src=x onerror=alert(1)&gt;", ""))
    assert "default-src 'none'" in recipe_page.policy()
    assert "&lt;script&gt;" in page
    assert not re.search("[\x00\x1b\u202e]", page)
    assert "U+202E" in page


def test_the_page_says_what_a_rule_drops() -> None:
    page = made()
    assert "normalized_chars &gt;= 200" in page
    assert "removes everything</span></b>" in page  # an alarm is seen before anything is opened
    assert "1 document fails this rule, 1 of them fail none before it." in page
    assert "normalized_chars: 12, needs &gt;= 200" in page
    assert 'width="50.00%"' in page
    assert ' lang="zh"' in page


def test_what_stays_close_to_a_limit_is_shown_beside_what_goes() -> None:
    other: dict[str, Any] = {"url": "u", "title": None, "num_bytes": 9, "language": None, "verdicts": [], "section": "too_short"}
    page = made(Sample(id="near", role=CLOSEST, text="close call", **other), Sample(id="also", role=FAILS, text="fell short", **other))
    assert page.index("kept, and closest to the limit") < page.index("close call")
    assert "fell short" not in page  # documents that go for the rule are there to see
    counts = [dict(row, num_removed=0 if row["rule"] == "too_short" else row["num_removed"]) for row in COUNTS]
    page = recipe_page.page(recipes.load("slimpajama"), counts, [Sample(id="also", role=FAILS, text="fell short", **other)])
    assert page.index("Some that fail it, and go for a rule before it") < page.index("fell short")
