"""The whole pipeline on a small corpus: what it leaves, that a second run does nothing, and that a killed one ends the same."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import s3fs

from deployments.api import Api
from tests.flows import corpus_maker
from tests.flows.conftest import TINY, Ladder
from tests.storage import postgres_server, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Ladder:
    """A lake that the pipeline has filled."""
    folder = tmp_path_factory.mktemp("finished")
    ladder = Ladder(folder / "lake", api_url)
    ladder("pipeline", f"jsonl:{corpus(folder)}", *TINY)
    return ladder


def corpus(folder: Path) -> Path:
    """The same small corpus at the same place for every lake of a test session."""
    path = folder.parent / "corpus" / "documents.jsonl"
    return path if path.exists() else corpus_maker.write(path, 320)


def rows(ladder: Ladder, query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(ladder("sql", query, "--format", "json"))
    return found


def test_every_stage_left_rows(finished: Ladder) -> None:
    tables = ["captures", "documents", "signals", "signatures", "near_duplicates", "recipes", "recipe_counts", "tokenizers", "tokens"]
    tables += ["validation", "rungs", "runs", "checkpoints", "metrics", "run_speed", "laws", "forecasts"]
    counts = rows(finished, " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) AS num_rows FROM {table}" for table in tables))
    assert [row["name"] for row in counts if not row["num_rows"]] == []


def test_every_run_left_its_curve_in_the_web_interface(finished: Ladder) -> None:
    artifacts = Api(finished.api_url).call("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"like_": "train-"}}})
    curves = {artifact["key"]: artifact["data"] for artifact in artifacts if artifact["type"] == "markdown"}
    assert {f"train-{model}-seed-{seed}" for model in ("d1w32", "d2w64") for seed in (0, 1)} <= set(curves)
    assert all("data:image/svg+xml;base64," in text and "**Complete**" in text for text in curves.values())


def test_flows_of_a_command_send_no_heartbeat(finished: Ladder) -> None:
    api = Api(finished.api_url)
    [run] = api.call("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["pipeline"]}}, "sort": "START_TIME_ASC", "limit": 1})
    inside = api.call("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
    assert len(inside) > 10
    heartbeats = {"event": {"name": ["prefect.flow-run.heartbeat"]}}
    for one in (run, *inside):
        wanted = {**heartbeats, "any_resource": {"id": [f"prefect.flow-run.{one['id']}"]}}
        assert api.call("POST", "/events/filter", {"filter": wanted, "limit": 1})["events"] == []


def test_two_sizes_two_seeds_four_rungs(finished: Ladder) -> None:
    found = rows(finished, "SELECT count(DISTINCT num_params) AS sizes, count(DISTINCT seed) AS seeds, count(*) AS runs FROM runs")
    assert found == [{"sizes": 2, "seeds": 2, "runs": 4}]
    measured = "SELECT count(DISTINCT (run_id, rung)) AS n FROM metrics WHERE split = 'validation' AND name = 'bits_per_byte'"
    assert rows(finished, measured) == [{"n": 16}]


def test_forecast_was_registered_before_its_rung_was_trained_and_scored_after(finished: Ladder) -> None:
    assert len(rows(finished, "SELECT * FROM forecasts")) == 2
    found = rows(
        finished,
        """
        SELECT f.rung, bool_and(f.low < f.predicted AND f.predicted < f.high) AS ordered,
               bool_and(f.inside = (f.outcome BETWEEN f.low AND f.high)) AS scored, bool_and(f.registered_at < s.finished_at) AS in_time,
               bool_and(f.inside80 = (f.outcome BETWEEN f.low80 AND f.high80) AND f.crps > 0 AND f.lake_snapshot > 0) AS recorded
        FROM forecasts f JOIN runs r USING (ladder_id, num_params)
        JOIN checkpoints c ON c.run_id = r.run_id AND c.rung = f.rung JOIN stages s ON s.key = c.produced_by
        GROUP BY f.rung
        """,
    )
    assert found == [{"rung": 3, "ordered": True, "scored": True, "in_time": True, "recorded": True}]


def test_no_near_duplicate_of_a_validation_document_is_in_training(finished: Ladder) -> None:
    selection = finished.lake / str(rows(finished, "SELECT any_value(selection_file) AS file FROM rungs")[0]["file"])
    split = dict(zip(*(pq.read_table(selection)[name].to_pylist() for name in ("id", "split")), strict=True))
    pairs = rows(finished, "SELECT DISTINCT id_a, id_b FROM near_duplicates WHERE jaccard >= 0.5")
    held = {row["id"] for row in rows(finished, "SELECT id FROM validation")}
    close = {row["id_a"] for row in pairs if row["id_b"] in held} | {row["id_b"] for row in pairs if row["id_a"] in held}
    assert held
    assert {split[document] for document in held} == {"validation"}
    assert not {document for document in close - held if split.get(document) == "train"}


def test_report_is_one_file_with_the_forecast(finished: Ladder) -> None:
    html = (finished.lake / "report.html").read_text()
    assert "<html" in html
    assert "forecast" in html.lower()
    assert 'src="http' not in html


def test_second_run_does_nothing(finished: Ladder) -> None:
    before = finished.digest()
    snapshots = rows(finished, "SELECT count(*) AS n FROM stages")
    output = finished("pipeline", f"jsonl:{corpus(finished.lake.parent)}", *TINY)
    assert finished.digest() == before
    assert rows(finished, "SELECT count(*) AS n FROM stages") == snapshots
    lines = [line for line in output.splitlines() if "up to date" in line]
    assert lines
    assert all("nothing to do" in line for line in lines)


def test_killed_runs_end_in_the_same_lake(finished: Ladder, ladder: Ladder) -> None:
    random_ = random.Random(7)
    kills = 0
    for _ in range(40):
        process = ladder.start("pipeline", f"jsonl:{corpus(finished.lake.parent)}", *TINY)
        try:
            process.communicate(timeout=random_.uniform(6, 18) if kills < 6 else 600)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            time.sleep(0.5)
    assert kills >= 3
    assert process.returncode == 0
    assert ladder.digest() == finished.digest()


@pytest.mark.skipif(postgres_server.why_not() is not None, reason=str(postgres_server.why_not()))
def test_postgres_and_s3_hold_the_same_lake(finished: Ladder, tmp_path: Path, api_url: str) -> None:
    with postgres_server.running() as port, s3_server.running() as endpoint:
        catalog = f"postgresql://ladder:{quote(postgres_server.PASSWORD)}@127.0.0.1:{port}/postgres"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_ENDPOINT_URL": endpoint}
        s3fs.S3FileSystem(key="key", secret="s3cr3t", endpoint_url=endpoint).mkdir("bucket")
        ladder = Ladder(tmp_path / "lake", api_url, {"LADDER_CATALOG": catalog, "LADDER_DATA": "s3://bucket/lake", **keys})
        output = ladder("pipeline", f"jsonl:{corpus(finished.lake.parent)}", *TINY)
        assert "s3cr3t" not in output
        assert ladder.digest() == finished.digest()
