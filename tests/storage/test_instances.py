"""Lakes that one process opens share a DuckDB: what they must share, what they must not, and when they must not share at all."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from storage import catalog, instances, ledger
from storage.lake import Lake, LakeSettings
from storage.ledger import Output, Work


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[LakeSettings]:
    yield LakeSettings(lake=str(tmp_path / "lake"))
    instances.forget()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each DuckDB that was made whether it is for reading only."""
    found: list[bool] = []
    connect = catalog.connect

    def counted(settings: LakeSettings, *, read_only: bool, version: int | None = None) -> duckdb.DuckDBPyConnection:
        found.append(read_only)
        return connect(settings, read_only=read_only, version=version)

    monkeypatch.setattr(catalog, "connect", counted)
    return found


def commit(lake: Lake, slot: str) -> None:
    ledger.commit(lake, [Output(work=Work(stage="crawl", slot=slot, parameters={}, code={}, inputs={}))])


def slots(lake: Lake) -> list[str]:
    return [slot for (slot,) in lake.rows("SELECT slot FROM stages ORDER BY slot")]


def test_a_lake_is_attached_once_for_reading_and_once_for_writing(settings: LakeSettings, opened: list[bool]) -> None:
    for number in range(3):
        with Lake.open(settings) as lake:
            commit(lake, str(number))
        with Lake.open(settings, read_only=True) as lake:
            assert len(slots(lake)) == number + 1
    assert opened == [False, True]


def test_connections_see_commits_and_share_no_table_of_their_own(settings: LakeSettings) -> None:
    with Lake.open(settings) as one, Lake.open(settings) as two, Lake.open(settings, read_only=True) as reader:
        commit(one, "a")
        assert slots(two) == slots(reader) == ["a"]
        with one.connection() as connection:
            connection.execute("CREATE TEMP TABLE mine AS SELECT 1")
            connection.register("also_mine", duckdb.sql("SELECT 2").to_arrow_table())
        for name in ("mine", "also_mine"):
            assert one.rows(f"FROM {name}")
            with pytest.raises(duckdb.CatalogException):
                two.rows(f"FROM {name}")
        with pytest.raises(PermissionError), reader.writing():
            pass
        inlining = "ducklake_default_data_inlining_row_limit"
        with one.connection() as connection:  # as the ledger does while it deletes
            connection.execute(f"SET SESSION {inlining} = 0")
        with Lake.open(settings) as three:
            limits = [lake.value(f"SELECT current_setting('{inlining}')") for lake in (one, two, three)]
        assert limits == [0, catalog.INLINE_ROWS, catalog.INLINE_ROWS]
        one.close()
        commit(two, "b")
        assert slots(reader) == ["a", "b"]
        assert two.value("SELECT current_setting('TimeZone')") == "UTC"


def test_an_open_transaction_does_not_see_what_others_commit(settings: LakeSettings) -> None:
    with Lake.open(settings) as writer, Lake.open(settings, read_only=True) as reader, reader.connection() as connection:
        connection.execute("BEGIN")
        assert slots(reader) == []
        commit(writer, "a")
        assert slots(reader) == []
        connection.execute("COMMIT")
        assert slots(reader) == ["a"]


def test_another_lake_at_the_same_place_is_another_lake(settings: LakeSettings) -> None:
    with Lake.open(settings) as lake:
        commit(lake, "old")
    with Lake.open(settings, read_only=True) as kept_open:
        assert slots(kept_open) == ["old"]
        shutil.move(settings.lake, settings.lake + "-old")
        with Lake.open(settings) as lake:
            assert slots(lake) == []
            commit(lake, "new")
        with Lake.open(settings, read_only=True) as lake:
            assert slots(lake) == ["new"]


def test_only_a_few_stay_and_those_in_use_outlive_them(tmp_path: Path, opened: list[bool]) -> None:
    lakes = [LakeSettings(lake=str(tmp_path / str(number))) for number in range(instances.MAX_KEPT + 1)]
    with Lake.open(lakes[0]) as first:
        for settings in lakes[1:]:
            Lake.open(settings).close()
        commit(first, "a")
        Lake.open(lakes[-1]).close()
        assert len(opened) == len(lakes)
        with Lake.open(lakes[0]) as again:
            assert slots(again) == ["a"]
        assert len(opened) == len(lakes) + 1
    instances.forget()


def test_threads_that_open_and_write_at_once(settings: LakeSettings, opened: list[bool]) -> None:
    def work(number: int) -> None:
        for step in range(4):
            with Lake.open(settings) as lake:
                commit(lake, f"{number}-{step}")
            with Lake.open(settings, read_only=True) as lake:
                assert f"{number}-{step}" in slots(lake)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Lake.open(settings) as lake:
        assert slots(lake) == [f"{number}-{step}" for number in range(4) for step in range(4)]
    assert sorted(opened) == [False, True]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_opens_its_own_and_leaves_that_of_its_parent_alone(settings: LakeSettings) -> None:
    with Lake.open(settings) as lake:
        commit(lake, "parent")
        child = os.fork()
        if not child:
            status = 1
            try:
                with Lake.open(settings) as own:
                    commit(own, "child")
                    status = 0 if slots(own) == ["child", "parent"] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert slots(lake) == ["child", "parent"]
        commit(lake, "later")


def test_what_cannot_be_opened_is_not_kept(settings: LakeSettings) -> None:
    with pytest.raises(catalog.LakeNotFound):
        Lake.open(settings, read_only=True)
    Path(settings.lake).mkdir()
    Path(settings.lake, "catalog.sqlite").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="cannot open the lake"):
            Lake.open(settings, read_only=True)
    Path(settings.lake, "catalog.sqlite").unlink()
    with Lake.open(settings) as lake:
        commit(lake, "a")
