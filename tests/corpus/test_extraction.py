"""Bytes to clean text: encodings, reasons, and pages made to be slow."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus.charset import decode
from lm.corpus.extraction import ENGINES, Extracted, NoText, clean_text, extract
from lm.corpus.records import ExtractionOptions

CHINESE = "这是一个关于语言模型的网页，内容是简体中文。我们测量需要多少数据，以及哪些数据值得使用。"
TRADITIONAL = "這是一個關於語言模型的網頁，內容是繁體中文。我們測量需要多少資料，以及哪些資料值得使用。"
JAPANESE = "これは言語モデルに関するページです。内容は日本語です。どれだけのデータが必要か測ります。"
KOREAN = "이것은 언어 모델에 관한 페이지입니다. 내용은 한국어입니다. 얼마나 많은 데이터가 필요한지 측정합니다."
RUSSIAN = "Это страница о языковых моделях. Она написана по-русски. Мы измеряем, сколько нужно данных."
FRENCH = "Une page à propos des modèles de langue, écrite en français, où l’on mesure les données nécessaires."
OPTIONS = ExtractionOptions()
HTML = "text/html"


def page(text: str, meta: str = "") -> str:
    return f"<html><head>{meta}<title>Title</title></head><body><article><p>{text}</p><p>{text}</p></article></body></html>"


ENCODINGS = [
    (CHINESE, "gb18030"),
    (CHINESE, "gbk"),
    (CHINESE, "gb2312"),
    (CHINESE, "utf-8"),
    (TRADITIONAL, "big5"),
    (TRADITIONAL, "big5hkscs"),
    (JAPANESE, "shift_jis"),
    (JAPANESE, "euc_jp"),
    (JAPANESE, "iso2022_jp"),
    (KOREAN, "euc_kr"),
    (RUSSIAN, "windows-1251"),
    (RUSSIAN, "koi8-r"),
    (FRENCH, "windows-1252"),
]


@pytest.mark.parametrize(("text", "encoding"), ENCODINGS)
@pytest.mark.parametrize("told_by", ["header", "meta", "content"])
def test_encodings_told_by_header_meta_or_content(text: str, encoding: str, told_by: str) -> None:
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={encoding}">' if told_by == "meta" else ""
    header = f"{HTML}; charset={encoding}" if told_by == "header" else HTML
    payload = page(text * 3, meta).encode(encoding)
    assert decode(payload, header) == page(text * 3, meta)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_wide_encodings_with_and_without_a_mark(encoding: str) -> None:
    assert decode(page(CHINESE).encode(encoding), HTML) == page(CHINESE)


@pytest.mark.parametrize("lie", ["iso-8859-1", "gbk", "utf-16", "shift_jis", "no-such-charset"])
def test_utf8_is_found_behind_a_wrong_header(lie: str) -> None:
    assert decode(page(CHINESE).encode(), f"{HTML}; charset={lie}") == page(CHINESE)


def test_a_wrong_utf8_header_gives_way_to_meta_and_content() -> None:
    meta = '<meta charset="gb2312">'
    assert decode(page(CHINESE, meta).encode("gbk"), f"{HTML}; charset=utf-8") == page(CHINESE, meta)
    assert decode(page(TRADITIONAL).encode("big5"), f"{HTML}; charset=utf-8") == page(TRADITIONAL)


def test_a_few_bad_bytes_are_replaced_and_a_cut_character_left_out() -> None:
    text = decode(page(CHINESE * 20).encode("gbk").replace("网".encode("gbk"), b"\xff\xff", 1), f"{HTML}; charset=gbk")
    assert text is not None
    assert 0 < text.count("\ufffd") <= 3
    assert decode(page(CHINESE).encode()[: -len("</p></article></body></html>") - 1], HTML) is not None


def test_main_text_and_title_without_navigation() -> None:
    body = f"<nav><a href=/>Home</a></nav><main><h1>Head</h1><p>{FRENCH}</p><p>Second</p></main><footer>Imprint</footer>"
    result = extract(f"<html><head><title>A\n title</title></head><body>{body}</body></html>".encode(), HTML, OPTIONS)
    assert result == Extracted(f"Head\n\n{FRENCH}\n\nSecond", "A title", "blocks")


def test_plain_text_is_kept_as_it_is() -> None:
    assert extract(b"a <b> c\r\nd", "text/plain", OPTIONS) == Extracted("a <b> c\nd", None, "plain")


REASONS = {
    "too_large": (page("x" * 200_000).encode(), HTML, "blocks"),
    "not_text": (b"%PDF-1.5", "application/pdf", "blocks"),
    "undecodable": (page("\x81\x8d\x8f\x90\x9d" * 200).encode("latin-1"), HTML, "blocks"),
    "binary": (bytes(range(32)) * 100 + page("x").encode(), "text/plain", "blocks"),
    "too_deep": ((b"<div>" * 5000 + b"x"), HTML, "resiliparse"),
    "too_many_tags": ((b"<b>x" * 21_000), HTML, "trafilatura"),
    "too_many_blocks": ((b"<p>x" * 50_001), HTML, "blocks"),
    "no_main_content": (b"<body><nav><a href=/>Home</a></nav></body>", HTML, "blocks"),
    "empty_text": (b"<body><script>x()</script></body>", HTML, "blocks"),
}


@pytest.mark.parametrize(("reason", "case"), REASONS.items(), ids=REASONS)
def test_one_page_per_reason(reason: str, case: tuple[bytes, str, str]) -> None:
    payload, content_type, extractor = case
    options = ExtractionOptions(max_page_bytes=200_100 if reason != "too_large" else 100_000, extractor=extractor)
    assert extract(payload, content_type, options) == NoText(reason)


def test_short_texts_can_be_set_aside() -> None:
    assert extract(b"<p>short", HTML, ExtractionOptions(min_chars=6)) == NoText("empty_text")


def test_unknown_engine_and_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="extractor must be one of blocks, resiliparse, trafilatura, wet, got 'nobody'"):
        extract(b"", HTML, ExtractionOptions(extractor="nobody"))
    with pytest.raises(ValueError, match="max_page_bytes must be at least 1, got 0"):
        ExtractionOptions(max_page_bytes=0)


SLOW = {
    "nested_div": "<div>" * 100_000,
    "balanced_div": ("<div>" * 1900 + "x" + "</div>" * 1900) * 100,
    "div_then_many": "<div>" * 1900 + "<p>x</p>" * 100_000,
    "formatting": "".join(f"<font color={i}><p>" for i in range(20_000)),
    "misnested": "<a><b>" * 50_000,
    "tables": "<table><tr><td>" * 20_000,
    "open_tags": "<" * 500_000,
    "entities": "&amp;" * 200_000,
    "attributes": "<p " + "a=b " * 200_000 + ">x",
    "comment": "<!--" * 100_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("extractor", ENGINES)
def test_pages_made_to_be_slow_end(extractor: str) -> None:
    if extractor == "trafilatura":
        pytest.importorskip("trafilatura")
    for html in SLOW.values():
        assert isinstance(extract(html.encode(), HTML, ExtractionOptions(extractor=extractor)), Extracted | NoText)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\nb\rc\x0bd\x0ce\u2028f\x85g", "a\nb\nc\nd\ne\nf\ng"),
        ("n\x00u\x07l\x7f \ufeffx", "nul x"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("cafe\u0301", "café"),
        ("e\x00\u0301", "é"),
        (" a  \n\n\n\n b \t\n", "a\n\n b"),
        ("\x00\n", ""),
    ],
)
def test_clean_text(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_clean_text_is_stable_and_storable(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert clean.encode().decode() == clean
    assert "\x00" not in clean


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([HTML, "text/plain", None, "text/html; charset=utf-16", "text/html; charset=hz-gb-2312"]))
def test_arbitrary_bytes_never_raise(payload: bytes, content_type: str | None) -> None:
    for data in (payload, b"<html><p>" + payload, b"\xfe\xff" + payload, b"<meta charset=" + payload):
        assert isinstance(extract(data, content_type, OPTIONS), Extracted | NoText)
