"""The page of a recipe: nothing of a text can act in it."""

import re

from lm.corpus import recipe_page, recipes
from lm.corpus.recipe_page import Sample
from lm.corpus.verdicts import Verdict

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\x00\u202egnp\x1b[31m &amp; \" ' <!--"
COUNTS = [
    {"rule": "all", "num_failing": 2, "num_removed": 2, "alarm": None},
    {"rule": "too_short", "num_failing": 1, "num_removed": 1, "alarm": "removes_everything"},
    {"rule": "kept", "num_failing": 1, "num_removed": 1, "alarm": None},
]


def made() -> str:
    verdicts = [Verdict("too_short", "normalized_chars", 12, ">= 200", False, "source")]
    samples = [
        Sample("id1", f"javascript:{HOSTILE}", HOSTILE, 12, "too_short", verdicts, HOSTILE),
        Sample("id2", "u", None, 9, None, [], "x"),
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
        "meter",
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
    assert "removes everything" in page
    assert "1 documents fail this rule, 1 of them fail none before it." in page
