"""A classifier that tells two kinds of text apart, and lists of words and addresses."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lm.corpus import lists, quality


def texts(words: str, seed: int, num: int = 120) -> list[str]:
    chooser = random.Random(seed)
    shared = ["and", "the", "of", "to", "in", "a", "is", "it", "on", "for"]
    return [" ".join(chooser.choices(words.split() + shared, k=60)) for _ in range(num)]


GOOD, BAD = texts("theorem proof lemma integral matrix", 1), texts("click buy cheap discount offer", 2)


def test_a_model_tells_texts_it_has_not_seen_apart_and_does_not_depend_on_order(tmp_path: Path) -> None:
    trained = quality.train(GOOD + GOOD[:5], BAD)
    assert (trained.num_positives, trained.num_negatives) == (120, 120)
    assert trained.num_held_out > 5
    assert trained.auc == 1
    unseen = pa.array([*texts("lemma matrix proof", 3, 20), *texts("buy discount", 4, 20), ""])
    scores = quality.score(unseen, trained.model)
    assert scores[:20].min() > 0.5 > scores[20:40].max()
    assert np.isfinite(scores).all()
    assert (quality.score(unseen, trained.model, num_threads=3) == scores).all()
    again = quality.train(GOOD[::-1], BAD[::-1])
    assert again.model.weights.tobytes() == trained.model.weights.tobytes()
    quality.save(trained.model, tmp_path / "a")
    quality.save(again.model, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (quality.score(unseen, quality.load(tmp_path / "a")) == scores).all()


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 10 different texts .* there are 1 positives and 120 negatives, and 2 in both"):
        quality.train(["own", "x", "y"], [*BAD, "x", "y"])
    (tmp_path / "weights").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        quality.load(tmp_path / "weights")


def test_listed_words_count_whole_but_anywhere_in_chinese(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("# comment\nfoo\nfoo bar\nX\n\n")
    (tmp_path / "zh.txt").write_text("坏词\n")
    words = {lists.language_of(file): lists.word_list(file) for file in tmp_path.iterdir()}
    found = lists.count_bad_words(
        ["Foo bar, foo! food x", "foods", "这是坏词吗坏词", "foo", "foo", ""], ["en", "en", "zh", "fr", None, "en"], words
    )
    assert found == [3, 0, 2, None, None, 0]
    (tmp_path / "de").write_text("# nothing\n")
    with pytest.raises(lists.ListError, match="must hold at least one entry"):
        lists.word_list(tmp_path / "de")


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("https://www.bad.org/x", True),
        ("http://sub.bad.org", True),
        ("https://notbad.org/", False),
        ("https://ok.org/bad/page?x=1", True),
        ("https://ok.org/badly", False),
        ("https://ok.org/some-casino-page", True),
        ("https://ok.org/casinos", False),
        ("https://user@bad.org:8080/", True),
        ("not an address", False),
    ],
)
def test_listed_addresses(tmp_path: Path, url: str, blocked: bool) -> None:
    (tmp_path / "list").write_text("bad.org\nhttps://ok.org/bad\ncasino\n")
    assert lists.blocklist([tmp_path / "list"]).blocks(url) is blocked
