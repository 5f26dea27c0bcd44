"""Tokenizer: ids identical to Hugging Face's on hostile text, documents are only ever text, files are reproducible."""

import base64
import json
import random
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFace

from lm.tokens import tokenizer, vocabulary
from lm.tokens.tokenizer import Tokenizer

CHINESE = "我们在北京的图书馆里读书。语言模型需要多少数据？数据越多，损失越低。"
TEXTS = [
    "The quick brown fox jumps over the lazy dog; it's what they'll do, and we've seen 1234 of them.",
    'def read(path: str) -> bytes:\n    """Read a file."""\n    return open(path, \'rb\').read()\n',
    CHINESE,
    "Große Straße, naïve café, Ελληνικά, русский текст, हिन्दी, العربية, 日本語, 한국어",
]
HOSTILE = [
    "",
    " ",
    "\n\n\n  \t x",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|>",
    "\x00\x01\x7f\x80\x85\xa0\u2028\u2029\u3000\ufeff\ufffe\uffff",
    "e\u0301 \u0627\u0651 \u200d👩‍👩‍👧‍👦🏳️‍🌈 \U000e0001\U0010ffff",
    "''s 'S 'll'LL don't ’t",
    "١٢٣ ½ Ⅷ ²³ 一二三",
    "a" * 5000,
    " " * 5000 + "x",
    "\u3000" * 300 + "中" * 3000,
    "\r\n" * 50 + "…" * 50,
]


@pytest.fixture(scope="module")
def vocabulary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.train(TEXTS * 20, 500, path)
    return path


@pytest.fixture(scope="module")
def ours(vocabulary_file: Path) -> Tokenizer:
    return tokenizer.load(vocabulary_file)


@pytest.fixture(scope="module")
def theirs(vocabulary_file: Path) -> HuggingFace:
    loaded = HuggingFace.from_file(str(vocabulary_file))
    loaded.encode_special_tokens = True
    return loaded


@pytest.mark.parametrize("text", TEXTS + HOSTILE)
def test_ids_are_those_of_hugging_face_and_decode_to_the_text(ours: Tokenizer, theirs: HuggingFace, text: str) -> None:
    ids = ours.encode(text)
    assert ours.encode_with_tiktoken([text])[0].tolist() == ids.tolist()
    assert ids.tolist() == theirs.encode(text).ids
    assert ours.decode(ids) == text
    assert b"".join(ours.token_bytes[i] for i in ids) == text.encode()


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_ids_are_those_of_hugging_face_on_any_text(ours: Tokenizer, theirs: HuggingFace, text: str) -> None:
    assert ours.encode(text).tolist() == ours.encode_with_tiktoken([text])[0].tolist() == theirs.encode(text).ids


def test_every_character_is_split_as_hugging_face_splits_it(ours: Tokenizer, theirs: HuggingFace) -> None:
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co", "Lo")]
    texts = [f"a{c}a1{c}1.{c}. {c} {c}{c}a {c}\n{c}  {c}" for c in characters]
    joined = ["|".join(texts[i : i + 200]) for i in range(0, len(texts), 200)]
    expected = [encoding.ids for encoding in theirs.encode_batch(joined)]
    assert [ids.tolist() for ids in ours.encode_batch(joined)] == expected
    assert [ids.tolist() for ids in ours.encode_with_tiktoken(joined)] == expected


def test_a_million_spaces_before_a_word_are_cut_where_the_pattern_cuts(ours: Tokenizer) -> None:
    text = "start " + " \n" * 600_000 + "end" + "\u3000" * 2000 + "."
    ids = ours.encode_with_tiktoken([text])[0]
    assert ours.decode(ids) == text
    assert ours.encode(text).tolist() == ids.tolist()
    short = "start " + " \n" * 3000 + "end" + "\u3000" * 2000 + "."
    pieces = [ours.encode(piece) for piece in tokenizer._cut_long_space(short)]
    assert np.concatenate(pieces).tolist() == ours.encode(short).tolist()
    assert len(pieces) == 3


def test_half_a_surrogate_pair_is_refused(ours: Tokenizer) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        ours.encode("a\ud800b")


def test_without_the_faster_encoder_ids_are_the_same(ours: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastokens", None)
    slow = Tokenizer(ours.vocabulary, ours.tokenizer_id)
    assert ours._fast is not None
    assert slow._fast is None
    texts = [f"{text} {i}" for i in range(50) for text in TEXTS]
    expected = [ids.tolist() for ids in ours.encode_batch(texts)]
    assert [[ids.tolist() for ids in slow.encode_batch(texts, threads)] for threads in (1, 3)] == [expected] * 2


def test_special_token_text_is_ordinary_text(ours: Tokenizer) -> None:
    assert ours.end_of_document not in ours.encode("a<|endoftext|>b").tolist()
    assert ours.decode([ours.end_of_document]) == ""


def test_training_does_not_depend_on_the_order_of_texts(tmp_path: Path, vocabulary_file: Path) -> None:
    texts = TEXTS * 20
    random.Random(1).shuffle(texts)
    info = tokenizer.train(texts, 500, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == vocabulary_file.read_bytes()
    assert info.tokenizer_id == tokenizer.load(vocabulary_file).tokenizer_id
    assert info.num_training_bytes == sum(len(text.encode()) for text in texts)
    assert (info.kind, info.vocab_size, info.end_of_document) == ("trained", 500, 0)


def test_cutting_long_texts_does_not_change_the_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(f"{TEXTS[i % 4]}\n  {i} \n\n\t x\n\u3000y\n" for i in range(200))
    infos = []
    for chars in (10**9, 1000, 1):
        monkeypatch.setattr(tokenizer, "_PIECE_CHARS", chars)
        infos.append(tokenizer.train([text], 500, tmp_path / f"{chars}.json"))
    assert len({(info.tokenizer_id, info.num_training_bytes) for info in infos}) == 1


def test_threads_do_not_change_ids(ours: Tokenizer) -> None:
    texts = [f"{text} {i}" for i in range(100) for text in TEXTS]
    assert all((a == b).all() for a, b in zip(ours.encode_batch(texts, 1), ours.encode_batch(texts, 3), strict=True))


def test_a_vocabulary_survives_gpt2_files_and_ranks(tmp_path: Path, ours: Tokenizer) -> None:
    words = ours.vocabulary
    ids = {token: rank - 1 for token, rank in words.ranks.items()}  # GPT-2 puts the special token last
    last = vocabulary.Vocabulary(ids, words.merges, len(ids))
    encoder = {vocabulary._as_text(token): rank for token, rank in ids.items()} | {vocabulary.END_OF_DOCUMENT: len(ids)}
    (tmp_path / "encoder.json").write_text(json.dumps(encoder))
    lines = [f"{vocabulary._as_text(a)} {vocabulary._as_text(b)}" for a, b in words.merges]
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ranks = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ids.items())
    (tmp_path / "words.tiktoken").write_text(ranks)
    loaded = [tokenizer.load(tmp_path / name) for name in ("vocab.bpe", "words.tiktoken")]
    assert all(one.vocabulary == last for one in loaded)
    info = tokenizer.import_vocabulary(tmp_path / "vocab.bpe", tmp_path / "tokenizer.json")
    assert {info.tokenizer_id} == {one.tokenizer_id for one in loaded} == {tokenizer.load(tmp_path / "tokenizer.json").tokenizer_id}


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda d: tokenizer.train(["a"], 100, d / "t"), ValueError, "at least 257"),
        (lambda d: tokenizer.train([], 300, d / "t"), ValueError, "needs text"),
        (lambda d: tokenizer.load(d / "none.json"), FileNotFoundError, "no such vocabulary"),
        (lambda d: tokenizer.load(d / "vocab.bpe"), FileNotFoundError, "encoder.json"),
        (lambda d: tokenizer.load(d / "unigram.json"), ValueError, "byte-level BPE"),
        (lambda d: tokenizer.load(d / "few.tiktoken"), ValueError, "256 single bytes"),
    ],
)
def test_bad_input_is_explained(tmp_path: Path, make: object, error: type[Exception], says: str) -> None:
    (tmp_path / "vocab.bpe").write_text("#version\n")
    (tmp_path / "unigram.json").write_text(json.dumps({"model": {"type": "Unigram"}, "added_tokens": []}))
    (tmp_path / "few.tiktoken").write_text("YQ== 0\n")
    with pytest.raises(error, match=says):
        make(tmp_path)  # type: ignore[operator]


def test_merges_out_of_order_are_refused(ours: Tokenizer) -> None:
    words = ours.vocabulary
    swapped = (words.merges[1], words.merges[0], *words.merges[2:])
    with pytest.raises(ValueError, match="order of ids"):
        vocabulary.Vocabulary(words.ranks, swapped, words.end_of_document).check()
