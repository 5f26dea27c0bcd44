"""The smallest pieces of the scanner beside plain Python, at the ends of a page too."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from lm.corpus.extraction import vocabulary as v
from lm.corpus.extraction.kernels import read_page
from lm.corpus.extraction.lexing import NUM_SEEN, find_byte, hints_of, known_hints, name_key, skip_space
from lm.corpus.extraction.markup import count_byte
from lm.corpus.extraction.vocabulary import HINTS, TAGS, vocabulary

WORDS = sorted({word for _, words in HINTS for word in words.split()})
VALUES = st.lists(st.sampled_from([*WORDS, "-", " ", "Related", "POST", "x", "7", "é", "_ad_", "@", "["]), max_size=6).map("".join)
OPEN = sorted(name for name, kind in v.ELEMENTS[1:] if kind not in (v.RAW, v.VOID, v.BREAK))


def page_of(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


@cache
def pieces() -> Callable[..., Any]:
    @njit
    def run(page: Any, start: int, stop: int, byte: int) -> Any:
        return name_key(page, start, stop), count_byte(page, byte), find_byte(page, start, byte), skip_space(page, start)

    return run


@cache
def both_hints() -> Callable[..., Any]:
    @njit
    def run(page: Any, ends: Any, words: Any, seen: Any, out: Any) -> None:
        start = 0
        for i in range(ends.size):
            out[i, 0] = known_hints(page, start, ends[i], words, seen)
            out[i, 1] = hints_of(page, start, ends[i], words.moves, words.hints)
            start = ends[i]

    return run


def hints_in_python(value: str) -> int:
    letters = "_" + re.sub("[^a-z]", "_", value.lower().encode().decode("latin1")) + "_"
    return sum(1 << bit for bit, (_, words) in enumerate(HINTS) if any(word in letters for word in words.split()))


def hints_of_values(values: list[str]) -> Any:
    data, out = [value.encode() for value in values], np.zeros((len(values), 2), np.int64)
    ends = np.cumsum([len(value) for value in data], dtype=np.int64)
    both_hints()(page_of(b"".join(data)), ends, vocabulary(), np.zeros((NUM_SEEN, 2), np.int64), out)
    return out


@settings(max_examples=500, deadline=None)
@given(st.text("aZ0-_é:", max_size=20), st.integers(0, 9), st.integers(0, 9))
def test_a_name_has_one_key_wherever_it_stands(name: str, before: int, behind: int) -> None:
    data = name.encode()
    page = page_of(b"<" * before + data + b">" * behind)
    assert pieces()(page, before, before + len(data), 60)[0] == v.name_key(name)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(b" <\t\0\xffx"), st.integers(1, 300)), max_size=6), st.integers(0, 700))
@example([(60, 1000)], 0)
def test_bytes_are_counted_and_found_as_python_does(runs: list[tuple[int, int]], start: int) -> None:
    data = b"".join(bytes([byte]) * num for byte, num in runs)
    _, num, place, after = pieces()(page_of(data), min(start, len(data)), min(start, len(data)), ord("<"))
    found = data.find(b"<", start)
    assert (num, place) == (data.count(b"<"), found if found >= 0 else len(data))
    assert after == len(data) - len(data[start:].lstrip()) if start < len(data) else after == len(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12), st.integers(1, 3))
def test_hints_of_a_value_are_those_of_its_words_however_often_it_comes(values: list[str], times: int) -> None:
    found = hints_of_values(values * times)
    assert found[:, 1].tolist() == [hints_in_python(value) for value in values] * times
    assert (found[:, 0] == found[:, 1]).all()


def test_values_that_share_a_slot_are_told_apart() -> None:
    values = [f"{word}-{number}" for number in range(8) for word in WORDS]
    found = hints_of_values([*values, *values])
    assert len(values) > 2 * NUM_SEEN
    assert (found[:, 0] == found[:, 1]).all()


@pytest.mark.parametrize("name", OPEN)
def test_an_element_is_known_at_the_very_end_of_a_page(name: str) -> None:
    assert read_page(page_of(f"<{name}".encode())).markup.tags.tolist() == [0, TAGS[name]]


PAGE = (
    "<div class=ad-box id='nav footer'><p style='display: none'>x</p><!-- a --><script>y</script>  \t        "
    "<article  hidden itemprop=name><meta name=date><title>t</title>&amp; <span role=x><a class = share-bar/></ul>"
)


@pytest.mark.parametrize(
    "behind",
    [b"-nav hidden class=related>" * 9, b">" * 99, b"'<b>\"-->" * 9, b" " * 99, b"e" * 99],
    ids=["attributes", "brackets", "quotes", "blanks", "letters"],
)
def test_what_lies_behind_a_page_is_not_read(behind: bytes) -> None:
    for stop in range(1, len(PAGE) + 1):
        data = PAGE[:stop].encode()
        alone, inside = read_page(page_of(data)), read_page(page_of(data + behind)[:stop])
        for found, expected in zip((*inside.markup, inside.features), (*alone.markup, alone.features), strict=True):
            assert np.array_equal(found, expected), data
