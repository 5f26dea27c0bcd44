import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from storage.files import list_files
from storage.inspect import QueryRefused, run_query, stage_status
from storage.lake import Lake
from storage.ledger import commit
from storage.settings import LakeSettings


@pytest.fixture(scope="module")
def filled(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory, committer: ModuleType) -> Iterator[Lake]:
    place = tmp_path_factory.mktemp("inspect") / "lake"
    shutil.copytree(empty_lake, place)
    with Lake.open(LakeSettings(lake=str(place))) as lake:
        commit(lake, [committer.output(lake, committer.work(number)) for number in (1, 2)])
        yield lake


def text(lake: Lake, sql: str, fmt: str) -> str:
    found = run_query(lake, sql, fmt)  # type: ignore[arg-type]
    assert isinstance(found, bytes)
    return found.decode()


def test_every_format_tells_the_same(filled: Lake) -> None:
    sql = "SELECT id, tokens, 'nan'::DOUBLE AS odd, NULL AS none FROM tokens WHERE rank = 1 ORDER BY id"
    assert json.loads(text(filled, sql, "json")) == [{"id": f"slot-{n}-1", "tokens": [1, 2], "odd": None, "none": None} for n in (1, 2)]
    assert text(filled, sql, "csv").splitlines() == ["id,tokens,odd,none", 'slot-1-1,"[1, 2]",nan,', 'slot-2-1,"[1, 2]",nan,']
    parquet = run_query(filled, sql, "parquet")
    assert isinstance(parquet, bytes)
    assert pq.read_table(io.BytesIO(parquet))["id"].to_pylist() == ["slot-1-1", "slot-2-1"]
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(run_query(filled, sql))
    assert "slot-2-1" in console.export_text()
    with pytest.raises(ValueError, match="table, json, csv, parquet"):
        run_query(filled, sql, "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM stages",
        "DESCRIBE tokens",
        "SHOW TABLES",
        "SUMMARIZE stages",
        "EXPLAIN SELECT * FROM tokens",
        "WITH a AS (FROM tokens) SELECT count(*) FROM a JOIN stages ON key = produced_by",
        "SELECT * FROM ducklake_snapshots('lake')",
        "FROM tokens AT (VERSION => 1)",
        "SELECT unnest([1, 2]), * FROM range(2)",
        "FROM duckdb_columns() WHERE table_name = 'tokens'",
    ],
)
def test_reading_is_allowed(filled: Lake, sql: str) -> None:
    assert text(filled, sql, "csv")


def state(lake: Lake) -> tuple[object, ...]:
    """Catalog and files, byte for byte, as far as a query could reach them."""
    files = {path: Path(path).read_bytes() for path in list_files(lake.settings.data_path)}
    return lake.snapshot_id(), lake.rows("SELECT count(*) FROM __ducklake_metadata_lake.ducklake_data_file"), files


WRITES = [
    "DELETE FROM stages",
    "INSERT INTO lake_info VALUES (1, now())",
    "DROP TABLE tokens",
    "CREATE TABLE x AS SELECT 1",
    "COPY tokens TO '{data}x.csv'",
    "COPY (SELECT 1) TO '{file}' (FORMAT parquet)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (FORMAT parquet)",
    "ATTACH '{data}x.duckdb'",
    "DETACH lake",
    "SET lock_configuration = false",
    "EXPORT DATABASE '{data}'",
    "CALL ducklake_expire_snapshots('lake', older_than => now())",
    "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "SELECT * FROM lake.cleanup_old_files(cleanup_all => true)",
    "SELECT (SELECT count(*) FROM query('DROP TABLE tokens'))",
    "WITH a AS (FROM sqlite_query('__ducklake_metadata_lake', 'DELETE FROM ducklake_view RETURNING 1')) FROM a",
    "SELECT 1; DROP TABLE tokens",
    "BEGIN",
    "PRAGMA memory_limit = '1GB'",
    "",
    "no sql at all",
]


@pytest.mark.parametrize("sql", WRITES)
def test_writing_is_refused_and_nothing_changes(filled: Lake, sql: str) -> None:
    before = state(filled)
    with pytest.raises(QueryRefused):
        run_query(filled, sql.format(data=filled.settings.data_path, file=filled.list_data_files("tokens")[0]))
    assert state(filled) == before


def test_files_outside_the_lake_are_out_of_reach(filled: Lake, tmp_path: Path) -> None:
    (tmp_path / "secret.parquet").write_bytes(Path(filled.list_data_files("tokens")[0]).read_bytes())
    with pytest.raises(duckdb.Error, match="disabled by configuration"):
        run_query(filled, f"SELECT * FROM read_parquet('{tmp_path}/secret.parquet')")
    with pytest.raises((QueryRefused, duckdb.Error)):
        run_query(filled, "FROM '/etc/passwd'")
    with pytest.raises(QueryRefused, match="read_text"):
        run_query(filled, "SELECT * FROM read_text('/etc/passwd')")


def test_status_counts_what_each_stage_holds(filled: Lake) -> None:
    (status,) = stage_status(filled)
    assert (status.stage, status.num_outputs, status.num_rows, status.num_rejects, status.seconds) == ("tokens", 2, 14, 4, 0.2)
    assert status.num_bytes == sum(file.num_bytes for file in filled.data_files("tokens"))
    assert status.last_finished_at.tzinfo is not None
