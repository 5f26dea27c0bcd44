"""Pairs are proposed by bands, decided by shingles, and removed by a policy that chains cannot abuse."""

import logging
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import minhash, near_duplicates
from storage.digest import digest


def family(seed: int, size: int, changes: int, length: int = 240) -> list[str]:
    """Texts that share most of their words."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(2000)]
    base = rng.choices(vocabulary, k=length)
    out = []
    for _ in range(size):
        words = list(base)
        for at in rng.sample(range(length), changes):
            words[at] = rng.choice(vocabulary)
        out.append(" ".join(words))
    return out


TEXTS = {digest(text): text for seed in range(12) for text in family(seed, 6, changes=seed)}
IDS = sorted(TEXTS)


def bands(ids: list[str]) -> pa.Table:
    return minhash.band_table(pa.array(ids, pa.string()), pa.array([TEXTS[id] for id in ids], pa.string()), "fineweb").select(
        ["id", "bands"]
    )


def similarity(a: str, b: str) -> float:
    left, right = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (TEXTS[a].split(), TEXTS[b].split()))
    return len(left & right) / len(left | right)


def as_set(pairs: pa.Table) -> set[tuple[str, str]]:
    return {(str(row["id_a"]), str(row["id_b"])) for row in pairs.to_pylist()}


def test_verified_pairs_carry_their_exact_similarity() -> None:
    found = near_duplicates.find(pa.array(IDS), pa.array([TEXTS[id] for id in IDS]), "fineweb")
    assert found.num_rows > 50
    assert found.schema.names == ["id_a", "id_b", "jaccard", "containment", "method"]
    rows = found.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["id_a"], row["id_b"]))
    for row in rows:
        assert row["id_a"] < row["id_b"]
        assert row["jaccard"] == pytest.approx(similarity(row["id_a"], row["id_b"]), abs=1e-6)
        assert 0.5 <= row["jaccard"] <= row["containment"] <= 1
    similar = {(a, b) for a in IDS for b in IDS if a < b and similarity(a, b) >= 0.85}
    assert len(similar & as_set(found)) >= 0.95 * len(similar)


def test_containment_tells_a_part_from_a_whole() -> None:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)]
    texts = {"a": " ".join(words), "b": " ".join(words[:60])}
    pairs = pa.table({"id_a": ["a"], "id_b": ["b"]})
    assert near_duplicates.verify(pairs, texts, "fineweb", min_jaccard=0).to_pylist() == [
        {"id_a": "a", "id_b": "b", "jaccard": pytest.approx(56 / 96), "containment": 1.0, "method": "fineweb"}
    ]
    assert near_duplicates.verify(pairs, texts, "fineweb", min_jaccard=0.6).num_rows == 0


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_crawl_by_crawl_gives_what_one_run_gives(rng: random.Random, num_crawls: int) -> None:
    whole = as_set(near_duplicates.propose(bands(IDS)))
    order = rng.sample(IDS, len(IDS))
    cuts = sorted(rng.sample(range(1, len(IDS)), num_crawls - 1))
    seen: list[str] = []
    found: set[tuple[str, str]] = set()
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        pairs = as_set(near_duplicates.propose(bands(order[start:stop]), bands(seen) if seen else None))
        assert not pairs & found, "a pair of earlier documents came again"
        found |= pairs
        seen += order[start:stop]
    assert found == whole


def test_order_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = near_duplicates.propose(bands(IDS))
    assert pairs.equals(near_duplicates.propose(bands(IDS[::-1])))
    texts = pa.table({"id": IDS, "text": [TEXTS[id] for id in IDS]})
    expected = near_duplicates.verify(pairs, TEXTS, "fineweb")
    monkeypatch.setattr(near_duplicates, "_BATCH_BYTES", 2000)
    shuffled = pairs.take(np.random.default_rng(0).permutation(pairs.num_rows))
    assert near_duplicates.verify(shuffled, texts.take(list(range(len(IDS)))[::-1]), "fineweb").equals(expected)


def test_nothing_new_or_nothing_at_all_proposes_nothing() -> None:
    assert near_duplicates.propose(bands([]), bands(IDS)).num_rows == 0
    empty = near_duplicates.propose(bands([]))
    assert empty.num_rows == 0
    assert near_duplicates.verify(empty, {}, "fineweb").schema.equals(near_duplicates.PAIRS)
    assert near_duplicates.propose(bands([IDS[0], IDS[0]]), bands([IDS[0]])).num_rows == 0


def same_keys(num: int) -> pa.Table:
    return pa.table({"id": [f"{i:04}" for i in range(num)], "bands": pa.array([[7, i] for i in range(num)], pa.list_(pa.uint64()))})


def test_a_huge_bucket_costs_little_and_is_reported(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, skipped = near_duplicates.propose_counted(same_keys(1000), max_bucket=10)
    assert pairs.num_rows == 5 * 4 // 2 + 5 * 995
    assert skipped == near_duplicates.Skipped(num_buckets=1, num_pairs=1000 * 999 // 2 - pairs.num_rows)
    assert near_duplicates.propose_counted(same_keys(10), max_bucket=10) == (
        near_duplicates.propose(same_keys(10)),
        near_duplicates.Skipped(0, 0),
    )
    monkeypatch.setattr(near_duplicates, "propose_counted", lambda new, old: (pairs, skipped))
    with caplog.at_level(logging.WARNING):
        near_duplicates.propose(same_keys(1000))
    assert "1 buckets hold more than" in caplog.text


def test_many_runs_over_a_huge_bucket_find_at_least_what_one_finds() -> None:
    table = same_keys(60)
    order = np.random.default_rng(1).permutation(60)
    found: set[tuple[str, str]] = set()
    for start in range(0, 60, 7):
        new, old = table.take(order[start : start + 7]), table.take(order[:start])
        found |= as_set(near_duplicates.propose_counted(new, old, max_bucket=10)[0])
    assert found >= as_set(near_duplicates.propose_counted(table, max_bucket=10)[0])


def pairs_of(*rows: tuple[str, str, float]) -> pa.Table:
    a, b, jaccard = zip(*rows, strict=True)
    return pa.table({"id_a": list(a), "id_b": list(b), "jaccard": pa.array(jaccard, pa.float32())})


def test_the_first_of_similar_documents_is_kept() -> None:
    removed = near_duplicates.resolve(pairs_of(("a", "b", 0.9), ("a", "c", 0.8), ("b", "c", 0.95), ("d", "e", 0.79)), 0.8)
    assert removed.to_pylist() == [
        {"id": "b", "kept_id": "a", "jaccard": pytest.approx(0.9)},
        {"id": "c", "kept_id": "a", "jaccard": pytest.approx(0.8)},
    ]


def test_a_chain_swallows_nothing() -> None:
    chain = [(f"{i:02}", f"{i + 1:02}", 0.9) for i in range(20)]
    assert near_duplicates.resolve(pairs_of(*chain), 0.8)["id"].to_pylist() == [f"{i:02}" for i in range(1, 21, 2)]


def test_the_most_similar_kept_document_is_named_and_order_of_pairs_is_free() -> None:
    rows = [("a", "c", 0.8), ("b", "c", 0.9), ("b", "d", 0.9), ("c", "d", 0.99), ("a", "e", 0.8), ("b", "e", 0.8)]
    expected = near_duplicates.resolve(pairs_of(*rows), 0.7)
    assert [(r["id"], r["kept_id"]) for r in expected.to_pylist()] == [("c", "b"), ("d", "b"), ("e", "a")]
    assert near_duplicates.resolve(pairs_of(*rows[::-1]), 0.7).equals(expected)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] < p[1]), min_size=1))
def test_whoever_stays_resembles_no_one_kept_before(edges: set[tuple[int, int]]) -> None:
    rows = [(f"{a:02}", f"{b:02}", 0.9) for a, b in edges]
    removed = set(near_duplicates.resolve(pairs_of(*rows), 0.8)["id"].to_pylist())
    for a, b, _ in rows:
        assert a in removed or b in removed
    for id in removed:
        assert any(b == id and a not in removed for a, b, _ in rows)


def test_missing_texts_and_unknown_presets_are_named() -> None:
    pairs = pa.table({"id_a": ["a"], "id_b": ["b"]})
    with pytest.raises(KeyError, match="1 are missing, such as b"):
        near_duplicates.verify(pairs, {"a": "x"}, "fineweb")
    with pytest.raises(KeyError, match="1 are missing, such as b"):
        near_duplicates.verify(pairs, pa.table({"id": ["a"], "text": ["x"]}), "fineweb")
    with pytest.raises(ValueError, match="must be one of"):
        near_duplicates.verify(pairs, {"a": "x", "b": "y"}, "other")
