"""The compiled look at UTF-8 beside Python's own decoder."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus.charset import decode, to_utf8
from lm.corpus.utf8 import look

CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
EDGES = [0x00, 0x1F, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]


def number_of_characters(data: bytes) -> int:
    try:
        return len(data.decode())
    except UnicodeDecodeError:
        return -1


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(st.sampled_from(EDGES), max_size=8).map(bytes),
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from(["x", "é", "中", "😀"]),
    st.integers(0, 900),
)
def test_what_is_valid_is_what_python_decodes(data: bytes, before: int, behind: int, char: str, num_bytes: int) -> None:
    """Blocks of 128 bytes are looked at in another way than the ends, so the page has several."""
    around = char.encode() * 400
    data = (around[:before] + data + around[:behind])[:num_bytes]
    seen = look(data)
    assert (seen.num_chars if seen.is_utf8 else -1) == number_of_characters(data)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(0, 900))
def test_control_characters_at_the_beginning(text: str, num_head_bytes: int) -> None:
    text = text + "\x07\ufeff\x85\uffff\t" + text
    whole_characters = text.encode()[:num_head_bytes].decode(errors="ignore")
    assert look(text.encode(), num_head_bytes) == (True, len(text), len(CONTROLS.findall(whole_characters)))


@pytest.mark.parametrize("named", [None, "utf-8", "gbk", "hz-gb-2312", "iso-2022-jp", "shift_jis", "utf-16", "nobody's"])
@pytest.mark.parametrize(
    "payload", [b"plain", b"~{VPND~}", b"\x1b$B$3\x1b(B", "é".encode(), "中文网页内容".encode() * 9, b"\xd6\xd0" * 20, b"\xef\xbb\xbfa"]
)
def test_the_short_way_to_utf8_is_the_long_one(payload: bytes, named: str | None) -> None:
    content_type = f"text/html; charset={named}" if named else None
    text = decode(payload, content_type)
    assert to_utf8(payload, content_type) == (text.encode() if text is not None else None)
