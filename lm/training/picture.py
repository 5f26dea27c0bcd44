"""The training curve so far as a small SVG: loss against tokens, one line per path.

Written by hand, in some 5 KB, because it is drawn every few seconds beside a run and travels inside a web page: a plotting library
would cost seconds of start-up and megabytes. Tokens stand on a log scale, on which the rungs of a ladder lie evenly. Lines are thinned
to `MAX_POINTS`, each point the mean of those it stands for, so a long run costs no more than a short one. The cost of the hand: one
kind of plot.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 48, 40, 48
MAX_POINTS = 160
MAX_TICKS = 7
TRUNK_COLOR = "#64748b"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by people who see few colours. Source: Okabe and Ito, Color Universal Design (2008)."""

Points = Sequence[tuple[float, float]]
"""(tokens, loss in nats per token), tokens increasing."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From a value to a place on the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def curve_svg(paths: Mapping[str, Points], title: str) -> str:
    """The picture. The path named trunk is drawn grey, the others in colours with their names at the end of their lines."""
    lines = {name: thinned(points) for name, points in paths.items() if points}
    if not lines:
        return _frame([_text(WIDTH / 2, HEIGHT / 2, "no step yet", "middle", 14)], title)
    tokens = [math.log10(max(1.0, x)) for points in lines.values() for x, _ in points]
    losses = [y for points in lines.values() for _, y in points]
    across = Scale(*_widened(min(tokens), max(tokens), 0.02), LEFT, WIDTH - RIGHT)
    down = Scale(*_widened(min(losses), max(losses), 0.08), HEIGHT - BOTTOM, TOP)
    return _frame([*_axes(across, down), *_lines(lines, across, down)], title)


def thinned(points: Points) -> Points:
    """At most `MAX_POINTS`, evenly over the log of tokens; the last point stays as it is."""
    if len(points) <= MAX_POINTS:
        return points
    low, high = (math.log(max(1.0, points[i][0])) for i in (0, -1))
    bins: dict[int, list[tuple[float, float]]] = {}
    for x, y in points[:-1]:
        place = (math.log(max(1.0, x)) - low) / max(1e-9, high - low)
        bins.setdefault(int(place * (MAX_POINTS - 1)), []).append((x, y))
    means = [(math.fsum(x for x, _ in group) / len(group), math.fsum(y for _, y in group) / len(group)) for group in bins.values()]
    return [*means[: MAX_POINTS - 1], points[-1]]


def short(number: float) -> str:
    """A count as people write it: 131k, 2.1M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    margin = max(share * (high - low), 0.05)
    return low - margin, high + margin


def _axes(across: Scale, down: Scale) -> list[str]:
    parts = []
    for power in _powers_of_two(across.low, across.high):
        x = across(power * math.log10(2))
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, short(2.0**power), "middle"))
    for loss in _round_values(down.low, down.high):
        y = down(loss)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{loss:g}", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "training tokens", "middle"))
    parts.append(_text(LEFT - 44, TOP - 12, "loss, nats per token", "start"))
    return parts


def _lines(lines: Mapping[str, Points], across: Scale, down: Scale) -> list[str]:
    colored = {name: TRUNK_COLOR for name in lines if name == "trunk"}
    for number, name in enumerate(name for name in lines if name != "trunk"):
        colored[name] = COLORS[number % len(COLORS)]
    parts, labels = [], []
    for name, color in colored.items():
        places = [(across(math.log10(max(1.0, x))), down(y)) for x, y in lines[name]]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8" stroke-linejoin="round"/>')
        parts.append(f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="3" fill="{color}"/>')
        labels.append((places[-1], _label(name), color))
    return parts + _apart(labels)


def _label(name: str) -> str:
    tokens = name.removeprefix("rung-")
    return short(float(tokens)) if tokens.isdigit() else name


def _apart(labels: Sequence[tuple[tuple[float, float], str, str]]) -> list[str]:
    """The trunk's name to the right of its end, the others below theirs, further down where two would cover each other."""
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for (x, y), text, color in sorted(labels, key=lambda label: label[0][1]):
        right = color == TRUNK_COLOR
        x, y = (x + 24, y) if right else (x, y + 15)
        while any(abs(y - other_y) < 13 and abs(x - other_x) < 44 for other_x, other_y in taken):
            y += 2
        taken.append((x, y))
        parts.append(_text(x, y + 4, text, "middle", color=color))
    return parts


def _powers_of_two(low: float, high: float) -> list[int]:
    first, last = (math.ceil(low / math.log10(2)), math.floor(high / math.log10(2)))
    step = max(1, math.ceil((last - first + 1) / MAX_TICKS))
    return list(range(first, last + 1, step))


def _round_values(low: float, high: float) -> list[float]:
    """Up to `MAX_TICKS` multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, color: str = "#334155") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'


def _frame(parts: Sequence[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif"><rect width="100%" height="100%" rx="6" fill="#ffffff"/>'
    )
    return head + _text(WIDTH - RIGHT, TOP - 12, title, "end", 13, "#0f172a") + "".join(parts) + "</svg>"
