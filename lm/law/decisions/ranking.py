"""Many recipes in order at a target, with ties said as ties.

A tier is led by its best recipe and holds everyone who cannot be told from the leader. That keeps the statement about the first place
honest; the cost is that two members of a tier may differ from each other although neither differs from the leader.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lm.law.decisions.beliefs import Belief, Estimate
from lm.law.decisions.comparison import SETTLED, Target, probability_lower


@dataclass(frozen=True, slots=True)
class Place:
    """One recipe's place."""

    recipe: str
    tier: int
    """1 for the best and everyone tied with it."""
    loss: Estimate
    probability_best: float
    probability_behind: float
    """That the leader of the tier is really better than this one; 0.5 for the leader itself."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Recipes from best to worst."""

    target: Target
    places: tuple[Place, ...]

    @property
    def tiers(self) -> list[list[str]]:
        """Recipes by tier, best first; a tier with several is a tie."""
        found: dict[int, list[str]] = {}
        for place in self.places:
            found.setdefault(place.tier, []).append(place.recipe)
        return list(found.values())


def rank(beliefs: Mapping[str, Belief], target: Target, *, level: float = 0.9, settled: float = SETTLED) -> Ranking:
    """Order all recipes of `beliefs` by expected loss at the target."""
    at = {name: target.scaled(belief, np.ones(1))[:, 0] for name, belief in beliefs.items()}
    order = sorted(at, key=lambda name: (float(np.median(at[name])), name))
    stacked = np.stack([at[name] for name in order], axis=1)
    best = np.bincount(stacked.argmin(axis=1), minlength=len(order)) / len(stacked)
    places: list[Place] = []
    leader, tier = order[0], 1
    for i, name in enumerate(order):
        behind = 0.5 if name == leader else probability_lower(at[leader] - at[name])
        if name != leader and behind >= settled:
            leader, tier, behind = name, tier + 1, 0.5
        places.append(Place(name, tier, Estimate.of(np.exp(at[name]), level), float(best[i]), behind))
    return Ranking(target, tuple(places))
