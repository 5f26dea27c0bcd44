"""The compiled kernels against a plain Python reference that says what each signal means."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import minhash, pii, signals, variants
from lm.corpus.signals import columns, hashing, kernel, words
from storage.signals import SIGNALS
from tests.corpus.signals_reference import cut_words, reference


def check(texts: list[str], num_threads: int = 1) -> None:
    table = signals.compute(pa.array(texts), num_threads)
    assert table.column_names == list(SIGNALS)
    for text, row in zip(texts, table.to_pylist(), strict=True):
        expected = reference(text)
        wrong = {n: (row[n], expected[n]) for n in SIGNALS if row[n] != pytest.approx(expected[n], rel=1e-9, abs=1e-12)}
        assert not wrong, f"{text!r}: {wrong}"


# --- tests -------------------------------------------------------------------------------------------------------------------

PROSE = (
    "The quick brown fox doesn't jump over Mr. Smith's dog... It would've jumped (twice!) with U.S. help, e.g. at 10 a.m.\n"
    "• well-known state-of-the-art 3.14 1,000 50% $5 https://example.org/a-b?c=d, mail me@example.org. www.site.com!\n\n"
    "- terms of Use apply; see our Privacy Policy [1] today.\nJavaScript must be enabled now.\n\tlorem ipsum dolor sit.\n"
    "你好，世界。今天天气不错！ ひらがなとカタカナ、です。 한국어 문장입니다. Привет, мир. مرحبا بالعالم؟ ΑΒΓ İstanbul ﬀ\n"
    "2024-01-01 12:30 #tag #tag … wait...what? yes,no a/b x=y <p>text</p> I'd she'll they’re —dash– em—dash 5+ ++ +1 -x 'quoted'\n"
    "SHOUTING LINE HERE NOW\r\n12,5 + 7 %\u2028a {b} c d.\x0bone two three.\x85[edit] [] [citation needed] x[12]y z w.\n"
)

PIECES = st.sampled_from(
    [
        *"aAbBzZ 01.,;:!?'\"()[]{}<>-–—_#*&%$€+=/\\@~^|`…•\n\n\n\t\r\x0b\x1c\x85\u2028\u00a0\u3000",
        *"的一是。，！？「」あイー한글яЖمπΣİßéﬁ²°©😀\u0301\u200b𠀀𝒳",
        *(
            "the",
            "be",
            "with",
            "that ",
            "n't",
            "'s",
            "’ve",
            "www.",
            "://",
            "...",
            "Mr.",
            "e.g.",
            "U.S.",
            "10%",
            "--",
            "——",
            "[1]",
            "[edit]",
        ),
        *(
            "[citation needed]",
            "lorem ipsum",
            "JavaScript",
            "privacy policy",
            "3.1k Likes",
            "2,000 views!\n",
            "items in cart",
            " Read more...\n",
            "\nSign-in ",
            "uses cookies",
            "word word word.\n",
            "a b c d e.\n",
            "\n\n",
            "#",
        ),
    ]
)
LINES = st.sampled_from(
    [
        "a b",
        "ONE two",
        "12",
        "word",
        "3 likes",
        "(2k shares)",
        "3 likes it",
        "sign-in now",
        "Read more!!!",
        "x items in cart y",
        "",
        " ",
        "7 items in cart",
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=60).map("".join), st.lists(LINES, max_size=8).map("\n".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_kernels_agree_with_the_reference_on_any_text(texts: list[str]) -> None:
    check(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["of the", "end.", "a", "b", "ab", "\n", "\n\n", "好"]), max_size=120), st.sampled_from(["", " "]))
def test_kernels_agree_with_the_reference_on_repetition(pieces: list[str], gap: str) -> None:
    check([gap.join(pieces)])


def test_kernels_agree_with_the_reference_on_prose() -> None:
    check([PROSE, PROSE * 3, PROSE.replace("\n", " "), "", "a", " ", "\n", "的", "x" * 1001 + " b c d.", "😀"])


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_edits_are_measured_as_they_are_written(text: str) -> None:
    row = signals.compute(pa.array([text])).to_pylist()[0]
    assert row["c4_num_chars"] == len(variants.c4_lines(text, open_ends=False))
    assert row["open_c4_num_chars"] == len(variants.c4_lines(text, open_ends=True))


def test_words_are_cut_as_an_english_tokenizer_does() -> None:
    text = "Mr. O'Neil didn't pay $5.50 (about 10%) for state-of-the-art U.S. goods..."
    expected = "Mr.|O'Neil|did|n't|pay|$|5.50|(|about|10|%|)|for|state|-|of|-|the|-|art|U.S.|goods|..."
    assert "|".join(cut_words(text)) == expected
    assert signals.compute(pa.array([text]))["num_words"].to_pylist() == [expected.count("|") + 1]


def test_every_chinese_character_is_a_word_and_full_width_marks_end_sentences() -> None:
    row = signals.compute(pa.array(["今天天气不错！我们去公园。 好 吗？\n"])).to_pylist()[0]
    assert row["num_words"] == 16
    assert row["num_non_symbol_words"] == 13
    assert row["han_char_fraction"] == pytest.approx(13 / 19)
    assert (row["open_c4_num_sentences"], row["terminal_line_fraction"]) == (3, 1)


def test_rows_do_not_depend_on_threads_or_neighbours() -> None:
    texts = [PROSE[i:] for i in range(0, len(PROSE), 7)]
    whole = signals.compute(pa.array(texts), num_threads=4)
    assert whole.equals(signals.compute(pa.array(texts), num_threads=1))
    assert whole.slice(5, 1).to_pylist() == signals.compute(pa.array([texts[5]])).to_pylist()


def test_sliced_chunked_and_empty_arrays() -> None:
    array = pa.array(["skipped", "one two three.", "four"])
    expected = signals.compute(pa.array(["one two three.", "four"]))
    assert signals.compute(array.slice(1)).equals(expected)
    assert signals.compute(pa.chunked_array([["one two three."], ["four"]])).equals(expected)
    assert signals.compute(array.cast(pa.large_string()).slice(1)).equals(expected)
    assert signals.compute(pa.array([], pa.string())).num_rows == 0
    assert signals.compute(pa.array([], pa.string())).schema == expected.schema
    assert signals.compute(pa.array(["", ""])).to_pylist()[1] == dict.fromkeys(SIGNALS, 0)


def test_other_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 are"):
        signals.compute(pa.array(["a", None]))
    with pytest.raises(ValueError, match="not int64"):
        signals.compute(pa.array([1]))


def test_strings_that_are_no_utf8_are_refused_before_a_kernel_reads_them() -> None:
    offsets, data = pa.py_buffer(np.array([0, 3, 4], np.int32).tobytes()), pa.py_buffer(b"\xf7\xbf\xbfa")
    texts = pa.StringArray.from_buffers(2, offsets, data)
    for measured in (signals.compute, pii.find, lambda found: minhash.signatures(found, "fineweb")):
        with pytest.raises(ValueError, match="must be UTF-8"):
            measured(texts)


def test_every_signal_says_where_it_comes_from() -> None:
    assert not [name for name, signal in SIGNALS.items() if not signal.doc.endswith(").")]


def test_columns_are_the_signals_in_order() -> None:
    assert [name.lower() for name in vars(columns) if name.isupper()] == list(SIGNALS)
    assert [getattr(columns, name.upper()) for name in SIGNALS] == list(range(len(SIGNALS)))


def test_hashes_outside_kernels_are_those_inside() -> None:
    power = hashing.powers_of_base(100)
    assert power.tolist() == [pow(hashing.BASE, i, hashing.PRIME) for i in range(100)]
    assert kernel.tables(10).stop_words.tolist() == [hashing.text_hash(word) for word in words.STOP_WORDS]


def test_kernels_work_where_nothing_can_be_kept(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[bool] = []

    def trial(run: Callable[[int], int]) -> object:
        calls.append(True)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return run(1)

    assert kernel.compiled(lambda x: x + 1, trial)(41) == 42
    assert "compiled in each process" in caplog.text
