"""Bytes to text: which character encoding a page is in.

The choice follows browsers (byte order mark, then HTTP header, then <meta>, then the content) with one difference: what a page
says is believed only if its bytes agree. Bytes that are valid UTF-8 with many multi-byte characters are UTF-8 whatever the header
says, since that does not happen by accident in another encoding. National subsets are read as their supersets (gb2312 and gbk as
gb18030, big5 as big5-hkscs, shift_jis as cp932), as browsers do. Servers say Latin 1 of everything, and nearly any bytes are Latin 1: it is
believed last, and not at all where most letters would be accented ones in a row. The cost: a strict trial decode per candidate.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from lm.corpus.utf8 import look

MAX_REPLACED_SHARE = 0.05
"""Above this share of undecodable characters a page is no text in any encoding we know."""
_SLIPS_SHARE = 0.005
"""Below this share the declared encoding is right and the page has slips; above, the content is looked at."""
_SURE_EXTRA_BYTES = 8
"""So many bytes that only go on with a character of UTF-8, and none out of place, prove UTF-8."""
_META = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,400}?(?:charset|encoding)\s{0,9}=\s{0,9}["']?\s{0,9}([a-zA-Z0-9_:.+-]{2,40})""", re.IGNORECASE
)
_PARAMETER = re.compile(r"""charset\s{0,9}=\s{0,9}["']?\s{0,9}([a-zA-Z0-9_:.+-]{2,40})""", re.IGNORECASE)
"""White space is bounded, for headers and pages of nothing else."""
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e]){2,200}~\}")
_ACCENTS, _NOT_ASCII = re.compile(rb"[\x80-\xff]{3,}"), re.compile(rb"[\x80-\xff]")
_FEW_ACCENTS, _MANY_IN_A_ROW = 20, 0.3
_HEAD_BYTES = 1 << 16
_UTF16_LE, _UTF16_BE = (re.compile(form) for form in (rb"(?:[\t\n\r ]\0)*<\0[!?a-zA-Z]\0", rb"(?:\0[\t\n\r ])*\0<\0[!?a-zA-Z]"))
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_NOT_MAPPED = {
    "hz-gb-2312": "hz", "hz": "hz", "utf-32": "utf-8", "utf-16be": "utf-8", "utf-16le": "utf-8",
    "cp936": "gb18030", "ms936": "gb18030", "euc-cn": "gb18030", "gb_18030": "gb18030", "gb18030-2000": "gb18030",
    "cp950": "big5hkscs", "big5hkscs": "big5hkscs", "cp949": "cp949", "ms949": "cp949", "cp932": "cp932",
    "johab": "johab", "iso-2022-kr": "iso2022_kr",
}  # fmt: skip
"""Labels that the web's standard does not know, or not as we read them: a page whose <meta> could be read as ASCII is not in a two-byte
encoding, whatever it says (WHATWG, prescan)."""
_ESCAPES = (b"~", b"\x1b")
"""One of them is wherever a codec of the web reads ASCII as something else (HZ, ISO-2022-JP)."""
_MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]


def to_utf8(payload: bytes, content_type: str | None = None) -> bytes | None:
    """The same as `decode`, as bytes in UTF-8: those of the page itself wherever they are that already, which is most pages."""
    if _is_utf8(payload, content_type):
        return payload
    text = decode(payload, content_type)
    return None if text is None else text.encode("utf-8", "replace")


def decode(payload: bytes, content_type: str | None = None) -> str | None:
    """The text of a page, or None if no encoding fits. Undecodable bytes of a page that mostly fits become U+FFFD."""
    for mark, codec in _MARKS:
        if payload.startswith(mark):
            return _decode(payload[len(mark) :], codec)[0]
    if _is_utf8(payload, content_type):
        return payload.decode()
    best, fewest = None, MAX_REPLACED_SHARE
    for codec in _candidates(payload, content_type):
        text, share = _decode(payload, codec)
        if share == 0:
            return text
        if share < fewest:
            best, fewest = text, share
    if best is not None and fewest < _SLIPS_SHARE:
        return best
    text, share = _decode(payload, _detected(payload))
    return text if share < fewest else best


def _is_utf8(payload: bytes, content_type: str | None) -> bool:
    """Whether a page is UTF-8 beyond doubt, or ASCII in any encoding, or most believed to be UTF-8; told without making a string."""
    seen = look(payload)
    if not seen.is_utf8 or payload.startswith(codecs.BOM_UTF8) or _without_mark(payload) is not None:
        return False
    num_extra = len(payload) - seen.num_chars
    is_plain = not num_extra and not any(escape in payload for escape in _ESCAPES)
    return is_plain or num_extra >= _SURE_EXTRA_BYTES or _candidates(payload, content_type)[0] == "utf-8"


def _candidates(payload: bytes, content_type: str | None) -> list[str]:
    """Codecs to try, most believed first. Looking at the content costs most, so it waits until these have failed."""
    if (wide := _without_mark(payload)) is not None:
        return [wide]
    declared = [codec for label in _declared(payload, content_type) if (codec := _codec(label))]
    head = payload[:_HEAD_BYTES]
    if b"\x1b$" in head:
        declared.append("iso2022_jp")
    if not declared and _HZ.search(head):
        declared.append("hz")
    if "cp1252" in declared:
        others = [codec for codec in declared if codec != "cp1252"]
        return list(dict.fromkeys(["utf-8", *others, *([] if _is_not_latin(head) else ["cp1252"])]))
    return list(dict.fromkeys([*declared, "utf-8"]))


def _is_not_latin(head: bytes) -> bool:
    """Whether in Latin 1 most letters beyond ASCII would stand in rows of three and more, and not as a line of one mark."""
    num = len(_NOT_ASCII.findall(head))
    return num >= _FEW_ACCENTS and sum(len(run) for run in _ACCENTS.findall(head) if len(set(run)) > 2) > _MANY_IN_A_ROW * num


def _detected(payload: bytes) -> str:
    """The codec the content suggests. The detector's own names are asked for, because its mapping to web labels loses Korean."""
    found = detect_encoding(payload, html5_compatible=False) or "cp1252"
    codec = map_encoding_to_html5(found, fallback_utf8=False) or found
    try:
        codecs.lookup(codec)
    except LookupError:
        return "cp1252"
    return _SUPERSETS.get(codec, codec)


def _declared(payload: bytes, content_type: str | None) -> list[str]:
    """Labels from the header and from <meta> or the XML declaration, in this order."""
    header = _PARAMETER.search(content_type or "")
    meta = _META.search(payload[:4096])
    return [label for label in (header and header.group(1), meta and meta.group(1).decode("ascii")) if label]


def _codec(label: str) -> str | None:
    """Python's codec for a label of the web, widened to its superset; None if unknown."""
    label = label.strip().lower()
    if label in _NOT_MAPPED:
        return _NOT_MAPPED[label]
    codec = map_encoding_to_html5(label, fallback_utf8=False)
    if codec is None:
        return None
    return "utf-8" if codec.startswith("utf-16") else _SUPERSETS.get(codec, codec)


def _without_mark(payload: bytes) -> str | None:
    """UTF-16 without a byte order mark shows as NULs at every second byte of the markup, or at least of the first tag."""
    if _UTF16_LE.match(payload):
        return "utf-16-le"
    if _UTF16_BE.match(payload):
        return "utf-16-be"
    head = payload[:1024]
    if len(head) < 8 or head.count(0) * 5 < len(head):
        return None
    return "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"


def _decode(payload: bytes, codec: str) -> tuple[str, float]:
    """The text and the share of characters that could not be decoded; a character cut off at the end is left out."""
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(payload), 0.0
    except UnicodeError:
        text = _replaced(payload, codec)
    return text, text.count("\ufffd") / max(1, len(text))


def _replaced(payload: bytes, codec: str) -> str:
    """The text with U+FFFD for what cannot be decoded.

    Python's incremental decoders of stateful East Asian codecs give up on some broken escape sequences (pending buffer overflow) whatever
    they are told about errors; its plain decoders do not.
    """
    try:
        return codecs.getincrementaldecoder(codec)("replace").decode(payload)
    except UnicodeError:
        return payload.decode(codec, "replace")
