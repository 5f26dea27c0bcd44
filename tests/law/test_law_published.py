"""Published fits are met: an objective no higher on the same points, and the numbers that were printed.

Needs the published points: DATALADDER_DATA names the folder that holds `scaling/`.
"""

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest

from lm.law import forms
from lm.law.fitting import fit
from lm.law.frames import Names, columns_of, groups
from lm.law.objectives import Objective
from lm.law.points import Points, gather
from lm.law.search import problem, search

FOLDER = Path(os.environ.get("DATALADDER_DATA", "/nonexistent")) / "scaling"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="DATALADDER_DATA names no folder with scaling/")

C4 = {"E": math.exp(0.6254804), "A": math.exp(6.255414), "B": math.exp(7.3049974), "a": 0.3526596, "b": 0.3526596}


def chinchilla_points(drop_highest: int = 5) -> Points:
    names = Names("Model Size", None, "loss", flops="Training FLOP")
    return gather(columns_of(FOLDER / "epoch_chinchilla" / "svg_extracted_data.csv", names), drop_highest=drop_highest)


def value_at(points: Points, form: str, constants: dict[str, float], objective: Objective | None = None) -> float:
    task = problem(points, forms.get(form), objective=objective)
    return float(task.value(task.form.from_constants(np.array([[constants[k] for k in task.form.names]]), task.scale))[0])


def test_the_chinchilla_points_under_huber_loss() -> None:
    points = chinchilla_points()
    found = fit(points, num_bootstrap=500)
    published = {"A": 477.84, "B": 2143.86, "E": 1.81724, "a": 0.34731, "b": 0.36718}
    assert len(points) == 240
    assert found.objective <= value_at(points, "chinchilla", published)
    assert found.constants == pytest.approx(published, rel=5e-4)
    assert found.constants["b"] / (found.constants["a"] + found.constants["b"]) == pytest.approx(0.514, abs=0.002)
    assert found.samples.std(axis=0)[3:] == pytest.approx([0.0154, 0.0206], rel=0.15)


def test_the_chinchilla_points_under_absolute_errors() -> None:
    points, objective = chinchilla_points(), Objective("l1")
    published = {"A": 482.006, "B": 2085.43, "E": 1.81686, "a": 0.34781, "b": 0.36585}
    found = fit(points, objective=objective, num_bootstrap=20, with_profiles=False)
    assert found.objective <= value_at(points, "chinchilla", published, objective)
    assert found.constants == pytest.approx(published, rel=5e-4)


def test_all_the_chinchilla_points_move_the_law_and_the_fit_says_so() -> None:
    found = fit(chinchilla_points(0), num_bootstrap=20, with_profiles=False)
    assert found.constants["B"] == pytest.approx(12846, rel=1e-3)
    assert found.constants["b"] == pytest.approx(0.453, abs=5e-4)
    assert any("points lie far from the law" in w and "b 0.453 -> " in w for w in found.warnings)


def test_repeated_data_goes_below_the_published_minimum_and_its_scale_is_open() -> None:
    names = Names("params", "tokens", "val_loss", unique_tokens="unique_tokens", run="run")
    points = gather(columns_of(FOLDER / "datablations" / "c4_fit_182_runs.csv", names))
    published = {**C4, "R_D": 15.387756, "R_N": 5.309743}
    assert value_at(points, "data_constrained", published) == pytest.approx(0.015825937, rel=1e-6)
    found = fit(points, "data_constrained", fixed=C4, num_bootstrap=20)
    assert found.objective < 0.0158053
    low, high = found.profiles["R_D"].flat
    assert low < 13
    assert high > 700
    assert found.unidentified["R_D"].startswith("not identified")
    joint = fit(points, "data_constrained", num_bootstrap=20, with_profiles=False)
    assert joint.objective < 0.5 * found.objective


def test_every_published_recipe_fit_is_met() -> None:
    tables = groups(FOLDER / "loss_to_loss" / "sweep.csv", "data")
    with (FOLDER / "loss_to_loss" / "opt_params_data.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["loss_name"] in ("val_loss", "eval/c4_val/CrossEntropyLoss")]
    assert len(rows) == 24
    for row in rows:
        form = "loss_to_loss" if row["kaplan"] == "True" else "chinchilla"
        points = gather(columns_of(tables[row["data"]], Names("params", "tokens", row["loss_name"])))
        constants = {ours: float(row[theirs]) for ours, theirs in zip("EABab", ("E", "A", "B", "alpha", "beta"), strict=True)}
        found = search(problem(points, forms.get(form)))
        assert found.objective <= value_at(points, form, constants) * (1 + 1e-9), row["data"]
        assert found.objective / len(points) == pytest.approx(float(row["loss"]), rel=1e-5), row["data"]
