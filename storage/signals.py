"""The raw values measured on every document: name, DuckDB type, meaning with unit and source.

A rule is a threshold over one of these values, so a new threshold costs a query and not a pass over the text. The order here is the
order of the columns of the `signals` table. All fractions are of the document itself, lie in [0, 1] unless said otherwise, and are
0 where the denominator is 0. Lengths are in code points, and a name with num_ is a count. Stored as DOUBLE because thresholds such as 0.1
have no exact FLOAT. Behind each stands where it comes from; what nobody has published is ours.

Words are tokens as an English tokenizer cuts them (punctuation apart, contractions in two), with every Han and Hiragana character
a word of its own. "C4 edit" is the text left by C4's line rules; "open C4 edit" is the same without the rule that a line must end
in a terminal mark, which is the edit FineWeb makes before its own rules. "DCLM edit" is the text left by the line rules of
RefinedWeb, as DCLM writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

GOPHER = "arXiv:2112.11446"
C4 = "arXiv:1910.10683"
FINEWEB = "arXiv:2406.17557"
REFINEDWEB = "arXiv:2306.01116"
DCLM = "arXiv:2406.11794"
DOLMA = "arXiv:2402.00159"
SLIMPAJAMA = "Cerebras SlimPajama-627B"
OWN = "dataladder"


@dataclass(frozen=True, slots=True)
class Signal:
    """One measured value: DuckDB type, meaning with unit and source."""

    type: str
    doc: str


def _count(doc: str) -> Signal:
    return Signal("INTEGER", doc)


def _ratio(doc: str) -> Signal:
    return Signal("DOUBLE", doc)


_WORDS = {
    "num_words": _count(f"Words, punctuation tokens included ({GOPHER})."),
    "num_non_symbol_words": _count(f"Words with at least one character that is not punctuation ({GOPHER})."),
    "num_white_space_words": _count(f"Words as split at white space ({DOLMA})."),
    "mean_word_length": _ratio(f"Mean code points of the non-symbol words ({GOPHER})."),
    "median_word_length": _ratio(f"Median code points of the white-space words ({DOLMA})."),
    "max_word_length": _count(f"Code points of the longest white-space word ({C4})."),
    "distinct_word_fraction": _ratio(f"Distinct words over words ({OWN})."),
    "alphabetic_word_fraction": _ratio(f"Words with an alphabetic character over words ({GOPHER})."),
    "num_stop_words": _count(f"Words that are one of the, be, to, of, and, that, have, with; case counts ({GOPHER})."),
    "num_distinct_stop_words": _count(f"Distinct words among those eight ({GOPHER})."),
    "hash_to_word_ratio": _ratio(f"Signs # over words; may exceed 1 ({GOPHER})."),
    "ellipsis_to_word_ratio": _ratio(f"Ellipses, as three dots or one character, over words; may exceed 1 ({GOPHER})."),
    "ellipsis_sign_to_word_ratio": _ratio(f"Ellipses written as one character over words; may exceed 1 ({DOLMA})."),
}

_CHARACTERS = {
    "normalized_chars": _count(f"Code points after lower-casing, without ASCII punctuation, white space collapsed ({SLIMPAJAMA})."),
    "white_space_char_fraction": _ratio(f"White-space code points over code points ({OWN})."),
    "digit_char_fraction": _ratio(f"Decimal digits of any script over code points ({OWN})."),
    "punctuation_char_fraction": _ratio(f"Punctuation and symbols (Unicode P and S) over code points ({OWN})."),
    "uppercase_char_fraction": _ratio(f"Upper-case letters over code points ({OWN})."),
    "latin_char_fraction": _ratio(f"Latin letters over code points ({OWN})."),
    "han_char_fraction": _ratio(f"Han characters over code points ({OWN})."),
    "kana_char_fraction": _ratio(f"Hiragana and Katakana over code points ({OWN})."),
    "hangul_char_fraction": _ratio(f"Hangul over code points ({OWN})."),
    "cyrillic_char_fraction": _ratio(f"Cyrillic letters over code points ({OWN})."),
    "arabic_char_fraction": _ratio(f"Arabic letters over code points ({OWN})."),
    "other_letter_char_fraction": _ratio(f"Letters of all other scripts over code points ({OWN})."),
}

_LINES = {
    "num_lines": _count(f"Lines, empty ones included, at any Unicode line break ({OWN})."),
    "num_non_empty_lines": _count(f"Newline-separated lines that hold more than white space ({OWN})."),
    "num_paragraphs": _count(f"Parts between two or more newlines, white space at the ends removed ({OWN})."),
    "bullet_line_fraction": _ratio(f"Lines that start with a bullet or hyphen over lines ({GOPHER})."),
    "star_bullet_line_fraction": _ratio(f"Lines that start with an asterisk or hyphen over lines ({DOLMA})."),
    "ellipsis_line_fraction": _ratio(f"Lines that end in an ellipsis over lines ({GOPHER})."),
    "uppercase_line_fraction": _ratio(
        f"Non-empty lines with more than half of their code points upper case over non-empty lines ({REFINEDWEB})."
    ),
    "numeric_line_fraction": _ratio(
        f"Non-empty lines that hold digits and else only punctuation or white space, over non-empty lines ({REFINEDWEB})."
    ),
}


def _repetition() -> Iterator[tuple[str, Signal]]:
    for unit in ("line", "paragraph"):
        yield f"duplicate_{unit}_fraction", _ratio(f"{unit.capitalize()}s that repeat an earlier one over {unit}s ({GOPHER}).")
        yield f"duplicate_{unit}_char_fraction", _ratio(f"Code points of {unit}s that repeat an earlier one over code points ({GOPHER}).")
    for n in (2, 3, 4):
        doc = f"Code points of the most common word {n}-gram times its count over code points; may exceed 1 ({GOPHER})."
        yield f"top_{n}_gram_char_fraction", _ratio(doc)
    for n in range(5, 11):
        doc = f"Code points of word {n}-grams that repeat an earlier one, counted without overlap, over code points ({GOPHER})."
        yield f"duplicate_{n}_gram_char_fraction", _ratio(doc)


_FINEWEB = {
    "terminal_line_fraction": _ratio(f"Non-empty lines that end in a terminal mark of any script over non-empty lines ({FINEWEB})."),
    "short_line_fraction": _ratio(f"Non-empty lines of at most 30 code points over non-empty lines ({FINEWEB})."),
    "repeated_line_char_fraction": _ratio(f"Code points of repeated non-empty lines over code points that are no newline ({FINEWEB})."),
    "newline_to_word_ratio": _ratio(f"Newlines over words; may exceed 1 ({FINEWEB})."),
}

_C4_LINES = {
    "num_long_word_lines": _count(f"Lines with a white-space word of more than 1,000 code points ({C4})."),
    "num_unterminated_lines": _count(f"Lines that do not end in . ? ! or an ASCII quotation mark, or end in three dots ({C4})."),
    "num_few_word_lines": _count(f"Lines of fewer than 3 white-space words, empty ones included ({C4})."),
    "num_javascript_lines": _count(f"Lines that mention javascript in any case ({C4})."),
    "num_policy_lines": _count(f"Lines with a phrase of terms of use, privacy or cookie policies ({C4})."),
    "num_citation_marks": _count(f"Marks [1], [edit], [citation needed] that C4 cuts out ({C4})."),
}


def _edit(prefix: str, name: str) -> Iterator[tuple[str, Signal]]:
    yield f"{prefix}_num_lines", _count(f"Lines left in the {name} ({C4}).")
    yield f"{prefix}_num_sentences", _count(f"Sentences left in the {name} ({C4}).")
    yield f"{prefix}_num_chars", _count(f"Code points left in the {name} ({C4}).")
    yield f"{prefix}_num_lorem_ipsum_lines", _count(f"Lines that reach the lorem ipsum test of the {name} and fail it ({C4}).")
    yield f"{prefix}_num_curly_brace_lines", _count(f"Lines that reach the curly bracket test of the {name} and fail it ({C4}).")


_FINEWEB_EDIT = {
    f"open_c4_{name}": _ratio(f"Of the open C4 edit: {signal.doc[0].lower()}{signal.doc[1:]}") for name, signal in _FINEWEB.items()
}

_DCLM = {
    "num_counter_lines": _count(f"Lines that only say how often something was liked, shared and the like ({REFINEDWEB})."),
    "dclm_num_lines": _count(f"Non-empty lines left in the DCLM edit ({DCLM})."),
    "dclm_num_chars": _count(f"Code points left in the DCLM edit ({DCLM})."),
    "dclm_removed_word_fraction": _ratio(f"White-space words that the DCLM edit takes away over white-space words ({DCLM})."),
}

SIGNALS: dict[str, Signal] = {
    **_WORDS,
    **_CHARACTERS,
    **_LINES,
    **dict(_repetition()),
    **_FINEWEB,
    **_C4_LINES,
    **dict(_edit("c4", "C4 edit")),
    **dict(_edit("open_c4", "open C4 edit")),
    "open_c4_num_words": _count(f"Words left in the open C4 edit ({FINEWEB})."),
    **_FINEWEB_EDIT,
    **_DCLM,
}
"""Every signal by name, in column order."""
