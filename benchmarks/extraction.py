"""Main text of pages with known text: how right and how fast each engine is, on one core, in one run.

`python benchmarks/extraction.py [GOLD_DIR]`. GOLD_DIR is laid out like Scrapinghub's article extraction benchmark: `ground-truth.json`
and `html/`. Without it the script writes its own small set, which shows that everything runs and whose figures mean little. The score
is that benchmark's (`lm.corpus.extraction.gold`): 4-grams of words, which in Chinese are clauses. The same with characters as Chinese
words stands beside it under `_by_character`. Every engine is given the same decoded pages, and its time is CPU time of this process,
after one page to warm up.

The shipped model was trained on the English set this score is best known for. There its own figure here is that of a student who has
seen the questions; what counts is the cross-validated one in `lm/corpus/extraction/model.json`, which is printed and put out as
`f1_cross_validated`.
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
from lm.corpus.extraction.gold import GoldPage, Score, overlap, read_gold, score

OURS = "blocks"
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
        return ENGINES[name].run(markup)
    except ValueError:
        return None


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


def figures(measured: Sequence[Measured], num_pages: int) -> dict[str, float | int | None]:
    """The last line: ours under plain names, others with theirs."""
    by_name = {m.name: m for m in measured}
    speed = {name: m.pages_per_second for name, m in by_name.items()}
    found: dict[str, float | int | None] = {"num_pages": num_pages}
    for name in ENGINES:
        m, suffix = by_name.get(name), "" if name == OURS else f"_{name}"
        found[f"f1{suffix}"] = round(m.score.f1, 4) if m else None
        found[f"precision{suffix}"] = round(m.score.precision, 4) if m else None
        found[f"recall{suffix}"] = round(m.score.recall, 4) if m else None
        found[f"f1_by_character{suffix}"] = round(m.by_character.f1, 4) if m else None
        found[f"pages_per_second{suffix}"] = round(m.pages_per_second, 1) if m else None
        if name != OURS:
            found[f"speed_ratio{suffix}"] = round(speed[OURS] / speed[name], 2) if m else None
    found["f1_cross_validated"] = json.loads(MODEL_FILE.read_text())["notes"].get("cross_validated_f1")
    return found


def main() -> None:
    """Measure, print a table, end with one line of JSON."""
    parser = argparse.ArgumentParser(description="F1 and speed of the engines of extraction on pages with known text.")
    parser.add_argument("gold", nargs="?", type=Path, help="folder with ground-truth.json and html/; a small made-up set if absent")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        pages = read_gold(given.gold or own_set(Path(scratch) / "gold"))
    names = [name for name in ENGINES if name != "trafilatura" or find_spec("trafilatura")]
    if len(names) < len(ENGINES):
        console.print('trafilatura is not installed (pip install "dataladder[precise]"); its figures are null')
    measured = [measure(name, pages, console) for name in names]
    show(measured, console)
    print(json.dumps(figures(measured, len(pages))))


if __name__ == "__main__":
    main()
