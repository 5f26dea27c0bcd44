"""Files of rows that nobody checked: what is broken is counted, and what stands beside it is read."""

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.compression import compr

from lm.corpus.documents import extract_shard
from lm.corpus.records import Capture, ExtractionOptions, Problem, ShardResult
from lm.corpus.rows import MAX_URL_CHARS, read_jsonl, read_parquet, read_text, read_wiki
from lm.corpus.sources import list_files, parse

ENGLISH = "Ladders were set against the wall, and everybody climbed; nobody fell. The next morning they were gone."
CHINESE = "梯子靠在墙上，大家都爬了上去，没有人掉下来。第二天早晨，梯子不见了。"
OPTIONS = ExtractionOptions()


def shard(path: Path, kind: str) -> ShardResult:
    [file] = list_files(parse(f"{kind}:{path}"))
    return extract_shard(file, crawl="c", kind=kind, options=OPTIONS, out_dir=str(path.parent / "out"), produced_by="key")


def reasons(result: ShardResult) -> dict[str, int]:
    return {reject.reason: reject.num_rejects for reject in result.rejects}


def texts(result: ShardResult) -> list[str]:
    return cast(list[str], pq.read_table(result.documents_path).column("text").to_pylist())


def parquet(path: Path, **columns: Any) -> BinaryIO:
    pq.write_table(pa.table(columns), path)
    return io.BytesIO(path.read_bytes())


def not_utf8(values: list[bytes]) -> Any:
    """A string column that holds these bytes."""
    offsets = [sum(map(len, values[:i])) for i in range(len(values) + 1)]
    return pa.StringArray.from_buffers(
        len(values), cast(pa.Buffer, pa.array(offsets, pa.int32()).buffers()[1]), pa.py_buffer(b"".join(values))
    )


def test_lone_surrogates_in_addresses_titles_and_names_of_fields(tmp_path: Path) -> None:
    rows = [{"text": ENGLISH, "url": "http://a.example/\ud800"}, {"text": CHINESE, "title": "\ud800"}, {"\ud800": 1}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = shard(tmp_path / "a.jsonl", "jsonl")
    assert (result.num_documents, reasons(result)) == (2, {"no_text_field": 1})
    assert pq.read_table(result.captures_path).column("url").to_pylist()[0] == "http://a.example/?"
    assert all(reject.example.encode() for reject in result.rejects)


def test_an_address_out_of_all_proportion_is_counted(tmp_path: Path) -> None:
    rows = [{"text": ENGLISH, "url": "http://a.example/" + "a" * MAX_URL_CHARS}, {"text": CHINESE}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert reasons(shard(tmp_path / "a.jsonl", "jsonl")) == {"url_too_long": 1}


def test_json_in_a_legacy_charset_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps({"text": CHINESE * 3}, ensure_ascii=False).encode("gbk"))
    assert texts(shard(tmp_path / "a.jsonl", "jsonl")) == [CHINESE * 3]


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("suffix", [*PACKERS, "zst"])
def test_broken_compression_of_any_kind_is_counted(tmp_path: Path, suffix: str) -> None:
    if suffix == "zst" and "zstd" not in compr:
        pytest.skip("no codec for Zstandard is installed")
    line = json.dumps({"text": ENGLISH}).encode() + b"\n"
    out = io.BytesIO()
    if suffix == "zst":
        with compr["zstd"](out, mode="wb") as file:
            file.write(line)
    data = PACKERS[suffix](line) if suffix in PACKERS else out.getvalue()
    middle = len(data) // 2
    for broken in (b"junk and no more", data[:-6], data[:middle] + b"\xff\xff\xff" + data[middle + 3 :]):
        found = list(read_jsonl(io.BytesIO(broken), f"a.jsonl.{suffix}", OPTIONS))
        assert [item.reason for item in found if isinstance(item, Problem)] == ["truncated_file"]
        [problem] = [item for item in read_text(io.BytesIO(broken), f"a.txt.{suffix}", OPTIONS) if isinstance(item, Problem)]
        assert problem.reason == "truncated_file"


def test_of_a_zip_with_two_files_none_is_read_silently() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("../../a.jsonl", "b.jsonl"):
            archive.writestr(name, json.dumps({"text": ENGLISH}))
    for read in (read_jsonl, read_text, read_wiki):
        assert list(read(io.BytesIO(out.getvalue()), "a.zip", OPTIONS)) == [Problem("unknown_compression", "a.zip")]


class Unreachable(io.BytesIO):
    """A file of a store that is gone."""

    def _fail(self, *_: object) -> bytes:
        raise ConnectionError("the store does not answer")

    read = readline = readinto = _fail  # type: ignore[assignment]


def test_a_store_that_is_gone_is_no_broken_file() -> None:
    for name in ("a.jsonl", "a.jsonl.gz"):
        with pytest.raises(ConnectionError):
            list(read_jsonl(Unreachable(), name, OPTIONS))
    with pytest.raises(ConnectionError):
        list(read_text(Unreachable(), "a.txt", OPTIONS))


def test_strings_of_parquet_that_are_no_utf8(tmp_path: Path) -> None:
    values = [ENGLISH.encode(), b"\xff\xfe\xed\xa0\x80" * 9, (CHINESE * 3).encode("gbk"), ENGLISH.encode() * 5 + b"\xff"]
    parquet(tmp_path / "a.parquet", text=not_utf8(values))
    result = shard(tmp_path / "a.parquet", "parquet")
    assert result.num_documents + sum(reasons(result).values()) == len(values)
    assert {ENGLISH, CHINESE * 3} <= set(texts(result))


def test_text_of_parquet_as_bytes_and_in_a_dictionary(tmp_path: Path) -> None:
    for name, column in (("a", pa.array([ENGLISH.encode(), None])), ("b", pa.array([ENGLISH, None]).dictionary_encode())):
        found = list(read_parquet(parquet(tmp_path / f"{name}.parquet", text=column), "a", OPTIONS))
        assert [type(item) for item in found] == [Capture, Problem]


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**62 + 1], pa.timestamp("ns")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([0], pa.timestamp("us", tz="Nowhere/Land")),
    ],
)
def test_times_that_python_does_not_know_are_none(tmp_path: Path, dates: Any) -> None:
    [found] = read_parquet(parquet(tmp_path / "a.parquet", text=pa.array([ENGLISH]), date=dates), "a", OPTIONS)
    assert isinstance(found, Capture)
    assert found.fetched_at is None


def test_a_damaged_row_group_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{number} {ENGLISH}" for number in range(30)]}), path, row_group_size=10, compression="zstd")
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data[chunk.data_page_offset : chunk.data_page_offset + 40] = b"\xff" * 40
    found = list(read_parquet(io.BytesIO(data), "a", OPTIONS))
    assert [item.reason for item in found if isinstance(item, Problem)] == ["corrupt_parquet"]
    assert [item.file_offset for item in found if isinstance(item, Capture)] == [*range(10), *range(20, 30)]


def test_equal_large_strings_are_read_one_by_one(tmp_path: Path) -> None:
    """128 rows of a megabyte in a few kilobytes, with and without a dictionary."""
    column = pa.array(["x" * (1 << 20)]).take(pa.array([0] * 128))
    for use_dictionary in (True, False):
        pq.write_table(
            pa.table({"text": column}), tmp_path / "a.parquet", use_dictionary=use_dictionary, compression="zstd", write_batch_size=1
        )
        before, most = pa.total_allocated_bytes(), 0
        for found in read_parquet(io.BytesIO((tmp_path / "a.parquet").read_bytes()), "a", OPTIONS):
            assert isinstance(found, Capture)
            most = max(most, pa.total_allocated_bytes() - before)
        assert most < 64 << 20


def test_an_endless_number_in_a_wiki_title_is_read() -> None:
    number = "&#" + "1" * 5000 + ";"
    data = f'<doc id="1" url="{number}" title="{number}">\n{ENGLISH}\n</doc>\n'.encode()
    [found] = read_wiki(io.BytesIO(data), "a.txt", OPTIONS)
    assert isinstance(found, Capture)
    assert found.title == "\ufffd"


def test_dates_of_rows_in_every_form() -> None:
    dates: list[object] = ["2020-01-02", "0001-01-01T00:00:00+23:59", "\ud800", 5, None, []]
    rows = [{"text": ENGLISH, "date": date} for date in dates]
    found = list(read_jsonl(io.BytesIO("\n".join(map(json.dumps, rows)).encode()), "a.jsonl", OPTIONS))
    moments = [item.fetched_at for item in found if isinstance(item, Capture)]
    assert moments == [datetime(2020, 1, 2, tzinfo=UTC), None, None, None, None, None]


VALUES: tuple[object, ...] = (
    ENGLISH, CHINESE, "", "\ud800a\x00", 5, None, [1], {"a": 1}, 1e308, True, "2020-01-01", "9999-12-31T23:59:59-12:00", "http://[::1",
    "http://a.example/\x00", "http://\u2100.example/", "x" * 3000, "&#" + "9" * 5000 + ";",
)  # fmt: skip
COLUMNS: tuple[Callable[[int], Any], ...] = (
    lambda num: pa.array([f"{ENGLISH} {i % 3}" for i in range(num)]).dictionary_encode(),
    lambda num: pa.array([CHINESE.encode("gbk")] * num),
    lambda num: not_utf8([b"\xff\xfe" + bytes([i]) for i in range(num)]),
    lambda num: pa.array([None] * num, pa.string()),
    lambda num: pa.array([2**61 + i for i in range(num)], pa.timestamp("us")),
    lambda num: pa.array([2**31 - 1 - i for i in range(num)], pa.date32()),
    lambda num: pa.array([[ENGLISH]] * num),
    lambda num: pa.array([ENGLISH] * num, pa.large_string()),
    lambda num: pa.nulls(num),
)


def damaged(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randrange(5)):
        at = dice.randrange(len(out) + 1)
        if dice.random() < 0.3:
            del out[at : at + dice.randrange(1, 64)]
        elif at < len(out):
            out[at] = dice.randrange(256)
    return bytes(out)


def run_case(folder: Path, number: int) -> ShardResult:
    """One file of rows out of bad values, packed in some way, and damaged most of the time."""
    dice = random.Random(f"rows {number}")
    names = ("text", "url", "title", "date")
    if dice.random() < 0.4:
        num = dice.randrange(1, 20)
        columns = {name: dice.choice(COLUMNS)(num) for name in names if name == "text" or dice.random() < 0.7}
        out, path, kind = io.BytesIO(), folder / "a.parquet", "parquet"
        pq.write_table(pa.table(columns), out, row_group_size=dice.randrange(1, 9), use_dictionary=dice.random() < 0.5)
        data = out.getvalue()
    else:
        rows = [{name: dice.choice(VALUES) for name in names if dice.random() < 0.7} for _ in range(dice.randrange(1, 9))]
        suffix, kind = dice.choice(("", *PACKERS)), "jsonl"
        lines = "\n".join(json.dumps(row, ensure_ascii=dice.random() < 0.5) for row in rows).encode("utf-8", "surrogatepass")
        data, path = PACKERS.get(suffix, bytes)(lines), folder / f"a.jsonl.{suffix}".rstrip(".")
    path.write_bytes(damaged(data, dice))
    return shard(path, kind)


def check_cases(folder: Path, num: int) -> set[str]:
    ends: set[str] = set()
    for number in range(num):
        result = run_case(folder, number)
        assert all(reject.example.encode() and reject.num_rejects > 0 for reject in result.rejects)
        ends |= set(reasons(result)) | ({"document"} if result.num_documents else set())
    return ends


def test_files_of_bad_rows_end_in_documents_and_reasons(tmp_path: Path) -> None:
    assert {"document", "no_text_field", "text_not_a_string", "invalid_json"} <= check_cases(tmp_path, 60)


@pytest.mark.slow
def test_fifteen_hundred_files_of_bad_rows(tmp_path: Path) -> None:
    assert {"corrupt_parquet", "invalid_parquet", "truncated_file"} <= check_cases(tmp_path, 1500)
