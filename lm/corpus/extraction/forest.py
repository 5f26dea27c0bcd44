"""How much a block looks like main text: two small forests of boosted trees, read from `model.json`.

The first forest scores each block by its features alone. The second sees the same and, in `CONTEXT`, what the first said of the blocks
around it and of all else in the elements that hold it; so a short line between paragraphs stays, and a paragraph among teasers goes.
The model is data: names of features, thresholds and leaves as text; `training.py` writes it. All blocks of a page go through a tree
at once, which takes a third of the time of walking it block by block; the cost is that all trees have one depth.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.corpus.extraction import blocks as c
from lm.corpus.extraction.blocks import Blocks
from lm.corpus.extraction.features import FEATURES, NUM_FEATURES
from lm.corpus.extraction.markup import Markup
from lm.corpus.signals.hashing import inner, maker
from storage.digest import digest, file_digest

Array = NDArray[Any]

MODEL_FILE = Path(__file__).with_name("model.json")
DENSE_MODEL_FILE = Path(__file__).with_name("model_dense.json")
"""For pages in Han, kana or Hangul. Trained with pages in these scripts that were labelled by hand, it is better at them and somewhat worse
at English news; which model a page gets is decided by its characters."""
CONTEXT: tuple[str, ...] = (
    "score", "score_previous1", "score_next1", "score_previous2", "score_next2",
    "rest_up1", "rest_up2", "rest_up3", "rest_up4", "main_before", "from_last_main", "from_next_main", "main_window",
)  # fmt: skip
"""Columns of the second forest, behind `FEATURES`."""
NUM_CONTEXT = len(CONTEXT)
DEPTH = 3
"""Comparisons on the way to a leaf, in every tree: `_add_tree` spells them out."""
SURE, SURE_WORDS = 2.0, 4.0
"""Log odds and words of a block that is main text beyond doubt."""
AFTER_SURE = 3
"""Blocks that may follow the last sure one."""
RELATIVE = 0.1
"""Where the main text scores high, a block needs this share of its mean score."""
SHY_WORDS, SHY_THRESHOLD = 10.0, -1.2
"""With fewer words chosen than this, the page is taken to be of a kind the model is shy of, and the threshold is the lower one."""
_NO_BLOCK = -6.0
_OUTSIDE = 99


class Forest(NamedTuple):
    """Trees of depth 3; the children of node k are 2k+1 and 2k+2, and a value above the threshold goes to the second."""

    features: Array
    """int32 (tree, 7): column that is compared."""
    thresholds: Array
    """float32 (tree, 7)."""
    leaves: Array
    """float32 (tree, 8): what is added to the score, in log odds."""
    base: float
    """Log odds before any tree."""


class Model(NamedTuple):
    """What `model.json` holds."""

    first: Forest
    second: Forest
    threshold: float
    """Log odds from which on a block is kept."""


def model_digest() -> str:
    """Identity of the models that texts depend on beside the code."""
    return digest(file_digest(MODEL_FILE), file_digest(DENSE_MODEL_FILE))


@cache
def load_model(path: Path = MODEL_FILE) -> Model:
    """The model of a file.

    Raises: ValueError if it was trained on other features than this code computes.
    """
    data = json.loads(path.read_text())
    names = [*FEATURES, *CONTEXT]
    unknown = {name for forest in data["forests"] for tree in forest["trees"] for name in tree["features"]} - set(names)
    if unknown:
        names_text = ", ".join(sorted(unknown))
        raise ValueError(f"{path} must use features of this code, but has {names_text}; train it again (lm.corpus.extraction.training)")
    first, second = (_forest(forest, {name: number for number, name in enumerate(names)}) for forest in data["forests"])
    return Model(first, second, float(data["threshold"]))


def _forest(data: dict[str, Any], columns: dict[str, int]) -> Forest:
    trees = data["trees"]
    if wrong := [len(tree["leaves"]) for tree in trees if len(tree["leaves"]) != 8 or len(tree["features"]) != 7]:
        raise ValueError(f"trees of the model must have 8 leaves and 7 nodes, but {len(wrong)} have not; train it again")
    return Forest(
        np.array([[columns[name] for name in tree["features"]] for tree in trees], np.int32),
        np.array([tree["thresholds"] for tree in trees], np.float32),
        np.array([tree["leaves"] for tree in trees], np.float32),
        float(data["base"]),
    )


@maker
def score(forest: Forest, x: Array) -> Array:
    """Log odds of each row of features, float32 (block,)."""
    scores = np.empty(x.shape[0], np.float32)
    _score_into(forest, x, scores)
    return scores


@inner
def _score_into(forest: Forest, x: Array, scores: Array) -> None:
    """Tree after tree over all rows: every comparison of a tree is made, without a branch, for many rows at a time."""
    scores[:] = forest.base
    for tree in range(forest.features.shape[0]):
        _add_tree(forest.features[tree], forest.thresholds[tree], forest.leaves[tree], x, scores)


@inner
def _add_tree(nodes: Array, at: Array, leaves: Array, x: Array, scores: Array) -> None:
    """Add what a tree of depth 3 gives to each row."""
    top, left, right = x[:, nodes[0]], x[:, nodes[1]], x[:, nodes[2]]
    first, second, third, fourth = x[:, nodes[3]], x[:, nodes[4]], x[:, nodes[5]], x[:, nodes[6]]
    t0, t1, t2, t3, t4, t5, t6 = at[0], at[1], at[2], at[3], at[4], at[5], at[6]
    a, b, c, d, e, f, g, h = leaves[0], leaves[1], leaves[2], leaves[3], leaves[4], leaves[5], leaves[6], leaves[7]
    for row in range(scores.size):
        low = (d if second[row] > t4 else c) if left[row] > t1 else (b if first[row] > t3 else a)
        high = (h if fourth[row] > t6 else g) if right[row] > t2 else (f if third[row] > t5 else e)
        scores[row] += high if top[row] > t0 else low


@inner
def _fill_rest(x: Array, odds: Array, markup: Markup, blocks: Blocks, held: Array) -> None:
    """The share of main text in all else that the four elements around a block hold; -1 where they hold nothing else."""
    for b in range(odds.size):
        held[blocks.holders[b], 0] += blocks.counts[b, c.WORDS]
        held[blocks.holders[b], 1] += blocks.counts[b, c.WORDS] * odds[b]
    for e in range(markup.tags.size - 1, 0, -1):
        held[markup.parents[e], 0] += held[e, 0]
        held[markup.parents[e], 1] += held[e, 1]
    for b in range(odds.size):
        words, up = blocks.counts[b, c.WORDS], markup.parents[blocks.holders[b]]
        for level in range(4):
            rest = held[up, 0] - words
            x[b, NUM_FEATURES + 5 + level] = (held[up, 1] - words * odds[b]) / rest if rest > 0.5 else -1
            up = markup.parents[up]


@maker
def fill_context(x: Array, scores: Array, markup: Markup, blocks: Blocks) -> None:
    """Fill the columns of `CONTEXT` from the first forest's scores."""
    odds = 1 / (1 + np.exp(-scores))
    _fill_rest(x, odds, markup, blocks, np.zeros((markup.tags.size, 2), np.float32))
    _fill_neighbours(x, scores, odds, blocks)


@inner
def _fill_neighbours(x: Array, scores: Array, odds: Array, blocks: Blocks) -> None:
    """What the first forest said of the blocks around each."""
    num = scores.size
    total, before = np.float32(0), np.float32(0)
    for b in range(num):
        total += blocks.counts[b, c.WORDS] * odds[b]
    since = _OUTSIDE
    for b in range(num):
        f = NUM_FEATURES
        x[b, f] = scores[b]
        x[b, f + 1] = scores[b - 1] if b > 0 else _NO_BLOCK
        x[b, f + 2] = scores[b + 1] if b + 1 < num else _NO_BLOCK
        x[b, f + 3] = scores[b - 2] if b > 1 else _NO_BLOCK
        x[b, f + 4] = scores[b + 2] if b + 2 < num else _NO_BLOCK
        x[b, f + 9] = before / max(np.float32(0.1), total)
        before += blocks.counts[b, c.WORDS] * odds[b]
        since = 0 if scores[b] > 0 else since + 1
        x[b, f + 10] = since
        words, main = np.float32(0), np.float32(0)
        for other in range(max(0, b - 5), min(num, b + 6)):
            if other != b:
                words += blocks.counts[other, c.WORDS]
                main += blocks.counts[other, c.WORDS] * odds[other]
        x[b, f + 12] = main / max(np.float32(0.1), words)
    since = _OUTSIDE
    for b in range(num - 1, -1, -1):
        since = 0 if scores[b] > 0 else since + 1
        x[b, NUM_FEATURES + 11] = since


@maker
def choose_blocks(scores: Array, blocks: Blocks, threshold: float) -> Array:
    """Which blocks are main text, bool (block,): those above the threshold, up to a few blocks behind the last sure one."""
    keep = np.empty(scores.size, np.bool_)
    _choose_into(scores, blocks, threshold, keep)
    return keep


@inner
def _choose_into(scores: Array, blocks: Blocks, threshold: float, keep: Array) -> None:
    num, words, mass, last = scores.size, np.float32(0), np.float32(0), -1
    for b in range(num):
        if scores[b] > 0:
            words += blocks.counts[b, c.WORDS]
            mass += blocks.counts[b, c.WORDS] * scores[b]
        if scores[b] > SURE and blocks.counts[b, c.WORDS] > SURE_WORDS:
            last = b
    least = max(np.float32(threshold), np.float32(RELATIVE) * mass / max(words, np.float32(1)))
    chosen = np.float32(0)
    for b in range(num):
        keep[b] = scores[b] > least and (last < 0 or b <= last + AFTER_SURE)
        chosen += blocks.counts[b, c.WORDS] if keep[b] else np.float32(0)
    if chosen < SHY_WORDS:
        for b in range(num):
            keep[b] = scores[b] > SHY_THRESHOLD
