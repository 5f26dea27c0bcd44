"""What a run sees: limited sets in epochs, mixes of hosts with exact counts, and the same batches however far it goes."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from training_data import CONFIG

from lm.tokens.loader import MissingTokensError, Stream, load
from lm.tokens.mix import token_counts
from lm.tokens.selection import TokenData, source_of
from lm.training.errors import ConfigError
from lm.training.streams import open_stream

MIX = (("host0.org", 2), ("*", 1))


def targets(stream: Stream, num_tokens: int) -> np.ndarray:
    """Rows of 16 tokens."""
    return np.concatenate([stream.batch(step, 64, 16)[1] for step in range(num_tokens // 64)])


def test_a_limited_set_comes_again(data: TokenData) -> None:
    plain = targets(open_stream(CONFIG, data, 640), 640).ravel()
    repeated = targets(open_stream(dataclasses.replace(CONFIG, unique_tokens=640), data, 1920), 1920)
    first, second, third = repeated.reshape(3, 640)
    assert (first[:-1] == plain[:-1]).all()
    assert first[-1] == 0
    assert (second != first).any()
    assert (third != second).any()
    assert Counter(second[:-1].tolist()) == Counter(third[:-1].tolist()) == Counter(first[:-1].tolist())
    of_another_seed = targets(open_stream(dataclasses.replace(CONFIG, unique_tokens=640, seed=4), data, 1280), 1280).reshape(2, 640)
    assert (of_another_seed[0] == first).all()
    assert (of_another_seed[1] != second).any()


def test_a_mix_takes_rows_by_weight(data: TokenData) -> None:
    mixed = targets(open_stream(dataclasses.replace(CONFIG, mix=MIX), data, 1920), 1920)
    for name, mine in (("host0.org", mixed[[i for i in range(120) if i % 3 != 1]]), ("*", mixed[1::3])):
        source = dataclasses.replace(data, source=name, sources=("host0.org", "*"))
        assert (mine.ravel() == load(source, "train").tokens[: mine.size]).all()


def test_a_mix_of_a_limited_set_repeats_each_source(data: TokenData) -> None:
    mixed = targets(open_stream(dataclasses.replace(CONFIG, mix=MIX, unique_tokens=960), data, 2880), 2880)
    assert token_counts([2, 1], 960, 16) == [640, 320]
    first, second, third = np.sort(mixed[1::3].reshape(3, 320))
    assert (first == second).all()
    assert (second == third).all()


@pytest.mark.parametrize("change", [{}, {"unique_tokens": 640}, {"mix": MIX}, {"mix": MIX, "unique_tokens": 960}])
def test_neither_length_nor_memory_decides_a_batch(data: TokenData, change: dict[str, object]) -> None:
    config = dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
    long, short = open_stream(config, data, 2560), open_stream(config, data, 1280, in_memory_tokens=0)
    assert (targets(long, 2560)[:80] == targets(short, 1280)).all()
    assert long.raw(0, 1280) == short.raw(0, 1280) == targets(long, 1280).astype("<u4").tobytes()
    halves = [short.batch(3, 64, 16, (rank, 2))[0] for rank in range(2)]
    assert (np.concatenate(halves) == long.batch(3, 64, 16)[0]).all()


def test_a_source_is_the_longest_name_that_fits() -> None:
    sources = ("*", "b.org", "a.b.org")
    found = [source_of(host, sources) for host in ("a.b.org", "x.a.b.org", "c.b.org", "b.org", "cb.org")]
    assert found == ["a.b.org", "a.b.org", "b.org", "b.org", "*"]
    assert source_of("c.org", ("b.org",)) is None


def test_what_is_missing_is_said(data: TokenData) -> None:
    with pytest.raises(MissingTokensError, match=r"source host0\.org of the mix: the rung needs \d+ training tokens"):
        open_stream(dataclasses.replace(CONFIG, mix=(("host0.org", 9), ("*", 1))), data, 6400)
    with pytest.raises(ValueError, match=r"no document of source 'wiki\.org'; its hosts are host0\.org, host1\.org, host2\.org"):
        open_stream(dataclasses.replace(CONFIG, mix=(("wiki.org", 1),)), data, 640)
    with pytest.raises(MissingTokensError, match="needs 64000 training tokens"):
        open_stream(dataclasses.replace(CONFIG, unique_tokens=64000), data, 640)
    with pytest.raises(ConfigError, match=r"unique_tokens 16 leave no row of \* in the mix"):
        open_stream(dataclasses.replace(CONFIG, mix=MIX, unique_tokens=16), data, 640)
    small = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, vocab_size=60))
    with pytest.raises(ConfigError, match="vocab_size 60 is too small for token 63"):
        open_stream(dataclasses.replace(small, mix=MIX), data, 640)
