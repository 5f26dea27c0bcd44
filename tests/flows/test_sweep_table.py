"""The table of a sweep and of a tuning: what is asked for, what it costs, what the budget leaves out, and which rate runs take."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows import costs, law, rates, settled, sweep, sweep_table, train, tune
from flows.cli import app
from flows.settings import LawSettings, SweepSettings, TrainSettings, TuneSettings
from lm.models.config import preset
from lm.training import run_id
from lm.training.cost import START_SECONDS, train_tokens
from lm.training.trial import Trial
from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES
from storage.settings import LakeSettings
from tests.flows import ladder_maker
from tests.flows.ladder_maker import RUNGS

LONG = (4096, 8192, 16384, 32768, 65536)
SMALL = {"models": ["d1w32", "d2w64"], "seeds": [0, 1], "batch_tokens": 256, "launch": "here"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with ladders for two recipes."""
    root = tmp_path_factory.mktemp("sweeps") / "lake"
    with Lake.open(LakeSettings(lake=str(root))) as lake:
        ladder_maker.write_rungs(lake, ("raw", "clean"))
    return root


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    with Lake.open(LakeSettings(lake=str(folder))) as opened:
        yield opened


def entries(lake: Lake, **settings: Any) -> list[sweep_table.Entry]:
    return sweep_table.entries(lake, SweepSettings(**{**SMALL, **settings}))


def commit(lake: Lake, stage: str, slot: str, **tables: list[dict[str, Any]]) -> None:
    whole = {
        name: pa.Table.from_pylist([{c: row.get(c) for c in TABLES[name].columns if c != "produced_by"} for row in rows])
        for name, rows in tables.items()
    }
    ledger.commit(lake, [Output(work=Work(stage=stage, slot=slot, parameters={"rows": str(tables)}, code={}, inputs={}), tables=whole)])


def test_a_table_is_the_product_of_its_axes(lake: Lake) -> None:
    found = entries(lake, recipes=["raw", "clean"], schedules=["wsd", "cosine"], unique_tokens=[0, 4096])
    assert len(found) == 2 * 2 * 2 * 2 * 2
    assert len({entry.key for entry in found}) == len(found)
    assert {entry.recipe for entry in found} == {"raw", "clean"}
    assert {entry.config.unique_tokens for entry in found} == {None, 4096}
    assert [entry.config.model.name for entry in found[:8]] == ["d2w64"] * 8
    assert all(entry.rungs_tokens == RUNGS and entry.is_open for entry in found)


def test_costs_are_exact_in_tokens_and_flops(lake: Lake) -> None:
    found = entries(lake, schedules=["wsd", "cosine"], price_per_hour=2.0)
    for entry in found:
        cost = entry.row.cost
        assert cost.train_tokens == train_tokens(entry.config, RUNGS)
        assert cost.flops == cost.train_tokens * entry.config.model.flops_per_token
        assert cost.money == pytest.approx(2.0 * cost.hours)
    trunk, separate = (sum(e.row.cost.train_tokens for e in found if e.config.schedule == name) for name in ("wsd", "cosine"))
    assert separate == 4 * sum(RUNGS)
    assert 0.6 < trunk / separate < 0.75


def test_repeated_data_ends_at_the_epochs_asked_for(lake: Lake) -> None:
    (entry, *_) = entries(lake, unique_tokens=[4096], max_epochs=2)
    assert entry.rungs_tokens == RUNGS[:2]
    assert "4,096 unique" in entry.row.name
    with pytest.raises(ValueError, match="less than the smallest rung"):
        entries(lake, unique_tokens=[1024], max_epochs=2)


def test_a_budget_leaves_out_the_dear_ones_and_says_why(lake: Lake) -> None:
    flops = sum(entry.row.cost.flops for entry in entries(lake) if entry.config.model.name == "d1w32")
    found = entries(lake, max_flops=1.01 * flops)
    assert {entry.config.model.name for entry in found if entry.is_open} == {"d1w32"}
    left_out = [entry.row.status for entry in found if not entry.is_open]
    assert len(left_out) == 2
    assert all(status.startswith("over budget: needs") for status in left_out)
    assert "2 of 4 to train, 2 left out" in sweep_table.table(found, SweepSettings(**SMALL)).totals()
    spread = entries(lake, max_flops=0.999 * sum(entry.row.cost.flops for entry in entries(lake)), order="spread")
    assert [(entry.config.model.name, entry.config.seed) for entry in spread if not entry.is_open] == [("d2w64", 1)]


def test_a_recipe_without_a_ladder_is_named(lake: Lake) -> None:
    with pytest.raises(RuntimeError, match=r"no ladder for \['best'\].*ladder rungs --recipe best"):
        entries(lake, recipes=["best"])


def test_dry_run_shows_the_table_without_a_server(folder: Path) -> None:
    asked = ["--models", "d1w32", "--seeds", "0", "--batch-tokens", "256", "--launch", "here", "--price-per-hour", "1"]
    done = CliRunner().invoke(app, ["--lake", str(folder), "sweep", *asked, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "1 of 1 to train" in done.stdout
    assert "by price" in done.stdout
    done = CliRunner().invoke(
        app, ["--lake", str(folder), "tune", "--models", "d1w32", "--batch-tokens", "256", "--launch", "here", "--dry-run"]
    )
    assert done.exit_code == 0, done.output
    assert "4 of 4 to train" in done.stdout
    assert not (folder / "runs").exists()


def test_a_finished_run_costs_nothing_more(folder: Path, tmp_path: Path) -> None:
    with Lake.open(LakeSettings(lake=str(tmp_path / "lake"))) as lake:
        (ladder_id,) = ladder_maker.write_rungs(lake)
        (entry,) = entries(lake, models=["d1w32"], seeds=[0])
        work = train.plan(lake, entry.training).units[0].work
        part = {"run_id": run_id(entry.config, ladder_id), "rung": 1, "num_tokens": RUNGS[1]}
        run = {"run_id": part["run_id"], "train_tokens": 100, "train_flops": 100 * entry.config.model.flops_per_token}
        run |= {"tokens_per_second": 50.0, "device": "cpu", "num_params": 1, "seed": 0, "ladder_id": ladder_id, "model": "d1w32"}
        commit(lake, "runs", "part", runs=[run], checkpoints=[part])
        (again,) = entries(lake, models=["d1w32"], seeds=[0])
        assert again.row.cost.train_tokens == train_tokens(entry.config, RUNGS, RUNGS[1]) < entry.row.cost.train_tokens
        assert again.row.cost.hours == pytest.approx((again.row.cost.train_tokens / 50 + START_SECONDS) / 3600)
        assert "measured on cpu" in again.row.cost.speed
        rows = {c: run.get(c) for c in TABLES["runs"].columns if c != "produced_by"}
        ledger.commit(lake, [Output(work=work, tables={"runs": pa.Table.from_pylist([rows])})])
        (done,) = entries(lake, models=["d1w32"], seeds=[0])
        assert (done.row.status, done.is_open) == (costs.DONE, False)


def tunings(lake: Lake, model: str, rate: float, schedule: str = "wsd") -> None:
    config = preset(model, vocab_size=300, context_tokens=128)
    row = {"model": model, "num_params": config.num_params, "num_params_non_embedding": config.num_params_non_embedding}
    row |= {"context_tokens": 128, "batch_tokens": 256, "optimizer": "adamw", "schedule": schedule, "best_rate": rate}
    commit(lake, "tune", f"{model}/{schedule}", tunings=[{**row, "learning_rate": rate * factor} for factor in (0.5, 1, 2)])


def test_runs_take_the_tuned_rate_and_are_other_runs(tmp_path: Path) -> None:
    with Lake.open(LakeSettings(lake=str(tmp_path / "lake"))) as lake:
        (ladder_id,) = ladder_maker.write_rungs(lake)

        def config(model: str, **given: Any) -> Any:
            return train.config_of(lake, TrainSettings(model=model, batch_tokens=256, **given), ladder_id)

        before = config("d2w64")
        tunings(lake, "d2w64", 0.006)
        tunings(lake, "d2w64", 0.012, "cosine")
        after = config("d2w64")
        assert (before.learning_rate, after.learning_rate) == (0.002, 0.006)
        assert run_id(before, ladder_id) != run_id(after, ladder_id)
        assert config("d2w64", schedule="cosine").learning_rate == 0.012
        assert config("d2w64", learning_rate=0.003).learning_rate == 0.003
        sizes = [config(name).model.num_params_non_embedding for name in ("d2w64", "d3w96")]
        assert config("d3w96").learning_rate == pytest.approx(0.006 * (sizes[1] / sizes[0]) ** (-1 / 3), rel=0.02)
        assert config("d8w256").learning_rate == train.defaults(config("d8w256").model, seed=0).learning_rate
        assert rates.tuned_rate(rates.tunings(lake), after.model, 512, "adamw", "wsd") is None
        entry = sweep_table.entries(lake, SweepSettings(models=["d2w64"], seeds=[0], batch_tokens=256, launch="here"))[0]
        assert entry.training.learning_rate == 0.006


def test_laws_see_one_family_of_runs_and_the_newest_of_it(tmp_path: Path) -> None:
    with Lake.open(LakeSettings(lake=str(tmp_path / "lake"))) as lake:
        (ladder_id,) = ladder_maker.write_rungs(lake)
        for name, given in {"a": {}, "b": {"learning_rate": 0.01}, "c": {"schedule": "cosine"}, "d": {"unique_tokens": 4096}}.items():
            config = train.config_of(lake, TrainSettings(model="d1w32", batch_tokens=256, **given), ladder_id)
            run = {"run_id": name, "ladder_id": ladder_id, "num_params": 1000, "seed": 0, "config": config.to_json()}
            metric = {"run_id": name, "rung": 0, "num_tokens": 4096, "split": "validation", "validation_id": "v", "domain": "all"}
            commit(lake, "runs", name, runs=[run], metrics=[{**metric, "name": "loss_nats_per_token", "value": 4.0}])
        assert law.points(lake, LawSettings(ladder_id=ladder_id))["run_id"].to_pylist() == ["b"]


def test_a_grid_is_judged_extended_and_pinned(lake: Lake) -> None:
    settings = TuneSettings(models=["d1w32"], batch_tokens=[256], rung=0, learning_rates=[0.001, 0.002, 0.004], seeds=[7, 8], launch="here")
    (planned,) = tune.plan(lake, settings).units
    tried: list[float] = []

    def tries(unit: tune.Grid, asked: Sequence[float]) -> tune.Trials:
        tried.extend(asked)
        return {(rate, seed): Trial(4.0 + abs(rate - 0.01) + seed, 0.1, 9.0, "cpu") for rate in asked for seed in unit.seeds}

    output = tune.tune_grid(planned, tries)
    assert tried == [0.001, 0.002, 0.004, 0.008, 0.016]
    rows = output.tables["tunings"].to_pylist()
    assert set(rows[0]) == set(TABLES["tunings"].columns) - {"produced_by"}
    assert {row["best_rate"] for row in rows} == {0.008}
    assert [(row["learning_rate"], row["seed"]) for row in rows[:3]] == [(0.001, 7), (0.001, 8), (0.002, 7)]
    assert not rows[0]["at_edge"]
    ledger.commit(lake, [output])
    later = TuneSettings(**{**settings.model_dump(), "ladder_id": "ladder-clean"})
    assert tune.plan(lake, later).todo(lake) == []
    other = TuneSettings(**{**settings.model_dump(), "num_rates": 5, "learning_rates": []})
    assert len(tune.plan(lake, other).todo(lake)) == 1


def measured(lake: Lake, entry: sweep_table.Entry, worth: float, num_rungs: int) -> None:
    """A run as far as it has come, with losses on a known law."""
    ladder_id, seed = str(entry.training.ladder_id), entry.config.seed
    name = run_id(entry.config, ladder_id)
    run = {"run_id": name, "ladder_id": ladder_id, "seed": seed, "num_params": entry.config.model.num_params}
    same = {"run_id": name, "split": "validation", "validation_id": "v", "domain": "all", "name": settled.METRIC}
    losses = [2.0 + 60.0 * (worth * tokens) ** -0.3 * (1 + 0.0005 * (-1) ** (seed + i)) for i, tokens in enumerate(LONG)]
    metrics = [{**same, "rung": i, "num_tokens": LONG[i], "value": loss} for i, loss in enumerate(losses[:num_rungs])]
    commit(lake, "evaluate", name, runs=[run], metrics=metrics)


@pytest.mark.slow
def test_what_is_surely_worse_is_stopped_rung_by_rung_and_seeds_are_not(tmp_path: Path) -> None:
    with Lake.open(LakeSettings(lake=str(tmp_path / "lake"))) as lake:
        ladder_maker.write_rungs(lake, ("raw", "clean"), LONG)
        asked = entries(lake, recipes=["raw", "clean"], models=["d1w32"])
        trained: list[tuple[str, int, int]] = []

        def train_wave(wave: Sequence[sweep_table.Entry]) -> None:
            for entry in wave:
                trained.append((entry.recipe, entry.config.seed, len(entry.rungs_tokens)))
                measured(lake, entry, 3.0 if entry.recipe == "clean" else 1.0, len(entry.rungs_tokens))

        ended = sweep.train_rung_by_rung(lake, asked, train_wave, lambda ladder_id: None)
        assert {entry.row.status for entry in ended if entry.recipe == "clean"} == {costs.DONE}
        assert all("clean is better at 65,536 tokens with probability" in entry.row.status for entry in ended if entry.recipe == "raw")
        reached = {recipe: max(rungs for name, _, rungs in trained if name == recipe) for recipe in ("raw", "clean")}
        assert reached["clean"] == len(LONG) > reached["raw"] >= 3
        assert {seed for name, seed, rungs in trained if (name, rungs) == ("clean", len(LONG))} == {0, 1}
        assert settled.reasons(lake, [entry for entry in asked if entry.recipe == "raw"]) == {}
        assert settled.reasons(lake, entries(lake, recipes=["raw", "clean"], models=["d1w32"], schedules=["cosine"])) == {}


def test_a_stopped_sweep_is_shown_with_its_reasons(lake: Lake) -> None:
    (entry,) = entries(lake, models=["d2w64"], seeds=[0])
    shown = sweep.table([entry, entry.shown_as("stopped: settled")], SweepSettings(**SMALL))
    assert [row["status"] for row in shown.records()] == ["to do", "stopped: settled"]
    assert "1 of 2 to train, 1 left out" in shown.lines()[-1]
    assert entry.up_to(0).rungs_tokens == RUNGS[:1]
    assert entry.up_to(0).training.max_rung == 0
