"""ISA-L's inflate beside zlib's: the same bytes from sound data, an error or an open end from broken data, a bound on what comes out."""

import random
import zlib

import pytest

from lm.corpus.inflate import GZIP, RAW, ZLIB, InflateError, decompressor, may_open


@pytest.mark.parametrize("wrapping", [GZIP, ZLIB, RAW])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_sound_data_gives_what_zlib_gives_in_pieces_of_any_size(wrapping: int, level: int) -> None:
    rng = random.Random(level)
    data = bytes(rng.choice(b"abcd <>\n") for _ in range(50_000)) + b"x" * 200_000
    packer = zlib.compressobj(level, zlib.DEFLATED, wrapping)
    packed, decoder, out = packer.compress(data) + packer.flush() + b"next", decompressor(wrapping), b""
    while not decoder.eof:
        head = packed[: rng.randrange(1, 5_000)]
        out += decoder.decompress(head, 1_000)
        assert len(out) <= len(data)
        packed = (decoder.unused_data or decoder.unconsumed_tail) + packed[len(head) :]
    assert out == data
    assert packed == b"next"


def test_broken_data_is_an_error_or_has_no_end() -> None:
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP)
    packed = bytearray(packer.compress(b"some text " * 100) + packer.flush())
    cut = decompressor(GZIP)
    cut.decompress(bytes(packed[:-5]), 10_000)
    assert not cut.eof
    packed[-6] ^= 1
    with pytest.raises(InflateError):
        decompressor(GZIP).decompress(bytes(packed), 10_000)


@pytest.mark.parametrize(
    ("head", "may"), [(b"", True), (b"\x1f", True), (b"\x1f\x8b\x08\x08", True), (b"\x1f\x8b\x08\x20", False), (b"ru", False)]
)
def test_first_bytes_of_a_member(head: bytes, may: bool) -> None:
    assert may_open(head) == may
