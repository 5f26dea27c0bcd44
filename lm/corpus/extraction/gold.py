"""Pages with known text, and how close an extracted text comes to it.

A gold set is a folder with `ground-truth.json`, `{id: {"articleBody": text, "url": address}}`, and the pages as `html/<id>.html`,
`.htm` or without an ending, gzip-compressed or not. The score is that of the article extraction benchmark of Scrapinghub (now Zyte):
words are runs of `\\w`, texts are bags of 4-grams of words, precision and recall are means over pages, and F1 is taken of these two
means. Its words are whole clauses in Chinese and Japanese, so one wrong word counts like a clause; with `by_character` each Han or kana
character is a word of its own.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from storage.digest import digest

NGRAM = 4
_WORD = re.compile(r"\w+")
_CHARACTER = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)
_ENDINGS = (".html.gz", ".html", ".htm.gz", ".htm", ".gz", "")
_TRUTH = "ground-truth.json"


@dataclass(frozen=True, slots=True)
class GoldPage:
    """A page and the text that a person took out of it."""

    id: str
    payload: bytes
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Score:
    """Means over pages; f1 is the harmonic mean of the other two."""

    f1: float
    precision: float
    recall: float


Overlap = tuple[int, int, int]
"""n-grams that are in both texts, only in the extracted, only in the known one."""


def read_gold(folder: Path) -> list[GoldPage]:
    """The pages of a gold set, by id.

    Raises: FileNotFoundError if the folder has no ground truth, or no file for one of its ids.
    """
    truth = folder / _TRUTH
    if not truth.is_file():
        raise FileNotFoundError(f"{folder} must hold {_TRUTH} and a folder html, but has no {_TRUTH}")
    known = json.loads(truth.read_text(encoding="utf-8"))
    return [GoldPage(name, _payload(folder, name), _text(known[name]), _url(known[name])) for name in sorted(known)]


def _text(entry: object) -> str:
    return str(entry.get("articleBody") or "") if isinstance(entry, dict) else str(entry or "")


def _url(entry: object) -> str:
    return str(entry.get("url") or "") if isinstance(entry, dict) else ""


def _payload(folder: Path, name: str) -> bytes:
    for ending in _ENDINGS:
        path = folder / "html" / f"{name}{ending}"
        if path.is_file():
            data = path.read_bytes()
            return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    raise FileNotFoundError(f"{folder}/html must hold a page for each id of {_TRUTH}, but has no {name}.html.gz nor {name}.html")


def set_digest(pages: Iterable[GoldPage]) -> str:
    """Identity of a set of pages, whatever their order, so that a score on pages a model was trained on can be told apart."""
    return digest(*sorted(digest(page.payload, page.text) for page in pages))


def ngrams(text: str, *, by_character: bool = False) -> Counter[tuple[str, ...]]:
    """The bag of 4-grams of a text; a shorter text is one n-gram."""
    words = (_CHARACTER if by_character else _WORD).findall(text)
    return Counter(tuple(words[at : at + NGRAM]) for at in range(max(1, len(words) - NGRAM + 1)) if words)


def overlap(known: str, extracted: str, *, by_character: bool = False) -> Overlap:
    """How many n-grams two texts share, and how many each has alone."""
    return overlap_of_bags(ngrams(known, by_character=by_character), ngrams(extracted, by_character=by_character))


def overlap_of_bags(known: Counter[tuple[str, ...]], extracted: Counter[tuple[str, ...]]) -> Overlap:
    """The same for bags at hand."""
    shared = (known & extracted).total()
    return shared, extracted.total() - shared, known.total() - shared


def score(overlaps: Iterable[Overlap]) -> Score:
    """Scores over pages. As in the benchmark, a page from which nothing came has no precision, and one without text no recall."""
    pages = list(overlaps)
    precisions = [shared / (shared + extra) for shared, extra, _ in pages if shared + extra]
    recalls = [shared / (shared + missed) for shared, _, missed in pages if shared + missed]
    precision, recall = mean(precisions or [0.0]), mean(recalls or [0.0])
    return Score(2 * precision * recall / max(precision + recall, 1e-12), precision, recall)
