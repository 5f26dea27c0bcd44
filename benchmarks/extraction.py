"""Main text of pages with known text: how right and how fast each engine is, on one core, in one run.

`python benchmarks/extraction.py [GOLD_DIR]`. GOLD_DIR is laid out like Scrapinghub's article extraction benchmark: `ground-truth.json`
and `html/`. Without it the script writes its own small set, which shows that everything runs and whose figures mean little. The score
is that benchmark's (`lm.corpus.extraction.gold`): 4-grams of words, which in Chinese are clauses. The same with characters as Chinese
words stands beside it under `_by_character`. Every engine is given the same decoded pages, and its time is CPU time of this process,
after one page to warm up.

`trafilatura` is that library as it comes, without comments; `trafilatura_fast` is how this project runs it, without its fallbacks:
better and 1.4 times as fast here.

The shipped model was trained on a public English set. A set is told by the digest of its pages; where it is that one, `f1`, `precision`
and `recall` are the cross-validated ones, of models that saw no page of the same host, and what the shipped model scores on its own
training pages stands under `f1_in_sample`. On every other set `f1` is what is measured here.
"""

import argparse
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from lm.corpus.charset import decode
from lm.corpus.extraction.engines import ENGINES
from lm.corpus.extraction.forest import MODEL_FILE
from lm.corpus.extraction.gold import GoldPage, Score, overlap, read_gold, score, set_digest

OURS = "blocks"
ENGINES_SHOWN = ("blocks", "trafilatura", "trafilatura_fast", "resiliparse", "wet")
_NUM_ROUNDS = 3
"""Timed rounds of each engine that takes less than a second for all pages; the fastest counts."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine on all pages."""

    name: str
    score: Score
    by_character: Score
    pages_per_second: float
    num_failed: int
    num_empty: int


def measure(name: str, pages: Sequence[GoldPage], console: Console) -> Measured:
    """Texts and speed of one engine; a page it cannot take gives an empty text and is counted."""
    markup = [decode(page.payload) or "" for page in pages]
    _text(name, markup[0])
    texts, seconds = list[str | None](), float("inf")
    for _ in range(_NUM_ROUNDS):
        started = time.process_time()
        texts = [_text(name, text) for text in track(markup, f"{name:<12}", console=console, transient=True)]
        seconds = min(seconds, time.process_time() - started)
        if seconds > 1:
            break
    found = [text or "" for text in texts]
    pairs = list(zip(pages, found, strict=True))
    return Measured(
        name,
        score(overlap(page.text, text) for page, text in pairs),
        score(overlap(page.text, text, by_character=True) for page, text in pairs),
        len(pages) / max(seconds, 1e-9),
        sum(text is None for text in texts),
        sum(not text.strip() for text in found),
    )


def _text(name: str, markup: str) -> str | None:
    try:
        return _as_it_comes(markup) if name == "trafilatura" else ENGINES[name.removesuffix("_fast")].run(markup)
    except ValueError:
        return None


def _as_it_comes(markup: str) -> str:
    import trafilatura

    return trafilatura.extract(markup, include_comments=False) or ""


def own_set(folder: Path, num_pages: int = 40) -> Path:
    """A made-up gold set, English and Chinese: paragraphs among menus, teasers and imprints."""
    (folder / "html").mkdir(parents=True)
    truth = {}
    for number in range(num_pages):
        sentences = [_sentence(number, at) for at in range(24)]
        body = [" ".join(sentences[at : at + 4]) for at in range(0, 24, 4)]
        truth[f"{number:03}"] = {"articleBody": "\n\n".join(body), "url": f"https://example.org/{number}"}
        links = "".join(f'<li><a href="/{at}">{_sentence(number + 100, at)[:30]}</a></li>' for at in range(12))
        text = "".join(f"<p>{paragraph}</p>" for paragraph in body)
        menu, foot = f'<div class="menu"><ul>{links}</ul></div>', '<div id="footer"><p>Imprint, privacy, all rights reserved 2026</p></div>'
        page = f'<html><body>{menu}<div class="post">{text}</div><div class="related"><ul>{links}</ul></div>{foot}</body></html>'
        (folder / "html" / f"{number:03}.html").write_text(page, encoding="utf-8")
    (folder / "ground-truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return folder


_ENGLISH = re.findall(
    r"\w+", "The river carried small boats past old mills while people on both banks watched how slowly the evening faded"
)
_CHINESE = "河水缓缓流过古老的磨坊两岸的人们静静看着黄昏的光线一点点消失远处传来钟声孩子们跑回家去"


def _sentence(page: int, at: int) -> str:
    """A sentence that is the same on every machine."""
    dice = hashlib.blake2b(f"{page}-{at}".encode(), digest_size=16).digest()
    if page % 2:
        return "".join(_CHINESE[byte % len(_CHINESE)] for byte in dice) + "，" + "".join(_CHINESE[byte % 41] for byte in dice[:9]) + "。"
    return " ".join(_ENGLISH[byte % len(_ENGLISH)] for byte in dice[:12]).capitalize() + "."


def show(measured: Sequence[Measured], console: Console) -> None:
    """A table of all engines."""
    table = Table(title="Main text of pages with known text")
    columns = ("engine", "F1", "precision", "recall", "F1 by character", "pages/s", "refused", "empty")
    for column in columns:
        table.add_column(column, justify="left" if column == "engine" else "right")
    for m in measured:
        figures = (m.score.f1, m.score.precision, m.score.recall, m.by_character.f1)
        table.add_row(m.name, *(f"{value:.3f}" for value in figures), f"{m.pages_per_second:,.0f}", str(m.num_failed), str(m.num_empty))
    console.print(table)


def figures(measured: Sequence[Measured], pages: Sequence[GoldPage]) -> dict[str, float | int | None]:
    """The last line: ours under plain names, others with theirs."""
    by_name = {m.name: m for m in measured}
    speed = {name: m.pages_per_second for name, m in by_name.items()}
    found: dict[str, float | int | None] = {"num_pages": len(pages)}
    for name in ENGINES_SHOWN:
        m, suffix = by_name.get(name), "" if name == OURS else f"_{name}"
        found[f"f1{suffix}"] = round(m.score.f1, 4) if m else None
        found[f"precision{suffix}"] = round(m.score.precision, 4) if m else None
        found[f"recall{suffix}"] = round(m.score.recall, 4) if m else None
        found[f"f1_by_character{suffix}"] = round(m.by_character.f1, 4) if m else None
        found[f"pages_per_second{suffix}"] = round(m.pages_per_second, 1) if m else None
        if name != OURS:
            found[f"speed_ratio{suffix}"] = round(speed[OURS] / speed[name], 2) if m else None
    notes = json.loads(MODEL_FILE.read_text())["notes"]
    found["f1_in_sample"] = None
    if set_digest(pages) in notes["gold_digests"]:
        found["f1_in_sample"] = found["f1"]
        found |= {"f1": notes["cross_validated_f1"], "precision": notes["precision"], "recall": notes["recall"], "f1_by_character": None}
    return found


def main() -> None:
    """Measure, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description="F1 and speed of the engines of extraction on pages with known text.")
    parser.add_argument("gold", nargs="?", type=Path, help="folder with ground-truth.json and html/; a small made-up set if absent")
    given = parser.parse_args()
    console = Console(width=max(110, Console().width))
    with tempfile.TemporaryDirectory() as scratch:
        pages = read_gold(given.gold or own_set(Path(scratch) / "gold"))
    names = [name for name in ENGINES_SHOWN if not name.startswith("trafilatura") or find_spec("trafilatura")]
    if len(names) < len(ENGINES_SHOWN):
        console.print('trafilatura is not installed (pip install "dataladder[precise]"); its figures are null')
    measured = [measure(name, pages, console) for name in names]
    show(measured, console)
    found = figures(measured, pages)
    if found["f1_in_sample"] is not None:
        console.print(
            f"{OURS} was trained on these pages: {found['f1_in_sample']:.3f} is no measure of it; cross-validated: {found['f1']:.3f}"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
