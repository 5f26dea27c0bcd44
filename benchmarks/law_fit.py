"""How fast and how well laws are fitted, beside published fits of the same points.

    python benchmarks/law_fit.py [DATA_DIR]

DATA_DIR holds epoch_chinchilla, datablations and loss_to_loss; without it the same is done on simulated points whose constants are
known, and "published" then means the true constants. `seconds` is the CPU time of 4,500 starts over all five constants (the grid of the
published code) and 4,000 bootstrap replicates of 240 points; that three constants are linear is not used there. `objective` and
`published_objective` are of that fit. Ends with one line of JSON.
"""

import csv
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ladders import data_folder

from lm.law.fitting import fit
from lm.law.forms import evaluate, get
from lm.law.frames import Names, columns_of, groups
from lm.law.objectives import Objective
from lm.law.points import Floats, Points, gather
from lm.law.search import Problem, problem, search

EPOCH = {"A": 477.84, "B": 2143.86, "E": 1.81724, "a": 0.34731, "b": 0.36718}
EPOCH_L1 = {"A": 482.006, "B": 2085.43, "E": 1.81686, "a": 0.34781, "b": 0.36585}
EPOCH_ERRORS = {"A": 124.522, "B": 1293.284, "E": 0.02566, "a": 0.01540, "b": 0.02060}
C4 = {"E": math.exp(0.6254804), "A": math.exp(6.255414), "B": math.exp(7.3049974), "a": 0.3526596, "b": 0.3526596}
C4_REPEATED = {"R_D": 15.387756, "R_N": 5.309743}
TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "a": 0.347, "b": 0.366}
TOLERANCE = 1e-9
"""Objectives that differ by less than this share are equal: rounding in the last digits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fit beside the published one."""

    name: str
    num_points: int
    objective: float
    published: float
    seconds: float
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the objective is at most the published one."""
        return self.objective <= self.published * (1.0 + TOLERANCE)


def value_at(points: Points, form: str, constants: Mapping[str, float], objective: Objective) -> float:
    """The objective at given constants, through the form's plain formula."""
    unique = points.unique_tokens if points.unique_tokens is not None else points.num_tokens
    rows = zip(points.num_params, points.num_tokens, unique, strict=True)
    fitted = np.array([evaluate(form, constants, n, d, u) for n, d, u in rows])
    return float(objective.value(np.log(fitted / points.value)[None], np.ones(len(points)))[0])


def published_grid(task: Problem) -> Floats:
    """The published code's starts: every combination of five constants, as internal constants [4500, 5]."""
    e, a, b = np.arange(-1.0, 1.5, 0.5), np.arange(0.0, 30.0, 5.0), np.arange(0.0, 30.0, 5.0)
    exponents = np.arange(0.0, 2.5, 0.5)
    grid = np.array(list(product(e, a, b, exponents, exponents)))
    constants = np.concatenate([np.exp(grid[:, :3]), grid[:, 3:]], axis=1)
    return task.form.from_constants(constants, task.scale)


def grid_and_bootstrap(points: Points, published: Mapping[str, float], name: str) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """The large fit: 4,500 starts, 4,000 replicates drawn over points, as published."""
    task = problem(points, get("chinchilla"))
    started = time.process_time()
    found = search(task, published_grid(task))
    searched = time.process_time()
    draws = np.random.default_rng(42).multinomial(len(points), np.full(len(points), 1.0 / len(points)), size=4000).astype(np.float64)
    theta, _ = task.objective.descend(task.predict, np.tile(found.theta, (4000, 1)), task.target[None], draws, task.box)
    done = time.process_time()
    note = f"grid {searched - started:.2f} s, {found.num_agreed} of {found.num_starts} starts agree; bootstrap {done - searched:.2f} s"
    row = Row(name, len(points), found.objective, value_at(points, "chinchilla", published, task.objective), done - started, note)
    samples = task.form.to_constants(theta, task.scale)
    constants = task.form.to_constants(found.theta[None], task.scale)[0]
    spread = {
        k: {"value": float(v), "standard_error": float(s)} for k, v, s in zip(task.form.names, constants, samples.std(axis=0), strict=True)
    }
    return [row], spread


def fitted(
    name: str,
    points: Points,
    form: str,
    published: Mapping[str, float],
    *,
    objective: Objective | None = None,
    fixed: Mapping[str, float] | None = None,
    num_bootstrap: int = 20,
) -> Row:
    """An ordinary fit, timed."""
    started = time.process_time()
    law = fit(points, form, objective=objective, fixed=fixed, num_bootstrap=num_bootstrap, with_profiles=fixed is not None)
    seconds = time.process_time() - started
    note = ", ".join(f"{k} {v:.6g}" for k, v in law.constants.items() if k not in (fixed or {}))
    note += "".join(f"; {name} {text}" for name, text in law.unidentified.items())
    return Row(name, len(points), law.objective, value_at(points, form, published, objective or Objective()), seconds, note)


def epoch(folder: Path) -> tuple[list[Row], dict[str, dict[str, float]]]:
    columns = columns_of(folder / "epoch_chinchilla/svg_extracted_data.csv", Names("Model Size", None, "loss", flops="Training FLOP"))
    points = gather(columns, drop_highest=5)
    rows, spread = grid_and_bootstrap(points, EPOCH, "Chinchilla points, Huber 1e-3")
    rows.append(fitted("Chinchilla points, absolute errors", points, "chinchilla", EPOCH_L1, objective=Objective("l1")))
    return [*rows, fitted("Chinchilla points, all 245", gather(columns), "chinchilla", EPOCH)], spread


def repeated(folder: Path) -> list[Row]:
    names = Names("params", "tokens", "val_loss", unique_tokens="unique_tokens", run="run")
    points = gather(columns_of(folder / "datablations/c4_fit_182_runs.csv", names))
    published = C4 | C4_REPEATED
    return [
        fitted("repeated data, R_D and R_N", points, "data_constrained", published, fixed=C4),
        fitted("repeated data, all 7, 400 replicates", points, "data_constrained", published, num_bootstrap=400),
    ]


def recipes(folder: Path) -> list[Row]:
    found = []
    tables = groups(folder / "loss_to_loss/sweep.csv", "data")
    with (folder / "loss_to_loss/opt_params_data.csv").open(encoding="utf-8") as file:
        published = [row for row in csv.DictReader(file) if row["loss_name"] in ("val_loss", "eval/c4_val/CrossEntropyLoss")]
    for row in sorted(published, key=lambda row: (row["kaplan"], row["data"], row["loss_name"])):
        form = "loss_to_loss" if row["kaplan"] == "True" else "chinchilla"
        points = gather(columns_of(tables[row["data"]], Names("params", "tokens", row["loss_name"])))
        constants = {ours: float(row[theirs]) for ours, theirs in zip("EABab", ("E", "A", "B", "alpha", "beta"), strict=True)}
        loss = "C4" if "c4" in row["loss_name"] else "own validation"
        found.append(fitted(f"{row['data']}, {loss}, {form}", points, form, constants))
    return found


def all_recipes(folder: Path) -> tuple[int, int]:
    """How many published fits there are over all losses, tasks included, and how many are reached."""
    tables = groups(folder / "loss_to_loss/sweep.csv", "data")
    num, reached = 0, 0
    with (folder / "loss_to_loss/opt_params_data.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            form = get("loss_to_loss" if row["kaplan"] == "True" else "chinchilla")
            task = problem(gather(columns_of(tables[row["data"]], Names("params", "tokens", row["loss_name"]))), form)
            constants = np.array([[float(row[name]) for name in ("E", "A", "B", "alpha", "beta")]])
            published = float(task.value(form.from_constants(constants, task.scale))[0])
            num, reached = num + 1, reached + (search(task).objective <= published * (1.0 + TOLERANCE))
    return num, reached


def simulated() -> tuple[list[Row], dict[str, dict[str, float]]]:
    rng = np.random.default_rng(7)
    params, ratio = np.exp(rng.uniform(np.log(4e7), np.log(1.6e10), 240)), np.exp(rng.uniform(np.log(1.0), np.log(300.0), 240))
    tokens = params * ratio
    repeats = np.exp(rng.uniform(0.0, np.log(60.0), 240))
    columns: dict[str, Any] = {"run_id": [f"r{i}" for i in range(240)], "num_params": params, "num_tokens": tokens, "seed": [0] * 240}
    noise = np.exp(rng.laplace(0.0, 0.004, 240))
    once = columns | {"value": [evaluate("chinchilla", TRUE, n, d) * e for n, d, e in zip(params, tokens, noise, strict=True)]}
    true = TRUE | {"R_D": 15.0, "R_N": 5.0}
    amounts = list(zip(params, tokens, tokens / repeats, noise, strict=True))
    again = columns | {
        "unique_tokens": tokens / repeats,
        "value": [evaluate("data_constrained", true, n, d, u) * e for n, d, u, e in amounts],
    }
    rows, spread = grid_and_bootstrap(gather(once), TRUE, "simulated, Huber 1e-3")
    return [*rows, fitted("simulated, repeated data, 400 replicates", gather(again), "data_constrained", true, num_bootstrap=400)], spread


def main(folder: Path | None) -> None:
    rows, spread = simulated() if folder is None else epoch(folder)
    if folder is None:
        print("Simulated points with known constants; name a folder of published points to compare with published fits.\n")
    else:
        rows += repeated(folder) + recipes(folder)
    print(f"{'fit':44} {'points':>6} {'objective':>14} {'published':>14} {'reached':>7} {'CPU s':>6}")
    for row in rows:
        reached = "yes" if row.reached else "NO"
        print(f"{row.name:44} {row.num_points:6} {row.objective:14.9g} {row.published:14.9g} {reached:>7} {row.seconds:6.2f}  {row.note}")
    print("\nconstant, value and bootstrap standard error of the first:")
    for name, found in spread.items():
        print(
            f"  {name}: {found['value']:.6g} +- {found['standard_error']:.5g}"
            + ("" if folder is None else f"   published {EPOCH[name]} +- {EPOCH_ERRORS[name]}")
        )
    num_published, num_published_reached = (0, 0) if folder is None else all_recipes(folder)
    if folder is not None:
        print(f"\npublished fits of six recipes over all losses and tasks: {num_published_reached} of {num_published} reached")
    joint = next(row for row in rows if "400 replicates" in row.name)
    print(
        json.dumps(
            {
                "seconds": round(rows[0].seconds, 3),
                "objective": rows[0].objective,
                "published_objective": rows[0].published,
                "joint_seconds": round(joint.seconds, 3),
                "num_fits": len(rows),
                "num_reached": sum(row.reached for row in rows),
                "num_published_fits": num_published,
                "num_published_fits_reached": num_published_reached,
                "points": "simulated" if folder is None else "published",
                "constants": spread,
                "fits": [
                    {"name": r.name, "objective": r.objective, "published_objective": r.published, "seconds": round(r.seconds, 3)}
                    for r in rows
                ],
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and not Path(sys.argv[1]).is_dir()):
        sys.exit(f"{__doc__}\nDATA_DIR must be a folder; came {' '.join(sys.argv[1:])}")
    main(data_folder(sys.argv[1]) if len(sys.argv) == 2 else None)
