"""Draw ladders from a known law: what a planned sweep could show, and what it could not, before it is paid for.

    plan = SweepPlan(sizes=(1e6, 4e6), tokens=(2**18, 2**19, 2**20, 2**21), num_seeds=2)
    print(study(plan, Target(num_params=4e6, num_tokens=2**24), multiplier=1.3))

Each repeat draws the losses of a recipe A and of a recipe B, one token of which is worth `multiplier` tokens of A, fits both as a real
ladder would be, and asks the questions a real ladder would be asked. The truth is a law, so the form is right here: a real
sweep can only do worse than this says.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, believe
from lm.law.decisions.comparison import SETTLED, Target, compare
from lm.law.fitting import fit
from lm.law.forms import evaluate
from lm.law.points import Floats, Points, gather

CHINCHILLA: Mapping[str, float] = {"E": 1.81724, "A": 477.84, "B": 2143.86, "a": 0.34731, "b": 0.36718}
"""Constants of the replication of arXiv:2203.15556 in arXiv:2404.10102: a truth to start from where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Sizes, amounts and seeds of a sweep, and how much runs scatter."""

    sizes: tuple[float, ...]
    tokens: tuple[float, ...]
    num_seeds: int = 1
    run_sd: float = 0.003
    """Scatter of the log loss between seeds that all rungs of a run share."""
    point_sd: float = 0.002
    """Scatter of the log loss of each rung."""

    def __post_init__(self) -> None:
        if not self.sizes or len(self.tokens) < 3 or self.num_seeds < 1 or min(*self.sizes, *self.tokens) <= 0 or self.run_sd < 0:
            raise ValueError(
                "a plan needs a size, at least 3 amounts of data and a seed, all positive; came "
                f"{len(self.sizes)} sizes, {len(self.tokens)} amounts, {self.num_seeds} seeds, scatter {self.run_sd}"
            )

    @property
    def flops(self) -> float:
        """Cost of one recipe's sweep: every run goes once through its largest amount, branches not counted."""
        return FLOPS_PER_PARAM_TOKEN * sum(self.sizes) * max(self.tokens) * self.num_seeds


@dataclass(frozen=True, slots=True)
class Study:
    """What came out of many simulated sweeps."""

    plan: SweepPlan
    target: Target
    multiplier: float
    num_repeats: int
    truth: float
    """Loss of recipe A at the target."""
    half_width: float
    """Median half-width of the forecast's interval, as a share of the loss."""
    coverage: float
    """Share of repeats whose interval holds the truth."""
    error: float
    """Median distance of the forecast from the truth, as a share."""
    settled_right: float
    settled_wrong: float
    undecided: float
    baseline_right: float
    """How often the recipe that was better at the largest measured amount is the better one at the target."""
    multipliers: tuple[float, float, float]
    """Medians over the repeats of the multiplier found, and of the ends of its interval."""
    unidentified: Mapping[str, float] = field(default_factory=dict)
    """Share of repeats in which a constant was reported as not fixed."""


def draw(
    plan: SweepPlan, constants: Mapping[str, float], rng: np.random.Generator, *, multiplier: float = 1.0, form: str = "chinchilla"
) -> Points:
    """One simulated sweep: the law's losses with the plan's scatter."""
    columns: dict[str, list[object]] = {name: [] for name in ("run_id", "num_params", "num_tokens", "seed", "value")}
    for size in plan.sizes:
        for seed in range(plan.num_seeds):
            shift = rng.normal(0.0, plan.run_sd)
            for tokens in plan.tokens:
                loss = evaluate(form, constants, size, tokens * multiplier) * np.exp(shift + rng.normal(0.0, plan.point_sd))
                row = (f"{size:.0f}-{seed}", size, tokens, seed, float(loss))
                for name, value in zip(columns, row, strict=True):
                    columns[name].append(value)
    return gather(columns)


def study(
    plan: SweepPlan,
    target: Target,
    *,
    constants: Mapping[str, float] = CHINCHILLA,
    multiplier: float = 1.3,
    num_repeats: int = 24,
    level: float = 0.9,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Study:
    """Simulate the sweep for two recipes again and again, and count what it would have shown.

    constants: the truth, of E + A/N^a + B/D^b. multiplier: tokens of A that a token of B is really worth.
    Raises: ValueError if the plan cannot carry a law, or a single size is asked about a budget of compute.
    """
    if not (np.isfinite(multiplier) and multiplier > 0):
        raise ValueError(f"the multiplier must be positive; came {multiplier}")
    form = "chinchilla" if len(plan.sizes) > 1 else "data_only"
    if form == "data_only" and target.num_params != plan.sizes[0]:
        raise ValueError("a sweep of one size says something about that size only: ask about it, or plan a second size")
    found = []
    for number, repeat in enumerate(_repeats(plan, target, constants, multiplier, form, num_repeats, level, seed)):
        found.append(repeat)
        if on_progress:
            on_progress(number + 1, num_repeats)
    return _summary(plan, target, multiplier, found)


@dataclass(frozen=True, slots=True)
class _Repeat:
    truth: float
    loss: float
    low: float
    high: float
    probability: float
    baseline: bool
    multiplier: tuple[float, float, float]
    unidentified: tuple[str, ...]


def _repeats(
    plan: SweepPlan, target: Target, constants: Mapping[str, float], multiplier: float, form: str, num_repeats: int, level: float, seed: int
) -> Iterator[_Repeat]:
    true_loss = _true_loss(target, constants)
    for number in range(num_repeats):
        rng = np.random.default_rng([seed, number])
        laws = {
            name: fit(draw(plan, constants, rng, multiplier=worth), form, seed=number, num_bootstrap=100, with_profiles=False)
            for name, worth in (("a", 1.0), ("b", multiplier))
        }
        beliefs = believe(laws, target.num_params, seed=number, num_draws=500)
        one = compare(beliefs, "a", "b", target, level=level)
        assert one.baseline is not None
        many = (one.multiplier.value, one.multiplier.low, one.multiplier.high)
        yield _Repeat(
            true_loss,
            one.loss_a.value,
            one.loss_a.low,
            one.loss_a.high,
            one.probability,
            one.baseline.b_wins,
            many,
            tuple(laws["a"].unidentified),
        )


def _true_loss(target: Target, constants: Mapping[str, float]) -> float:
    if target.num_params is not None:
        return evaluate("chinchilla", constants, target.num_params, target.amount)
    sizes = np.geomspace(1e3, 1e13, 2001)
    return float(min(evaluate("chinchilla", constants, size, target.amount / (FLOPS_PER_PARAM_TOKEN * size)) for size in sizes))


def _summary(plan: SweepPlan, target: Target, multiplier: float, found: list[_Repeat]) -> Study:
    b_is_better = multiplier > 1.0
    right = np.array([r.probability if b_is_better else 1.0 - r.probability for r in found])
    even = multiplier == 1.0
    losses, lows, highs = (np.array([getattr(r, name) for r in found]) for name in ("loss", "low", "high"))
    truth = found[0].truth
    names = sorted({name for r in found for name in r.unidentified})
    multipliers: Floats = np.median(np.array([r.multiplier for r in found]), axis=0)
    settled = np.maximum(right, 1.0 - right) >= SETTLED
    return Study(
        plan,
        target,
        multiplier,
        len(found),
        truth,
        float(np.median((highs - lows) / 2.0 / losses)),
        float(((lows <= truth) & (truth <= highs)).mean()),
        float(np.median(np.abs(losses / truth - 1.0))),
        0.0 if even else float((right >= SETTLED).mean()),
        float(settled.mean()) if even else float((right <= 1.0 - SETTLED).mean()),
        float((~settled).mean()),
        float(np.mean([r.baseline == b_is_better for r in found])),
        (float(multipliers[0]), float(multipliers[1]), float(multipliers[2])),
        {name: float(np.mean([name in r.unidentified for r in found])) for name in names},
    )
