"""Rungs: where each prefix of the rank order ends.

A rung of T tokens is the first T tokens of the training documents in rank order, so smaller rungs are contained in larger ones. T is
kept to a multiple of `RUNG_MULTIPLE`, so that it is a whole number of steps for every usual batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RUNG_MULTIPLE = 8192


class TooFewTokensError(ValueError):
    """The recipe leaves fewer tokens than the ladder asks for."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung: tokens, the largest rank it reads, and how many documents that is."""

    rung: int
    num_tokens: int
    rank_limit: int
    num_documents: int


def sizes(first_tokens: int, num_rungs: int, factor: float, available_tokens: int, *, shrink: bool) -> list[int]:
    """Tokens of each rung, smallest first, each a multiple of RUNG_MULTIPLE.

    shrink: if the data is too small for the largest rung, scale all of them down together until it fits.
    Raises: TooFewTokensError naming what is there and what would fit.
    """
    top = first_tokens * factor ** (num_rungs - 1)
    scale = min(1.0, available_tokens / top) if shrink else 1.0
    asked = [int(first_tokens * scale * factor**i) // RUNG_MULTIPLE * RUNG_MULTIPLE for i in range(num_rungs)]
    if asked[0] < RUNG_MULTIPLE or len(set(asked)) < num_rungs:
        raise TooFewTokensError(
            f"{num_rungs} rungs need at least {RUNG_MULTIPLE:,} tokens in the smallest and a step of {RUNG_MULTIPLE:,} between them, "
            f"which asks for {int(RUNG_MULTIPLE * factor ** (num_rungs - 1)):,} training tokens; the recipe leaves {available_tokens:,}. "
            "Crawl more, choose a looser recipe, or ask for fewer rungs."
        )
    if asked[-1] > available_tokens:
        fitting = sum(size <= available_tokens for size in asked)
        raise TooFewTokensError(
            f"The top rung needs {asked[-1]:,} training tokens; the recipe leaves {available_tokens:,}, "
            f"enough for {fitting} of {num_rungs} rungs. "
            "Crawl more, choose a looser recipe, start with a smaller rung, or ask for fewer rungs."
        )
    return asked


def lay_out(ids: Sequence[str], ranks: npt.NDArray[np.uint64], num_tokens: npt.NDArray[np.int64], rung_tokens: Sequence[int]) -> list[Rung]:
    """Rungs over parts of training documents in rank order: document id, rank and tokens of each part, shape [parts]."""
    ends = np.cumsum(num_tokens)
    last = np.searchsorted(ends, np.asarray(rung_tokens), side="left")
    return [Rung(i, tokens, int(ranks[at]), len(set(ids[: at + 1]))) for i, (tokens, at) in enumerate(zip(rung_tokens, last, strict=True))]
