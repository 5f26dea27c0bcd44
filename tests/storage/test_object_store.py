"""Data on an object store: a real S3 server on loopback, reached by s3fs, DuckDB and Polars with options from one place."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from storage import files
from storage.inspect import read_query
from storage.lake import Lake
from storage.ledger import commit
from storage.settings import LakeSettings
from tests.storage import s3_server

pytest.importorskip("moto", reason="needs the package moto[server]")
s3fs = pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server.running() as url:
        yield url


@pytest.fixture
def settings(endpoint: str, tmp_path: Path) -> LakeSettings:
    keys = {"access_key_id": "key", "secret_access_key": "s3cr3t", "endpoint_url": endpoint}
    settings = LakeSettings.model_validate({"lake": str(tmp_path / "lake"), "data": f"s3://{tmp_path.name.replace('_', '-')}/data", **keys})
    s3fs.S3FileSystem(**settings.s3fs_options()).mkdir(settings.data_path.split("/")[2])
    return settings


def test_a_lake_with_its_data_on_s3(settings: LakeSettings, committer: ModuleType) -> None:
    with Lake.open(settings) as lake:
        commit(lake, [committer.output(lake, committer.work(number)) for number in (1, 2)])
        assert commit(lake, [committer.output(lake, committer.work(1))]).num_skipped == 1
        paths = lake.list_data_files("tokens")
        assert files.list_files(settings.data_path, settings.s3fs_options()) == paths
        assert all(path.startswith("s3://") for path in paths)
        commit(lake, [committer.output(lake, committer.work(1, version=2), num_rows=3)])
        assert lake.rows("SELECT count(*), count(DISTINCT produced_by) FROM tokens") == [(8, 2)]
        assert read_query(lake, "SELECT max(id) AS id FROM tokens")["id"].to_pylist() == ["slot-2-4"]
        with pytest.raises(Exception, match="disabled by configuration"):
            read_query(lake, "FROM read_parquet('s3://elsewhere/x.parquet')")
        frame = pl.scan_parquet(lake.list_data_files("tokens"), storage_options=settings.polars_options()).collect()
        assert frame.height == 8
        assert "s3cr3t" not in lake.attach_sql() + repr(settings) + str(lake.rows("FROM duckdb_secrets()"))


def test_files_on_s3(settings: LakeSettings) -> None:
    options, path = settings.s3fs_options(), files.join(settings.data_path, "claims", "one")
    files.write_bytes(path, b"first", options)
    with files.open_read(path, options) as file:
        assert file.read() == b"first"
    files.write_bytes(path, b"third", options)
    files.move(path, path + "-moved", options)
    assert files.list_files(settings.data_path, options) == [path + "-moved"]
    assert not files.exists(path, options)
    files.remove(path + "-moved", options)
    assert files.list_files(settings.data_path, options) == []


def test_an_unreachable_store_leaves_the_lake_as_it_was(
    settings: LakeSettings, committer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with Lake.open(settings) as lake:
        output = committer.output(lake, committer.work(1))
        before = lake.snapshot_id()
    away = settings.model_dump() | {"endpoint_url": "http://127.0.0.1:1"}
    with Lake.open(LakeSettings.model_validate(away)) as lake:
        with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
            commit(lake, [output])
        assert lake.snapshot_id() == before
        assert lake.rows("SELECT * FROM stages") == []
