"""Hostile input, from the bytes of an archive to a document: whatever comes ends in a document or under a reason we know.

Cases are drawn from a seeded generator, so a failure can be repeated by its number. A lean part of them runs by default; the slow test
runs over ten thousand.
"""

import gzip
import io
import json
import random
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.stream_io import BrotliWriter, ZstdWriter

from lm.corpus.documents import extract_shard
from lm.corpus.extraction import ENGINES, Extracted, NoText, extract, finish
from lm.corpus.records import Capture, ExtractionOptions, Problem, ShardResult
from lm.corpus.sources import list_files, parse
from lm.corpus.warc import read_captures

MAX_PAGE_BYTES = 200_000
OPTIONS = ExtractionOptions(max_page_bytes=MAX_PAGE_BYTES)
READER_REASONS = {
    "empty_file", "no_captures", "not_warc", "broken_record", "invalid_header", "bad_content_length", "truncated_record", "corrupt_gzip",
    "truncated_gzip", "corrupt_zstd", "revisit", "segmented_record", "missing_url", "unknown_record_type", "not_http", "invalid_http",
}  # fmt: skip
PAGE_REASONS = {
    "http_status", "too_large", "not_text", "bad_chunking", "bad_content_encoding", "unknown_content_encoding", "undecodable", "binary",
    "too_deep", "too_many_attributes", "too_many_tags", "too_many_blocks", "unparsable", "no_main_content", "empty_text",
}  # fmt: skip
ENGLISH = "Ladders were set against the wall, and everybody climbed; nobody fell. The next morning they were gone."
CHINESE = "梯子靠在墙上，大家都爬了上去，没有人掉下来。第二天早晨，梯子不见了。"
CODECS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "hz",
    "shift_jis", "cp932", "euc_jp", "iso2022_jp", "iso2022_jp_2", "euc_kr", "cp949", "johab", "iso2022_kr", "koi8_r", "koi8_u",
    "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "iso8859_2", "iso8859_5", "iso8859_6",
    "iso8859_7", "iso8859_8", "iso8859_9", "iso8859_15", "tis_620", "cp437", "cp866", "mac_roman", "mac_cyrillic", "ascii", "latin_1",
    "utf_7", "ptcp154", "viscii",
)  # fmt: skip
PIECES = (
    b"<div>", b"</div>", b"<p>", b"</p>", b"<table><tr><td>", b"</table>", b"<script>", b"</script>", b"<!--", b"-->", b"<![CDATA[",
    b"<a href=x>", b"</a>", b"<style>", b"<template>", b"<svg><title>", b"<select><option>", b"<plaintext>", b"<textarea>", b"<title>",
    b"</title>", b"&#x110000;", b"&#0;", b"&nbsp;", b"&", b"&#", b"<", b"</", b"<!", b"<?xml encoding='utf-16'?>", b"\x00",
    b"\xed\xa0\x80", b"\xff\xfe", b"\xf4\x90\x80\x80", b"<p class='", b'<p style="display:none', b"=", b"<body class=comment>",
    b"<meta charset=utf-7>", b"<meta charset=gbk>", b"\x1b$B", b"~{", b"<li>" * 9, b"<font>" * 40, b"<div>" * 300,
    b"<base href='file:///etc/passwd'>", b"<iframe src='file:///etc/passwd'>", b"<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "，。".encode(), CHINESE.encode("gbk"), ENGLISH.encode(), b"\xe2\x80\xa8", b"\r", b"\t", b"<br>" * 5, b"<h1>", b"<pre>\n",
    b"<time datetime=",
)  # fmt: skip


def page(text: str = ENGLISH) -> bytes:
    menu = "".join(f"<li><a href=/{number}>Entry {number}</a>" for number in range(5))
    body = f"<ul class=menu>{menu}</ul><article><h1>Head</h1><p>{text}</p><p>{text}</p></article><div id=footer>Imprint</div>"
    return f"<!doctype html><html lang=en><head><title>T</title></head><body>{body}</body></html>".encode()


def http(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: text/html", *headers, "", ""]).encode() + body


def record(block: bytes, url: str = "http://a.example/", length: int | None = None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def packed(writer_type: Callable[[io.BytesIO], object], data: bytes) -> bytes:
    out = io.BytesIO()
    writer = writer_type(out)
    writer.write(data)  # type: ignore[attr-defined]
    writer.close()  # type: ignore[attr-defined]
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "br": lambda data: packed(BrotliWriter, data),
    "zstd": lambda data: packed(ZstdWriter, data),
    "identity": bytes,
}


def damaged(data: bytes, dice: random.Random, max_changes: int = 6) -> bytes:
    """A few changes at random places: cut, flip, repeat, remove, insert."""
    out = bytearray(data)
    for _ in range(dice.randint(1, max_changes)):
        at, what = dice.randrange(len(out) + 1), dice.randrange(6)
        if what == 0:
            del out[at:]
        elif what == 1 and at < len(out):
            out[at] = dice.randrange(256)
        elif what == 2:
            out[at:at] = out[at : at + dice.randrange(64)] * dice.randrange(1, 4)
        elif what == 3:
            del out[at : at + dice.randrange(1, 64)]
        else:
            out[at:at] = dice.choice(PIECES)
    return bytes(out)


def hostile_page(dice: random.Random) -> bytes:
    """A page that was damaged, put together from bad pieces, or written in some encoding."""
    kind = dice.randrange(4)
    if kind == 0:
        return damaged(page(dice.choice((ENGLISH, CHINESE))), dice, 20)
    if kind == 1:
        return b"".join(dice.choice(PIECES) for _ in range(dice.randrange(60)))
    if kind == 2:
        codec = dice.choice(CODECS)
        text = page(dice.choice((ENGLISH, CHINESE))).decode()
        return damaged(text.encode(codec if is_known(codec) else "latin_1", "replace"), dice)
    return dice.randbytes(dice.randrange(2000))


def is_known(codec: str) -> bool:
    try:
        "".encode(codec)
    except LookupError:
        return False
    return True


def hostile_archive(dice: random.Random) -> bytes:
    """Some records, sound or not, packed together or one by one, and damaged as a whole half of the time."""
    records = []
    for number in range(dice.randrange(4)):
        body, name = (page() if dice.random() < 0.5 else hostile_page(dice)), dice.choice(list(PACKERS))
        stored = PACKERS[name](body)
        block = http(damaged(stored, dice, 2) if dice.random() < 0.3 and stored else stored, f"Content-Encoding: {name}")
        length = dice.choice((None, None, None, 0, len(block) - 3, len(block) + 7, 10**12))
        records.append(record(block, f"http://a.example/{number if dice.random() < 0.8 else 0}", length))
    joined = (
        gzip.compress(b"".join(records), 1, mtime=0) if dice.random() < 0.3 else b"".join(gzip.compress(one, 1, mtime=0) for one in records)
    )
    data = b"".join(records) if dice.random() < 0.2 else joined
    return damaged(data, dice) if dice.random() < 0.5 else data


def check(result: Extracted | NoText) -> str:
    """A text that can be stored, or a reason we know; returns the reason or an empty string."""
    if isinstance(result, NoText):
        assert result.reason in PAGE_REASONS
        return result.reason
    text = result.text
    assert text.strip() == text != ""
    assert unicodedata.is_normalized("NFC", text)
    assert len(text.encode()) <= OPTIONS.max_page_bytes
    assert "root:" not in text
    assert not any(ord(char) < 32 and char not in "\n\t" for char in text)
    return ""


def run_page(number: int, extractor: str) -> str:
    dice = random.Random(f"page {number}")
    content_type = dice.choice(["text/html", None, f"text/html; charset={dice.choice(CODECS)}", "text/plain", "application/xhtml+xml"])
    return check(extract(hostile_page(dice), content_type, ExtractionOptions(max_page_bytes=MAX_PAGE_BYTES, extractor=extractor)))


def run_archive(number: int) -> list[str]:
    found = list(read_captures(io.BytesIO(hostile_archive(random.Random(f"archive {number}"))), MAX_PAGE_BYTES))
    assert found, "a file without captures says why"
    return [outcome(item) for item in found]


def outcome(item: Capture | Problem) -> str:
    if isinstance(item, Problem):
        assert item.reason in READER_REASONS | PAGE_REASONS
        return item.reason
    if item.reason:
        assert item.reason in PAGE_REASONS
        return item.reason
    if item.extractor:
        return check(finish(item.body.decode("utf-8", "replace"), None, item.extractor, OPTIONS))
    return check(extract(item.body, item.content_type, OPTIONS))


@pytest.mark.parametrize("extractor", ["blocks", "resiliparse", "wet"])
def test_hostile_pages_end_in_a_text_or_a_reason(extractor: str) -> None:
    ends = [run_page(number, extractor) for number in range(150)]
    assert "" in ends
    assert len(set(ends)) > 3


def test_hostile_archives_end_in_documents_and_reasons() -> None:
    ends = [end for number in range(150) for end in run_archive(number)]
    assert "" in ends
    assert len(set(ends)) > 6


@pytest.mark.slow
def test_ten_thousand_hostile_cases() -> None:
    """6,000 pages for our own engine, 1,500 each for two others, 3,000 archives."""
    ends = [run_page(number, "blocks") for number in range(6000)]
    ends += [run_page(number, extractor) for extractor in ("resiliparse", "wet") for number in range(1500)]
    ends += [end for number in range(3000) for end in run_archive(number)]
    assert len(ends) > 12_000
    assert {"", "undecodable", "binary", "empty_text", "bad_content_encoding", "truncated_gzip", "corrupt_gzip"} <= set(ends)


@pytest.mark.parametrize("extractor", ENGINES)
def test_the_same_hostile_page_gives_the_same_text(extractor: str) -> None:
    if extractor == "trafilatura":
        pytest.importorskip("trafilatura")
    options = ExtractionOptions(max_page_bytes=MAX_PAGE_BYTES, extractor=extractor)
    for number in range(25):
        payload = hostile_page(random.Random(f"page {number}"))
        assert extract(payload, "text/html", options) == extract(payload, "text/html", options)
        check(extract(payload, "text/html", options))


@pytest.mark.parametrize("name", [name for name in PACKERS if name != "identity"])
def test_a_bomb_is_too_large_and_its_neighbour_is_read(name: str) -> None:
    bomb = PACKERS[name](bytes(40_000_000))
    assert len(bomb) < 200_000
    data = gzip.compress(record(http(bomb, f"Content-Encoding: {name}"))) + gzip.compress(record(http(page()), "http://a.example/2"))
    first, second = read_captures(io.BytesIO(data), MAX_PAGE_BYTES)
    assert [outcome(first), outcome(second)] == ["too_large", ""]


def test_a_bomb_of_the_archive_itself_is_skipped_in_bounded_memory() -> None:
    data = gzip.compress(record(http(bytes(60_000_000)))) + gzip.compress(record(http(page()), "http://a.example/2"))
    first, second = read_captures(io.BytesIO(data), MAX_PAGE_BYTES)
    assert isinstance(first, Capture)
    assert len(first.body) < 2 * (1 << 20) + MAX_PAGE_BYTES
    assert [outcome(first), outcome(second)] == ["too_large", ""]


@pytest.mark.parametrize("codec", [codec for codec in CODECS if is_known(codec)])
def test_every_charset_ends_in_a_text_or_a_reason(codec: str) -> None:
    for text in (ENGLISH, CHINESE):
        payload = page(text).decode().encode(codec, "replace")
        for content_type in ("text/html", f"text/html; charset={codec}"):
            check(extract(payload, content_type, OPTIONS))


def test_a_broken_escape_sequence_does_not_stop_the_decoder() -> None:
    """Python's incremental decoder raises here, though it is told to replace."""
    for tail in (b"\x1b", b"\x1b$", b"\x1b$B\x1b", b"\x1b$(", b"\x1b" * 20):
        for middle in (b"", b"\x1b$B", b"<p>\x1b$B%F", page()):
            for codec in ("iso-2022-jp", "iso-2022-kr", "hz-gb-2312", "utf-7"):
                check(extract(middle + tail + b"abc" + tail, f"text/html; charset={codec}", OPTIONS))


def shard(path: Path, kind: str, **options: int) -> ShardResult:
    [file] = list_files(parse(f"{kind}:{path}"))
    extraction = ExtractionOptions(**options)  # type: ignore[arg-type]
    return extract_shard(file, crawl="c", kind=kind, options=extraction, out_dir=str(path.parent / "out"), produced_by="key")


def reasons(result: ShardResult) -> dict[str, int]:
    return {reject.reason: reject.num_rejects for reject in result.rejects}


def test_a_shard_counts_every_record_once(tmp_path: Path) -> None:
    """Empty records, duplicates, wrong lengths, a bomb and a sound page: as many outcomes as records."""
    bomb = http(gzip.compress(bytes(9_000_000)), "Content-Encoding: gzip")
    records = [
        record(b""),
        record(http(b"")),
        record(http(page())),
        record(http(page())),
        record(http(page()), length=5),
        record(bomb),
        record(http(b"\0")),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(gzip.compress(one) for one in records))
    result = shard(tmp_path / "a.warc.gz", "warc", max_page_bytes=1 << 20)
    assert result.num_documents == 1
    assert result.num_documents + sum(reasons(result).values()) == len(records)
    assert reasons(result)["duplicate_capture"] == 1


def test_rows_with_the_same_id_nulls_surrogates_and_endless_lines(tmp_path: Path) -> None:
    rows: list[object] = [
        {"text": ENGLISH, "id": 1},
        {"text": ENGLISH, "id": 1},
        {"text": "a\0b \ud800 c"},
        {"text": ""},
        {"text": {"text": "x"}},
        [],
    ]
    lines = [json.dumps(row).encode() for row in rows]
    lines += [b'{"text": "' + b"x" * 3_000_000 + b'"}', b"\xff\xfe", b"[" * 50_000, b'{"text": "' + CHINESE.encode("gbk") + b'"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    result = shard(tmp_path / "a.jsonl", "jsonl", max_line_bytes=1_000_000)
    assert result.num_documents + sum(reasons(result).values()) == len(lines)
    texts = pq.read_table(result.documents_path).column("text").to_pylist()
    assert "ab  c" in texts
    assert len(texts) >= 2


@pytest.mark.slow
def test_a_line_of_a_hundred_megabytes_costs_itself_alone(tmp_path: Path) -> None:
    with open(tmp_path / "a.jsonl", "wb") as file:
        file.write(b'{"text": "' + b"word " * 20_000_000 + b'"}\n')
        file.write(json.dumps({"text": ENGLISH}).encode())
    result = shard(tmp_path / "a.jsonl", "jsonl")
    assert (result.num_documents, reasons(result)) == (1, {"too_large": 1})


@pytest.mark.parametrize("length", [4_000_000, 10**12])
def test_records_that_swallow_each_other_are_read_in_linear_time(length: int) -> None:
    """Twenty thousand records that claim four megabytes each, or more than there is: read anew for each, they would be eighty gigabytes."""
    claim = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\nx\n" % length
    data = claim * 20_000 + b"y" * 3_000_000 + b"\n" + record(http(page()))
    found = list(read_captures(io.BytesIO(data), 4 << 20))
    assert [item.reason for item in found[:-1] if isinstance(item, Problem)] == ["bad_content_length"] * 20_000
    assert outcome(found[-1]) == ""


def test_a_length_beyond_the_file_costs_its_record_alone() -> None:
    """Seven megabytes of sound records behind it, more than a page may have."""
    sound = [record(http(page() + b"<!--" + b"x" * 1_000_000 + b"-->"), f"http://a.example/{number}") for number in range(7)]
    data = record(http(page()), length=10**12) + b"".join(sound)
    found = list(read_captures(io.BytesIO(data), 4 << 20))
    assert found[0] == Problem("bad_content_length", "0")
    assert [item.url for item in found[1:] if isinstance(item, Capture)] == [f"http://a.example/{number}" for number in range(7)]


def test_a_case_can_be_repeated_by_its_number() -> None:
    assert hostile_archive(random.Random("archive 7")) == hostile_archive(random.Random("archive 7"))
    assert all(pack(b"text") == pack(b"text") and b"\x00\x00\x00\x00" in gzip.compress(b"text", mtime=0)[4:8] for pack in PACKERS.values())


def test_a_file_in_which_a_member_starts_everywhere_is_read_in_linear_time() -> None:
    """At every fifteenth byte a gzip member of stored blocks starts that runs to the end of the file: a terabyte, if all were read."""
    start = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + b"\0\xfa\xff\x05\x00"
    data = start * 300_000 + gzip.compress(record(http(page())), mtime=0)
    found = list(read_captures(io.BytesIO(data), MAX_PAGE_BYTES))
    assert found
    assert [outcome(item) for item in found if isinstance(item, Capture)] in ([], [""])
