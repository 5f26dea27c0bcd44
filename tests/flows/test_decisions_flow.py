"""Conclusions over a real lake: drawn once, kept as days go by, compared with the reason for each change, and asked by command."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows import decisions
from flows.cli import app
from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES
from storage.settings import LakeSettings

METRIC = "loss_nats_per_token"
RUNGS = [2**k for k in range(16, 21)]


def commit(lake: Lake, stage: str, slot: str, **tables: list[dict[str, Any]]) -> None:
    whole = {
        name: [{column: row.get(column) for column in TABLES[name].columns if column != "produced_by"} for row in rows]
        for name, rows in tables.items()
    }
    work = Work(stage=stage, slot=slot, parameters={}, code={}, inputs={"rows": str(tables)})
    ledger.commit(lake, [Output(work=work, tables={name: pa.Table.from_pylist(rows) for name, rows in whole.items()})])


def add_ladder(lake: Lake, ladder_id: str, recipe: str, available: int) -> None:
    same = {"ladder_id": ladder_id, "recipe": recipe, "validation_id": "v", "tokenizer_id": "t", "num_available_tokens": available}
    commit(lake, "ladder", recipe + ladder_id, rungs=[{**same, "rung": i, "num_tokens": tokens} for i, tokens in enumerate(RUNGS)])


def add_runs(lake: Lake, ladder_id: str, worth: float) -> None:
    for seed in (0, 1):
        run_id = f"{ladder_id}-{seed}"
        run = {"run_id": run_id, "ladder_id": ladder_id, "model": "m", "num_params": 100_000, "seed": seed}
        same = {"run_id": run_id, "split": "validation", "validation_id": "v", "domain": "all", "name": METRIC}
        losses = [2.0 + 60.0 * (worth * tokens) ** -0.3 * math.exp(0.001 * (-1) ** (seed + i)) for i, tokens in enumerate(RUNGS)]
        rows = [{**same, "rung": i, "num_tokens": RUNGS[i], "value": loss} for i, loss in enumerate(losses)]
        commit(lake, "evaluate", run_id, runs=[run], metrics=rows)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    for name, value in (("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL"), ("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")):
        monkeypatch.setenv(name, value)
    with Lake.open(LakeSettings()) as opened:
        yield opened


def conclude(lake: Lake) -> int:
    """Draw what is not drawn yet; how many sets were."""
    todo = decisions.plan(lake, "first", METRIC).todo(lake)
    ledger.commit(lake, [decisions.decide.fn(unit.work, *unit.unit) for unit in todo])
    return len(todo)


def test_conclusions_are_kept_and_their_changes_explained(lake: Lake) -> None:
    add_ladder(lake, "first", "raw", 2**21)
    assert decisions.reported(lake) == "first"
    add_runs(lake, "first", 1.0)
    assert "Nothing has been concluded" in decisions.note(lake, "first", METRIC)
    assert (conclude(lake), conclude(lake)) == (1, 0)
    assert decisions.note(lake, "first", METRIC).startswith("These are the first conclusions")
    assert lake.value("SELECT status FROM conclusions WHERE question = 'recipes'") == "open"

    add_ladder(lake, "second", "clean", 2**21)
    add_runs(lake, "second", 2.0)
    assert decisions.reported(lake, "first") == "first"
    assert conclude(lake) == 1
    note = decisions.note(lake, "first", METRIC)
    assert "conclusions changed, after new data and new runs" in note
    assert "**clean beats raw**" in note
    assert "结论有变化" in decisions.note(lake, "first", METRIC, "zh")
    assert lake.value("SELECT count(DISTINCT produced_by) FROM conclusions") == 2

    add_ladder(lake, "third", "raw", 2**23)
    assert decisions.before_tokens(lake, "first") == 2**21
    assert decisions.reported(lake) == "second"
    assert conclude(lake) == 1
    assert "The data grew from 2.1M to 8.39M tokens" in decisions.note(lake, "first", METRIC)


def say(*words: str) -> str:
    """What a command printed. Fails the test unless it exits 0."""
    done = CliRunner().invoke(app, ["law", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_commands_ask_the_lake(lake: Lake) -> None:
    add_ladder(lake, "first", "raw", 2**22)
    add_runs(lake, "first", 1.0)
    add_ladder(lake, "second", "clean", 2**22)
    add_runs(lake, "second", 2.0)
    assert "clean beats raw at 4.19M tokens and 100k parameters" in say("compare", "raw", "clean")
    assert "clean 优于 raw" in say("compare", "raw", "clean", "--language", "zh")
    assert "Train a second one, such as 50k parameters" in say("allocate", "1e15")
    assert "missing: 0" in say("repeat", "--target-loss", "3.5")
    assert "of the width left" in say("next", "1e13")


def test_a_sweep_is_simulated_without_a_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "none"))
    told = say("simulate", "--sizes", "1e6", "--num-rungs", "4", "--num-repeats", "2", "--multiplier", "3")
    assert "2 simulated sweeps of two recipes: 1 sizes, 2 seeds, 1M to 8M tokens" in told
    assert "A token of B is worth 3 of A." in told
    assert not (tmp_path / "none").exists()
