"""One file to its two Parquet files: every kind, every reason, and the promises about bytes, memory and interruption."""

import gzip
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm.corpus.documents import extract_shard, host_of
from lm.corpus.payload import payload_digest
from lm.corpus.records import ExtractionOptions, ShardResult
from lm.corpus.sources import list_files, parse
from storage.digest import digest
from storage.schema.corpus import CAPTURES, DOCUMENTS

TEXT = "Enough words to be a document of its own, written in plain English."


def run(path: Path, kind: str, out: Path | None = None, **options: object) -> ShardResult:
    [file] = list_files(parse(f"{kind}:{path}"))
    extraction = ExtractionOptions(**options)  # type: ignore[arg-type]
    return extract_shard(file, crawl="test", kind=kind, options=extraction, out_dir=str(out or path.parent / "out"), produced_by="key")


def rows(path: str) -> list[dict[str, object]]:
    return pq.read_table(path).to_pylist()


def reasons(result: ShardResult) -> dict[str, int]:
    return {reject.reason: reject.num_rejects for reject in result.rejects}


def page(url: str, body: str, status: str = "200 OK") -> bytes:
    block = f'HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nETag: "e"\r\n\r\n{body}'.encode()
    lines = [
        "WARC/1.0",
        "WARC-Type: response",
        "WARC-Date: 2024-05-18T01:02:03Z",
        f"WARC-Target-URI: {url}",
        "Content-Type: application/http",
    ]
    head = "\r\n".join([*lines, f"Content-Length: {len(block)}"]).encode()
    return gzip.compress(head + b"\r\n\r\n" + block + b"\r\n\r\n", mtime=0)


def write_jsonl(path: Path, lines: list[object]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_captures_and_documents_of_a_warc_have_the_columns_of_the_lake(tmp_path: Path) -> None:
    html = f"<title>T</title><p>{TEXT}</p><p>日本</p>"
    path = tmp_path / "a.warc.gz"
    path.write_bytes(page("https://A.example:8080/x", html) + page("https://a.example/gone", "no", "404 Gone"))
    result = run(path, "warc")
    [capture, gone], [document] = rows(result.captures_path), rows(result.documents_path)
    assert (result.num_captures, result.num_documents, reasons(result)) == (2, 1, {"http_status": 1})
    assert [list(capture), list(document)] == [list(CAPTURES.columns), list(DOCUMENTS.columns)]
    text = f"{TEXT}\n\n日本"
    assert document["text"] == text
    assert document["id"] == digest(text)
    assert (document["num_chars"], document["num_bytes"]) == (len(text), len(text.encode()))
    assert (document["title"], document["language"], document["extractor"], document["host"]) == ("T", "en", "blocks", "a.example")
    assert document["capture_id"] == capture["capture_id"] == digest("test", "https://A.example:8080/x", payload_digest(html.encode()))
    assert (capture["status"], capture["content_type"], capture["etag"], capture["num_bytes"]) == (
        200,
        "text/html",
        '"e"',
        len(html.encode()),
    )
    assert str(capture["fetched_at"]) == "2024-05-18 01:02:03+00:00"
    assert (gone["status"], gone["produced_by"], document["produced_by"]) == (404, "key", "key")


def test_the_same_page_twice_is_one_capture(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(page("http://a.example/", TEXT) * 2 + page("http://a.example/2", TEXT) + page("http://a.example/", TEXT + " More."))
    result = run(path, "warc")
    assert (result.num_captures, result.num_documents, reasons(result)) == (3, 3, {"duplicate_capture": 1})
    assert len({row["id"] for row in rows(result.documents_path)}) == 2


def test_a_file_that_is_no_archive_gives_empty_files_and_a_count(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"no archive")
    result = run(tmp_path / "a.warc.gz", "warc")
    assert (result.num_captures, reasons(result)) == (0, {"not_warc": 1})
    assert result.rejects[0].source == str(tmp_path / "a.warc.gz")
    assert rows(result.captures_path) == rows(result.documents_path) == []


def test_jsonl_counts_every_line(tmp_path: Path) -> None:
    good = {"text": TEXT, "url": "http://A.example/1", "title": "One", "date": "2024-05-18T01:02:03+02:00"}
    lines = [
        good,
        {"text": TEXT + "2"},
        "{broken",
        "[1]",
        {"body": "x"},
        {"text": 7},
        {"text": None},
        {"text": " \u0000 "},
        "",
        "[" * 100_000,
    ]
    result = run(
        write_jsonl(tmp_path / "a.jsonl", [*lines, {"text": "lone \ud800 surrogate"}, {"text": "x" * 5000}]), "jsonl", max_page_bytes=4096
    )
    assert reasons(result) == {
        "empty_text": 1,
        "invalid_json": 2,
        "no_text_field": 2,
        "not_an_object": 1,
        "text_not_a_string": 1,
        "too_large": 1,
    }
    first, second, third = rows(result.documents_path)
    assert (first["url"], first["host"], first["title"]) == ("http://A.example/1", "a.example", "One")
    assert (second["url"], second["host"], second["title"]) == (f"{tmp_path}/a.jsonl#1", "test", None)
    assert third["text"] == "lone  surrogate"
    assert str(rows(result.captures_path)[0]["fetched_at"]) == "2024-05-17 23:02:03+00:00"


def test_field_names_are_options_and_a_wrong_one_shows_in_the_counts(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"content": TEXT, "link": "http://b.example/"}] * 2)
    result = run(path, "jsonl", text_field="content", url_field="link")
    assert (rows(result.documents_path)[0]["host"], reasons(result)) == ("b.example", {"duplicate_capture": 1})
    result = run(path, "jsonl")
    assert (result.num_documents, reasons(result)) == (0, {"no_text_field": 2})
    assert "no field 'text' among content, link" in result.rejects[0].example


def test_compressed_jsonl_and_one_cut_short(tmp_path: Path) -> None:
    packed = gzip.compress(
        "".join(json.dumps({"text": f"{TEXT} {number} {os.urandom(20).hex()}"}) + "\n" for number in range(500)).encode()
    )
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert run(tmp_path / "a.jsonl.gz", "jsonl").num_documents == 500
    (tmp_path / "b.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    result = run(tmp_path / "b.jsonl.gz", "jsonl")
    assert 100 < result.num_documents < 500
    assert reasons(result)["truncated_file"] == 1


def test_an_endless_line_is_skipped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "x" * 50_000}, {"text": TEXT}])
    result = run(path, "jsonl", max_line_bytes=1000)
    assert (result.num_documents, reasons(result)) == (1, {"too_large": 1})


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": [TEXT, None, TEXT + "2"], "url": ["http://a.example/", "u", None], "other": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    result = run(tmp_path / "a.parquet", "parquet")
    assert [row["url"] for row in rows(result.documents_path)] == ["http://a.example/", f"{tmp_path}/a.parquet#2"]
    assert reasons(result) == {"no_text_field": 1}
    assert reasons(run(tmp_path / "a.parquet", "parquet", text_field="other")) == {"text_not_a_string": 3}
    assert reasons(run(tmp_path / "a.parquet", "parquet", text_field="content")) == {"no_text_field": 3}


def test_broken_parquet_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no parquet")
    assert reasons(run(tmp_path / "a.parquet", "parquet")) == {"invalid_parquet": 1}
    pq.write_table(pa.table({"text": [f"{TEXT} {number}" for number in range(1000)]}), tmp_path / "b.parquet")
    data = bytearray((tmp_path / "b.parquet").read_bytes())
    data[100:2000] = bytes(1900)
    (tmp_path / "b.parquet").write_bytes(data)
    assert "corrupt_parquet" in reasons(run(tmp_path / "b.parquet", "parquet"))


def test_text_files_are_one_document_each_in_any_encoding(tmp_path: Path) -> None:
    chinese = "这是一个关于语言模型的网页，内容是简体中文。我们测量需要多少数据。"
    (tmp_path / "a.txt").write_bytes(chinese.encode("gb18030"))
    [document] = rows(run(tmp_path / "a.txt", "text").documents_path)
    assert (document["text"], document["language"], document["extractor"]) == (chinese, "zh", "plain")
    (tmp_path / "b.txt").write_bytes(b"x" * 100)
    assert reasons(run(tmp_path / "b.txt", "text", max_page_bytes=99)) == {"too_large": 1}
    (tmp_path / "c.txt").write_bytes(b"")
    assert reasons(run(tmp_path / "c.txt", "text")) == {"empty_text": 1}


def test_wiki_files(tmp_path: Path) -> None:
    article = '<doc id="1" url="https://en.wiki.example/?id=1" title="A &amp; B">\nA & B\n\n' + TEXT + "\n\n</doc>\n"
    stub = '<doc id="2" url="https://en.wiki.example/?id=2" title="Stub">\nStub\n\n\n</doc>\n'
    unclosed = '<doc id="3" url="https://en.wiki.example/?id=3" title="Open">\ntext\n'
    (tmp_path / "wiki_00").write_text(stub + article + "stray\n" + unclosed + article.replace("id=1", "id=4") + unclosed)
    result = run(tmp_path / "wiki_00", "wiki")
    first, _second = rows(result.documents_path)
    assert (first["title"], first["host"], first["text"]) == ("A & B", "en.wiki.example", f"A & B\n\n{TEXT}")
    assert reasons(result) == {"empty_text": 1, "text_outside_doc": 1, "unclosed_doc": 2}


def test_equal_input_gives_equal_bytes_wherever_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(page(f"http://a.example/{number}", f"<p>{TEXT} {number}") for number in range(200)))
    first, second = run(path, "warc", tmp_path / "one"), run(path, "warc", tmp_path / "two")
    for one, two in ((first.captures_path, second.captures_path), (first.documents_path, second.documents_path)):
        assert Path(one).read_bytes() == Path(two).read_bytes()


def test_progress_ends_at_the_whole_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": TEXT}])
    [file], seen = list_files(parse(f"jsonl:{path}")), list[tuple[int, int]]()
    options = ExtractionOptions()
    extract_shard(
        file,
        crawl="c",
        kind="jsonl",
        options=options,
        out_dir=str(tmp_path / "o"),
        produced_by="k",
        on_progress=lambda *at: seen.append(at),
    )
    assert seen[-1] == (file.num_bytes, file.num_bytes)


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": TEXT}])
    [file] = list_files(parse(f"jsonl:{path}"))
    extract = partial(extract_shard, file, crawl="c", out_dir=str(tmp_path / "out"), produced_by="k")
    with pytest.raises(ValueError, match=r"kind must be one of warc, .*got 'zip'"):
        extract(kind="zip", options=ExtractionOptions())
    with pytest.raises(ValueError, match="extractor must be one of"):
        extract(kind="jsonl", options=ExtractionOptions(extractor="x"))
    path.write_text("longer than it was when it was listed " * 10)
    with pytest.raises(ValueError, match="list the source again"):
        extract(kind="jsonl", options=ExtractionOptions())
    assert not list(tmp_path.glob("out/*.parquet"))


KILLED = """
import sys
from lm.corpus.documents import extract_shard
from lm.corpus.records import ExtractionOptions
from lm.corpus.sources import list_files, parse
[file] = list_files(parse("jsonl:" + sys.argv[1]))
print("ready", flush=True)
extract_shard(file, crawl="c", kind="jsonl", options=ExtractionOptions(), out_dir=sys.argv[2], produced_by="k")
"""


def test_a_killed_run_leaves_no_file_and_the_next_one_completes(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": f"{TEXT} {number}"} for number in range(20_000)])
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(out)], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        while not list(out.glob(".*.part")):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9
    assert not list(out.glob("*.parquet"))
    assert run(path, "jsonl", out).num_documents == 20_000
    assert sorted(entry.name for entry in out.iterdir()) == ["captures.parquet", "documents.parquet"]


def test_memory_stays_bounded_while_the_file_grows(tmp_path: Path) -> None:
    line = json.dumps({"text": "word " * 200_000, "url": "http://a.example/%d"}) + "\n"
    with open(tmp_path / "a.jsonl", "w") as file:
        for number in range(120):
            file.write(line.replace("%d", str(number)))
    code = KILLED + "\nprint(next(int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jsonl"), str(tmp_path / "out")], capture_output=True, check=True, text=True
    )
    assert int(done.stdout.split()[-1]) < 400  # MiB (ru_maxrss would count the parent's too); the file alone has 150 MB


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://WWW.A.example:443/x", "www.a.example"),
        ("http://[::1]/", "::1"),
        ("http://[broken/", None),
        ("urn:x:y", None),
        ("a.example/x", None),
        ("", None),
    ],
)
def test_hosts(url: str, host: str | None) -> None:
    assert host_of(url) == host
