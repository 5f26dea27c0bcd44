"""Stored documents by another engine: only what changes is written, what an engine does not take is counted, ids stay."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm.corpus.documents import extract_shard
from lm.corpus.engine_texts import EngineTexts, write_texts
from lm.corpus.records import ExtractionOptions
from lm.corpus.sources import list_files, parse
from storage.schema.corpus import TEXT_VARIANTS

PROSE = "The harbour was quiet in the morning, and nine boats lay at the quay. Nobody spoke of the storm that had passed in the night."
MENU = "<nav><ul><li><a href=/a>Home</a></li><li><a href=/b>Prices</a></li><li><a href=/c>About us</a></li></ul></nav>"
PAGE = f"<title>T</title>{MENU}<article><p>{PROSE}</p><p>{PROSE} It was over.</p></article>"
DEEP = "<article>" * 20_000 + f"<p>{PROSE}</p><p>{PROSE} Again.</p>" + "</article>" * 20_000
"""More open elements than any engine but ours takes."""


def record(url: str, body: str, content_type: str = "text/html; charset=utf-8") -> bytes:
    block = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n{body}".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}"
    return gzip.compress(f"{head}\r\n\r\n".encode() + block + b"\r\n\r\n", mtime=0)


def read_by(
    engine: str, path: Path, pages: Sequence[bytes], asked: Sequence[str] = ()
) -> tuple[EngineTexts, list[dict[str, object]], pa.Table]:
    """Documents by our engine, then the texts of those at the addresses asked for (all if none is named) by another."""
    path.write_bytes(b"".join(pages))
    [file] = list_files(parse(f"warc:{path}"))
    made = extract_shard(
        file, crawl="c", kind="warc", options=ExtractionOptions(), out_dir=str(path.parent / "out"), produced_by="d", name="a.warc.gz"
    )
    documents = pq.read_table(made.documents_path)
    wanted = documents.filter(pa.array([not asked or url in asked for url in documents["url"].to_pylist()]))
    target = path.parent / f"{engine}.parquet"
    result = write_texts(
        file,
        wanted.select(["capture_id", "id", "num_bytes"]),
        str(target),
        crawl="c",
        kind="warc",
        name="a.warc.gz",
        options=ExtractionOptions(extractor=engine),
        produced_by="key",
    )
    return result, pq.read_table(target).to_pylist(), documents


def test_only_texts_that_change_are_written_and_all_that_is_missing_is_counted(tmp_path: Path) -> None:
    pages = [
        record("http://a.example/page", PAGE),
        record("http://a.example/page", PAGE),  # the same capture again
        record("http://a.example/deep", DEEP),
        record("http://a.example/plain", PROSE, "text/plain"),
        record("http://a.example/not-asked", PAGE + "<p>More than that.</p>"),
    ]
    asked = [f"http://a.example/{name}" for name in ("page", "deep", "plain")]
    result, rows, documents = read_by("wet", tmp_path / "a.warc.gz", pages, asked)
    by_url = {row["url"]: row for row in documents.to_pylist()}
    assert len(by_url) == 4
    found = {str(row["id"]): row for row in rows}
    page, deep = (by_url[f"http://a.example/{name}"] for name in ("page", "deep"))
    assert found.keys() == {page["id"], deep["id"]}
    text = str(found[page["id"]]["text"])
    assert "Prices" in text
    assert "Prices" not in page["text"]
    assert found[page["id"]]["num_removed_bytes"] == page["num_bytes"] - len(text.encode()) < 0
    assert (found[deep["id"]]["text"], found[deep["id"]]["num_removed_bytes"]) == ("", deep["num_bytes"])
    assert result.num_changed == 2
    assert [(r.stage, r.source, r.reason, r.num_rejects, r.example) for r in result.rejects] == [
        ("engine_texts", "a.warc.gz", "too_deep", 1, "http://a.example/deep")
    ]
    assert list(rows[0]) == list(TEXT_VARIANTS.columns)
    assert {(row["variant"], row["produced_by"]) for row in rows} == {("wet", "key")}


def test_the_engine_of_the_documents_changes_nothing(tmp_path: Path) -> None:
    result, rows, documents = read_by(
        "blocks", tmp_path / "a.warc.gz", [record("http://a.example/", PAGE), record("http://a.example/d", DEEP)]
    )
    assert documents.num_rows == 2
    assert (result.num_changed, rows, result.rejects) == (0, [], [])


def test_a_page_in_which_the_engine_finds_nothing_has_an_empty_text(tmp_path: Path) -> None:
    pages = [record("http://a.example/", PAGE), record("http://a.example/menu", f"<html><body>{MENU}</body></html>")]
    result, rows, documents = read_by("resiliparse", tmp_path / "a.warc.gz", pages)
    assert documents.num_rows == 2
    assert [(row["text"], row["num_removed_bytes"]) for row in rows] == [("", len("- Home\n- Prices\n- About us"))]
    assert [reject.reason for reject in result.rejects] == ["no_main_content"]


def test_a_file_without_its_captures_or_gone_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    read_by("wet", path, [record("http://a.example/", PAGE)])
    [file] = list_files(parse(f"warc:{path}"))
    gone = pa.table({"capture_id": ["0" * 32], "id": ["1" * 32], "num_bytes": [1]})
    target = tmp_path / "other.parquet"
    with pytest.raises(ValueError, match=r"1 are gone, such as 0000.*ladder documents"):
        write_texts(file, gone, str(target), crawl="c", kind="warc", name="a", options=ExtractionOptions(extractor="wet"), produced_by="k")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a must still be there.*take `texts` out of the recipe"):
        write_texts(file, gone, str(target), crawl="c", kind="warc", name="a", options=ExtractionOptions(extractor="wet"), produced_by="k")
    assert not target.exists()
    assert not list(tmp_path.glob(".*.part"))
