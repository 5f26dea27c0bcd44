"""Ranks: known values, uniform, independent of the split hash and of order."""

import hashlib

import numpy as np

from lm.tokens.rank import rank, split_hash

IDS = [hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest() for i in range(4000)]


def test_rank_is_the_keyed_hash_of_the_id() -> None:
    secret = hashlib.blake2b(b"key", digest_size=32).digest()
    by_hand = int.from_bytes(hashlib.blake2b(IDS[0].encode(), digest_size=8, key=secret, person=b"rank").digest(), "big")
    assert int(rank(IDS[:1], "key")[0]) == by_hand
    assert rank(IDS[:1], "key").dtype == np.uint64


def test_rank_depends_on_id_and_key_alone() -> None:
    forward, backward = rank(IDS, "key"), rank(IDS[::-1], "key")
    assert (forward == backward[::-1]).all()
    assert (forward != rank(IDS, "other")).all()
    assert len(rank([], "key")) == 0
    assert len(np.unique(rank(IDS, "k" * 1000))) == len(IDS)


def test_rank_and_split_hash_are_uniform_and_independent() -> None:
    ranks, splits = (values.astype(np.float64) / 2**64 for values in (rank(IDS, "key"), split_hash(IDS, "key")))
    for values in (ranks, splits):
        counts, _ = np.histogram(values, bins=16, range=(0, 1))
        assert ((counts - 250) ** 2 / 250).sum() < 37.7  # chi-squared, 15 degrees, p = 0.001
    assert abs(np.corrcoef(ranks, splits)[0, 1]) < 0.06
