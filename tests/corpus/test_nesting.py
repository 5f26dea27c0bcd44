"""Markup that would take other engines minutes is told before they see it, whatever hides it."""

import pytest

from lm.corpus.extraction import NoText, extract
from lm.corpus.extraction.nesting import MAX_ATTRIBUTES, excess
from lm.corpus.records import ExtractionOptions

HOSTILE = {
    "articles": (b"<article><p>t" * 5000, "too_deep"),
    "end tags of other names": (b"<article></zzz>" * 5000, "too_deep"),
    "end tags that fit none": (b"<x>" * 10_000 + b"</y>" * 10_000, "too_deep"),
    "items far inside": (b"<ul>" * 5000 + b"<li>t" * 5000, "too_deep"),
    "formatting that stays open": (b"<font></b><p>t" * 2000, "too_deep"),
    "names nobody knows": (b"".join(b"<z%d>" % number for number in range(9000)), "too_deep"),
    "attributes": (b"<p " + b" ".join(b"a%d" % number for number in range(MAX_ATTRIBUTES + 1)) + b">", "too_many_attributes"),
    "attributes with brackets": (b"<p " + b" ".join(b"a%d='>'" % n for n in range(MAX_ATTRIBUTES + 1)) + b">", "too_many_attributes"),
    "attributes behind a script": (b"<script><p></script><p " + b"a " * (MAX_ATTRIBUTES + 1) + b">", "too_many_attributes"),
}
HARMLESS = {
    "closed": b"<article><p>t</article>" * 20_000,
    "closed by the next": b"<table>" + b"<tr><td>a<td>b" * 20_000,
    "in a script": b"<script>" + b"'<article>'" * 20_000 + b"</script><p>t",
    "in comments": b"<!-- <article> -->" * 20_000,
    "empty elements": b"<br><img src=x>" * 20_000,
    "attributes of many tags": b"<p a=1 b=2 c=3>" * 20_000,
    "other marks": b"< <3 </ <! <? >" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_take_minutes_is_counted(name: str) -> None:
    page, reason = HOSTILE[name]
    assert excess(page) == reason
    for engine in ("resiliparse", "wet"):
        assert extract(page, "text/html", ExtractionOptions(extractor=engine)) == NoText(reason)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_takes_no_time_passes(name: str) -> None:
    assert excess(HARMLESS[name]) is None


def test_our_own_engine_reads_all_of_it() -> None:
    text = b"<p>Ladders were set against the wall, and everybody climbed; nobody fell. The next morning they were gone.</p>" * 3
    for page, _ in HOSTILE.values():
        found = extract(text + page, "text/html", ExtractionOptions())
        assert "Ladders" in getattr(found, "text", "")
