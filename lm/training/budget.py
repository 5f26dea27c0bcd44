"""Which of several trainings fit a budget, and why the others do not.

Whole trainings only, in an order that is said: cheapest first gives the most runs; spread gives each size and recipe a first seed before
any has a second, and the cheap ones first within that, because a law learns more from another size than from another seed. Once one does
not fit, those that come after are still tried: a budget is not left unused because the next run is too dear. The choice is greedy and
not the best set; it is one that can be explained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lm.training.cost import Cost

Order = Literal["cheapest", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Most that may be spent; None is no limit. Raises: ValueError for a limit in money without a price."""

    flops: float | None = None
    hours: float | None = None
    """Hours of one device or, without one, of one thread."""
    money: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.money is not None and self.price_per_hour is None:
            raise ValueError(f"a budget of {self.money:g} needs price_per_hour, the price of a device for an hour")


def choose(costs: Sequence[Cost], rounds: Sequence[int], budget: Budget, order: Order = "cheapest") -> list[str | None]:
    """For each training None if it fits, else the reason why not. `rounds`: the number of its seed within its size and recipe, from 0."""
    reasons: list[str | None] = [None] * len(costs)
    spent = {"flops": 0.0, "hours": 0.0, "money": 0.0}
    limits = {"flops": budget.flops, "hours": budget.hours, "money": budget.money}
    for i in sorted(range(len(costs)), key=lambda i: (rounds[i] if order == "spread" else 0, costs[i].flops, i)):
        takes = {"flops": costs[i].flops, "hours": costs[i].hours, "money": costs[i].money or 0.0}
        over = [name for name, limit in limits.items() if limit is not None and spent[name] + takes[name] > limit]
        if over:
            name = over[0]
            left = (limits[name] or 0.0) - spent[name]
            reasons[i] = f"needs {takes[name]:.3g} {name}, {left:.3g} left"
        else:
            spent = {name: spent[name] + takes[name] for name in spent}
    return reasons
