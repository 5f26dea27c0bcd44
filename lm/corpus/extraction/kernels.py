"""The compiled way through a page: what is on it, and what of it is written.

`read` goes all the way in one call, which is what extraction needs; training takes it in steps. None holds the interpreter lock. The
compiled form is kept beside the source. The first use on a machine compiles for some fifteen seconds.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest
from lm.corpus.extraction import blocks, features, forest, lexing, markup, text, vocabulary
from lm.corpus.extraction.blocks import Blocks, find_blocks, is_dense
from lm.corpus.extraction.features import around_table, measure_blocks
from lm.corpus.extraction.forest import DENSE_MODEL_FILE, NUM_CONTEXT, Model, choose_blocks, fill_context, load_model, score
from lm.corpus.extraction.markup import Markup, scan
from lm.corpus.extraction.text import write_text
from lm.corpus.extraction.vocabulary import Vocabulary
from lm.corpus.signals import hashing

Array = NDArray[Any]

MAX_BLOCKS = 50_000
"""Most blocks of a page: 27 MB of features. The largest of 525 real pages had 4,300."""


class Page(NamedTuple):
    """What is on a page."""

    markup: Markup
    blocks: Blocks
    features: Array
    """float32 (block, feature); no rows if the page has more than MAX_BLOCKS blocks."""


class Reading(NamedTuple):
    """What extraction wants to know of a page."""

    text: Array
    """uint8: the bytes of the main text, with entities; none if there are more than MAX_BLOCKS blocks."""
    facts: Array
    """int32 (fact, 3), see `Markup`."""
    num_blocks: int


def read(page: Array) -> Reading:
    """Main text and facts of a page's bytes in UTF-8."""
    return Reading(*_whole()(page, vocabulary.vocabulary(), _around(), load_model(), load_model(DENSE_MODEL_FILE))[:3])


def read_page(page: Array) -> Page:
    """Elements, blocks and features of a page's bytes in UTF-8."""
    words = vocabulary.vocabulary()
    return Page(*_read()(page, words, _around())[:3])


def main_text(page: Array, found: Page, model: Model | None = None) -> bytes:
    """The bytes of the main text, with entities; by default with the model for the page's script."""
    both = (model, model) if model else (load_model(), load_model(DENSE_MODEL_FILE))
    return bytes(_choose()(page, found.markup, found.blocks, found.features, *both, vocabulary.vocabulary().kinds)[0])


def with_context(found: Page, scores: Array) -> Array:
    """A page's features with the columns of `forest.CONTEXT` filled from the first forest's scores: what the second forest sees."""
    return np.asarray(_context()(found.markup, found.blocks, found.features.copy(order="F"), scores)[0])


def text_of_blocks(page: Array, found: Page, keep: Array) -> bytes:
    """The bytes of the chosen blocks, with entities."""
    return bytes(_writer()(page, found.markup, found.blocks, keep, vocabulary.vocabulary().kinds)[0])


@cache
def _around() -> Array:
    return around_table()


def _version() -> int:
    return sources_digest(
        __file__, *(str(module.__file__) for module in (blocks, features, forest, hashing, lexing, markup, text, vocabulary))
    )


def _tiny() -> Array:
    return np.frombuffer(b"<p>x</p>", np.uint8)


@cache
def _read() -> Callable[..., Any]:
    version = _version()

    def read(page: Array, words: Vocabulary, around: Array) -> Any:
        found = scan(page, words)
        parts, holders = find_blocks(page, found, words.kinds)
        if parts.first.size > MAX_BLOCKS:
            return found, parts, np.zeros((0, 1), np.float32), version
        return found, parts, measure_blocks(found, parts, holders, words.kinds, around, NUM_CONTEXT), version

    return compiled(read, lambda kernel: kernel(_tiny(), vocabulary.vocabulary(), _around()))


@cache
def _whole() -> Callable[..., Any]:
    version = _version()

    def whole(page: Array, words: Vocabulary, around: Array, plain: Model, dense: Model) -> Any:
        found = scan(page, words)
        parts, holders = find_blocks(page, found, words.kinds)
        if parts.first.size > MAX_BLOCKS:
            return np.zeros(0, np.uint8), found.facts, parts.first.size, version
        x = measure_blocks(found, parts, holders, words.kinds, around, NUM_CONTEXT)
        model = dense if is_dense(page, found) else plain
        fill_context(x, score(model.first, x), found, parts)
        keep = choose_blocks(score(model.second, x), parts, model.threshold)
        return write_text(page, found, parts, keep, words.kinds), found.facts, parts.first.size, version

    return compiled(whole, lambda kernel: kernel(_tiny(), vocabulary.vocabulary(), _around(), load_model(), load_model()))


@cache
def _choose() -> Callable[..., Any]:
    version = _version()

    def choose(page: Array, found: Markup, parts: Blocks, x: Array, plain: Model, dense: Model, kinds: Array) -> Any:
        model = dense if is_dense(page, found) else plain
        fill_context(x, score(model.first, x), found, parts)
        keep = choose_blocks(score(model.second, x), parts, model.threshold)
        return write_text(page, found, parts, keep, kinds), version

    return compiled(choose, lambda kernel: kernel(_tiny(), *read_page(_tiny()), load_model(), load_model(), vocabulary.vocabulary().kinds))


@cache
def _context() -> Callable[..., Any]:
    version = _version()

    def context(found: Markup, parts: Blocks, x: Array, scores: Array) -> Any:
        fill_context(x, scores, found, parts)
        return x, version

    def trial(kernel: Callable[..., Any]) -> object:
        found = read_page(_tiny())
        return kernel(found.markup, found.blocks, found.features, np.zeros(1, np.float32))

    return compiled(context, trial)


@cache
def _writer() -> Callable[..., Any]:
    version = _version()

    def write(page: Array, found: Markup, parts: Blocks, keep: Array, kinds: Array) -> Any:
        return write_text(page, found, parts, keep, kinds), version

    def trial(kernel: Callable[..., Any]) -> object:
        found = read_page(_tiny())
        return kernel(_tiny(), found.markup, found.blocks, np.ones(1, np.bool_), vocabulary.vocabulary().kinds)

    return compiled(write, trial)
