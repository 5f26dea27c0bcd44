"""`ladder law fit` reads anybody's table and says what it found, for people and for programs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "a": 0.347, "b": 0.366}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["params,tokens,loss,recipe"]
    for recipe, floor in (("books", 1.7), ("web", 1.8)):
        for n in np.geomspace(1e7, 1e9, 4):
            for d in np.geomspace(5e8, 5e10, 5):
                loss = (floor + 480.0 / n**0.347 + 2100.0 / d**0.366) * math.exp(rng.normal(0, 0.002))
                lines.append(f"{n},{d},{loss},{recipe}")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines))
    return path


OPTIONS = ["--n", "params", "--d", "tokens", "--loss", "loss", "--num-bootstrap", "20"]


def test_json_holds_a_record_per_recipe(runs: Path) -> None:
    done = CliRunner().invoke(app, ["law", "fit", str(runs), *OPTIONS, "--by", "recipe", "--format", "json"])
    assert done.exit_code == 0, done.output
    records = json.loads(done.output)
    assert [record["recipe"] for record in records] == ["books", "web"]
    assert records[0]["constants"]["E"] < records[1]["constants"]["E"]


def test_the_table_names_constants_points_starts_and_warnings(runs: Path) -> None:
    done = CliRunner().invoke(app, ["law", "fit", str(runs), *OPTIONS, "--drop-highest", "2", "--hold", "a=0.347"])
    assert done.exit_code == 0, done.output
    for text in ("L = E + A/N^a + B/D^b", "points: 38; left out: 2 highest_loss", "starts agree", "held", "not identified: "):
        assert text in done.output


def test_a_wrong_column_and_a_wrong_form_are_named(runs: Path) -> None:
    wrong_column = CliRunner().invoke(app, ["law", "fit", str(runs), "--n", "size", "--d", "tokens", "--loss", "loss"])
    assert wrong_column.exit_code == 1
    wrong_form = CliRunner().invoke(app, ["law", "fit", str(runs), *OPTIONS, "--form", "linear"])
    assert wrong_form.exit_code == 1


def test_recipes_are_fitted_together_and_sharing_is_judged(runs: Path) -> None:
    shared = ["--by", "recipe", "--share", "A", "--share", "a", "--share", "b", "--format", "json"]
    done = CliRunner().invoke(app, ["law", "fit", str(runs), *OPTIONS, *shared])
    assert done.exit_code == 0, done.output
    record = json.loads(done.output)
    assert {"A", "a", "b", "E[books]", "E[web]"} <= set(record["constants"])
    assert record["sharing_costs"] > 0.01
    assert set(record["recipes"]) == {"books", "web"}
    assert CliRunner().invoke(app, ["law", "fit", str(runs), *OPTIONS, "--share", "a"]).exit_code == 2
