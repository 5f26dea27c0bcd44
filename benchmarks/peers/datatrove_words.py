"""What datatrove takes for a word, by language: its own tokenizer for each, its English one for all, or ours told to it.

datatrove assigns a tokenizer to each language and script (its assets/tokenizer_assignment.csv), and its filters take such a name or a
tokenizer as `language=`. Names are of three letters and a script, `cmn_Hani`, as FineWeb-2 writes them: of the names with two letters some
lead elsewhere, for the table's FALSE is read as a text, which is true (`zh` gives the tokenizer for Latin script, and `ar` too). The cost
of naming scripts is that a text in another script of its language gets the tokenizer of the usual one.
"""

import csv
from functools import cache
from pathlib import Path

import regex
from datatrove.utils._import_utils import ASSETS_PATH
from datatrove.utils.word_tokenizers import SpaCyTokenizer, load_word_tokenizer

ENGLISH = "eng_Latn"
SAMPLE = "a. 一。 あ。 ก 가 က"
_CHARACTER = regex.compile(r"[\p{Han}\p{Hiragana}]")


class CharacterWords(SpaCyTokenizer):
    """The English tokenizer, given each Han and Hiragana character between spaces, so that it is a word of its own."""

    def __init__(self) -> None:
        super().__init__("en")

    def _do_tokenize(self, text: str):  # type: ignore[no-untyped-def]
        return super()._do_tokenize(_CHARACTER.sub(r" \g<0> ", text))


_characters = cache(CharacterWords)


def same_words(text: str) -> str | CharacterWords:
    """`CharacterWords` for a text that it cuts otherwise than the English tokenizer does, which is the language for all others."""
    return _characters() if _CHARACTER.search(text) else ENGLISH


@cache
def names() -> dict[str, str]:
    """datatrove's name of each ISO 639-1 code in its usual script."""
    with Path(ASSETS_PATH, "tokenizer_assignment.csv").open(encoding="utf-8") as file:
        usual = [row for row in csv.DictReader(file) if row["default_code_1"] == row["default_script"] == "TRUE" and row["code_1"]]
    return {row["code_1"]: f"{row['code_3']}_{row['script']}" for row in usual}


@cache
def missing(name: str) -> str:
    """Why datatrove cannot cut words in this language here; empty if it can."""
    try:
        tokenizer = load_word_tokenizer(name)
        tokenizer.word_tokenize(SAMPLE), tokenizer.sent_tokenize(SAMPLE)
    except (ImportError, ValueError) as problem:
        return str(problem).strip().splitlines()[0]
    return ""


def own_language(code: str) -> tuple[str, str]:
    """datatrove's name for the language of a text, and why it is not that of its own language if it could not be: then it is English."""
    name = names().get(code)
    if name is None:
        return ENGLISH, f"{code}: datatrove assigns no tokenizer"
    problem = missing(name)
    return (ENGLISH, f"{code}: {problem}") if problem else (name, "")
