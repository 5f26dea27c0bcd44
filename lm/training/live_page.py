"""What people see of a run while it goes on: its curve so far, where it is and how fast it goes, as Markdown with the picture inside.

The page is made from windows as they come and knows nothing of where it is shown. The cost of a picture inside the text: some 8 KB per
page.
"""

import base64
from collections.abc import Sequence

import pyarrow.parquet as pq

from lm.training.picture import curve_svg, short
from lm.training.result import Progress, TrunkResult
from lm.training.window import Window

TRUNK = "trunk"


class LivePage:
    """A page that grows with a run."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._progress: Progress | None = None
        self._finished: TrunkResult | None = None

    def add(self, progress: Progress) -> None:
        """Take the window that has just ended."""
        self._progress = progress
        window = progress.window
        self._points.setdefault(window.path, []).append((float(window.num_tokens), window.loss_nats_per_token))

    def finish(self, result: TrunkResult) -> None:
        """Take the whole curve, with what earlier sittings saw, and say how the run went."""
        self._finished = result
        rows = pq.read_table(result.metrics_file, filters=[("name", "=", "loss_nats_per_token")]).to_pylist()
        names = {found.rung: f"rung-{found.num_tokens}" for found in result.checkpoints}
        self._points = {}
        for row in rows:
            self._points.setdefault(names.get(row["rung"], TRUNK), []).append((float(row["num_tokens"]), row["value"]))

    def markdown(self) -> str:
        """The page as it is now."""
        picture = base64.b64encode(curve_svg(self._points, self.title).encode()).decode()
        parts = [f"![loss against training tokens](data:image/svg+xml;base64,{picture})"]
        if self._finished:
            parts += _summary(self._finished, self._points)
        elif self._progress:
            parts += _now(self._progress)
        return "\n\n".join(parts) + "\n"


def _now(progress: Progress) -> list[str]:
    window = progress.window
    share = progress.num_tokens_done / progress.num_tokens_total
    where = f"**{share:.0%}** of this sitting: {progress.num_tokens_done:,} of {progress.num_tokens_total:,} tokens, on {_place(window)}."
    return [where, _table(_learned(window)), _table(_speed(window))]


def _place(window: Window) -> str:
    at = f"{short(window.num_tokens)} tokens"
    return f"the trunk at {at}" if window.path == TRUNK else f"the branch to {short(float(window.path.removeprefix('rung-')))} at {at}"


def _learned(window: Window) -> list[tuple[str, str]]:
    values = [
        ("loss, nats per token", f"{window.loss_nats_per_token:.4f}"),
        ("gradient norm", f"{window.gradient_norm:.3g}"),
        ("learning rate", f"{window.learning_rate:.3g}"),
    ]
    return values + ([("skipped", str(window.num_skipped))] if window.num_skipped else [])


def _speed(window: Window) -> list[tuple[str, str]]:
    speed = window.speed
    return [
        ("tokens/s", f"{speed.tokens_per_second:,.0f}"),
        ("MFU", f"{speed.mfu:.1%}"),
        ("waiting for data", f"{speed.waiting_share:.1%}"),
        ("saving", f"{speed.saving_share:.1%}"),
        ("memory", memory(speed.memory_bytes)),
    ]


def _summary(result: TrunkResult, points: dict[str, list[tuple[float, float]]]) -> list[str]:
    cost = f"{result.train_tokens:,} tokens in {result.seconds:,.0f} s on {result.device}"
    said = f"**{result.state.capitalize()}**: {cost}, {result.tokens_per_second:,.0f} tokens/s."
    went = [("MFU", result.mfu, "{:.1%}"), ("waiting for data", result.waiting_share, "{:.1%}")]
    values = [(name, form.format(value)) for name, value, form in went if value is not None]
    if result.memory_bytes is not None:
        values.append(("memory", memory(result.memory_bytes)))
    rungs = [
        (f"{found.num_tokens:,} tokens", f"{points[path][-1][1]:.4f}")
        for found in result.checkpoints
        if (path := f"rung-{found.num_tokens}") in points
    ]
    lines = ["| rung | training loss at its end |", "|---|---|", *(f"| {name} | {loss} |" for name, loss in rungs)]
    return [said, *([_table(values)] if values else []), "\n".join(lines)]


def _table(values: Sequence[tuple[str, str]]) -> str:
    names, cells = zip(*values, strict=True)
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), cells))


def memory(num_bytes: int) -> str:
    """Bytes as people write them: 512 MB, 3.2 GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
