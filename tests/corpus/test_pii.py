"""Personal data: what is found, what is not, and what stands in its place."""

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import pii, variants

FOUND = [
    ("email", "a.b+c@ex-ample.co.uk"),
    ("public_ip", "93.184.216.34"),
    ("public_ip", "2001:4860:4860::8888"),
    ("payment_card", "4111 1111 1111 1111"),
    ("payment_card", "378282246310005"),
    ("chinese_id", "11010519491231002X"),
    ("chinese_mobile", "13812345678"),
    ("chinese_mobile", "+86 139-1234-5678"),
    ("phone", "(415) 555-2671"),
    ("phone", "415-555-2671"),
    ("phone", "+49 (0) 30 1234567"),
    ("phone", "010-62345678"),
    ("phone", "(0571)8765-4321"),
    ("phone", "0755 8888 9999"),
    ("phone", "0931-412 3456"),
]

NOT_FOUND = [
    "192.168.1.1",
    "127.0.0.1",
    "1.2.3.4.5",
    "256.1.1.1",
    "4111 1111 1111 1112",
    "110105194912310021",
    "110105194913310022",
    "12:30:45",
    "d::D",
    "2020-01-02 10:11",
    "1,234,567.89",
    "23812345678",
    "@handle",
    "a@b",
    "x13812345678",
    "1.234.567",
    "010-12345678",
    "0123-4567890",
    "2010-62345678",
    "010-6234567890",
    "01062345678",
]


def kinds(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in pii.find(pa.array([text]))[0]]


@pytest.mark.parametrize(("kind", "value"), FOUND)
@pytest.mark.parametrize("around", ["{}", "电话：{}。", "é ({}), then", "see {}\nnext"])
def test_what_is_personal_is_found_wherever_it_stands(kind: str, value: str, around: str) -> None:
    assert kinds(around.format(value)) == [(kind, value)]


@pytest.mark.parametrize("value", NOT_FOUND)
def test_what_only_looks_personal_is_left(value: str) -> None:
    assert kinds(f"see {value} there") == []


@pytest.mark.parametrize(
    "text",
    [
        "preserved in the Digest (27.1.6.8). Antoninus",
        "in the common meter in 8.6.8.6: the first",
        "versions from 4.7 to 5.2.5.6 remain",
        "version 61.0.3163.100 of the browser",
        "firmware v. 93.184.216.34",
        "see § 103.12.40.5 of the code",
        "Sections 93.10.2.44 and 93.10.2.45 apply",
        "第 11.20.31.40 条",
        "软件版本：93.184.216.34",
        "1.2.3.4 Installing the server",
        "订单号：13812345678",
        "QQ群 13812345678",
        "总额 13812345678 元",
    ],
)
def test_words_around_tell_numbers_from_addresses(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("logged in, IP address 8.8.8.8", ("public_ip", "8.8.8.8")),
        ("服务器 1.2.4.8 没有响应", ("public_ip", "1.2.4.8")),
        ("ping 9.9.9.9", ("public_ip", "9.9.9.9")),
        ("version 2 on 93.184.216.34", ("public_ip", "93.184.216.34")),
        ("请拨打 13812345678 联系", ("chinese_mobile", "13812345678")),
    ],
)
def test_words_around_hide_no_address(text: str, found: tuple[str, str]) -> None:
    assert kinds(text) == [found]


@pytest.mark.parametrize(
    "text",
    ["card {} 12/25", "5 {}", "{} 123", "2 x {}, 3", "2024 {} 2025", "{} 1@b.org", "{}.\n4000 4001 4002 4003"],
)
@pytest.mark.parametrize("card", ["4111 1111 1111 1111", "4111111111111111", "3782 822463 10005", "5500-0000-0000-0004"])
def test_numbers_around_hide_no_card(text: str, card: str) -> None:
    assert ("payment_card", card) in kinds(text.format(card))


def test_rows_of_numbers_are_no_cards() -> None:
    for numbers in (range(1000, 2200), range(3000, 9999), range(1, 60), range(60, 0, -1)):
        assert kinds(" ".join(map(str, numbers))) == []


def test_of_two_that_overlap_nothing_is_left() -> None:
    text = "see 4111 1111 1111 1111.a@b.org there"
    assert pii.mask(text) == "see 0000 0000 0000 0000 there"
    assert pii.mask(text, ("email",)) == "see 4111 1111 1111 name@example.org there"
    assert pii.mask("mail a@b.cojavascriptjavascriptgone") == "mail a@b.cojavascriptjavascriptgone"


def test_time_is_linear_in_what_is_found() -> None:
    """Forty thousand cards in one run of digits; comparing each with all before it would take half a minute."""
    [spans] = pii.find(pa.array(["4111 1111 1111 1111 " * 40_000]))
    assert len(spans) == 40_000


def test_masking_leaves_nothing_to_mask() -> None:
    text = "; ".join(value for _, value in FOUND)
    masked = pii.mask(text)
    assert masked == "; ".join(pii.MASKS[kind] for kind, _ in FOUND)
    assert pii.mask(masked) == masked
    assert pii.mask(text, ("email",)).startswith("name@example.org; 93.184.216.34; ")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*"0123456789", *"@.:+-() xX\né好", "138", "a@b.org", "8.8.8.8", "::1", "4111"]), max_size=60).map("".join))
def test_spans_lie_in_order_inside_any_text(text: str) -> None:
    spans = pii.find(pa.array(["x", text]))[1]
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert pii.find(pa.array([text, "x"]))[0] == spans
    masked = pii.mask(text)
    assert pii.mask(masked) == masked


def test_rows_are_those_of_the_table() -> None:
    rows = pii.span_table(["a", "b"], pa.array(["mail x@y.org", "nothing"]))
    assert rows.to_pylist() == [{"id": "a", "kind": "email", "start_char": 5, "end_char": 12}]


def test_a_variant_is_stored_for_changed_texts_only() -> None:
    rows = variants.variant_table(
        ["a", "b"], ["too short\nbut this line stays. x@y.org", "this line stays."], ["open_c4_lines", "mask_pii"]
    )
    assert rows.to_pylist() == [
        {"id": "a", "variant": "open_c4_lines+mask_pii", "text": "but this line stays. name@example.org", "num_removed_bytes": 1}
    ]
    with pytest.raises(ValueError, match="an edit must be one of c4_lines"):
        variants.edit("x", ["no_such_edit"])
