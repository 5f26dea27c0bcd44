"""Which recipes need no further training, because another is surely better where it counts.

A recipe is beaten if some other has the lower expected loss at the target with a probability of at least `SURE`, by the joint draws that
`compare` uses: they hold the scatter of the fits and the error of the form, measured by hiding the largest rungs. Calling it settled at 0.9
was never wrong in 288 decisions on public runs (docs/decisions.md); stopping asks for more, because what is not trained cannot speak
against it later. Probabilities at the edge of what draws can resolve are not reached with few of them, so few draws never stop anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lm.law.decisions.beliefs import Belief
from lm.law.decisions.comparison import Target, compare

SURE = 0.99


@dataclass(frozen=True, slots=True)
class Beaten:
    """A recipe that another one beats."""

    by: str
    probability: float


def beaten(beliefs: Mapping[str, Belief], target: Target, sure: float = SURE) -> dict[str, Beaten]:
    """Recipes that another surely beats at a target, with the one that beats each most surely. The best is never among them."""
    found: dict[str, Beaten] = {}
    names = sorted(beliefs)
    for name in names:
        chances = [(compare(beliefs, name, other, target).probability, other) for other in names if other != name]
        probability, by = max(chances, default=(0.0, ""))
        if probability >= sure:
            found[name] = Beaten(by, probability)
    return found
