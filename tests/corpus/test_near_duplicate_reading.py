"""Rows are found by id, and pages that hold none of them stay packed; what comes is what Arrow reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import minhash, shard_files
from lm.corpus.near_duplicates import pages, proposing, reading, verifying
from lm.corpus.near_duplicates.finding import find
from lm.corpus.near_duplicates.marks import Marks
from lm.corpus.near_duplicates.spill import id_heads
from storage.digest import digest

RANDOM = np.random.default_rng(0)
TEXTS = ["".join(RANDOM.choice(list("abcd ä中\U0001f600"), size)) for size in RANDOM.integers(1, 900, 600)]
IDS = [digest(text) for text in TEXTS]


def table(texts: Sequence[str | None] = TEXTS) -> pa.Table:
    return pa.table({"id": pa.array(IDS[: len(texts)]), "text": pa.array(texts, pa.string())})


def written(path: Path, rows: pa.Table, group_rows: int = 250) -> Path:
    """A file as a shard's documents are, in pages of some ten texts."""
    with shard_files.parquet_writer(path, rows.schema) as writer:
        for first in range(0, rows.num_rows, group_rows):
            writer.write_table(rows.slice(first, group_rows))
    return path


@pytest.fixture(scope="module", autouse=True)
def small_pages() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "_PAGE_BYTES", 4096)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stored") / "documents", table())


def picked(path: Path, group: int, rows: Sequence[int]) -> list[str] | None:
    with pa.OSFile(str(path), mode="r") as raw, pq.ParquetFile(raw) as file:
        found = pages.Chunks().texts_at(raw, file, group, "text", np.array(rows, np.int64))
    return None if found is None else [str(text) for text in found.to_pylist()]


@settings(max_examples=60, deadline=None)
@given(rows=st.sets(st.integers(0, 249)), group=st.integers(0, 1))
def test_texts_of_rows_are_what_arrow_reads(stored: Path, rows: set[int], group: int) -> None:
    assert picked(stored, group, sorted(rows)) == [TEXTS[250 * group + row] for row in sorted(rows)]


def test_columns_that_may_not_be_null_are_read_too(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.string(), False), pa.field("text", pa.string(), False)])
    assert picked(written(tmp_path / "x", table().cast(schema)), 1, [0, 249]) == [TEXTS[250], TEXTS[499]]


def test_other_pages_stay_packed(stored: Path, tmp_path: Path) -> None:
    with pa.OSFile(str(stored), mode="r") as raw, pq.ParquetFile(raw) as file:
        chunk = file.metadata.row_group(0).column(1)
    damaged = bytearray(stored.read_bytes())
    with_damage = chunk.data_page_offset + chunk.total_compressed_size // 2
    damaged[with_damage : with_damage + 64] = bytes(64)
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(OSError, match="ZSTD"):
        pq.read_table(tmp_path / "damaged", columns=["text"])
    assert picked(tmp_path / "damaged", 0, [0, 249]) == [TEXTS[0], TEXTS[249]]


@pytest.mark.parametrize(
    "how",
    [
        {"use_dictionary": True},
        {"compression": "snappy"},
        {"use_dictionary": False, "data_page_version": "2.0"},
        {"use_dictionary": False, "write_statistics": False},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_other_files_are_left_to_arrow(tmp_path: Path, how: dict[str, Any]) -> None:
    pq.write_table(table(), tmp_path / "x", **{"compression": "zstd", **how})
    assert picked(tmp_path / "x", 0, [3]) is None
    assert found_texts([tmp_path / "x"], IDS[3:5]) == dict(zip(IDS[3:5], TEXTS[3:5], strict=True))


def test_nulls_and_large_chunks_are_left_to_arrow(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert picked(written(tmp_path / "x", table([*TEXTS[:-1], None])), 2, [3]) is None
    monkeypatch.setattr(pages, "MAX_CHUNK_BYTES", 100)
    assert picked(stored, 0, [3]) is None


def test_bytes_that_are_no_pages_are_no_pages() -> None:
    for size in (1, 3, 40, 2000):
        for seed in range(200):
            data = np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()
            assert pages._pages(memoryview(data), 50) is None


def found_texts(sources: Sequence[Any], ids: Sequence[str]) -> dict[str, str]:
    """Texts that were asked for among those that came."""
    batches = reading.texts(sources, reading.Wanted(pa.array(ids, pa.string())))
    rows = [row for batch in batches for row in batch.to_pylist()]
    return {row["id"]: row["text"] for row in rows if row["id"] in set(ids)}


@pytest.mark.parametrize("step", [1, 7, 60, 599])
def test_wanted_texts_come_out_of_all_files(stored: Path, tmp_path: Path, step: int) -> None:
    others = written(tmp_path / "y", pa.table({"id": [digest(id) for id in IDS], "text": TEXTS}))
    wanted = [*IDS[::step], *(digest(id) for id in IDS[::step])]
    with open(stored, "rb") as opened:
        assert found_texts([opened, others], wanted) == dict(zip(wanted, TEXTS[::step] * 2, strict=True))


def family(seed: int) -> list[str]:
    """Two similar texts and one that is not."""
    rng = np.random.default_rng(seed)
    words, other = rng.integers(0, 5000, (2, 60)).tolist()
    changed = [*words[:30], -1, *words[31:]]
    return [" ".join("".join(chr(97 + int(digit)) for digit in str(abs(word))) for word in text) for text in (words, changed, other)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_small_crawls_one_after_the_other_give_what_one_comparison_gives(tmp_path: Path, order: Sequence[int]) -> None:
    everything = [text for seed in range(220) for text in family(seed)]
    crawls = [everything[3::40], everything[4::40], [], everything[5::40]]
    crawls[2] = sorted(set(everything) - {text for crawl in crawls for text in crawl})
    for number, texts in enumerate(crawls):
        rows = pa.table({"id": [digest(text) for text in texts], "text": texts})
        written(tmp_path / f"documents-{number}", rows)
        pq.write_table(minhash.band_table(rows["id"], rows["text"], "ladder"), tmp_path / f"signatures-{number}", row_group_size=100)
    found, picks = [], 0
    for step, number in enumerate(order):
        new, old = [tmp_path / f"signatures-{number}"], [tmp_path / f"signatures-{earlier}" for earlier in order[:step]]
        (tmp_path / str(step)).mkdir()
        proposal = proposing.propose(reading.band_keys(new, "ladder"), reading.band_keys(old, "ladder"), 1000, tmp_path / str(step))
        come: list[int] = []

        def texts_of(ids: pa.Table, seen: Sequence[int] = order[: step + 1], come: list[int] = come) -> Iterator[pa.RecordBatch]:
            for batch in reading.texts([tmp_path / f"documents-{crawl}" for crawl in seen], reading.Wanted(ids["id"])):
                come.append(batch.num_rows)
                yield batch

        found += list(verifying.verify(proposal, texts_of, "ladder", tmp_path / str(step)))
        picks += sum(come) < sum(len(crawls[crawl]) for crawl in order[: step + 1]) / 2
    assert picks >= 1, "no step unpacked single pages"
    expected = find(pa.array([digest(text) for text in everything]), pa.array(everything), "ladder")
    assert expected.num_rows > 200
    assert pa.concat_tables(found).sort_by([("id_a", "ascending"), ("id_b", "ascending")]).equals(expected)


def test_an_empty_file_has_no_texts(tmp_path: Path) -> None:
    pq.write_table(table([]), tmp_path / "x")
    assert found_texts([tmp_path / "x"], IDS[:1]) == {}


def test_few_wanted_texts_come_alone(stored: Path) -> None:
    batches = list(reading.texts([stored], reading.Wanted(pa.array([IDS[300], digest("not there")]))))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"id": IDS[300], "text": TEXTS[300]}]
    assert list(reading.texts([stored], reading.Wanted(pa.array([digest("not there")])))) == []
    assert list(reading.texts([stored], reading.Wanted(pa.array([], pa.string())))) == []


def test_ids_that_begin_alike_are_told_apart() -> None:
    ids = [f"01234567{number:08x}{number:016x}" for number in range(5)]
    assert reading.Wanted(pa.array(ids[3:4])).rows(pa.array(ids)).tolist() == [3]
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        id_heads(pa.array(["short"]))


def test_marked_keys_pass_and_few_others() -> None:
    keys = RANDOM.integers(0, 1 << 63, 20_000, np.uint64)
    marks = Marks(1000)
    marks.add(keys[5::20])
    passed = marks.passed(keys)
    assert set(range(5, 20_000, 20)) <= set(passed.tolist())
    assert len(passed) < 1000 + 200
    assert (np.diff(passed) > 0).all()


@pytest.mark.parametrize(("group_rows", "statistics"), [(4, True), (3, True), (100, True), (4, False)])
def test_band_keys_of_one_method(tmp_path: Path, group_rows: int, statistics: bool) -> None:
    bands = pa.array([[i, i + 1] for i in range(12)], pa.list_(pa.uint64()))
    rows = pa.table({"id": IDS[:12], "method": ["ladder"] * 4 + ["fineweb"] * 4 + ["slimpajama"] * 4, "bands": bands})
    pq.write_table(rows, tmp_path / "x", row_group_size=group_rows, write_statistics=statistics)
    found = pa.Table.from_batches(reading.band_keys([tmp_path / "x", tmp_path / "x"], "fineweb"))
    expected = rows.slice(4, 4).select(["id", "bands"])
    assert found.equals(pa.concat_tables([expected, expected]))
    assert sum(batch.num_rows for batch in reading.band_keys([tmp_path / "x"], "other")) == 0
