import os
import shutil
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from storage import catalog, extensions, schema
from storage.catalog import LakeNotFound, LakeTooNew
from storage.files import list_files
from storage.lake import Lake
from storage.ledger import commit
from storage.settings import LakeSettings


def test_every_table_and_column_carries_its_comment(lake: Lake) -> None:
    tables = dict(lake.rows("SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lake'"))
    assert tables == {name: table.doc for name, table in schema.TABLES.items()}
    columns = lake.rows("SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE database_name = 'lake'")
    types = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    wanted = {
        (table.name, name, types.get(column.type, column.type), column.doc)
        for table in schema.TABLES.values()
        for name, column in table.columns.items()
    }
    assert set(columns) == wanted


def test_the_printed_line_opens_the_lake_in_plain_duckdb(lake: Lake, committer: ModuleType) -> None:
    commit(lake, [committer.output(lake, committer.work(1))])
    with duckdb.connect(config=extensions.CONNECTION_OPTIONS) as plain:
        plain.execute(lake.attach_sql())
        assert plain.execute("SELECT count(*) FROM tokens").fetchall() == [(5,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            plain.execute("DELETE FROM tokens")


def test_opening_again_changes_nothing(lake: Lake) -> None:
    before = lake.snapshot_id()
    with Lake.open(lake.settings) as again, Lake.open(lake.settings, read_only=True) as reader:
        assert again.snapshot_id() == reader.snapshot_id() == before


def test_reading_needs_a_lake(settings: LakeSettings) -> None:
    with pytest.raises(LakeNotFound, match="no lake at"):
        Lake.open(settings, read_only=True)
    assert not Path(settings.lake).exists()


def test_a_newer_lake_is_refused_and_left_as_it_was(lake: Lake) -> None:
    lake.rows(f"UPDATE lake_info SET schema_version = {schema.SCHEMA_VERSION + 1}")
    lake.close()
    before = {path: Path(path).read_bytes() for path in list_files(lake.settings.lake)}
    for read_only in (True, False):
        with pytest.raises(LakeTooNew, match="upgrade dataladder"):
            Lake.open(lake.settings, read_only=read_only)
    assert {path: Path(path).read_bytes() for path in list_files(lake.settings.lake)} == before


def test_an_older_lake_gets_what_it_lacks(lake: Lake, committer: ModuleType) -> None:
    commit(lake, [committer.output(lake, committer.work(1))])
    for sql in ("ALTER TABLE tokens DROP COLUMN host", "DROP TABLE forecasts", "UPDATE lake_info SET schema_version = 0"):
        lake.rows(sql)
    lake.close()
    with Lake.open(lake.settings) as newer:
        assert newer.rows("SELECT DISTINCT host FROM tokens") == [(None,)]
        assert newer.rows("SELECT * FROM forecasts") == []
        assert newer.rows("SELECT schema_version FROM lake_info") == [(schema.SCHEMA_VERSION,)]
        commit(newer, [committer.output(newer, committer.work(2))])
        assert newer.rows("SELECT host, count(*) FROM tokens GROUP BY ALL ORDER BY 2, 1") == [("h", 5), (None, 5)]
        comment = "SELECT comment FROM duckdb_columns() WHERE table_name = 'tokens' AND column_name = 'host'"
        assert newer.value(comment) == schema.TABLES["tokens"].columns["host"].doc


def test_a_snapshot_stays_readable(lake: Lake, committer: ModuleType) -> None:
    first = commit(lake, [committer.output(lake, committer.work(1))])
    commit(lake, [committer.output(lake, committer.work(1, version=2), num_rows=3)])
    with lake.at(first.snapshot) as then:
        assert then.rows("SELECT count(*) FROM tokens") == [(5,)]
        assert [file.num_rows for file in then.data_files("tokens")] == [5]
    assert [file.num_rows for file in lake.data_files("tokens")] == [3]


def test_a_lake_can_be_moved(lake: Lake, committer: ModuleType, tmp_path: Path) -> None:
    commit(lake, [committer.output(lake, committer.work(1))])
    before = lake.digest()
    lake.close()
    shutil.move(lake.settings.lake, tmp_path / "elsewhere")
    with Lake.open(LakeSettings(lake=str(tmp_path / "elsewhere"))) as moved:
        assert moved.digest() == before
        assert all(Path(path).is_file() for path in moved.list_data_files("tokens"))


def test_the_digest_knows_rows_and_not_how_they_came(
    settings: LakeSettings, empty_lake: Path, tmp_path: Path, committer: ModuleType
) -> None:
    digests = []
    for order in ([1, 2, 3], [3, 1, 2]):
        place = LakeSettings(lake=str(tmp_path / f"lake-{order[0]}"))
        shutil.copytree(empty_lake, place.lake)
        with Lake.open(place) as lake:
            groups = [[number] for number in order] if order[0] == 1 else [order]
            for numbers in groups:
                commit(lake, [committer.output(lake, committer.work(number)) for number in numbers])
            digests.append(lake.digest())
            lake.rows("INSERT INTO tokens BY NAME (SELECT * FROM tokens LIMIT 1)")
            doubled = lake.digest()
    assert digests[0] == digests[1]
    assert [name for name, found in doubled.tables.items() if found != digests[0].tables[name]] == ["tokens"]
    assert doubled.total != digests[0].total


def test_a_view_is_written_once(lake: Lake) -> None:
    assert lake.create_view("recipe_raw", "SELECT id, true AS kept FROM documents", "All of it.")
    before = lake.snapshot_id()
    assert not lake.create_view("recipe_raw", "SELECT id,  true AS kept -- a remark\nFROM documents", "All of it.")
    assert lake.snapshot_id() == before
    assert lake.create_view("recipe_raw", "SELECT id, false AS kept FROM documents", "None of it.")
    assert lake.rows("SELECT comment FROM duckdb_views() WHERE view_name = 'recipe_raw'") == [("None of it.",)]
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        lake.create_view('x"; DROP TABLE tokens', "SELECT 1", "")


def test_files_that_would_tell_a_different_story_are_refused(lake: Lake, committer: ModuleType) -> None:
    commit(lake, [committer.output(lake, committer.work(1))])
    with pytest.raises(RuntimeError, match="read the table with SQL"):
        lake.data_files("tokenizers")
    lake.rows("DELETE FROM tokens WHERE rank = 1")
    with pytest.raises(RuntimeError, match="read the table with SQL"):
        lake.list_data_files("tokens")


def test_a_read_only_lake_and_a_forked_one_say_so(lake: Lake, committer: ModuleType) -> None:
    with Lake.open(lake.settings, read_only=True) as reader, pytest.raises(PermissionError, match="opened read-only"):
        commit(reader, [])
    lake._pid = os.getpid() + 1
    with pytest.raises(RuntimeError, match="opened in process"):
        lake.snapshot_id()
    lake._pid = os.getpid()


def test_a_missing_extension_says_what_to_install() -> None:
    with duckdb.connect(config=extensions.CONNECTION_OPTIONS) as connection:
        connection.execute("SET extension_directory = '/dev/null/nowhere'")
        with pytest.raises(extensions.ExtensionMissing, match=r"pip install duckdb-extension-no-such-thing=="):
            extensions.load(connection, "no_such_thing")


def test_opening_something_else_as_a_lake_is_an_error(settings: LakeSettings) -> None:
    Path(settings.lake).mkdir()
    Path(settings.lake, "catalog.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(ConnectionError, match="cannot open the lake"):
        catalog.connect(settings, read_only=True)
