"""Freed memory goes back to the system."""

import platform
from pathlib import Path

import pytest

from lm.corpus.freed_memory import give_back


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory and has a call to give it back")
def test_what_lies_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytes(20_000) for _ in range(4_000)]
    kept = pieces[::100]
    full = resident_mb()
    pieces.clear()
    give_back()
    assert resident_mb() < full - 50
    assert len(kept) == 40
    assert isinstance(give_back(), bool)
