"""The catalog on a real PostgreSQL server: same tables, same ledger, many machines."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest

from storage.inspect import read_query, stage_status
from storage.lake import Lake
from storage.ledger import commit
from storage.settings import LakeSettings
from tests.storage import postgres_server as server

HERE = Path(__file__).parent
psycopg = pytest.importorskip("psycopg", reason="needs the extra postgres: pip install 'dataladder[postgres]'")
pytestmark = pytest.mark.skipif(server.why_not() is not None, reason=str(server.why_not()))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server.running() as found:
        yield found


@pytest.fixture
def settings(port: int, tmp_path: Path) -> LakeSettings:
    name = f"lake_{os.urandom(4).hex()}"
    with psycopg.connect(
        host="127.0.0.1", port=port, user="ladder", password=server.PASSWORD, dbname="postgres", autocommit=True
    ) as session:
        session.execute(f"CREATE DATABASE {name}")
    url = f"postgresql://ladder:{quote(server.PASSWORD)}@127.0.0.1:{port}/{name}"
    return LakeSettings.model_validate({"lake": str(tmp_path / "lake"), "catalog": url})


def test_the_same_lake_on_postgres(settings: LakeSettings, committer: ModuleType) -> None:
    with Lake.open(settings) as lake:
        first = commit(lake, [committer.output(lake, committer.work(number)) for number in (1, 2)])
        assert commit(lake, [committer.output(lake, committer.work(1))]).num_skipped == 1
        commit(lake, [committer.output(lake, committer.work(1, version=2), num_rows=3)])
        assert sorted(file.num_rows for file in lake.data_files("tokens")) == [3, 5]
        assert lake.rows("SELECT count(*) FROM tokenizers") == [(4,)]
        assert lake.create_view("v", "SELECT 1 AS a", "One.")
        assert not lake.create_view("v", "SELECT 1 AS a", "One.")
        assert stage_status(lake)[0].num_outputs == 2
        assert lake.value("SELECT comment FROM duckdb_columns() WHERE table_name = 'stages' AND column_name = 'key'").startswith("BLAKE2b")
        with lake.at(first.snapshot) as then:
            assert then.rows("SELECT count(*) FROM tokens") == [(10,)]
    with Lake.open(settings, read_only=True) as reader:
        assert read_query(reader, "SELECT count(*) AS n FROM tokens")["n"].to_pylist() == [8]
        with pytest.raises(Exception, match="read-only"):
            reader.rows("DELETE FROM tokens")


def test_no_error_and_no_text_tells_the_password(settings: LakeSettings) -> None:
    with Lake.open(settings) as lake:
        shown = lake.attach_sql() + str(lake.rows("FROM duckdb_databases()")) + str(lake.rows("FROM duckdb_secrets()")) + repr(settings)
    assert settings.catalog is not None
    wrong = settings.catalog.get_secret_value().replace("ladder:", "ladder:wrong-")
    for read_only in (True, False):
        with pytest.raises(ConnectionError, match=r"postgresql://127\.0\.0\.1:\d+/lake_") as caught:
            Lake.open(LakeSettings.model_validate({"lake": settings.lake, "catalog": wrong}), read_only=read_only)
        shown += str(caught.value) + repr(caught.value.__cause__)
    assert server.PASSWORD not in shown
    assert quote(server.PASSWORD) not in shown


def test_many_processes_commit_and_one_dies(settings: LakeSettings) -> None:
    assert settings.catalog is not None
    environment = {"PYTHONPATH": str(HERE.parents[1]), "PATH": "", "LADDER_CATALOG": settings.catalog.get_secret_value()}

    def start(first: int, count: int) -> "subprocess.Popen[str]":
        command = [sys.executable, str(HERE / "committer.py"), settings.lake, str(first), str(count), "4"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    victim = start(100, 1000)
    others = [start(first * 4, 4) for first in range(3)]
    assert victim.stdout is not None
    victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    results = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in others]
    with Lake.open(settings) as lake:
        rows = lake.rows("SELECT slot, count(produced_by) FROM stages FULL JOIN tokens ON produced_by = key GROUP BY ALL")
        assert {row[1] for row in rows} == {5}
        assert {f"slot-{number}" for number in range(12)} <= {row[0] for row in rows}
    assert all(len(result["seconds"]) > 4 for result in results)
