"""Ladders drawn from known laws: several forms, layouts and amounts of noise, so that intervals meet what no single form foresees.

True losses come from the Chinchilla, loss-to-loss and Farseer-like forms, and from a Chinchilla law whose exponents change by a tenth
somewhere beyond the middle of the data, so that fitting the right form is not enough. Constants are drawn from the range of
published fits. The layouts: slices of equal compute, a grid of sizes and amounts, a scatter, a ladder of two sizes with trunks, and one
size alone. What this cannot stand for: real changes of regime, and errors that all runs share.
"""

import math
from collections.abc import Callable

import numpy as np

from lm.law.discover import Ladder
from lm.law.points import Points, gather

Law = Callable[[float, float], float]
"""(N, D) -> loss."""

LAYOUTS = ("isoflop", "grid", "scatter", "ladder", "one_size")
FORMS = ("chinchilla", "loss_to_loss", "drifting", "bent")
NOISES = (0.0007, 0.002, 0.006)
MIDDLE_N, MIDDLE_D = 2e8, 4e9


def ladders(seed: int = 0, repeats: int = 1) -> list[Ladder]:
    """One ladder for every form and layout, the noise taking turns, as the data sets `simulated <form>`."""
    rng = np.random.default_rng(seed)
    found = []
    for repeat in range(repeats):
        for i, form in enumerate(FORMS):
            for j, layout in enumerate(LAYOUTS):
                noise = NOISES[(i + j + repeat) % len(NOISES)]
                found.append(Ladder(f"simulated {form}", f"{layout} {repeat}", draw(form, layout, noise, rng)))
    return found


def draw(form: str, layout: str, noise: float, rng: np.random.Generator) -> Points:
    """One ladder. noise: standard deviation of the log loss of a run, and half of it for each point of a trunk."""
    law, places = law_of(form, rng), places_of(layout, rng)
    rows = []
    shifts: dict[tuple[float, int], float] = {}
    for number, (params, tokens, run) in enumerate(places):
        trunk = run >= 0
        shift = shifts.setdefault((params, run), rng.normal(0.0, noise)) if trunk else 0.0
        error = shift + rng.normal(0.0, noise / 2.0 if trunk else noise)
        name = f"{params:.0f}-{run}" if trunk else f"run-{number}"
        rows.append((name, params, tokens, max(run, 0), law(params, tokens) * math.exp(error)))
    names = ("run_id", "num_params", "num_tokens", "seed", "value")
    return gather({name: [row[k] for row in rows] for k, name in enumerate(names)})


def law_of(form: str, rng: np.random.Generator) -> Law:
    """A true law of a form, with constants in the range of published fits."""
    a, b = rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.45)
    floor, of_size, of_data = rng.uniform(1.4, 2.2), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
    bend, drift = math.exp(rng.uniform(0.0, 3.0)), rng.uniform(-0.012, 0.012)

    def law(params: float, tokens: float) -> float:
        n, d = params / MIDDLE_N, tokens / MIDDLE_D
        if form == "loss_to_loss":
            return floor + float((of_size ** (1 / b) * n ** (-a / b) + of_data ** (1 / b) / d) ** b)
        if form == "drifting":
            return floor + float(of_size * n**-a + of_data * d ** -(b + drift * math.log(n)))
        change = (1.0 + (n * d / bend) ** 2) ** (-0.1 * a / 2.0) if form == "bent" else 1.0
        return floor + float((of_size * n**-a + of_data * d**-b) * change)

    return law


def places_of(layout: str, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """(N, D, trunk) of every point; trunk -1 where each point is a run of its own."""
    if layout == "ladder":
        return [(n, 2e8 * 2.0**rung, run) for n in (2e7, 6e7) for run in (0, 1) for rung in range(7)]
    if layout == "one_size":
        return [(1e8, 2e8 * 2.0**rung, run) for run in (0, 1) for rung in range(8)]
    if layout == "grid":
        return [(2e7 * 2.5**i, 4e8 * 3.0**j, -1) for i in range(7) for j in range(6)]
    if layout == "scatter":
        logs = rng.uniform(0.0, 1.0, (70, 2))
        return [(2e7 * 300.0**u, 2e7 * 300.0**u * 5.0 * 30.0**v, -1) for u, v in logs.tolist()]
    budgets = [1e17 * 3.0**i for i in range(8)]
    return [(float(n), c / 6.0 / float(n), -1) for c in budgets for n in np.sqrt(c / 120.0) * 2.0 ** np.linspace(-1.7, 1.7, 7)]
