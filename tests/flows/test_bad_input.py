"""Bad input ends with one clear message, without a traceback, and leaves the lake as it was."""

import socket
from pathlib import Path

import pytest

from storage.lake import Lake
from storage.settings import LakeSettings
from tests.flows import corpus_maker
from tests.flows.conftest import Ladder

pytestmark = pytest.mark.slow


@pytest.fixture
def crawled(ladder: Ladder, tmp_path: Path) -> Ladder:
    """A lake with one source in it."""
    ladder("crawl", f"jsonl:{corpus_maker.write(tmp_path / 'good.jsonl', 20)}")
    return ladder


def test_missing_file(crawled: Ladder) -> None:
    before = crawled.digest()
    assert "matches no file" in crawled.fails("crawl", "warc:/no/such/*.warc.gz")
    assert crawled.digest() == before


def test_unknown_kind_of_source_names_the_kinds(crawled: Ladder) -> None:
    output = crawled.fails("crawl", "ftp://example.org/")
    assert "warc:GLOB" in output
    assert "ftp://example.org/" in output


def test_unreachable_site(crawled: Ladder) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    before = crawled.digest()
    assert f"127.0.0.1:{port}" in crawled.fails("crawl", f"site:http://127.0.0.1:{port}/", "--delay-seconds", "0")
    assert crawled.digest() == before


def test_unknown_recipe_names_the_recipes(crawled: Ladder) -> None:
    crawled("documents")
    crawled("signals")
    before = crawled.digest()
    output = crawled.fails("recipe", "--recipes", "gohper")
    assert "gohper" in output
    assert "slimpajama" in output
    assert crawled.digest() == before


def test_broken_warc_is_counted_and_the_good_file_beside_it_is_read(ladder: Ladder, tmp_path: Path) -> None:
    (tmp_path / "broken.warc.gz").write_bytes(b"\x1f\x8b" + b"not gzip at all" * 50)
    (tmp_path / "empty.warc").write_bytes(b"")
    ladder("crawl", f"warc:{tmp_path}/*.warc*")
    ladder("crawl", f"jsonl:{corpus_maker.write(tmp_path / 'good.jsonl', 10)}")
    ladder("documents")
    reasons = ladder("sql", "SELECT reason FROM rejects ORDER BY reason", "--format", "csv")
    assert "empty_file" in reasons
    assert len(reasons.splitlines()) >= 3
    assert "10" in ladder("sql", "SELECT count(*) AS n FROM documents", "--format", "csv").splitlines()


def test_stage_without_its_input_names_the_command_that_makes_it(ladder: Ladder) -> None:
    assert "ladder crawl" in ladder.fails("documents")
    assert "ladder rungs" in ladder.fails("sweep")


def test_lake_of_a_newer_version_is_refused_and_left_alone(crawled: Ladder) -> None:
    with Lake.open(LakeSettings(lake=str(crawled.lake))) as lake:
        lake.rows("UPDATE lake_info SET schema_version = schema_version + 1")
    before = sorted((path, path.stat().st_size) for path in crawled.lake.rglob("*.parquet"))
    assert "upgrade dataladder" in crawled.fails("status")
    assert "upgrade dataladder" in crawled.fails("documents")
    assert sorted((path, path.stat().st_size) for path in crawled.lake.rglob("*.parquet")) == before
