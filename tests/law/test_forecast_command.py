"""`ladder law forecast` and `ladder law coverage` on a file of runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from flows.cli import law_forecast
from lm.law import simulated


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    points = simulated.draw("chinchilla", "isoflop", 0.002, np.random.default_rng(0))
    columns = {"params": points.num_params.tolist(), "tokens": points.num_tokens.tolist(), "loss": points.value.tolist()}
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(columns))
    return path


def call(*arguments: object) -> str:
    app = Typer()
    law_forecast.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_file_of_runs_is_forecast(runs: Path) -> None:
    (row,) = json.loads(call("forecast", runs, "--tokens", 1e11, "--params", 1e9, "--format", "json"))
    assert row["interval90"][0] < row["interval80"][0] < row["predicted"] < row["interval80"][1] < row["interval90"][1]
    assert row["num_cuts"] >= 3
    told = call("forecast", runs, "--tokens", 1e11)
    assert "used runs.json" in told
    assert f"{row['num_cuts']} hidings" in told


def test_a_file_of_runs_is_backtested(runs: Path) -> None:
    found = json.loads(call("coverage", runs, "--format", "json"))
    assert found["all"]["num_targets"] == found["runs all"]["num_targets"] > 50
    assert "naive bootstrap" in call("coverage", runs)
