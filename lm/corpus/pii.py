"""Personal data in text: e-mail addresses, public IP addresses, phone numbers, payment cards, Chinese identity and mobile numbers.

A compiled pass over the UTF-8 bytes finds the few stretches that may hold one, runs of digits and what stands around @ and ::, and only
these are looked at closely, as `pii_forms` says. So prose costs about a nanosecond per byte. What was found is stored as spans, and
may be replaced by masks.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.pii_forms import CHECKS, IPV6
from lm.corpus.signals import Texts, kernel, utf8_buffers
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

MASKS = {
    "email": "name@example.org",
    "public_ip": "192.0.2.1",
    "chinese_id": "000000000000000000",
    "payment_card": "0000 0000 0000 0000",
    "chinese_mobile": "100 0000 0000",
    "phone": "555-0100",
}
"""What stands in the place of each kind: addresses reserved for examples (RFC 2606, RFC 5737), numbers that nobody has."""
KINDS = tuple(MASKS)

_AT, _COLON, _ZERO, _NINE, _PLUS, _OPEN, _DOT, _SPACE, _HYPHEN, _CLOSE, _UNDERSCORE, _PERCENT = (ord(c) for c in "@:09+(. -)_%")
_MAX_LOCAL, _MAX_DOMAIN = 64, 255
_MIN_DIGITS, _MIN_IP_DIGITS, _IP_DOTS, _IP_COLONS = 7, 4, 3, 7
_CONTEXT_BYTES, _BEHIND_BYTES = 60, 24
_MAX_ROUNDS = 8


class Span(NamedTuple):
    """A kind, and the code points it covers."""

    kind: str
    start: int
    end: int


@inner
def _is_digit(b: int) -> bool:
    return _ZERO <= b <= _NINE


@inner
def _is_name(b: int) -> bool:
    letter = b | 32
    return _is_digit(b) or 97 <= letter <= 122 or b in (_DOT, _HYPHEN)


@inner
def _is_hex(b: int) -> bool:
    return _is_digit(b) or 97 <= b | 32 <= 102


@inner
def _around_at(data: Array, start: int, stop: int, at: int) -> tuple[int, int]:
    left, right = at, at + 1
    while left > start and at - left < _MAX_LOCAL:
        b = data[left - 1]
        if not (_is_name(b) or b in (_PLUS, _UNDERSCORE, _PERCENT)):
            break
        left -= 1
    while right < stop and right - at < _MAX_DOMAIN and _is_name(data[right]):
        right += 1
    return left, right


@inner
def _around_colon(data: Array, start: int, stop: int, at: int) -> tuple[int, int, bool]:
    """The run of hexadecimal digits and colons around a colon, and whether it may be an address."""
    left, right, colons, double = at, at, 0, False
    while left > start and (_is_hex(data[left - 1]) or data[left - 1] == _COLON):
        left -= 1
    while right < stop and (_is_hex(data[right]) or data[right] == _COLON or data[right] == _DOT):
        right += 1
    for i in range(left, right):
        colons += data[i] == _COLON
        double = double or (i + 1 < right and data[i] == _COLON and data[i + 1] == _COLON)
    return left, right, right - left <= 45 and (colons == _IP_COLONS or (double and colons > 1 and right - left > 3))


@inner
def _run_of_digits(data: Array, start: int, stop: int, at: int) -> tuple[int, int, bool]:
    """Digits with at most two marks between two of them, from a digit on, and whether they may be a number of a person."""
    left, right, digits, dots = at, at, 0, 0
    while left > start and at - left < 2 and (data[left - 1] == _PLUS or data[left - 1] == _OPEN):
        left -= 1
    last, i = at, at
    while i < stop and i - last <= 3:
        b = data[i]
        if _is_digit(b):
            digits += 1
            last = i
        elif b == _DOT:
            dots += 1
        elif b not in (_SPACE, _HYPHEN, _OPEN, _CLOSE):
            break
        i += 1
    right = last + 1
    if right < stop and data[right] | 32 == 120:
        right += 1
    return left, right, digits >= _MIN_DIGITS or (digits >= _MIN_IP_DIGITS and dots >= _IP_DOTS)


@inner
def scan(data: Array, start: int, stop: int, out: Array, max_rows: int) -> int:
    """Stretches to look at closely, as rows of first byte, byte after and first code point; returns how many there are."""
    num, chars, i = int64(0), int64(0), start
    while i < stop:
        b = data[i]
        left, right, found, step = i, i, False, int64(1)
        if b == _AT:
            left, right = _around_at(data, start, stop, i)
            found = left < i and right > i + 3
        elif b == _COLON and i + 1 < stop and (data[i + 1] == _COLON or _is_hex(data[i + 1])):
            left, right, found = _around_colon(data, start, stop, i)
            step = max(step, right - i)
        elif _is_digit(b):
            left, right, found = _run_of_digits(data, start, stop, i)
            step = max(step, right - i)
        if found:
            if num < max_rows:
                out[num, 0], out[num, 1], out[num, 2] = left, right, chars - (i - left)
            num += 1
        chars += step if step > 1 else (1 if b & 0xC0 != 0x80 else 0)
        i += step
    return num


@cache
def _scan_kernel() -> Any:
    """scan(data, start, stop, out, max_rows), compiled for callers in Python."""
    version = kernel.sources_digest(__file__)

    def run(data: Array, start: int, stop: int, out: Array, max_rows: int) -> int:
        return scan(data, start, stop, out, max_rows) if version else 0

    def trial(compiled: Any) -> object:
        data = np.zeros(1, dtype=np.uint8)
        data.setflags(write=False)
        return compiled(data, 0, 0, np.zeros((1, 3), dtype=np.int64), 1)

    return kernel.compiled(run, trial)


def _candidates(data: Array, start: int, stop: int, rows: Array) -> tuple[Array, Array]:
    run = _scan_kernel()
    num = run(data, start, stop, rows, len(rows))
    if num > len(rows):
        rows = np.zeros((2 * num, 3), dtype=np.int64)
        num = run(data, start, stop, rows, len(rows))
    return rows[:num], rows


def _look_closely(data: Array, start: int, stop: int, first: int, last: int, first_char: int) -> Iterator[Span]:
    """Personal data in one candidate; of two that overlap the first in the order of `KINDS`."""
    begin = max(start, first - 1)
    piece = data[begin : min(stop, last + 2)].tobytes()
    taken = bytearray(len(piece))
    core = data[first:last].tobytes()
    if b"::" in core or core.count(b":") >= _IP_COLONS:
        checks = [IPV6]
    elif b"@" in core:
        checks = [check for check in CHECKS if check[0] == "email"]
    else:
        checks = [check for check in CHECKS if check[0] != "email"]
    for kind, places, holds in checks:
        for left, right in places(piece):
            if taken.find(1, left, right) >= 0:
                continue
            before = data[max(start, begin + left - _CONTEXT_BYTES) : begin + left].tobytes().decode(errors="ignore")
            behind = data[begin + right : min(stop, begin + right + _BEHIND_BYTES)].tobytes().decode(errors="ignore")
            if holds(piece[left:right].decode(), before, behind):
                taken[left:right] = b"\1" * (right - left)
                yield Span(kind, first_char + begin + left - first, first_char + begin + right - first)


def find(texts: Texts, kinds: Sequence[str] = KINDS) -> list[list[Span]]:
    """Personal data of these kinds in each text, in the order of the text, without overlaps: of two that overlap one is made."""
    data, offsets = utf8_buffers(texts)
    rows = np.zeros((64, 3), dtype=np.int64)
    found = []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        candidates, rows = _candidates(data, start, stop, rows)
        spans = [span for row in candidates.tolist() for span in _look_closely(data, start, stop, *row) if span.kind in kinds]
        found.append(_without_overlaps(spans))
    return found


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Spans that overlap as one, of the kind of the first: what is left of the second would still be personal."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if kept and span.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept


def span_table(ids: Sequence[str], texts: Texts) -> pa.Table:
    """Rows of the table `pii_spans`: id, kind, start_char, end_char."""
    rows = [(id, *span) for id, spans in zip(ids, find(texts), strict=True) for span in spans]
    ids_, kinds, starts, ends = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "id": pa.array(ids_, pa.string()),
            "kind": pa.array(kinds, pa.string()),
            "start_char": pa.array(starts, pa.int64()),
            "end_char": pa.array(ends, pa.int64()),
        }
    )


def mask(text: str, kinds: Sequence[str] = KINDS) -> str:
    """The text with personal data of these kinds replaced by `MASKS`.

    What stands beside a mask may make a number of it, +192.0.2.1 00 a phone's; so the result is masked again until that changes nothing.
    """
    for _ in range(_MAX_ROUNDS):
        masked = _masked(text, kinds)
        if masked == text:
            break
        text = masked
    return text


def _masked(text: str, kinds: Sequence[str]) -> str:
    out, at = [], 0
    for span in find(pa.array([text]), kinds)[0]:
        out += [text[at : span.start], MASKS[span.kind]]
        at = span.end
    return "".join(out) + text[at:]
