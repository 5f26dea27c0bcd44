"""Character encodings: told by the header, by <meta> or by the content, and believed only where the bytes agree."""

import pytest

from lm.corpus.charset import decode, to_utf8

SIMPLIFIED = "梯子靠在墙上，大家都爬了上去，没有人掉下来。第二天早晨，梯子不见了。村里的人说，它被风吹走了，也有人说，是邻居借去了。"
TRADITIONAL = "梯子靠在牆上，大家都爬了上去，沒有人掉下來。第二天早晨，梯子不見了。村裡的人說，它被風吹走了，也有人說，是鄰居借去了。"
JAPANESE = "梯子が壁に立てかけてあり、みんなが登った。誰も落ちなかった。翌朝、それらは消えていた。"
KOREAN = "사다리가 벽에 기대어 있었고 모두가 올라갔다. 아무도 떨어지지 않았다. 다음 날 아침 그것들은 사라졌다."
RUSSIAN = "Лестницы стояли у стены, и все поднимались; никто не упал. На следующее утро их не было."
FRENCH = "Les échelles étaient posées contre le mur, et tout le monde grimpait ; à l’aube, elles avaient disparu."
LEGACY = [
    ("gb2312", "gb2312", SIMPLIFIED),
    ("gbk", "gbk", SIMPLIFIED),
    ("gbk", "cp936", TRADITIONAL),
    ("gb18030", "gb18030", TRADITIONAL),
    ("big5", "big5", TRADITIONAL),
    ("big5hkscs", "big5-hkscs", TRADITIONAL),
    ("cp950", "cp950", TRADITIONAL),
    ("shift_jis", "shift_jis", JAPANESE),
    ("euc_jp", "euc-jp", JAPANESE),
    ("euc_kr", "euc-kr", KOREAN),
    ("koi8_r", "koi8-r", RUSSIAN),
    ("cp1251", "windows-1251", RUSSIAN),
]


def page(text: str, meta: str = "") -> str:
    return f"<html><head>{meta}<title>x</title></head><body><p>{text}</p><p>{text}</p></body></html>"


@pytest.mark.parametrize(("codec", "label", "text"), [*LEGACY, ("hz", "hz-gb-2312", SIMPLIFIED), ("iso2022_jp", "iso-2022-jp", JAPANESE)])
def test_an_encoding_is_told_by_header_meta_and_content(codec: str, label: str, text: str) -> None:
    metas = (f'<meta charset="{label}">', f'<meta http-equiv="Content-Type" content="text/html; charset={label}">')
    assert text in (decode(page(text).encode(codec), f"text/html; charset={label}") or "")
    assert all(text in (decode(page(text, meta).encode(codec)) or "") for meta in metas)
    assert text in (decode(page(text).encode(codec)) or "")


@pytest.mark.parametrize(("codec", "label", "text"), LEGACY)
@pytest.mark.parametrize("header", ["utf-8", "iso-8859-1", "windows-1252", "nonsense"])
def test_a_header_that_cannot_be_true_hides_neither_meta_nor_content(codec: str, label: str, text: str, header: str) -> None:
    for meta in ("", f'<meta charset="{label}">'):
        assert text in (decode(page(text, meta).encode(codec), f"text/html; charset={header}") or "")


def test_latin_1_is_latin_1() -> None:
    for text in (FRENCH, FRENCH + " •••••••••• ««»»", "½¼¾ ÄÖÜß " + FRENCH * 3):
        assert text in (decode(page(text).encode("cp1252"), "text/html; charset=iso-8859-1") or "")
        assert text in (decode(page(text, "<meta charset=iso-8859-1>").encode("cp1252")) or "")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("label", ["utf-8", "gb2312", "utf-16", "utf-32"])
def test_encodings_of_unicode_are_told_with_and_without_marks(codec: str, label: str) -> None:
    for text in (SIMPLIFIED * 20, FRENCH):
        assert text in (decode(page(text).encode(codec), f"text/html; charset={label}") or "")


def test_unusual_names_and_endless_headers_end() -> None:
    payload = page(FRENCH).encode()
    for label in (
        "bz2",
        "base64",
        "idna",
        "unicode_escape",
        "utf-7",
        "x-user-defined",
        "../../etc/passwd",
        "punycode",
        "undefined",
        "mbcs",
    ):
        assert to_utf8(payload, f"text/html; charset={label}") == payload
        named = page(FRENCH, f"<meta charset={label}>").encode()
        assert to_utf8(named) == named
    assert to_utf8(payload, "text/html; charset=" + " " * 1_000_000 + "!") == payload


def test_a_mark_wins_over_all_else() -> None:
    text = page(SIMPLIFIED, "<meta charset=big5>")
    assert decode(text.encode("utf-8-sig"), "text/html; charset=gbk") == text
    assert decode("\ufeff".encode("utf-16-le") + text.encode("utf-16-le"), "text/html; charset=gbk") == text
    assert decode(b"\xef\xbb\xbf\xff\xfe" + text.encode()) is not None
