"""Specifications and the files they stand for, on a disk and on another file system."""

import re
from pathlib import Path

import fsspec
import pytest

from lm.corpus.sources import KINDS, Source, list_files, parse


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "site"])
def test_every_kind_parses_and_prints_back(kind: str) -> None:
    source = parse(f"{kind}:s3://bucket/a*.gz")
    assert source == Source(kind, "s3://bucket/a*.gz")
    assert str(source) == f"{kind}:s3://bucket/a*.gz"


def test_site_needs_a_whole_address() -> None:
    assert parse("site:https://a.example/docs") == Source("site", "https://a.example/docs")
    with pytest.raises(ValueError, match=r"site:https://example\.org, got 'site:a.example'"):
        parse("site:a.example")


@pytest.mark.parametrize("spec", ["", "warc", "warc:", "tar:x", "/data/*.warc.gz", "WARC:x"])
def test_anything_else_is_refused_with_the_kinds_there_are(spec: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)site .*warc .*wet .*jsonl .*parquet .*text .*wiki .*cc .*got " + re.escape(repr(spec))):
        parse(spec)


def test_files_are_sorted_and_directories_left_out(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "d.txt").mkdir()
    assert [Path(file.url).name for file in list_files(parse(f"text:{tmp_path}/*.txt"))] == ["a.txt", "b.txt"]
    assert [Path(file.url).name for file in list_files(parse(f"text:{tmp_path}/**/*.txt"))] == ["a.txt", "b.txt", "c.txt"]
    assert [Path(file.url).name for file in list_files(parse(f"text:{tmp_path}"))] == ["a.txt", "b.txt"]
    assert [(file.url, file.num_bytes) for file in list_files(parse(f"text:{tmp_path}/a.txt"))] == [(f"{tmp_path}/a.txt", 5)]


def test_a_name_with_wildcards_in_it_is_taken_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert [Path(file.url).name for file in list_files(parse(f"text:{tmp_path}/a[1].txt"))] == ["a[1].txt"]


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    a.write_text("same"), b.write_text("same")
    first, second = list_files(parse(f"text:{tmp_path}/*"))
    assert first.digest == second.digest
    a.write_text("else")  # as long as before
    assert list_files(parse(f"text:{a}"))[0].digest != first.digest


def test_other_file_systems_work_alike() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/crawl/x.jsonl", b"{}")
    [before] = list_files(parse("jsonl:memory://crawl/*.jsonl"))
    fs.pipe("/crawl/x.jsonl", b"[]")
    [after] = list_files(parse("jsonl:memory://crawl/*.jsonl"))
    assert (before.url, before.num_bytes) == ("memory:///crawl/x.jsonl", 2)
    assert before.digest != after.digest


def test_no_match_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"matches no file; check the path and quote the pattern"):
        list_files(parse(f"warc:{tmp_path}/*.warc.gz"))
    with pytest.raises(FileNotFoundError):
        list_files(parse(f"warc:{tmp_path}/none.warc.gz"))
    with pytest.raises(ValueError, match="no files before it is fetched"):
        list_files(parse("cc:CC-MAIN-2024-22"))
