"""What more data is worth: what the last crawl changed in loss, and what the next one would.

Nothing is trained at night. The new documents change two things at once: how much there is, which the law prices at once, and perhaps what
it is like, which only runs on the new ladder can say. So the value given here is that of the amount, under the assumption that the new
documents are like the old ones; where ladders of both days have runs, comparing them as two recipes answers the other half.
"""

from dataclasses import dataclass

import numpy as np

from lm.law.decisions.beliefs import Belief, Estimate

FACTORS = (2.0, 4.0, 10.0)


@dataclass(frozen=True, slots=True)
class CrawlValue:
    """Loss with the data before and after, every token used once."""

    num_params: float
    before_tokens: float
    after_tokens: float
    before_loss: Estimate
    after_loss: Estimate
    gain: Estimate
    """Loss before minus loss after."""
    next_gains: tuple[tuple[float, Estimate], ...]
    """What the loss would fall by with so many times the data there is now."""
    beyond_data: float
    """How many times the largest measured amount `after_tokens` is."""
    warnings: tuple[str, ...]


def crawl_value(belief: Belief, num_params: float, before_tokens: float, after_tokens: float, *, level: float = 0.9) -> CrawlValue:
    """Price a change in the amount of data at a model size.

    Raises: ValueError if an amount is not positive.
    """
    if not (before_tokens > 0 and after_tokens > 0 and num_params > 0):
        raise ValueError(f"amounts and size must be positive; came {before_tokens} and {after_tokens} tokens, {num_params} parameters")
    amounts = np.array([before_tokens, after_tokens, *(after_tokens * factor for factor in FACTORS)])
    draws = np.exp(belief.log_losses(num_params, amounts))
    expected = [belief.expected(num_params, float(amount)) for amount in amounts]
    return CrawlValue(
        num_params,
        before_tokens,
        after_tokens,
        Estimate.of(draws[:, 0], level, expected[0]),
        Estimate.of(draws[:, 1], level, expected[1]),
        Estimate.of(draws[:, 0] - draws[:, 1], level, expected[0] - expected[1]),
        tuple(
            (factor, Estimate.of(draws[:, 1] - draws[:, 2 + i], level, expected[1] - expected[2 + i])) for i, factor in enumerate(FACTORS)
        ),
        after_tokens / float(belief.law.points.num_tokens.max()),
        belief.law.warnings,
    )
