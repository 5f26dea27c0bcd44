"""Numbers and times as people read them. One place, so that a figure and the sentence about it show the same digits."""

import math
from datetime import UTC, datetime

NOTHING = "–"
_DECIMAL = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def count(value: float | None) -> str:
    """Every digit, in groups: 1,234,567."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Three digits and a letter: 4.19M."""
    if value is None:
        return NOTHING
    for unit, letter in _DECIMAL:
        if abs(value) >= unit * 0.9995:
            return f"{_three(value / unit)}{letter}"
    return _three(value)


def size(num_bytes: float | None) -> str:
    """Bytes in decimal units: 12.3 MB."""
    if num_bytes is None:
        return NOTHING
    for unit, name in _BYTES:
        if abs(num_bytes) >= unit * 0.9995:
            return f"{_three(num_bytes / unit)} {name}"
    return f"{num_bytes:.0f} B"


def _three(value: float) -> str:
    """Three significant digits without an exponent and without idle zeros."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def loss(value: float | None) -> str:
    """A loss with three decimals."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3f}"


def constant(value: float | None) -> str:
    """A law's constant with three significant digits; large ones in groups."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0.0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.2e}"


def share(part: float | None, whole: float | None) -> str:
    """A part of a whole in percent: 12.3%. Small parts never read as 0 and incomplete ones never as 100."""
    if part is None or not whole:
        return NOTHING
    percent = 100.0 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.0f}%" if percent in (0.0, 100.0) else f"{percent:.1f}%"


def percent(ratio: float) -> str:
    """A ratio as percent with two significant digits: 0.0123 -> 1.2%."""
    value = abs(ratio) * 100.0
    return f"{value:.0f}%" if value >= 10 else f"{value:.1f}%" if value >= 1 else f"{value:.2g}%"


def duration(seconds: float | None) -> str:
    """Seconds as 8.1 s, 3 min 20 s or 2 h 5 min."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(value: datetime | None) -> str:
    """A time in UTC to the second. A time without a zone is taken as UTC."""
    if value is None:
        return NOTHING
    at = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S")
