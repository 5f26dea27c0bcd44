"""Are decisions right? Recipes ranked from small runs, probabilities held against outcomes, advice on the next run paid with real runs.

    python benchmarks/decisions.py DATA_DIR

DATA_DIR holds epoch_chinchilla/ and loss_to_loss/ (published runs; each folder's SOURCE.txt says whose). Prints three tables and one line
of JSON:

- decision_accuracy, baseline_accuracy: pairs of recipes put in the right order, from laws over all budgets up to one, and from
  the ranking at that budget alone; over every later budget, and the held-out runs at 1e21 FLOPs.
- calibration_error: mean distance, over bins, between the probability given and the share that came true; brier: mean squared distance.
- next_run_error and next_run_half_width, and the same with random, largest and before: mean miss and half-width of the forecast of the
  largest runs after spending one budget on runs chosen by the advice, by chance, largest affordable first, and not at all.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from ladders import data_folder

from lm import law
from lm.law.decisions import Candidate, Target, believe, compare, sharpen
from lm.law.points import Points, gather

LOSS = "eval/c4_val/CrossEntropyLoss"
CALIBRATION_BINS = ((0.5, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 0.97), (0.97, 1.0))
REPEATS = 6
"""Starts per data set."""
Run = tuple[str, float, float, float]
"""Name, parameters, tokens, loss."""


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV file as rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points_of(runs: Sequence[Run]) -> Points:
    """Points from (name, N, D, loss)."""
    names, sizes, tokens, losses = zip(*runs, strict=True)
    return gather({"run_id": names, "num_params": sizes, "num_tokens": tokens, "seed": [0] * len(runs), "value": losses})


Outcome = tuple[float, bool, bool, float, float]
"""Probability given to the right order, whether law and baseline were right, budget fitted, budget asked."""


def recipe_decisions(folder: Path) -> list[Outcome]:
    """Every pair of recipes, from every budget below, at every later budget and at the held-out runs."""
    runs = [
        (r["data"], float(r["iso_flop"]), r["id"], float(r["params"]), float(r["tokens"]), float(r[LOSS]))
        for r in rows_of(folder / "sweep.csv")
    ]
    held = [
        (r["data"], float(r["iso_flop"]), r["id"], float(r["params"]), float(r["tokens"]), float(r[LOSS]))
        for r in rows_of(folder / "extrapolation.csv")
    ]
    budgets = sorted({run[1] for run in runs})
    found: list[Outcome] = []
    for cut in budgets[2:]:
        seen = {name: points_of([run[2:] for run in runs if run[0] == name and run[1] <= cut]) for name in sorted({run[0] for run in runs})}
        laws = {name: law.fit(points, "chinchilla", num_bootstrap=200, with_profiles=False) for name, points in seen.items()}
        here = {name: min(run[5] for run in runs if run[0] == name and run[1] == cut) for name in seen}
        beliefs = believe(laws)
        for later in [*(b for b in budgets if b > cut), held[0][1]]:
            cells = _shared_cells([run for run in [*runs, *held] if run[1] == later], len(seen))
            for (size, tokens), outcome in cells.items():
                for a, b in combinations(seen, 2):
                    one = compare(beliefs, a, b, Target(num_params=size, num_tokens=tokens))
                    b_wins = outcome[b] < outcome[a]
                    right = one.probability if b_wins else 1.0 - one.probability
                    found.append((right, right > 0.5, (here[b] < here[a]) == b_wins, cut, later))
        print(f"  laws up to {cut:.3g} FLOPs: done", file=sys.stderr)
    return found


def _shared_cells(
    runs: Sequence[tuple[str, float, str, float, float, float]], num_recipes: int
) -> dict[tuple[float, float], dict[str, float]]:
    """The cell with the lowest mean loss at which every recipe was run."""
    cells: dict[tuple[float, float], dict[str, float]] = {}
    for recipe, _, _, size, tokens, loss in runs:
        cells.setdefault((size, tokens), {})[recipe] = loss
    whole = {cell: found for cell, found in cells.items() if len(found) == num_recipes}
    best = min(whole, key=lambda cell: float(np.mean(list(whole[cell].values()))), default=None)
    return {best: whole[best]} if best else {}


def print_decisions(found: Sequence[Outcome]) -> dict[str, float]:
    """Accuracy by budget, and calibration."""
    print("recipe pairs in the right order      from laws   from that budget alone      pairs")
    for cut in sorted({o[3] for o in found}):
        for name, part in (
            ("all later", [o for o in found if o[3] == cut]),
            ("held out ", [o for o in found if o[3] == cut and o[4] > 9e20]),
        ):
            right, ranked = (float(np.mean([o[place] for o in part])) for place in (1, 2))
            print(f"  up to {cut:8.3g} FLOPs, {name}    {right:8.3f}   {ranked:12.3f}   {len(part):16d}")
    given = np.array([max(o[0], 1.0 - o[0]) for o in found])
    came = np.array([o[1] for o in found])
    print("\nprobability given      pairs   mean given   came true")
    errors = []
    for low, high in CALIBRATION_BINS:
        inside = (given >= low) & ((given < high) | (high == 1.0))
        if inside.any():
            errors.append((int(inside.sum()), abs(float(given[inside].mean() - came[inside].mean()))))
            print(f"  {low:.2f} to {high:.2f}   {inside.sum():12d}   {given[inside].mean():10.3f}   {came[inside].mean():9.3f}")
    settled = given >= 0.9
    held = [o for o in found if o[4] > 9e20 and o[3] == max(o[3] for o in found)]
    return {
        "decision_accuracy": float(came.mean()),
        "baseline_accuracy": float(np.mean([o[2] for o in found])),
        "heldout_accuracy": float(np.mean([o[1] for o in held])),
        "heldout_baseline": float(np.mean([o[2] for o in held])),
        "settled_share": float(settled.mean()),
        "settled_accuracy": float(came[settled].mean()),
        "calibration_error": float(sum(n * e for n, e in errors) / len(found)),
        "brier": float(np.mean([(1.0 - o[0]) ** 2 for o in found])),
    }


@dataclass(frozen=True, slots=True)
class Arena:
    """Published runs to spend money among: cheap ones to start from, dearer ones to choose from, the dearest to be forecast."""

    name: str
    runs: list[Run]
    cheap: float
    dear: float
    asked: float
    budgets: tuple[float, ...]


def arenas(data: Path) -> list[Arena]:
    """The Chinchilla figure's runs without the five highest losses, and each recipe's budgets with its held-out run."""
    rows = rows_of(data / "epoch_chinchilla" / "svg_extracted_data.csv")
    sizes = [(float(r["Model Size"]), float(r["Training FLOP"]), float(r["loss"])) for r in rows]
    chinchilla = sorted(((str(i), n, c / (6.0 * n), loss) for i, (n, c, loss) in enumerate(sizes)), key=lambda run: -run[3])[5:]
    found = [Arena("chinchilla", chinchilla, 3e19, 2e20, 8e20, (1e20, 2e20, 4e20))]
    folder = data / "loss_to_loss"
    rows = [*rows_of(folder / "sweep.csv"), *rows_of(folder / "extrapolation.csv")]
    for recipe in sorted({r["data"] for r in rows}):
        runs = [(r["id"], float(r["params"]), float(r["tokens"]), float(r[LOSS])) for r in rows if r["data"] == recipe]
        found.append(Arena(recipe, runs, 2.2e18, 2.3e19, 4e19, (1e19, 2.4e19, 5e19)))
    return found


def flops_of(run: Run) -> float:
    """6 N D."""
    return 6.0 * run[1] * run[2]


def next_runs(data: Path) -> dict[str, list[tuple[float, float]]]:
    """Miss and half-width at the dearest runs, by who chose what to buy between a few cheap runs and them."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("before", "advice", "random", "largest")}
    for arena in arenas(data):
        for repeat in range(REPEATS):
            rng = np.random.default_rng(repeat)
            cheap = [run for run in arena.runs if flops_of(run) <= arena.cheap]
            start = [cheap[i] for i in sorted(rng.choice(len(cheap), size=14, replace=False))]
            offered = [run for run in arena.runs if flops_of(run) <= arena.dear and run not in start]
            targets = [run for run in arena.runs if flops_of(run) >= arena.asked]
            budget = arena.budgets[repeat % len(arena.budgets)]
            choices = {
                "before": [],
                "advice": _advised(start, offered, targets, budget),
                "random": _within([offered[i] for i in rng.permutation(len(offered))], budget),
                "largest": _within(sorted(offered, key=lambda run: -flops_of(run)), budget),
            }
            for name, chosen in choices.items():
                found[name].append(_outcome([*start, *chosen], targets))
        print(f"  next runs on {arena.name}: done", file=sys.stderr)
    return found


def _outcome(runs: Sequence[Run], targets: Sequence[Run]) -> tuple[float, float]:
    """Size of the mean log miss over the targets, and mean half-width of their intervals."""
    belief = believe({"": law.fit(points_of(runs), "chinchilla", num_bootstrap=60, with_profiles=False)}, num_draws=500)[""]
    wide = [np.log(e.high / e.low) / 2.0 for t in targets for e in [belief.loss(t[1], t[2])]]
    return abs(float(np.mean([np.log(t[3] / belief.expected(t[1], t[2])) for t in targets]))), float(np.mean(wide))


def _advised(start: Sequence[Run], offered: Sequence[Run], targets: Sequence[Run], budget: float) -> list[Run]:
    """What the advice buys."""
    size, tokens = (float(np.exp(np.mean([np.log(t[k]) for t in targets]))) for k in (1, 2))
    candidates = [Candidate("", run[1], run[2], flops_of(run), str(i)) for i, run in enumerate(offered)]
    belief = believe({"": law.fit(points_of(start), "chinchilla", num_bootstrap=100, with_profiles=False)})
    advice = sharpen(belief, "", Target(num_params=size, num_tokens=tokens), candidates, budget)
    return [offered[int(choice.candidate.kind)] for choice in advice.choices]


def _within(order: Sequence[Run], budget: float) -> list[Run]:
    """Runs taken in this order as long as there is money for them, eight at most."""
    chosen: list[Run] = []
    for run in order:
        if flops_of(run) <= budget and len(chosen) < 8:
            chosen.append(run)
            budget -= flops_of(run)
    return chosen


def print_next_runs(found: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """Misses and widths by who chose."""
    print("\nnext runs on the same budget       mean miss    mean half-width   misses less than the advice")
    figures: dict[str, float] = {}
    advised = np.array(found["advice"])
    for name, outcomes in found.items():
        misses, widths = np.array(outcomes).T
        print(f"  {name:10s}   {np.mean(misses):27.2%}   {np.mean(widths):16.2%}   {np.mean(misses < advised[:, 0]):27.0%}")
        key = "next_run" if name == "advice" else f"next_run_{name}"
        figures |= {f"{key}_error": float(np.mean(misses)), f"{key}_half_width": float(np.mean(widths))}
    return figures


def main(folder: str) -> None:
    """Run everything on a folder of published runs."""
    data = Path(folder)
    figures = print_decisions(recipe_decisions(data / "loss_to_loss")) | print_next_runs(next_runs(data))
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("this needs a folder of published runs, with loss_to_loss/ and epoch_chinchilla/: python benchmarks/decisions.py DATA_DIR")
    main(str(data_folder(sys.argv[1])))
