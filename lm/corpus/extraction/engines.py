"""The ways to take the main text out of a page, by name, behind one signature.

`blocks` is ours and the default: a compiled pass over the bytes, blocks with features, two small forests. `resiliparse` is a set of
rules in C++, `trafilatura` a larger one in Python, which is loaded only when it is asked for. `wet` keeps all visible text, as Common
Crawl's WET files do.

A limit on time has to give the same answer on a fast and on a slow machine, and a thread cannot be stopped from outside; so it is a
limit on what a page may hold before the engine starts: tags, and nesting. The bounds are such that a page takes about a second.
`blocks` takes linear time and needs none but the one on its memory.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from lm.corpus.entities import unescape
from lm.corpus.extraction.kernels import MAX_BLOCKS, Reading, read


class PageLimitError(ValueError):
    """A page that an engine will not take; `reason` is the fixed word it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to the main text."""

    run: Callable[[str], str]
    """From markup to its main text; raises ValueError for a page it cannot take, ImportError if it is not
    installed."""
    max_tags: int
    """More `<` than this are counted as too_many_tags, unread."""
    is_ours: bool = False
    """Whether it is our own, which reads bytes, takes time in proportion to the page whatever is on it, and leaves control characters of
    the text to be taken out afterwards."""


def blocks_text(reading: Reading) -> str:
    """The text of a page that our own engine has read. Raises: PageLimitError if the page has more blocks than fit."""
    if reading.num_blocks > MAX_BLOCKS:
        raise PageLimitError("too_many_blocks")
    text = reading.text.tobytes().decode("utf-8", "replace").replace("\xa0", " ")
    return unescape(text).replace("\xa0", " ") if "&" in text else text


def _blocks(markup: str) -> str:
    """The blocks that the model takes for main text. Raises: PageLimitError if the page has more of them than fit."""
    return blocks_text(read(np.frombuffer(markup.encode("utf-8", "replace"), np.uint8)))


def _resiliparse(markup: str) -> str:
    """Main text with paragraphs and list bullets kept.

    Leaving out comments and bylines raises F1 on 181 articles with known text from 0.916 to 0.934 (precision 0.860 to 0.891, recall 0.981
    either way); the cost falls on forums that mark their posts as comments.
    """
    tree = HTMLTree.parse(markup)
    return str(extract_plain_text(tree, main_content=True, preserve_formatting=True, alt_texts=False, comments=False, post_meta=False))


def _trafilatura(markup: str) -> str:
    """Main text without comments. Its fallback to other extractors is left out: F1 on the same pages is 0.962 without and 0.960 with
    it, at 1.8 times the speed.
    """
    try:
        import trafilatura
    except ModuleNotFoundError as error:
        raise ImportError(f"trafilatura cannot be loaded, {error}; it comes with an extra: pip install 'dataladder[precise]'") from error

    return trafilatura.extract(_DECLARATION.sub("", markup, count=1), include_comments=False, fast=True) or ""


def _wet(markup: str) -> str:
    """All visible text."""
    return str(extract_plain_text(HTMLTree.parse(markup), main_content=False, preserve_formatting=True, alt_texts=False))


_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
"""lxml refuses text that declares an encoding."""
ENGINES: Mapping[str, Engine] = {
    "blocks": Engine(_blocks, max_tags=2_000_000, is_ours=True),
    "resiliparse": Engine(_resiliparse, max_tags=500_000),
    "trafilatura": Engine(_trafilatura, max_tags=20_000),
    "wet": Engine(_wet, max_tags=500_000),
}
"""Engine by name."""


def engine_named(name: str) -> Engine:
    """The engine of this name. Raises: ValueError naming those there are."""
    if name not in ENGINES:
        raise ValueError(f"extractor must be one of {', '.join(sorted(ENGINES))}, got {name!r}")
    return ENGINES[name]
