"""Streams: the same tokens whatever the memory, files, workers and restarts; epochs and mixes by exact counts; S3."""

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm.tokens.encode import SCHEMA
from lm.tokens.loader import MissingTokensError, TokenStream
from lm.tokens.mix import MixedStream, pattern
from lm.tokens.rank import rank
from lm.tokens.selection import SCHEMA as SELECTION
from lm.tokens.selection import TokenData, write_selection
from lm.tokens.windows import WINDOWS_HELD, FromFiles
from tests.storage import s3_server

END = 0
BATCH, CONTEXT = 96, 32


def write_data(folder: Path, *, num_documents: int = 60, seed: int = 0, first_token: int = 1, num_files: int = 3) -> TokenData:
    """Documents of 1 to 40 tokens; token ids of a document are equal, so that it is known wherever it turns up."""
    draw = np.random.default_rng(seed)
    names = [hashlib.blake2b(f"{seed}/{i}".encode(), digest_size=16).hexdigest() for i in range(num_documents)]
    rows = [
        {
            "produced_by": "test", "tokenizer_id": "t", "rank": int(r), "id": name, "part": 0, "host": "h", "num_bytes": 1,
            "num_tokens": len(tokens), "tokens": tokens,
        }
        for i, (name, r) in enumerate(zip(names, rank(names, "key"), strict=True))
        for tokens in [[first_token + i] * int(draw.integers(0, 40)) + [END]]
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(num_files):
        table = pa.Table.from_pylist(sorted(rows[number::num_files], key=lambda row: row["rank"]), schema=SCHEMA)
        files.append(str(folder / f"{number}.parquet"))
        pq.write_table(table, files[-1], row_group_size=5)
    chosen = pa.Table.from_pylist([row | {"split": "train"} for row in rows], schema=SELECTION)
    return TokenData(files=tuple(files), selection=write_selection(chosen, folder / "selection.parquet"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TokenData:
    return write_data(tmp_path_factory.mktemp("streams"))


def tokens_of(stream: TokenStream | MixedStream, start: int, stop: int) -> np.ndarray:
    return np.frombuffer(stream.raw(start, stop), dtype="<u4")


@pytest.mark.parametrize("unique", [None, 480])
def test_memory_decides_nothing(data: TokenData, unique: int | None) -> None:
    num_tokens = 960 if unique is None else 2400
    held = TokenStream.open(data, num_tokens, unique_tokens=unique, seed=1, window_tokens=100)
    read = TokenStream.open(data, num_tokens, unique_tokens=unique, seed=1, window_tokens=100, in_memory_tokens=0)
    assert isinstance(read._epochs._windows, FromFiles)
    assert held.raw(0, num_tokens) == read.raw(0, num_tokens)
    targets = np.concatenate([held.batch(step, BATCH, CONTEXT)[1].ravel() for step in range(num_tokens // BATCH)])
    assert targets.astype("<u4").tobytes() == held.raw(0, num_tokens)
    cuts = [0, 1, 99, 100, 481, 700, num_tokens]
    assert b"".join(read.raw(start, stop) for start, stop in pairwise(cuts)) == held.raw(0, num_tokens)
    for step in (7, 0, 3, num_tokens // BATCH - 1):
        for ours, theirs in zip(held.batch(step, BATCH, CONTEXT), read.batch(step, BATCH, CONTEXT), strict=True):
            assert (ours == theirs).all()
    assert len(read._epochs._windows._held) <= WINDOWS_HELD
    assert read.max_token >= held.max_token == 60
    assert read.seconds_waiting > 0


def test_workers_share_the_batch_of_one(data: TokenData) -> None:
    stream = TokenStream.open(data, 960)
    whole = stream.batch(4, BATCH, CONTEXT)
    parts = [stream.batch(4, BATCH, CONTEXT, (number, 3)) for number in range(3)]
    for side in (0, 1):
        assert (np.concatenate([part[side] for part in parts]) == whole[side]).all()
    with pytest.raises(ValueError, match="must divide among 2 workers"):
        stream.batch(4, BATCH, CONTEXT, (0, 2))


def test_epochs_repeat_the_unique_tokens_in_new_orders(data: TokenData) -> None:
    unique = 500
    once = tokens_of(TokenStream.open(data, unique), 0, unique)
    stream = TokenStream.open(data, 4 * unique, unique_tokens=unique, seed=3)
    epochs = [tokens_of(stream, epoch * unique, (epoch + 1) * unique) for epoch in range(4)]
    assert (epochs[0][:-1] == once[:-1]).all()
    assert epochs[0][-1] == END
    documents = [Counter(map(bytes, np.split(epoch, np.flatnonzero(epoch == END) + 1))) for epoch in epochs]
    assert all(found == documents[0] for found in documents)
    assert len({epoch.tobytes() for epoch in epochs}) == 4
    other = TokenStream.open(data, 4 * unique, unique_tokens=unique, seed=4)
    assert other.raw(0, unique) == stream.raw(0, unique)
    assert other.raw(unique, 2 * unique) != stream.raw(unique, 2 * unique)


def test_a_longer_stream_begins_with_the_shorter(data: TokenData) -> None:
    short, long = (TokenStream.open(data, num, unique_tokens=300, window_tokens=100) for num in (600, 1500))
    assert long.raw(0, 600) == short.raw(0, 600)
    inputs, targets = long.batch(9, BATCH, CONTEXT)
    assert (inputs.ravel()[1:] == targets.ravel()[:-1]).all()
    assert inputs[0, 0] == tokens_of(long, 9 * BATCH - 1, 9 * BATCH)[0]


def test_patterns_spread_shares_evenly() -> None:
    assert pattern([3, 1]).tolist() == [0, 0, 1, 0]
    assert pattern([0.5, 0.25, 0.25]).tolist() in ([0, 1, 2, 0], [0, 1, 0, 2])
    for weights in ([0.7, 0.2, 0.1], [1, 1, 1], [13, 5, 2, 80]):
        found, total = pattern(weights), sum(weights)
        for source, weight in enumerate(weights):
            shares = np.cumsum(np.tile(found, 2) == source)
            assert np.abs(shares - np.arange(1, len(shares) + 1) * weight / total).max() <= 1
            assert (found == source).sum() == pytest.approx(len(found) * weight / total, abs=1e-9)
    for bad, says in (([], "at least one"), ([1, 0], "positive"), ([0.33333, 0.66667], "repeat after 100000 rows")):
        with pytest.raises(ValueError, match=says):
            pattern(bad)


def test_a_mix_takes_each_source_by_its_weight_and_in_its_order(tmp_path: Path) -> None:
    a = TokenStream.open(write_data(tmp_path / "a"), 960)
    b = TokenStream.open(write_data(tmp_path / "b", seed=1, first_token=1000), 640, unique_tokens=200)
    mix = MixedStream({"a": (a, 0.6), "b": (b, 0.4)}, 1440, CONTEXT)
    assert mix.counts(1440) == {"a": 27 * CONTEXT, "b": 18 * CONTEXT}
    rows = [mix.batch(step, BATCH, CONTEXT) for step in range(15)]
    inputs, targets = (np.concatenate([row[side] for row in rows]) for side in (0, 1))
    from_b = ((targets >= 1000) | (targets == END)).all(1) & (targets >= 1000).any(1)
    assert from_b.sum() == 18
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    assert targets[~from_b].ravel().tolist() == tokens_of(a, 0, 27 * CONTEXT).tolist()
    assert targets[from_b].ravel().tolist() == tokens_of(b, 0, 18 * CONTEXT).tolist()
    assert mix.raw(0, 1440) == targets.astype("<u4").tobytes()
    parts = [mix.batch(5, BATCH, CONTEXT, (number, 3))[1] for number in range(3)]
    assert (np.concatenate(parts) == rows[5][1]).all()


def test_a_mix_that_cannot_be_is_explained(data: TokenData) -> None:
    stream = TokenStream.open(data, 320)
    with pytest.raises(MissingTokensError, match="takes 480 tokens of a, its stream has 320"):
        MixedStream({"a": (stream, 1)}, 480, CONTEXT)
    mix = MixedStream({"a": (stream, 1)}, 320, CONTEXT)
    with pytest.raises(ValueError, match="rows of 32 tokens, got 16"):
        mix.batch(0, BATCH, 16)
    with pytest.raises(ValueError, match="cut between rows"):
        mix.raw(0, 10)
    with pytest.raises(MissingTokensError, match="ends beyond the 320"):
        mix.batch(3, BATCH, CONTEXT)


@pytest.mark.slow
def test_tokens_are_read_from_s3(data: TokenData) -> None:
    pytest.importorskip("moto", reason="needs the package moto[server]")
    s3fs = pytest.importorskip("s3fs")
    with s3_server.running() as url, pytest.MonkeyPatch.context() as environment:
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("ENDPOINT_URL", url), ("REGION", "us-east-1")):
            environment.setenv(f"AWS_{name}", value)
        remote = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=url, skip_instance_cache=True)
        remote.mkdir("tokens")
        for file in (*data.files, data.selection):
            remote.put_file(file, f"tokens/{Path(file).name}")
        there = TokenData(
            files=tuple(f"s3://tokens/{Path(file).name}" for file in data.files), selection=f"s3://tokens/{Path(data.selection).name}"
        )
        local = TokenStream.open(data, 960).raw(0, 960)
        assert TokenStream.open(there, 960).raw(0, 960) == local
        assert TokenStream.open(there, 960, in_memory_tokens=0, window_tokens=300).raw(0, 960) == local
        with pytest.raises(FileNotFoundError, match=r's3://tokens/none.parquet: no such token file; "ladder tokens"'):
            TokenStream.open(TokenData(files=("s3://tokens/none.parquet",), selection=data.selection), 100)
