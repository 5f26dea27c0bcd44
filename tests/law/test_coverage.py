"""Backtests and the discovery of ladders in strangers' files."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from lm import law
from lm.law import backtesting, simulated
from lm.law.discover import discover, number
from lm.law.prior import PRIOR, Prior


def sweep(count: int = 6) -> list[dict[str, float]]:
    """A grid of sizes and amounts with a plausible loss."""
    places = [(2e7 * 3.0**i, 4e8 * 3.0**j) for i in range(count) for j in range(count)]
    return [{"n": n, "d": d, "loss": 1.7 + 0.5 * (n / 2e8) ** -0.35 + 0.5 * (d / 4e9) ** -0.3} for n, d in places]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)


def of_text_sizes(folder: Path) -> None:
    rows = [{"Model Size": f"{r['n'] / 1e6:.6f}M", "train_tokens": f"{r['d'] / 1e9:.6f}B", "Val Loss": r["loss"]} for r in sweep()]
    write_csv(folder / "set" / "runs.csv", rows)


def of_compute(folder: Path) -> None:
    rows = [{"params": r["n"], "Training FLOP": 6 * r["n"] * r["d"], "loss": r["loss"], "loss_std": 0.1} for r in sweep()]
    (folder / "set").mkdir()
    (folder / "set" / "runs.json").write_text(json.dumps(rows))


def of_columns(folder: Path) -> None:
    columns = {"N": [r["n"] for r in sweep()], "D": [r["d"] for r in sweep()], "bpb": [r["loss"] for r in sweep()]}
    (folder / "set.json").write_text(json.dumps(columns))


def of_single_runs(folder: Path) -> None:
    (folder / "set").mkdir()
    for i, r in enumerate(sweep()):
        record = {"name": f"run {i}", "hparams": {"params": r["n"]}, "params": r["n"], "tokens": r["d"], "results": {"loss_c4": r["loss"]}}
        (folder / "set" / f"{i}.json").write_text(json.dumps(record))


def of_ratio(folder: Path) -> None:
    rows = [{"num_params": r["n"], "tokens_per_param": r["d"] / r["n"], "eval_loss": r["loss"]} for r in sweep()]
    (folder / "set").mkdir()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / "set" / "runs.parquet")


def of_searched_settings(folder: Path) -> None:
    rows = [{**r, "lr": lr, "loss": r["loss"] * (1 + abs(math.log(lr / 1e-3)) / 10)} for r in sweep() for lr in (3e-4, 1e-3, 3e-3)]
    write_csv(folder / "set" / "runs.csv", rows)


def of_checkpoints(folder: Path) -> None:
    rows = [
        {"run": f"run {i}", "step": step, "params": r["n"], "tokens": r["d"] * step / 10, "loss": r["loss"] * (1.3 - 0.03 * step)}
        for i, r in enumerate(sweep())
        for step in (2, 5, 10)
    ]
    write_csv(folder / "set" / "runs.csv", rows)


LAYOUTS = (of_text_sizes, of_compute, of_columns, of_single_runs, of_ratio, of_searched_settings, of_checkpoints)


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
def test_the_same_ladder_is_found_in_many_layouts(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    (ladder,), (note,) = discover(tmp_path)
    assert note.used
    assert ladder.data_set == "set"
    wanted = sorted((math.log(r["n"]), math.log(r["d"]), r["loss"]) for r in sweep())
    points = ladder.points
    found = sorted(zip(np.log(points.num_params).tolist(), np.log(points.num_tokens).tolist(), points.value.tolist(), strict=True))
    assert np.array(found) == pytest.approx(np.array(wanted), abs=1e-5)


def test_recipes_are_ladders_of_their_own_and_repeats_are_known(tmp_path: Path) -> None:
    rows = [{**r, "recipe": recipe, "epochs": 4, "loss": r["loss"] * share} for recipe, share in (("a", 1.0), ("b", 1.1)) for r in sweep()]
    write_csv(tmp_path / "set" / "runs.csv", rows)
    ladders, _ = discover(tmp_path)
    assert [ladder.name for ladder in ladders] == ["a", "b"]
    unique = ladders[0].points.unique_tokens
    assert unique is not None
    assert unique == pytest.approx(ladders[0].points.num_tokens / 4)


def test_columns_of_words_part_ladders_unless_they_name_sizes(tmp_path: Path) -> None:
    rows = [{**r, "label": f"{r['n']:.1e}", "setup": setup, "note": "x"} for setup in ("wide", "deep") for r in sweep()]
    write_csv(tmp_path / "set" / "runs.csv", [{**row, "label": f"model {row['label']}"} for row in rows])
    ladders, _ = discover(tmp_path)
    assert [ladder.name for ladder in ladders] == ["wide", "deep"]
    assert [len(ladder.points) for ladder in ladders] == [36, 36]


def test_odd_ladders_are_forecast_or_refused_in_words() -> None:
    rng = np.random.default_rng(5)
    for sizes, amounts in ((14, 1), (1, 14), (5, 5)):
        places = [(1e7 * 1.6**i, 1e9 * 1.6**j) for i in range(sizes) for j in range(amounts)]
        for losses in (np.full(len(places), 3.0), rng.uniform(2.0, 9.0, len(places))):
            names = ("run_id", "num_params", "num_tokens", "seed", "value")
            rows = [(str(i), n, d, 0, float(loss)) for i, ((n, d), loss) in enumerate(zip(places, losses, strict=True))]
            found = law.backtest(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
            assert all(math.isfinite(one.width90) and one.width90 > 0 for one in found.outcomes)


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    write_csv(tmp_path / "a" / "people.csv", [{"name": "x", "age": 3}] * 5)
    write_csv(tmp_path / "b" / "no_size.csv", [{"loss": 3.0, "epoch": 3}] * 5)
    (tmp_path / "c.json").write_text("{broken")
    ladders, notes = discover(tmp_path)
    assert ladders == []
    assert [note.used for note in notes] == [False] * 3
    texts = " ".join(note.text for note in notes)
    assert "no column of losses among name, age" in texts
    assert "no column of model sizes or tokens" in texts
    assert "cannot be read" in texts
    with pytest.raises(FileNotFoundError, match="must be a folder with data sets, or a file of runs"):
        discover(tmp_path / "nowhere")


def test_numbers_with_units() -> None:
    assert [number(value) for value in ("70M", "1.4B", "3e9", "1,000", 5, "2T")] == [7e7, 1.4e9, 3e9, 1000.0, 5.0, 2e12]
    assert math.isnan(number("large"))


def test_a_backtest_scores_every_run_further_out_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    points = simulated.draw("chinchilla", "isoflop", 0.002, rng)
    first, again = (law.backtest(points) for _ in range(2))
    assert first.outcomes == again.outcomes
    assert all(1.9 < outcome.factor < 31 for outcome in first.outcomes)
    assert all(outcome.inside90 or not outcome.inside80 for outcome in first.outcomes)
    every = first.summary()
    assert every["num_targets"] == len(first.outcomes) > 50
    assert every["mean_error"] < 0.02
    assert every["coverage90"] > every["naive_coverage90"]
    assert sum(row["num_targets"] for row in first.by_factor().values()) == every["num_targets"]


def test_another_prior_changes_the_width_and_nothing_else() -> None:
    trials = backtesting.trials(simulated.draw("bent", "ladder", 0.004, np.random.default_rng(1)), data_set="x")
    wide = Prior(form=3 * PRIOR.form, scatter=3 * PRIOR.scatter, sampling=3 * PRIOR.sampling, freedom=PRIOR.freedom, own=1e-9)
    usual, other = backtesting.score(trials), backtesting.score(trials, {"x": wide})
    assert other.summary()["mean_width"] > 1.5 * usual.summary()["mean_width"]
    assert other.summary()["mean_error"] == usual.summary()["mean_error"]


def test_too_short_a_ladder_gives_no_trials() -> None:
    assert backtesting.backtest(simulated.draw("chinchilla", "one_size", 0.002, np.random.default_rng(1)), least_points=99).outcomes == ()
    assert backtesting.Record(()).summary()["coverage90"] is None


@pytest.mark.slow
def test_intervals_hold_on_simulated_ladders_of_many_forms() -> None:
    trials = [t for one in simulated.ladders(seed=3) for t in backtesting.trials(one.points, data_set=one.data_set, ladder=one.name)]
    found = backtesting.score(trials).summary()
    assert 0.75 <= found["coverage80"] <= 0.97
    assert found["coverage90"] >= 0.85
    assert found["naive_coverage90"] < 0.8
