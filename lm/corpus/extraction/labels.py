"""Which blocks of a page belong to its known text: the target that the model of extraction learns.

The tokens of all blocks are aligned with those of the known text, in order, so that a phrase that occurs in a teaser and in the article
is counted where it belongs. A new run of matches costs 1.5 tokens, so that short words do not match here and there. A block's target is
the share of its tokens that match. The cost: quadratic time and memory, some 5 million cells for a page.
"""

import re
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lm.corpus.entities import unescape
from lm.corpus.extraction.kernels import Page

Array = NDArray[Any]

MAX_CELLS = 200_000_000
"""Largest alignment; larger pages get no target."""
_RUN_COST = 1.5
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


def tokens(text: str) -> list[str]:
    """Words in lower case; each Han or kana character is one."""
    return _TOKEN.findall(text.lower())


def block_texts(payload: bytes, page: Page) -> list[str]:
    """The text of each block, as far as tokens go."""
    starts, ends = page.markup.starts, page.markup.ends
    joined = (
        b" ".join(payload[starts[t] : ends[t]] for t in range(*span)) for span in zip(page.blocks.first, page.blocks.last, strict=True)
    )
    return [unescape(text.decode("utf-8", "replace")) for text in joined]


def targets(texts: list[str], known: str) -> tuple[Array, Array]:
    """Share of each block's tokens that are in the known text, and their number; both float32 (block,).

    Raises: ValueError if the page is too large to be aligned.
    """
    parts, numbers = [tokens(text) for text in texts], dict[str, int]()
    page = np.array([numbers.setdefault(token, len(numbers)) for part in parts for token in part], np.int32)
    gold = np.array([numbers.setdefault(token, len(numbers)) for token in tokens(known)], np.int32)
    if page.size * gold.size > MAX_CELLS:
        raise ValueError(f"a page of {page.size} tokens and a text of {gold.size} must have at most {MAX_CELLS} cells; leave it out")
    hits, at, shares = _aligned(page, gold), 0, []
    for part in parts:
        shares.append(hits[at : at + len(part)].mean() if part else 0.0)
        at += len(part)
    return np.array(shares, np.float32), np.array([len(part) for part in parts], np.float32)


@njit(cache=True)
def _aligned(page: Array, gold: Array) -> Array:
    """Which tokens of the page match in the best alignment."""
    rows, columns = page.size, gold.size
    best, run = np.zeros(columns + 1, np.float32), np.full(columns + 1, -1e9, np.float32)
    steps, goes_on = np.zeros((rows + 1, columns + 1), np.uint8), np.zeros((rows + 1, columns + 1), np.bool_)
    for i in range(1, rows + 1):
        next_best, next_run = np.zeros(columns + 1, np.float32), np.full(columns + 1, -1e9, np.float32)
        for j in range(1, columns + 1):
            if page[i - 1] == gold[j - 1]:
                goes_on[i, j] = run[j - 1] >= best[j - 1] - _RUN_COST
                next_run[j] = 1 + max(run[j - 1], best[j - 1] - _RUN_COST)
            value, step = best[j], 1
            if next_best[j - 1] > value:
                value, step = next_best[j - 1], 2
            if next_run[j] > value:
                value, step = next_run[j], 3
            next_best[j], steps[i, j] = value, step
        best, run = next_best, next_run
    hits = np.zeros(rows, np.bool_)
    i, j, in_run = rows, columns, False
    while i > 0 and j > 0:
        if in_run or steps[i, j] == 3:
            hits[i - 1], in_run = True, goes_on[i, j]
            i, j = i - 1, j - 1
        elif steps[i, j] == 1:
            i -= 1
        else:
            j -= 1
    return hits
