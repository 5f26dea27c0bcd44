"""Pairs are proposed by bands, decided by shingles, and removed by a policy that chains cannot abuse."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import minhash
from lm.corpus.near_duplicates import proposing, reading, spill, verifying
from lm.corpus.near_duplicates.finding import compare, find
from lm.corpus.near_duplicates.policy import resolve
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
    table = minhash.band_table(pa.array(ids, pa.string()), pa.array([TEXTS[id] for id in ids], pa.string()), "fineweb")
    return table.select(["id", "bands"])


def texts(ids: list[str] = IDS) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.string()), "text": pa.array([TEXTS[id] for id in ids], pa.string())})


def similarity(a: str, b: str) -> float:
    left, right = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (TEXTS[a].split(), TEXTS[b].split()))
    return len(left & right) / len(left | right)


def proposed(new: pa.Table, old: pa.Table | None, folder: Path, max_bucket: int = 1000) -> tuple[set[tuple[str, str]], int, int]:
    """Pairs, large buckets and pairs skipped; no pair may come twice."""
    batches = old.to_batches(7) if old is not None else []
    folder.mkdir(parents=True)
    proposal = proposing.propose(new.to_batches(7), batches, new.num_rows, folder, max_bucket)
    pairs = [pair for part in proposal for pair in zip(*(spill.decode_ids(part[side]).to_pylist() for side in ("a", "b")), strict=True)]
    assert len(set(pairs)) == len(pairs)
    return set(pairs), proposal.num_buckets, proposal.num_skipped


def rows_of(table: pa.Table) -> set[tuple[object, ...]]:
    return {tuple(row.values()) for row in table.to_pylist()}


def test_verified_pairs_carry_their_exact_similarity() -> None:
    found = find(pa.array(IDS), pa.array([TEXTS[id] for id in IDS]), "fineweb")
    assert found.num_rows > 50
    assert found.schema.names == ["id_a", "id_b", "jaccard", "containment", "method"]
    rows = found.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["id_a"], row["id_b"]))
    for row in rows:
        assert row["id_a"] < row["id_b"]
        assert row["jaccard"] == pytest.approx(similarity(row["id_a"], row["id_b"]), abs=1e-6)
        assert 0.5 <= row["jaccard"] <= row["containment"] <= 1
    similar = {(a, b) for a in IDS for b in IDS if a < b and similarity(a, b) >= 0.85}
    assert len(similar & {(row["id_a"], row["id_b"]) for row in rows}) >= 0.95 * len(similar)


def test_containment_tells_a_part_from_a_whole(tmp_path: Path) -> None:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(100)]
    a, b = sorted([digest("a"), digest("b")])
    pair = np.zeros(1, proposing.PAIR)
    pair["a"], pair["b"] = spill.encode_ids(pa.array([a])), spill.encode_ids(pa.array([b]))
    table = pa.table({"id": [a, b], "text": [" ".join(words), " ".join(words[:60])]})
    (rows,) = verifying.verify([pair], lambda _: table.to_batches(), "fineweb", tmp_path, min_jaccard=0)
    assert rows.to_pylist() == [{"id_a": a, "id_b": b, "jaccard": pytest.approx(56 / 96), "containment": 1.0, "method": "fineweb"}]
    (tmp_path / "again").mkdir()
    found = verifying.verify([pair], lambda _: table.to_batches(), "fineweb", tmp_path / "again", min_jaccard=0.6)
    assert [part.num_rows for part in found] == [0]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_crawl_by_crawl_gives_what_one_run_gives(rng: random.Random, num_crawls: int) -> None:
    whole = rows_of(compare(bands(IDS), texts(), "fineweb"))
    order = rng.sample(IDS, len(IDS))
    cuts = sorted(rng.sample(range(1, len(IDS)), num_crawls - 1))
    seen: list[str] = []
    found: set[tuple[object, ...]] = set()
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        pairs = rows_of(compare(bands(order[start:stop]), texts(), "fineweb", bands(seen) if seen else None))
        assert not pairs & found, "a pair of earlier documents came again"
        found |= pairs
        seen += order[start:stop]
    assert found == whole


@pytest.mark.parametrize(("partition_bytes", "part_documents"), [(500, 1), (2000, 7), (16 << 20, 2048)])
def test_order_and_partitions_change_nothing(partition_bytes: int, part_documents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compare(bands(IDS), texts(), "fineweb")
    monkeypatch.setattr(spill, "PARTITION_BYTES", partition_bytes)
    monkeypatch.setattr(spill, "_BUFFER_BYTES", 1000)
    monkeypatch.setattr(spill, "_WRITE_BYTES", 10)
    monkeypatch.setattr(verifying, "PART_DOCUMENTS", part_documents)
    shuffled = random.Random(0).sample(IDS, len(IDS))
    assert compare(bands(shuffled), texts(shuffled[::-1]), "fineweb").equals(expected)


def test_a_document_that_comes_twice_counts_once(tmp_path: Path) -> None:
    assert proposed(bands([*IDS, *IDS]), None, tmp_path / "a") == proposed(bands(IDS), None, tmp_path / "b")
    assert compare(bands(IDS), pa.concat_tables([texts(), texts()]), "fineweb").equals(compare(bands(IDS), texts(), "fineweb"))
    assert proposed(bands([IDS[0], IDS[0]]), bands([IDS[0]]), tmp_path / "c")[0] == set()


def test_nothing_new_or_nothing_at_all_proposes_nothing(tmp_path: Path) -> None:
    assert proposed(bands([]), bands(IDS), tmp_path / "a")[0] == set()
    assert proposed(bands([]), None, tmp_path / "b")[0] == set()
    assert compare(bands([]), texts(), "fineweb").equals(verifying.PAIRS.empty_table())


def same_keys(num: int) -> pa.Table:
    ids = sorted(digest(str(i)) for i in range(num))
    return pa.table({"id": ids, "bands": pa.array([[7, 100 + i] for i in range(num)], pa.list_(pa.uint64()))})


def test_a_huge_bucket_costs_little_and_is_reported(tmp_path: Path) -> None:
    pairs, num_buckets, num_skipped = proposed(same_keys(1000), None, tmp_path / "a", max_bucket=10)
    assert len(pairs) == 5 * 4 // 2 + 5 * 995
    assert (num_buckets, num_skipped) == (1, 1000 * 999 // 2 - len(pairs))
    leaders = same_keys(1000)["id"].to_pylist()[:5]
    assert {a for a, _ in pairs} == set(leaders)
    assert proposed(same_keys(10), None, tmp_path / "b", max_bucket=10)[1:] == (0, 0)


def test_an_increment_that_meets_a_huge_bucket_says_so(tmp_path: Path) -> None:
    table = same_keys(60)
    order = np.random.default_rng(1).permutation(60)
    for start in range(0, 60, 7):
        new, old = table.take(order[start : start + 7]), table.take(order[:start])
        assert proposed(new, old, tmp_path / str(start), max_bucket=10)[1] == (start + new.num_rows > 10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=20))
def test_ids_as_numbers_keep_their_order(ids: list[str]) -> None:
    numbers = spill.encode_ids(pa.array(ids, pa.string()))
    assert spill.decode_ids(numbers).to_pylist() == ids
    order = np.lexsort((numbers["low"], numbers["high"]))
    assert [ids[i] for i in order] == sorted(ids)


def test_other_ids_are_refused() -> None:
    for id in ("a", "g" * 32, "A" * 32):
        with pytest.raises(ValueError, match="32 hexadecimal digits"):
            spill.encode_ids(pa.array([id]))


def pairs_of(*rows: tuple[str, str, float]) -> pa.Table:
    a, b, jaccard = zip(*rows, strict=True)
    return pa.table({"id_a": list(a), "id_b": list(b), "jaccard": pa.array(jaccard, pa.float32())})


def test_the_first_of_similar_documents_is_kept() -> None:
    removed = resolve(pairs_of(("a", "b", 0.9), ("a", "c", 0.8), ("b", "c", 0.95), ("d", "e", 0.79)), 0.8)
    assert removed.to_pylist() == [
        {"id": "b", "kept_id": "a", "jaccard": pytest.approx(0.9)},
        {"id": "c", "kept_id": "a", "jaccard": pytest.approx(0.8)},
    ]


def test_a_chain_swallows_nothing() -> None:
    chain = [(f"{i:02}", f"{i + 1:02}", 0.9) for i in range(20)]
    assert resolve(pairs_of(*chain), 0.8)["id"].to_pylist() == [f"{i:02}" for i in range(1, 21, 2)]


def test_the_most_similar_kept_document_is_named_and_order_of_pairs_is_free() -> None:
    rows = [("a", "c", 0.8), ("b", "c", 0.9), ("b", "d", 0.9), ("c", "d", 0.99), ("a", "e", 0.8), ("b", "e", 0.8)]
    expected = resolve(pairs_of(*rows), 0.7)
    assert [(r["id"], r["kept_id"]) for r in expected.to_pylist()] == [("c", "b"), ("d", "b"), ("e", "a")]
    assert resolve(pairs_of(*rows[::-1]), 0.7).equals(expected)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] < p[1]), min_size=1))
def test_whoever_stays_resembles_no_one_kept_before(edges: set[tuple[int, int]]) -> None:
    rows = [(f"{a:02}", f"{b:02}", 0.9) for a, b in edges]
    removed = set(resolve(pairs_of(*rows), 0.8)["id"].to_pylist())
    for a, b, _ in rows:
        assert a in removed or b in removed
    for id in removed:
        assert any(b == id and a not in removed for a, b, _ in rows)


def test_at_most_so_many_similar_ones_stay() -> None:
    rows = [(a, b, 0.9) for i, a in enumerate("abcde") for b in "abcde"[i + 1 :]]
    for k in range(1, 5):
        assert resolve(pairs_of(*rows), 0.8, max_kept=k)["id"].to_pylist() == list("abcde"[k:])


def test_the_best_by_a_signal_stays() -> None:
    pairs = pairs_of(("a", "b", 0.9), ("b", "c", 0.9))
    scored = pairs.append_column("score_a", pa.array([1.0, 5.0])).append_column("score_b", pa.array([5.0, None], pa.float64()))
    assert [(row["id"], row["kept_id"]) for row in resolve(scored, 0.8).to_pylist()] == [("a", "b"), ("c", "b")]
    assert resolve(pairs, 0.8)["id"].to_pylist() == ["b"]


def test_a_missing_text_and_an_unknown_preset_are_named(tmp_path: Path) -> None:
    lost = find(pa.array(IDS), pa.array([TEXTS[id] for id in IDS]), "fineweb")["id_a"][0].as_py()
    with pytest.raises(KeyError, match="1 are missing, such as"):
        compare(bands(IDS), texts([id for id in IDS if id != lost]), "fineweb")
    with pytest.raises(ValueError, match="must be one of"):
        list(verifying.verify([], lambda _: iter(()), "other", tmp_path))


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = bands(IDS)
    for number, rows in enumerate((table.slice(0, 50), table.slice(50))):
        pq.write_table(rows, tmp_path / str(number), row_group_size=20)
    with open(tmp_path / "0", "rb") as opened:
        found = list(reading.batches([opened, tmp_path / "1"], ["id", "bands"], 7))
    assert pa.Table.from_batches(found).equals(table)
    assert max(batch.num_rows for batch in found) <= 7


def test_texts_that_were_not_asked_for_are_passed_by(tmp_path: Path) -> None:
    found = rows_of(compare(bands(IDS[::2]), texts(IDS[::2]), "fineweb"))
    proposal = proposing.propose(bands(IDS[::2]).to_batches(7), [], len(IDS), tmp_path)
    parts = verifying.verify(proposal, lambda _: texts().to_batches(5), "fineweb", tmp_path)
    assert {row for part in parts for row in rows_of(part)} == found


def test_runs_and_records_lie_in_their_partitions(tmp_path: Path) -> None:
    files = spill.Partitions(tmp_path, "x", 3, np.uint64)
    files.append_runs(2, np.arange(3, dtype=np.uint64))
    files.append(np.arange(10, 14, dtype=np.uint64), np.array([0, 2, 0, 2]))
    files.append_runs(0, np.arange(1, dtype=np.uint64), np.arange(1, 2, dtype=np.uint64))
    assert sorted(files.read(0).tolist()) == [0, 1, 10, 12]
    assert sorted(files.read(2).tolist()) == [0, 1, 2, 11, 13]
    assert files.num_records == 9
    assert len(files.read(1)) == 0
