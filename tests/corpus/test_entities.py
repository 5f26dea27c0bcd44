"""Entities and NFC: Python's answers, for any text."""

import html
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lm.corpus.entities import MAX_MARKS, to_nfc, unescape
from lm.corpus.extraction import Extracted, extract
from lm.corpus.records import ExtractionOptions

SENTENCES = b"<p>Ladders were set against the wall, and everybody climbed; nobody fell. The next morning they were gone.</p>" * 3


@given(st.text("&#x;0123456789afmplt \u00e9", max_size=60))
def test_entities_are_those_of_the_standard_library(text: str) -> None:
    assert unescape(text) == html.unescape(text)


def test_a_number_of_any_length_is_read() -> None:
    assert unescape("a &#" + "1" * 5000 + "; b") == "a \ufffd b"
    assert unescape("a &#" + "0" * 5000 + "65; b") == "a A b"
    assert unescape("&#x" + "f" * 5000 + ";") == "\ufffd"


def test_an_endless_number_anywhere_on_a_page_costs_itself_alone() -> None:
    number = b"&#" + b"1" * 5000 + b";"
    for page in (
        b"<title>T " + number + b"</title>" + SENTENCES,
        b"<html lang='" + number + b"'><meta property=og:title content='" + number + b"'>" + SENTENCES,
        SENTENCES + b"<p>Some more words stand around it: " + number + b", and then it ends.</p>" + SENTENCES,
    ):
        found = extract(page, "text/html", ExtractionOptions())
        assert isinstance(found, Extracted)
        assert "Ladders were set" in found.text


@given(st.text("ae\u00e9\u0301\u0323\u0344\u0f71\u1100\u1161 ", max_size=40))
def test_text_is_normalised_as_by_the_standard_library(text: str) -> None:
    assert to_nfc(text) == unicodedata.normalize("NFC", text)


def test_endless_marks_are_parted_and_sorted_in_linear_time() -> None:
    """A million marks in alternating order; sorting them as one run would take ten minutes."""
    text = "a" + "\u0301\u0323" * 500_000 + " b"
    normal = to_nfc(text)
    assert to_nfc(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal.replace("\u034f", "").count("\u0323") >= 500_000 - 1
    assert len(normal) - len(text) <= 1_000_000 // MAX_MARKS
