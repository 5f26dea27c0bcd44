"""Shingles against a plain Python reference, and band keys that find what is similar."""

import itertools
import re
import string
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import minhash
from lm.corpus.signals import characters as ch


def has(char: str, flag: int) -> bool:
    return bool(ch.flags()[ord(char)] & flag)


def fold(char: str) -> str:
    kept = [c for c in unicodedata.normalize("NFD", char.lower()) if unicodedata.category(c) != "Mn"]
    return "" if not kept else kept[0] if len(kept) == 1 else (char.lower() if len(char.lower()) == 1 else char)


def simple_words(text: str) -> list[str]:
    out: list[str] = []
    open_word = False
    for part in re.split(r"(\d+(?:[.,،٫⎖⎗⎘]\d+)?)", text):
        for char in ["0"] if re.fullmatch(r"\d+(?:[.,،٫⎖⎗⎘]\d+)?", part) else part:
            if char.isspace() or has(char, ch.NON_WORD):
                open_word = False
            elif has(char, ch.SINGLE):
                out.append(fold(char))
                open_word = False
            elif char == "0" or fold(char):
                if open_word:
                    out[-1] += "0" if char == "0" else fold(char)
                else:
                    out.append("0" if char == "0" else fold(char))
                open_word = True
    return out


def reference(text: str, preset: str) -> set[str]:
    if minhash.PRESETS[preset].unit == "word":
        words, n = simple_words(text), 5
        whole = " ".join(words)
        grams = {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}
    else:
        kept = "".join(c for c in text if c not in string.punctuation)
        whole, n = " ".join("".join(c.lower() if len(c.lower()) == 1 else c for c in kept).split()), 13
        grams = {whole[i : i + n] for i in range(len(whole) - n + 1)}
    return grams or ({whole} if whole else {f"raw {text}"})


PIECES = st.sampled_from(
    [*"aAbÉéïßΣＡ１0123456789.,,.;!?'-\n\t \u0301\u3000的一がガー한İﬁ#٫٣", "the ", "quick brown ", "12.5 ", "3,000", "1.2.3", "\x00"]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=40).map("".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=6), st.sampled_from(list(minhash.PRESETS)))
def test_shingle_sets_agree_with_the_reference_on_any_text(texts: list[str], preset: str) -> None:
    sets = [set(found.tolist()) for found in minhash.shingle_sets(pa.array(texts), preset)]
    expected = [reference(text, preset) for text in texts]
    assert [len(found) for found in sets] == [len(grams) for grams in expected], texts
    for (a, b), (c, d) in zip(itertools.combinations(sets, 2), itertools.combinations(expected, 2), strict=True):
        assert len(a & b) == len(c & d), texts


def test_case_punctuation_digits_and_diacritics_do_not_matter_to_fineweb() -> None:
    texts = ["Café No. 12, opened in 1999 – naïve!", "cafe no 7 opened in 2024 naive"]
    a, b = minhash.shingle_sets(pa.array(texts), "fineweb")
    assert np.array_equal(a, b)
    a, b = minhash.shingle_sets(pa.array(texts), "slimpajama")
    assert not np.array_equal(a, b)


def test_chinese_is_shingled_by_character() -> None:
    assert len(minhash.shingle_sets(pa.array(["今天天气不错，我们去公园。"]), "fineweb")[0]) == 11 - 4


def test_a_short_text_is_one_shingle_and_marks_alone_count_as_themselves() -> None:
    sets = minhash.shingle_sets(pa.array(["Two words", "two WORDS!", "...", "!!!", "...", ""]), "fineweb")
    assert [len(found) for found in sets] == [1] * 6
    keys = [int(found[0]) for found in sets]
    assert keys[0] == keys[1]
    assert keys[2] == keys[4]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("preset", list(minhash.PRESETS))
def test_bands_agree_as_often_as_theory_says(preset: str) -> None:
    p = minhash.PRESETS[preset]
    random = np.random.default_rng(0)
    vocabulary = ["".join(random.choice(list("abcdefghij"), 6)) for _ in range(5000)]
    base = random.choice(vocabulary, 300).tolist()
    texts = [" ".join(base)]
    for _ in range(400):
        changed = list(base)
        for at in random.choice(300, 6, replace=False):
            changed[at] = vocabulary[random.integers(5000)]
        texts.append(" ".join(changed))
    sets = minhash.shingle_sets(pa.array(texts), preset)
    bands = np.array(minhash.signatures(pa.array(texts), preset).to_pylist(), dtype=np.uint64)
    similar = [len(np.intersect1d(sets[0], s)) / len(np.union1d(sets[0], s)) for s in sets[1:]]
    expected = np.mean([1 - (1 - j**p.rows_per_band) ** p.num_bands for j in similar])
    assert np.mean((bands[1:] == bands[0]).any(axis=1)) == pytest.approx(expected, abs=0.08)


def test_keys_depend_on_the_text_alone() -> None:
    texts = [f"document {chr(97 + i % 26)} number says " * (i % 7) + chr(97 + i % 26) for i in range(100)]
    whole = minhash.signatures(pa.array(texts), "fineweb", num_threads=3)
    assert whole.equals(minhash.signatures(pa.array(texts), "fineweb"))
    assert whole.slice(7, 1).to_pylist() == minhash.signatures(pa.array([texts[7]]), "fineweb").to_pylist()
    fixed: Any = minhash.signatures(pa.array(["one two three four five"]), "fineweb").to_pylist()
    assert fixed[0][:2] == FIXED


FIXED = [2921402739942310302, 8833678443181098690]
"""Keys as they stand in lakes: if these change, so must the code version of the stage."""


def test_band_table_has_the_rows_of_the_lake() -> None:
    table = minhash.band_table(pa.array(["x", "y"]), pa.array(["one", ""]), "slimpajama")
    assert table.column_names == ["id", "method", "bands"]
    assert table["method"].to_pylist() == ["slimpajama"] * 2
    assert pc.list_value_length(table["bands"]).to_pylist() == [9, 9]
    assert table.schema.field("bands").type == pa.list_(pa.uint64())
    assert minhash.band_table(pa.array([], pa.string()), pa.array([], pa.string()), "fineweb").schema.equals(table.schema)


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="must be one of ladder, fineweb, slimpajama, not 'marin'"):
        minhash.signatures(pa.array(["a"]), "marin")
