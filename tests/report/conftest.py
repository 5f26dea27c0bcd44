"""A small lake in memory with believable rows, hostile host names and a fitted ladder; the report's own queries read it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from lm import law
from lm.law.decisions import conclusions
from lm.report import ReportData, gather
from storage.schema import TABLES

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIZES = {"tiny": 203_008, "mid": 812_032, "small": 3_154_176}
BASE = 262_144
NUM_RUNGS = 6
HOSTILE = "evil.example/<script>alert(1)</script>\u202egpj|**x**"
AVAILABLE = {"num_available_tokens": 9_123_456}
METRIC = "loss_nats_per_token"


def true_loss(num_params: float, num_tokens: float) -> float:
    return 2.2 + 380.0 * math.exp(-0.42 * math.log(num_params)) + 260.0 * math.exp(-0.36 * math.log(num_tokens))


class SampleLake:
    """Tables of the real schema in DuckDB, filled row by row."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.waiting: dict[str, list[dict[str, Any]]] = {}
        for name, table in TABLES.items():
            columns = ", ".join(f'"{column}" {spec.type}' for column, spec in table.columns.items())
            self.connection.execute(f"CREATE TABLE {name} ({columns})")

    def add(self, table: str, *rows: dict[str, Any]) -> None:
        self.waiting.setdefault(table, []).extend(rows)

    def flush(self) -> None:
        for table, rows in self.waiting.items():
            if not rows:
                continue
            names = dict.fromkeys(name for row in rows for name in row)
            self.connection.register("incoming", pa.table({name: [row.get(name) for row in rows] for name in names}))
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        self.waiting.clear()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        self.flush()
        return self.connection.execute(sql, dict(parameters) if parameters else None).to_arrow_table()

    def report(self) -> ReportData:
        return gather(
            self.query, ladder_id="ladder", title="Documentation of 41 Python packages", made_at="2026-11-22 12:40 UTC", lake_snapshot=37
        )


def add_corpus(lake: SampleLake) -> None:
    rng = np.random.default_rng(1)
    hosts = ["numpy.docs.local", "scipy.docs.local", "prefect.docs.local", "torch.docs.local", HOSTILE]
    for i in range(600):
        host = hosts[min(4, int(rng.exponential(1.2)))]
        lake.add("captures", {"capture_id": f"c{i}", "url": f"http://{host}/{i}", "host": host, "num_bytes": int(rng.lognormal(9, 0.7))})
        if i % 12 == 0:
            continue
        text = {"id": f"t{i - i % 2 if i % 20 < 2 else i}", "language": ["en", "en", "en", "en", "de", "und"][i % 6], "num_bytes": 1500 + i}
        lake.add("documents", {**text, "capture_id": f"c{i}", "host": host, "title": "<b>bold</b>"})
        lake.add("tokens", {"id": text["id"], "num_tokens": (1500 + i) // 4})
    for i in range(60):
        lake.add(
            "near_duplicates", {"id_a": f"t{i}", "id_b": f"t{i + 60}", "jaccard": float(0.7 + 0.3 * rng.beta(2, 2)), "method": "fineweb"}
        )
    lake.add("near_duplicates", {"id_a": "t0", "id_b": "t60", "jaccard": 0.71, "method": "slimpajama"})
    for reject in _rejects():
        lake.add("rejects", {"stage": "documents", "source": "a.warc.gz", **reject})
    rules: dict[str, list[tuple[str, int, int, str | None]]] = {
        "gopher": [("gopher_stop_words", 62, 31, None), ("gopher_words", 40, 40, None), ("gopher_bullets", 9, 4, None)],
        "raw": [("exact_duplicate", 0, 0, "removes_nothing")],
        "fineweb": [
            ("fineweb_short_lines", 110, 96, None),
            ("near_duplicate", 55, 38, None),
            ("fineweb_chars_dup", 0, 0, "removes_nothing"),
        ],
    }
    num_texts = 530
    for recipe, counted in rules.items():
        kept = num_texts - sum(removed for _, _, removed, _ in counted)
        for rule, failing, removed, alarm in [*counted, ("kept", kept, kept, None), ("all", 550, 550, None)]:
            row = {"recipe": recipe, "rule": rule, "num_failing": failing, "num_removed": removed, "num_removed_bytes": removed * 1300}
            lake.add("recipe_counts", {**row, "alarm": alarm})

    add_policies(lake)


def add_policies(lake: SampleLake) -> None:
    """A source that loses too much, and an evaluation set of which two items of forty are known."""
    losses = [("crawl", "mirror", 100, 80, True), ("host", HOSTILE, 60, 3, False), ("host", "numpy.docs.local", 90, 0, False)]
    for kind, source, num, removed, alarm in losses:
        row = {"recipe": "gopher", "kind": kind, "source": source, "num_documents": num, "num_removed": removed, "share": removed / num}
        lake.add("source_losses", {**row, "alarm": alarm})
    lake.add("evaluation_items", *({"evaluation_set": "quiz", "item": f"i{i}"} for i in range(40)))
    lake.add("contaminated_items", *({"evaluation_set": "quiz", "item": f"i{i}", "contaminated": i < 2} for i in range(5)))
    lake.add("contamination", *({"evaluation_set": "quiz", "item": "i0", "id": f"t{i}", "contaminated": True} for i in range(3)))
    for dress, found in (("verbatim", 11), ("shuffled", 1)):
        planted = {"evaluation_set": "quiz", "kind": dress, "is_contaminated": dress == "verbatim", "num_planted": 12, "num_found": found}
        lake.add("contamination_checks", planted)


def _rejects() -> list[dict[str, Any]]:
    return [
        {"reason": "empty_text", "num_rejects": 44, "example": "http://numpy.docs.local/<img src=x onerror=alert(1)>"},
        {"reason": "truncated_record", "num_rejects": 2, "example": "a.warc.gz@123"},
        {"reason": "http_status", "num_rejects": 4, "example": "http://scipy.docs.local/missing"},
    ]


def add_ladder(
    lake: SampleLake, *, scatter: float = 0.004, surprise: float = 0.0, num_seeds: int = 2, trained: int = NUM_RUNGS, sizes: int = 3
) -> None:
    """Runs and metrics over nested rungs; `surprise` moves the top rung's log loss."""
    rng = np.random.default_rng(7)
    for rung in range(NUM_RUNGS):
        row = {"ladder_id": "ladder", "rung": rung, "recipe": "gopher", "num_tokens": BASE * 2**rung, "num_documents": 14 * 2**rung}
        lake.add("rungs", {**row, **AVAILABLE})
    for name, size in list(SIZES.items())[:sizes]:
        for seed in range(num_seeds):
            run_id = f"{name}-{seed}"
            lake.add("runs", _run(run_id, name, size, seed))
            shift = rng.normal(0.0, scatter)
            for rung in range(trained):
                tokens = BASE * 2**rung
                key = f"train-{run_id}-{rung}"
                loss = true_loss(size, tokens) * math.exp(shift + rng.normal(0.0, scatter) + surprise * (rung == NUM_RUNGS - 1))
                finished = NOON + timedelta(minutes=rung * 4 + seed)
                lake.add("stages", {"stage": "train", "slot": key, "key": key, "num_rows": 1, "seconds": 81.0, "finished_at": finished})
                lake.add("checkpoints", {"produced_by": key, "run_id": run_id, "rung": rung, "num_tokens": tokens})
                row = {"run_id": run_id, "rung": rung, "num_tokens": tokens, "split": "validation", "validation_id": "v", "domain": "all"}
                lake.add("metrics", {**row, "name": METRIC, "value": loss, "stderr": 0.01})
                lake.add("metrics", {**row, "name": "bits_per_byte", "value": loss / 2.9, "stderr": 0.004})
                for i, host in enumerate(("numpy.docs.local", "scipy.docs.local", HOSTILE)):
                    domain = {**row, "domain": host, "name": "bits_per_byte", "value": loss / 2.9 + 0.1 * i, "num_items": 30 - i}
                    lake.add("metrics", domain)
                lake.add("metrics", {**row, "domain": "source:crawl", "name": "bits_per_byte", "value": loss, "num_items": 60})
                for task, value in (("piqa", 0.61), ("piqa~clean", 0.6), ("piqa~known", 0.9), ("blimp/island", 0.7)):
                    scored = {**row, "split": "task", "domain": task, "name": "accuracy", "value": value, "num_items": 50}
                    lake.add("metrics", scored)


def _run(run_id: str, name: str, size: int, seed: int) -> dict[str, Any]:
    top = BASE * 2 ** (NUM_RUNGS - 1)
    return {
        "run_id": run_id,
        "ladder_id": "ladder",
        "model": name,
        "num_params": size,
        "num_params_non_embedding": size // 2,
        "seed": seed,
        "num_tokens": top,
        "train_tokens": int(top * 1.4),
        "train_flops": 6.2 * size * top,
        "tokens_per_second": 11_800.0,
        "seconds": top * 1.4 / 11_800,
        "device": "cpu",
    }


def add_forecasts(lake: SampleLake, *, late: bool = False, refit: bool = True) -> None:
    """Laws over all rungs but the top, forecasts of the top, outcomes where it is trained; then laws over everything."""
    sql = f"""SELECT m.run_id, r.num_params, m.num_tokens, r.seed, m.value FROM metrics m JOIN runs r USING (run_id)
        WHERE m.name = '{METRIC}' AND m.domain = 'all'"""
    top = BASE * 2 ** (NUM_RUNGS - 1)
    laws, _ = law.fit_all(lake.query(f"{sql} AND m.num_tokens < {top}"), num_bootstrap=30)
    num_seeds = len(set(lake.query("SELECT seed FROM runs")["seed"].to_pylist()))
    lake.add("laws", *law.law_rows(laws, ladder_id="ladder", metric=METRIC, curves=law.curve(laws, num_seeds=num_seeds)))
    sizes: list[Any] = lake.query("SELECT DISTINCT num_params FROM runs ORDER BY num_params")["num_params"].to_pylist()
    for size in sizes:
        made = law.forecast(laws, size, top, num_seeds=num_seeds)
        row = law.forecast_row(made, ladder_id="ladder", rung=NUM_RUNGS - 1, metric=METRIC)
        row["registered_at"] = NOON + timedelta(minutes=300 if late else 18)
        outcomes: list[Any] = lake.query(f"{sql} AND m.num_tokens = {top} AND r.num_params = {size}")["value"].to_pylist()
        if outcomes:
            scored = law.score(made, outcomes)
            row |= {"outcome": scored.outcome, "inside": scored.inside, "scored_at": NOON + timedelta(minutes=30)}
        lake.add("forecasts", row)
    if not refit:
        return
    newest, _ = law.fit_all(lake.query(sql), num_bootstrap=30, with_profiles=False)
    known = {json.dumps([one.form, one.num_params, one.max_num_tokens]) for one in laws}
    newest = [one for one in newest if json.dumps([one.form, one.num_params, one.max_num_tokens]) not in known]
    lake.add("laws", *law.law_rows(newest, ladder_id="ladder", metric=METRIC, curves=law.curve(newest, num_seeds=num_seeds)))


def add_conclusions(lake: SampleLake, *, rivals: bool = True) -> None:
    """What follows from the runs, with a second recipe whose tokens are worth 1.4; and, from a day before, without it."""
    sql = f"""SELECT m.run_id, r.num_params, m.num_tokens, r.seed, m.value FROM metrics m JOIN runs r USING (run_id)
        WHERE m.name = '{METRIC}' AND m.domain = 'all'"""
    points = law.gather(lake.query(sql))
    own = conclusions.Ladder("ladder", "gopher", points, AVAILABLE["num_available_tokens"])
    values = points.value * np.array(
        [true_loss(n, 1.4 * d) / true_loss(n, d) for n, d in zip(points.num_params, points.num_tokens, strict=True)]
    )
    rival = conclusions.Ladder("other", "fineweb", replace(points, value=values), AVAILABLE["num_available_tokens"])
    days = [("day-1", [own], None), ("day-2", [own, rival] if rivals else [own], 5_000_000.0)]
    for i, (key, ladders, before) in enumerate(days):
        for one in conclusions.conclude(ladders, before_tokens=before, num_bootstrap=30):
            lake.add("conclusions", {"produced_by": key, "ladder_id": "ladder", "metric": METRIC, **one.row()})
        inputs = json.dumps({"metrics/a/1": key, "data": str(before)})
        row = {"stage": "decisions", "slot": key, "key": key, "num_rows": 7, "seconds": 2.0, "finished_at": NOON + timedelta(days=i)}
        lake.add("stages", {**row, "code": json.dumps({"lm.law": "1"}), "inputs": inputs, "parameters": "{}"})


@pytest.fixture(scope="session")
def empty() -> ReportData:
    """A lake in which nothing has run."""
    return SampleLake().report()


def make_sample(*, late: bool = False, refit: bool = True, rivals: bool = True, **ladder: Any) -> ReportData:
    """A lake in which everything has run."""
    lake = SampleLake()
    add_corpus(lake)
    add_ladder(lake, **ladder)
    add_forecasts(lake, late=late, refit=refit)
    if refit:
        add_conclusions(lake, rivals=rivals)
    return lake.report()


@pytest.fixture(scope="session")
def sample() -> ReportData:
    """A lake in which everything has run once."""
    return make_sample()


@pytest.fixture(scope="session")
def sample_with() -> Callable[..., ReportData]:
    """Make a lake whose ladder came out in some way: scatter, surprise, num_seeds, trained, late."""
    return partial(make_sample, refit=False)


@pytest.fixture(scope="session")
def alone() -> ReportData:
    """A lake with one recipe and one model size."""
    return make_sample(rivals=False, sizes=1)


@pytest.fixture
def without_forecasts(sample: ReportData) -> ReportData:
    """Trained, but nothing fitted."""
    return replace(sample, laws=sample.laws.slice(0, 0), forecasts=sample.forecasts.slice(0, 0))
