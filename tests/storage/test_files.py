import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import files
from storage.schema import TABLES

ROWS = pa.table({"id": ["a", "b"], "validation_id": ["v", "v"]})


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    files.write_bytes(str(path), b"one")
    files.write_bytes(str(path), b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(TypeError):
        files.write_bytes(str(path), "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"two"
    assert files.list_files(str(tmp_path)) == [str(path)]
    assert files.exists(str(path))
    files.remove(str(path))
    files.remove(str(path))
    assert not files.exists(str(path))


def test_parquet_takes_the_tables_columns_and_is_the_same_each_time(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one.parquet"), str(tmp_path / "two.parquet")
    files.write_parquet(one, ROWS, "key", schema=TABLES["validation"])
    files.write_parquet(two, ROWS.select(["validation_id", "id"]), "key", schema=TABLES["validation"])
    assert Path(one).read_bytes() == Path(two).read_bytes()
    found = pq.read_table(one)
    assert found.column_names == ["produced_by", "validation_id", "id"]
    assert found["produced_by"].to_pylist() == ["key", "key"]
    assert pq.read_metadata(one).row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROWS.drop_columns("id"), r"missing: \['id'\]"),
        (ROWS.append_column("colour", ROWS["id"]), r"unknown: \['colour'\]"),
        (ROWS.append_column("produced_by", ROWS["id"]), "must come without the column produced_by"),
        (pa.table({"id": [b"\xff\xfe"], "validation_id": ["v"]}), r"validation\.id must be VARCHAR; got binary"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_leave_no_file(rows: pa.Table, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        files.write_parquet(str(tmp_path / "x.parquet"), rows, "key", schema=TABLES["validation"])
    assert list(tmp_path.iterdir()) == []


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    target, size = tmp_path / "copy", 1 << 20
    start = threading.Barrier(4, timeout=10)

    def write(letter: str) -> None:
        for _ in range(20):
            start.wait()
            files.write_bytes(str(target), letter.encode() * size)

    with ThreadPoolExecutor(4) as pool:
        for written in [pool.submit(write, letter) for letter in "abcd"]:
            written.result()
    assert len(set(target.read_bytes())) == 1
    assert target.stat().st_size == size
    assert files.list_files(str(tmp_path)) == [str(target)]
