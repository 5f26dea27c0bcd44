"""Languages, offline."""

import socket

import pytest

from lm.corpus import language

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
