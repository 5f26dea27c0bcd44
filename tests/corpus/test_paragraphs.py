"""Repeated paragraphs go by DCLM's rule, whatever the order; lines of a host go where many of its texts hold them."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import boilerplate, paragraphs
from storage.digest import digest

WORDS = [a + b for a in ("ka", "lo", "mi", "ru", "sa", "te", "vo", "zi") for b in ("n", "rd", "st", "ple", "tch", "x", "w", "mo")]


def line(seed: object, num: int = 20) -> str:
    return " ".join(random.Random(str(seed)).choices(WORDS, k=num))


def table(texts: Sequence[str], ids: Sequence[str] | None = None) -> pa.Table:
    return pa.table({"id": list(ids or [f"{i:032x}" for i in range(len(texts))]), "text": list(texts)})


def repeats(rows: pa.Table, batch_rows: int = 3) -> list[tuple[str, list[str], bool]]:
    """Per document what goes, as text, and whether all of it does."""
    texts = {str(row["id"]): str(row["text"]) for row in rows.to_pylist()}
    with tempfile.TemporaryDirectory() as folder:
        found = [
            row for part in paragraphs.find_repeats(lambda: rows.to_batches(batch_rows), 1000, Path(folder)) for row in part.to_pylist()
        ]
    pieces = []
    for row in found:
        raw, spans = texts[row["id"]].encode(), row["spans"]
        pieces.append((row["id"], [raw[spans[i] : spans[i + 1]].decode() for i in range(0, len(spans), 2)], row["is_whole"]))
    return pieces


def by_the_rule(texts: Sequence[str]) -> list[tuple[str, list[str], bool]]:
    """The rule in plain Python, over documents in order."""
    seen: set[tuple[str, ...]] = set()
    out = []
    for number, text in enumerate(texts):
        gone, all_seen, total = [], 0, 0
        for paragraph in text.split("\n"):
            words = paragraph.split()
            grams = [tuple(words[i : i + 13]) for i in range(len(words) - 12)]
            known = sum(gram in seen for gram in grams)
            all_seen, total = all_seen + known, total + len(grams)
            if grams and known > 0.8 * len(grams):
                gone.append(paragraph)
            else:
                seen.update(grams)
        if gone or (total and all_seen > 0.8 * total):
            out.append((f"{number:032x}", gone, bool(total) and all_seen > 0.8 * total))
    return out


def test_the_later_copy_of_a_paragraph_goes_and_the_first_stays() -> None:
    texts = [f"{line(1)}\n{line(2)}", f"{line(3)}\n{line(2)}\nshort line", line(2), f"{line(4)}\n{line(5)}"]
    assert repeats(table(texts)) == [(f"{1:032x}", [line(2)], False), (f"{2:032x}", [line(2)], True)]
    assert repeats(table(texts)) == by_the_rule(texts)


def test_dress_does_not_hide_a_copy_and_short_lines_are_left_alone() -> None:
    assert repeats(table([line(1), line(1).upper().replace(" ", ", "), *["a menu of few words"] * 3]))[0][2]
    assert len(repeats(table([line(1), line(1).upper(), *["a menu of few words"] * 3]))) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.integers(1, 30)), min_size=1, max_size=4), max_size=12),
    st.randoms(),
)
def test_any_order_gives_what_the_rule_gives_in_order_of_ids(shape: list[list[tuple[int, int, int]]], rng: random.Random) -> None:
    texts = ["\n".join(" ".join(line(seed, 45).split()[first : first + num]) for seed, first, num in lines) for lines in shape]
    rows = table(texts)
    expected = by_the_rule(texts)
    assert repeats(rows) == expected
    order = rng.sample(range(len(texts)), len(texts))
    assert repeats(rows.take(pa.array(order, pa.int64())), batch_rows=rng.randrange(1, 5)) == expected


def test_partitions_crowded_bitmaps_and_copies_of_a_document_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{line(i % 7)}\n{line(f'x{i}')}\n{line(f'y{i}')}" for i in range(40)]
    rows = table(texts, sorted(digest(text) for text in texts))
    expected = repeats(rows)
    assert len(expected) == 33
    assert repeats(pa.concat_tables([rows, rows])) == expected
    monkeypatch.setattr(paragraphs, "bitmap_bits", lambda _: 6)
    assert repeats(rows) == expected
    with tempfile.TemporaryDirectory() as folder:
        found = list(paragraphs.find_repeats(lambda: rows.to_batches(5), 200 << 20, Path(folder)))
    assert len(found) > 1
    assert [row["id"] for part in found for row in part.to_pylist()] == [id for id, _, _ in expected]


def test_nothing_gives_nothing() -> None:
    assert repeats(table([])) == []
    assert repeats(table(["", "\n\n"])) == []


def test_lines_of_a_host_are_counted_once_per_text() -> None:
    rows = {
        "id": [f"{i}" for i in range(12)],
        "host": ["a"] * 10 + ["b"] * 2,
        "text": [*(f"Menu\nText {i}\n Menu \n{'Rare' if i < 3 else i}" for i in range(10)), "Menu\nx", "Menu\ny"],
    }
    with duckdb.connect() as connection:
        connection.register("documents", pa.table(rows))
        found = connection.execute(boilerplate.host_lines_sql(4, 0.5)).to_arrow_table().to_pylist()
        assert [(row["host"], row["line"], row["num_documents"], row["num_host_documents"]) for row in found] == [("a", "Menu", 10, 10)]
        assert len(connection.execute(boilerplate.host_lines_sql(3, 0.3)).fetchall()) == 2
    (batch,) = pa.table(rows).to_batches()
    variants = boilerplate.variants(batch, {"a": {"Menu"}}).to_pylist()
    assert [row["id"] for row in variants] == [f"{i}" for i in range(10)]
    assert variants[0] == {"id": "0", "variant": "without_boilerplate", "text": "Text 0\nRare", "num_removed_bytes": 12}
