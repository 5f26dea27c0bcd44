"""Near-duplicates: recall and precision against exact Jaccard of all pairs, peak memory at 1x and 16x, and what an increment of 1% costs.

    python benchmarks/near_duplicates.py [DATA_DIR]

With DATA_DIR, recall is measured on corpora/powershell-docs-near-dups in it, five versions of each page of a manual; without, on made-up
families of texts. Memory and cost are always measured on made-up families, in child processes, as VmHWM and CPU seconds of one thread.
Ends with one line of JSON.
"""

import json
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from peers import memory
from scipy import sparse

from lm.corpus import minhash, signals
from lm.corpus.near_duplicates import finding, proposing, reading, verifying
from storage.digest import digest

BASE_DOCUMENTS = 8_000
GROWTH = 16
WARM_UP_DOCUMENTS = 1_000
SHARE = 97
BATCH_TEXTS = 4096
CRAWLS = ("early", "late")


def manual(data: Path) -> list[str]:
    """Pages of the manual, equal ones once."""
    with tarfile.open(next((data / "corpora" / "powershell-docs-near-dups").glob("*.tar.xz")), "r:xz") as tar:
        texts = [tar.extractfile(entry).read().decode() for entry in tar if entry.isfile() and entry.name.endswith(".md")]  # type: ignore[union-attr]
    return sorted(set(texts))


def families(first: int, num: int) -> Iterator[str]:
    """Texts of 250 words; every fourth is a copy of the one before, a few words changed. Text i is always the same."""
    vocabulary = [
        f"{a}{b}{c}" for a in "kstnhmyrw" for b in ("a", "in", "or", "et", "ul") for c in ("ka", "po", "m", "ness", "ing", "th", "ed")
    ]
    for number in range(first, first + num):
        words = random.Random(number - (number % 4 == 3)).choices(vocabulary, k=250)
        if number % 4 == 3:
            own = random.Random(f"{number} changes")
            for at in own.sample(range(250), own.randrange(1, 8)):
                words[at] = own.choice(vocabulary)
        yield " ".join(words)


def exact_pairs(texts: list[str], preset: str, least: float) -> dict[tuple[int, int], float]:
    """Exact Jaccard of all pairs of at least `least`, by a product of sparse matrices."""
    sets = minhash.shingle_sets(pa.array(texts, pa.large_string()), preset)
    owner = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    _, column, count = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    used = count[column] > 1
    holds = sparse.csr_matrix((np.ones(used.sum(), np.int32), (owner[used], column[used])), shape=(len(sets), len(count)))
    shared = np.triu((holds @ holds.T).toarray(), 1)
    sizes = np.array([len(s) for s in sets])
    a, b = np.nonzero(shared)
    jaccard = shared[a, b] / (sizes[a] + sizes[b] - shared[a, b])
    return {(int(x), int(y)): float(z) for x, y, z in zip(a[jaccard >= least], b[jaccard >= least], jaccard[jaccard >= least], strict=True)}


def quality(texts: list[str], preset: str) -> dict[str, float]:
    """Recall by similarity, precision of what is stored, candidates per pair found."""
    ids = [digest(text) for text in texts]
    number = {id: i for i, id in enumerate(ids)}
    truth = exact_pairs(texts, preset, 0.5)
    started = time.process_time()
    bands = minhash.band_table(pa.array(ids), pa.array(texts, pa.large_string()), preset)
    signed = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        num_proposed = sum(map(len, proposing.propose(bands.to_batches(), [], len(ids), Path(folder))))
    started_check = time.process_time()
    found = finding.compare(bands.select(["id", "bands"]), pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}), preset)
    checked = time.process_time()
    numbered = [(number[row["id_a"]], number[row["id_b"]], row["jaccard"]) for row in found.to_pylist()]
    pairs = {(min(a, b), max(a, b)): jaccard for a, b, jaccard in numbered}

    def recall(low: float, high: float) -> float:
        wanted = [pair for pair, jaccard in truth.items() if low <= jaccard < high]
        return sum(pair in pairs for pair in wanted) / max(1, len(wanted))

    right = sum(abs(truth.get(pair, 0) - jaccard) < 1e-6 for pair, jaccard in pairs.items())
    return {
        "recall": recall(0.8, 2),
        "recall_07": recall(0.7, 0.8),
        "recall_08": recall(0.8, 0.9),
        "recall_09": recall(0.9, 2),
        "precision": right / max(1, len(pairs)),
        "candidates_per_pair": num_proposed / max(1, len(pairs)),
        "sign_seconds": signed - started,
        "check_seconds": checked - started_check,
    }


def write_corpus(folder: Path, num: int) -> float:
    """Documents and band keys as files of two crawls, of which the second holds every 97th text; CPU seconds of measuring the texts.

    Measuring is signals and band keys. Files are written as those of a lake are, by code that children, whose memory counts, never load.
    """
    from lm.corpus.shard_files import ShardFiles

    folder.mkdir()
    seconds, late_bands = 0.0, []
    with ExitStack() as stack:
        documents = {crawl: stack.enter_context(ShardFiles(str(folder / crawl), crawl)) for crawl in CRAWLS}
        for first in range(0, num, BATCH_TEXTS):
            raw = list(families(first, min(BATCH_TEXTS, num - first)))
            numbers, texts = [digest(text) for text in raw], pa.array(raw)
            ids = pa.array(numbers)
            started = time.process_time()
            signals.compute(texts)
            bands = minhash.band_table(ids, texts, minhash_preset())
            seconds += time.process_time() - started
            is_late = np.arange(first, first + len(raw)) % SHARE == SHARE - 1
            for id, text, late in zip(numbers, raw, is_late.tolist(), strict=True):
                documents[CRAWLS[late]].add_document(document(id, text, CRAWLS[late]))
            write_signatures(folder / CRAWLS[0], first // BATCH_TEXTS, bands.filter(pa.array(~is_late)))
            late_bands.append(bands.filter(pa.array(is_late)))
    write_signatures(folder / CRAWLS[1], 0, pa.concat_tables(late_bands))
    return seconds


def write_signatures(crawl: Path, number: int, bands: pa.Table) -> None:
    """A file of band keys, as `ladder signals` writes one for so many texts."""
    from storage import files
    from storage.schema import TABLES

    files.write_parquet(
        str(crawl / f"signatures-{number:05}.parquet"), bands, crawl.name, schema=TABLES["signatures"], plain=("id", "bands")
    )


def document(id: str, text: str, crawl: str) -> dict[str, object]:
    """A row of the table `documents`."""
    from storage.schema import TABLES

    row: dict[str, object] = dict.fromkeys(TABLES["documents"].columns, "")
    sizes = {"num_chars": len(text), "num_bytes": len(text.encode()), "language_score": 1.0, "published_at": None}
    return {**row, **sizes, "id": id, "capture_id": digest(crawl, id), "crawl": crawl, "url": f"https://{crawl}.example/{id}", "text": text}


def minhash_preset() -> str:
    """The preset that memory and cost are measured with: the first, which is the default."""
    return next(iter(minhash.PRESETS))


def compare(corpus: Path, num: int, new: tuple[str, ...], folder: Path) -> int:
    """Pairs in which a text of these crawls is new."""
    old = [crawl for crawl in CRAWLS if crawl not in new]
    fresh, earlier = (
        reading.band_keys([file for crawl in crawls for file in sorted((corpus / crawl).glob("signatures-*"))], minhash_preset())
        for crawls in (new, old)
    )
    proposal = proposing.propose(fresh, earlier, num, folder)

    def texts_of(ids: pa.Table) -> Iterator[pa.RecordBatch]:
        return reading.texts([corpus / crawl / "documents.parquet" for crawl in CRAWLS], reading.Wanted(ids["id"]))

    return sum(table.num_rows for table in verifying.verify(proposal, texts_of, minhash_preset(), folder))


def child(corpus: str, num: int, new: tuple[str, ...], queue: Any) -> None:
    """Compare these crawls, as new, with all; report pairs, CPU seconds and the peak of memory. Code is loaded before."""
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(corpus).parent / "warm-up", WARM_UP_DOCUMENTS, CRAWLS[1:], Path(folder))
        for file in Path(folder).iterdir():
            file.unlink()
        started = time.process_time()
        pairs = compare(Path(corpus), num, new, Path(folder))
        seconds = time.process_time() - started
    queue.put((pairs, seconds, memory.peak_bytes() / 1024**2))


def in_child(corpus: Path, num: int, new: tuple[str, ...]) -> tuple[int, float, float]:
    """`child` in a process of its own."""
    context = get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(str(corpus), num, new, queue))
    process.start()
    process.join(timeout=600)
    found: tuple[int, float, float] = queue.get(timeout=10)
    return found


def growth(folder: Path) -> dict[str, float]:
    """Peak memory and cost at 1x and 16x, and of an increment of 1% at 16x."""
    line: dict[str, float] = {}
    write_corpus(folder / "warm-up", WARM_UP_DOCUMENTS)
    for name, num in (("1x", BASE_DOCUMENTS), ("16x", BASE_DOCUMENTS * GROWTH)):
        line[f"measure_seconds_{name}"] = write_corpus(folder / name, num)
        pairs, line[f"seconds_{name}"], line[f"peak_mb_{name}"] = in_child(folder / name, num, CRAWLS)
        print(f"{name:4} {num:7,} texts: {pairs:6,} pairs, {line[f'seconds_{name}']:.2f} s of CPU, peak {line[f'peak_mb_{name}']:.0f} MB")
    pairs, line["seconds_increment"], peak = in_child(folder / "16x", BASE_DOCUMENTS * GROWTH, CRAWLS[1:])
    print(
        f"1%   {BASE_DOCUMENTS * GROWTH // SHARE:7,} new  : {pairs:6,} pairs, {line['seconds_increment']:.2f} s of CPU, peak {peak:.0f} MB"
    )
    return line


def main() -> None:
    """Print tables, then one line of JSON."""
    texts = manual(Path(sys.argv[1])) if len(sys.argv) > 1 else list(families(0, 3000))
    print(f"{len(texts):,} texts; recall by Jaccard; candidates per pair found; CPU seconds")
    print(f"{'preset':12}{'0.7-':>7}{'0.8-':>7}{'0.9-':>7}{'>= 0.8':>8}{'precision':>11}{'candidates':>12}{'sign':>8}{'compare':>9}")
    found = {}
    for preset in minhash.PRESETS:
        q = found[preset] = quality(texts, preset)
        print(f"{preset:12}{q['recall_07']:7.3f}{q['recall_08']:7.3f}{q['recall_09']:7.3f}{q['recall']:8.3f}{q['precision']:11.3f}"
              f"{q['candidates_per_pair']:12.2f}{q['sign_seconds']:8.2f}{q['check_seconds']:9.2f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        grown = growth(Path(folder))
    whole = grown["measure_seconds_16x"] + grown["seconds_16x"]
    increment = grown["measure_seconds_16x"] / SHARE + grown["seconds_increment"]
    print(f"increment {increment:.3f} s of {whole:.2f} s: measuring {grown['measure_seconds_16x'] / SHARE:.3f} of "
          f"{grown['measure_seconds_16x']:.2f}, comparing {grown['seconds_increment']:.3f} of {grown['seconds_16x']:.2f}")  # fmt: skip
    line = {
        "recall": found[minhash_preset()]["recall"],
        "precision": min(q["precision"] for q in found.values()),
        "peak_memory_ratio_16x": grown["peak_mb_16x"] / grown["peak_mb_1x"],
        "cost_ratio_16x": grown["seconds_16x"] / GROWTH / grown["seconds_1x"],
        "increment_cost_share": increment / whole,
        "increment_seconds": increment,
        "whole_seconds": whole,
        "num_documents": BASE_DOCUMENTS * GROWTH,
        "num_new_documents": BASE_DOCUMENTS * GROWTH // SHARE,
        **{f"recall_{name}": q["recall"] for name, q in found.items()},
        **{f"recall_07_{name}": q["recall_07"] for name, q in found.items()},
    }
    print(json.dumps({name: round(value, 4) for name, value in line.items()}))


if __name__ == "__main__":
    main()
