"""Archives in every state: one file per reason with sound records around the broken one, and damage at random places."""

import gzip
import io
import zlib

import pytest
from fastwarc.stream_io import BrotliWriter, Lz4Writer
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus.records import Capture, Problem
from lm.corpus.warc import read_captures

PAGE = b"<html><body><p>A page about ladders.</p></body></html>"
MAX_PAGE_BYTES = 1 << 20


def http(body: bytes = PAGE, status: str = "200 OK", content_type: str | None = "text/html", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(block: bytes, url: str | None = "http://a.example/", kind: str = "response", length: object = None, **headers: str) -> bytes:
    lines = ["WARC/1.0", f"WARC-Type: {kind}", "WARC-Date: 2024-05-18T01:02:03Z"]
    lines += [f"WARC-Target-URI: {url}"] if url else []
    lines += [f"Content-Type: {headers.pop('content_type', 'application/http; msgtype=response')}"]
    lines += [f"Content-Length: {len(block) if length is None else length}"] if length != "" else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


GOOD = [record(http(b"<p>one"), "http://a.example/1"), record(http(b"<p>two"), "http://a.example/2")]


def read(data: bytes, max_page_bytes: int = MAX_PAGE_BYTES) -> tuple[list[Capture], list[str]]:
    found = list(read_captures(io.BytesIO(data), max_page_bytes))
    captures = [item for item in found if isinstance(item, Capture)]
    return captures, [item.reason for item in found if isinstance(item, Problem)]


def test_a_sound_capture_has_all_its_facts() -> None:
    [capture], problems = read(
        record(http(PAGE, content_type="text/html; charset=utf-8", ETag='"x"', Last_Modified="yesterday"), "<http://a.example/x y>")
    )
    assert problems == []
    assert (capture.url, capture.status, capture.reason) == ("http://a.example/x y", 200, None)
    assert (capture.body, capture.etag, capture.last_modified) == (PAGE, '"x"', "yesterday")
    assert capture.content_type == "text/html; charset=utf-8"
    assert capture.fetched_at is not None
    assert capture.fetched_at.isoformat() == "2024-05-18T01:02:03+00:00"


def lz4(data: bytes) -> bytes:
    out = io.BytesIO()
    writer = Lz4Writer(out)
    writer.write(data)
    writer.close()
    return out.getvalue()


@pytest.mark.parametrize("pack", [lambda r: r, gzip.compress, lz4], ids=["plain", "gzip", "lz4"])
def test_compression_by_record_and_descriptions_left_out(pack: object) -> None:
    assert callable(pack)
    parts = [record(b"software: x", None, "warcinfo"), GOOD[0], record(b"GET /", kind="request"), record(b"x: y", kind="metadata"), GOOD[1]]
    captures, problems = read(b"".join(pack(part) for part in parts))
    assert [capture.body for capture in captures] == [b"<p>one", b"<p>two"]
    assert problems == []


def test_offsets_are_those_of_the_compressed_records() -> None:
    packed = [gzip.compress(part) for part in GOOD]
    assert [capture.file_offset for capture in read(b"".join(packed))[0]] == [0, len(packed[0])]
    assert [capture.file_offset for capture in read(b"".join(GOOD))[0]] == [0, len(GOOD[0])]


def test_one_gzip_member_over_the_whole_file_and_members_that_cut_records() -> None:
    data = b"".join(GOOD)
    for packed in (gzip.compress(data), b"".join(gzip.compress(data[at : at + 50]) for at in range(0, len(data), 50))):
        captures, problems = read(packed)
        assert (len(captures), problems) == (2, [])


SHORT, LONG = record(http(), length=20), record(http(), length=10_000)
NO_LENGTH = record(http(), length="")
BROKEN = {
    "short_length": (SHORT, "bad_content_length"),
    "no_length": (NO_LENGTH, "bad_content_length"),
    "length_no_number": (record(http(), length="many"), "bad_content_length"),
    "junk": (b"this is no record at all\r\n\r\n", "broken_record"),
    "endless_header": (b"WARC/1.0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", "invalid_header"),
    "no_url": (record(http(), None), "missing_url"),
    "revisit": (record(http(b""), kind="revisit"), "revisit"),
    "segment": (record(b"rest", kind="continuation"), "segmented_record"),
    "unknown_type": (record(b"?", kind="novelty"), "unknown_record_type"),
    "no_http": (record(b"20240518 example.org A 1.2.3.4", content_type="text/dns"), "not_http"),
    "no_status": (record(b"HTTP/1.1 fine\r\nContent-Type: text/html\r\n\r\n" + PAGE), "invalid_http"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("pack", [lambda r: r, gzip.compress], ids=["plain", "gzip"])
def test_a_broken_record_is_counted_and_its_neighbours_are_read(broken: bytes, reason: str, pack: object) -> None:
    assert callable(pack)
    captures, problems = read(pack(GOOD[0]) + pack(broken) + pack(GOOD[1]))
    assert [capture.body for capture in captures] == [b"<p>one", b"<p>two"]
    assert problems == [reason]


@pytest.mark.parametrize("length", [len(http()) + 30, 10_000])
def test_a_record_swallowed_by_a_wrong_length_is_taken_back(length: int) -> None:
    captures, problems = read(GOOD[0] + record(http(), length=length) + GOOD[1])
    assert [capture.body for capture in captures] == [b"<p>one", b"<p>two"]
    assert problems == ["bad_content_length"]


def test_truncated_files() -> None:
    assert read((GOOD[0] + GOOD[1])[:-30])[1] == ["truncated_record"]
    packed = gzip.compress(GOOD[0]) + gzip.compress(GOOD[1])
    captures, problems = read(packed[:-20])
    assert (len(captures), len(problems)) == (1, 1)
    assert problems[0] in ("truncated_record", "truncated_gzip")


def test_a_corrupt_gzip_member_costs_only_itself() -> None:
    middle = bytearray(gzip.compress(record(http(PAGE * 100))))
    middle[len(middle) // 2] ^= 0xFF
    captures, problems = read(gzip.compress(GOOD[0]) + bytes(middle) + gzip.compress(GOOD[1]))
    assert [capture.body for capture in captures] == [b"<p>one", b"<p>two"]
    assert problems == ["corrupt_gzip"]


def test_a_checksum_that_does_not_fit_sets_the_record_aside() -> None:
    packed = bytearray(gzip.compress(GOOD[0]))
    packed[-6] ^= 1
    captures, problems = read(bytes(packed) + gzip.compress(GOOD[1]))
    assert [capture.body for capture in captures] == [b"<p>two"]
    assert problems == ["corrupt_gzip"]


def test_padding_and_rubbish_after_the_last_member() -> None:
    assert read(gzip.compress(GOOD[0]) + b"\0" * 100_000)[1] == []
    assert read(gzip.compress(GOOD[0]) + b"rubbish")[1] == ["corrupt_gzip"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (gzip.compress(b"", mtime=0), "empty_file"),
        (b"<html>no archive", "not_warc"),
        (gzip.compress(b"text\n" * 100_000, mtime=0), "not_warc"),
        (record(b"x: y", kind="metadata"), "no_captures"),
    ],
)
def test_a_file_without_captures_says_why(data: bytes, reason: str) -> None:
    assert read(data) == ([], [reason])


def test_an_archive_behind_rubbish_is_still_read() -> None:
    captures, problems = read(b"rubbish\n" * 10_000 + b"\r\n" + GOOD[0])
    assert (len(captures), problems) == (1, ["broken_record"])


def test_conversion_and_resource_records() -> None:
    wet = record("文本 text".encode(), "http://a.example/", "conversion", content_type="text/plain")
    image = record(b"\x89PNG", "file:///x.png", "resource", content_type="image/png")
    log = record(b"log", "metadata://gnu.org/software/wget/warc/wget.log", "resource", content_type="text/plain")
    captures, problems = read(wet + image + log + record(PAGE, kind="resource", content_type="text/html"))
    assert problems == []
    assert [(capture.extractor, capture.reason) for capture in captures] == [("wet", None), (None, "not_text"), (None, None)]


def chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def brotli(body: bytes) -> bytes:
    out = io.BytesIO()
    writer = BrotliWriter(out)
    writer.write(body)
    writer.close()
    return out.getvalue()


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


ENCODED = {
    "chunked": http(chunked(PAGE), Transfer_Encoding="chunked"),
    "chunked_by_header_only": http(PAGE, Transfer_Encoding="chunked"),
    "gzip": http(gzip.compress(PAGE), Content_Encoding="gzip"),
    "gzip_by_header_only": http(PAGE, Content_Encoding="gzip"),
    "deflate": http(zlib.compress(PAGE), Content_Encoding="deflate"),
    "raw_deflate": http(raw_deflate(PAGE), Content_Encoding="deflate"),
    "br": http(brotli(PAGE), Content_Encoding="br"),
    "br_by_header_only": http(PAGE, Content_Encoding="br"),
    "both": http(chunked(gzip.compress(PAGE)), Transfer_Encoding="chunked", Content_Encoding="gzip"),
    "twice": http(zlib.compress(gzip.compress(PAGE)), Content_Encoding="gzip, deflate"),
    "meaningless": http(PAGE, Content_Encoding="utf-8"),
    "line_feeds_only": http(PAGE).replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("block", ENCODED.values(), ids=ENCODED)
def test_encodings_are_removed_and_headers_believed_only_where_the_body_agrees(block: bytes) -> None:
    [capture], problems = read(record(block))
    assert (capture.body, capture.reason, problems) == (PAGE, None, [])


REFUSED = {
    "status": (http(status="404 Not Found"), "http_status"),
    "image": (http(b"\x89PNG", content_type="image/png"), "not_text"),
    "no_type_no_html": (http(b"\x00\x01", content_type=None), "not_text"),
    "chunk_too_long": (http(b"5\r\nhello\r\nff\r\nx", Transfer_Encoding="chunked"), "bad_chunking"),
    "chunk_size_no_number": (http(b"5\r\nhello\r\nzz\r\nx", Transfer_Encoding="chunked"), "bad_chunking"),
    "gzip_cut": (http(gzip.compress(PAGE)[:-12], Content_Encoding="gzip"), "bad_content_encoding"),
    "br_broken": (http(brotli(PAGE)[:-5], Content_Encoding="br"), "bad_content_encoding"),
    "unknown": (http(b"x", Content_Encoding="rot13"), "unknown_content_encoding"),
    "too_large": (http(b"x" * (MAX_PAGE_BYTES + 1)), "too_large"),
    "far_too_large": (http(b"x" * (4 * MAX_PAGE_BYTES)), "too_large"),
    "gzip_bomb": (http(gzip.compress(bytes(50 << 20)), Content_Encoding="gzip"), "too_large"),
    "br_bomb": (http(brotli(bytes(50 << 20)), Content_Encoding="br"), "too_large"),
}


@pytest.mark.parametrize(("block", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_response_that_cannot_be_used_is_a_capture_with_a_reason(block: bytes, reason: str) -> None:
    captures, problems = read(record(block) + GOOD[0])
    assert [capture.reason for capture in captures] == [reason, None]
    assert problems == []


def arc(*records: tuple[str, bytes], version: int = 1) -> bytes:
    head = b"%d 0 Crawl\nURL IP-address Archive-date Content-type Archive-length\n\n" % version
    extra = "" if version == 1 else "200 - - 0 name "
    lines = [(f"filedesc://x.arc 0.0.0.0 20140216050221 text/plain {extra}{len(head)}\n").encode() + head + b"\n"]
    lines += [f"{url} 1.2.3.4 20140216050221 text/html {extra}{len(block)}\n".encode() + block + b"\n" for url, block in records]
    return b"".join(lines)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pack", [lambda r: r, gzip.compress], ids=["plain", "gzip"])
def test_arc(version: int, pack: object) -> None:
    assert callable(pack)
    captures, problems = read(pack(arc(("http://a.example/x y", http()), ("http://a.example/2", http(b"<p>two")), version=version)))
    assert [(capture.url, capture.body) for capture in captures] == [("http://a.example/x y", PAGE), ("http://a.example/2", b"<p>two")]
    assert problems == []
    assert captures[0].fetched_at is not None
    assert captures[0].fetched_at.isoformat() == "2014-02-16T05:02:21+00:00"


def test_broken_arc_records_are_counted() -> None:
    good = arc(("http://a.example/1", http()))
    bad = b"http://a.example/ 1.2.3.4 20140216050221 text/html -1\n\n"
    assert (len(read(good + bad + good)[0]), read(good + bad + good)[1]) == (2, ["broken_record"])
    assert read(good[:-40])[1] == ["truncated_record"]
    assert read(good.replace(b" %d\nHTTP" % len(http()), b" 30\nHTTP") + good)[1] == ["bad_content_length"]


SAMPLE = [record(http(gzip.compress(PAGE * 20), Content_Encoding="gzip")), record(http(chunked(PAGE), Transfer_Encoding="chunked")), *GOOD]
ARCHIVES = [
    b"".join(SAMPLE),
    b"".join(map(gzip.compress, SAMPLE)),
    gzip.compress(b"".join(SAMPLE)),
    arc(("http://a.example/", http())),
    lz4(SAMPLE[0]),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ARCHIVES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), st.integers(0, 10**6))
def test_damage_at_random_places_never_raises(archive: bytes, flips: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(archive)
    for at, value in flips:
        data[at % len(data)] = value
    for item in read_captures(io.BytesIO(bytes(data[: cut % (2 * len(data)) or None])), 4096):
        assert isinstance(item, Capture) or item.reason


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_as_file_block_and_body_never_raise(data: bytes) -> None:
    for content in (
        data,
        record(data),
        record(http(data, Transfer_Encoding="chunked", Content_Encoding="gzip, br, deflate, zstd")),
        b"WARC/1.0\r\n" + data,
    ):
        assert read(content)
