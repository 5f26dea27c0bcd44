import hashlib
import inspect
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from storage import records
from storage.digest import digest, file_digest
from storage.records import Reject


@given(st.lists(st.text()), st.lists(st.text()))
def test_different_parts_have_different_digests(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_text_counts_as_its_utf8_bytes() -> None:
    assert digest("äö") == digest("äö".encode())
    assert len(digest()) == 32


def test_file_digest_is_plain_blake2b_of_the_bytes(tmp_path: Path) -> None:
    data = b"abc" * 1_000_000
    (tmp_path / "file").write_bytes(data)
    assert file_digest(tmp_path / "file") == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_a_reject_needs_only_the_standard_library() -> None:
    assert Reject("documents", "a.warc.gz", "empty_text", 3, "a.warc.gz#17").num_rejects == 3
    assert "import" not in inspect.getsource(records).replace("from dataclasses import dataclass", "").split('"""')[2]
