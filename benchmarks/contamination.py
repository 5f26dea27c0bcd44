"""Contamination of English and Chinese Wikipedia by evaluation sets, beside what is known to be there, and how fast it is found.

    python benchmarks/contamination.py DATA_DIR

DATA_DIR holds corpora/ (enwiki-wikiextractor, zhwiki-wikiextractor) and eval/ (squad-xquad, lambada, piqa, gsm8k, cmrc2018) as tar.xz.
Everything is scanned on one thread; speeds are text bytes per second of CPU time, reading and unpacking left out. Ends with one line of
JSON.
"""

import json
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from lm.corpus.contamination import index, planting, scanning, verdict
from lm.corpus.contamination.items import Fields, read_items
from lm.corpus.signals import Texts

SQUAD = Fields(rows="data.paragraphs.qas", question="question", answer="answers.text", context="context")
LLM_FOUNDRY = Fields(context="context", answer="continuation")
SETS = {
    "xquad-en": ("squad-xquad", "xquad.en.json", SQUAD),
    "lambada": ("lambada", "lambada_openai.jsonl", LLM_FOUNDRY),
    "piqa": ("piqa", "piqa/data/valid.jsonl", Fields(question="goal", answer="sol1")),
    "gsm8k": ("gsm8k", "grade_school_math/data/test.jsonl", Fields(question="question", answer="answer")),
    "cmrc-dev": ("cmrc2018", "squad-style-data/cmrc2018_dev.json", SQUAD),
}
DOC = re.compile(r"<doc [^>]*>\n(.*?)\n</doc>", re.DOTALL)
BATCH_BYTES = 16 << 20
HAN_RUN = 20
_OTHER = re.compile("[^\u4e00-\u9fff]+")


def read_set(data: Path, name: str, folder: Path) -> pa.Table:
    """Rows of one evaluation set, out of its archive."""
    archive, member, fields = SETS[name]
    with tarfile.open(next((data / "eval" / archive).glob("*.tar.xz")), "r:xz") as tar:
        for entry in tar:
            if entry.isfile() and entry.name.removeprefix("./") == member:
                file = folder / f"{name}{Path(member).suffix}"
                file.write_bytes(tar.extractfile(entry).read())  # type: ignore[union-attr]
                return read_items(name, file, fields)
    raise SystemExit(f"{archive} holds no {member}")


def articles(data: Path, corpus: str) -> Iterator[tuple[Texts, Texts]]:
    """Batches of ids and texts of one Wikipedia."""
    texts: list[str] = []
    number = size = 0
    with tarfile.open(next((data / "corpora" / corpus).glob("*.tar.xz")), "r|xz") as tar:
        for entry in tar:
            if entry.isfile() and "wiki_" in entry.name:
                for text in DOC.findall(tar.extractfile(entry).read().decode()):  # type: ignore[union-attr]
                    texts.append(text)
                    size += len(text)
                if size > BATCH_BYTES:
                    yield _batch(number, texts)
                    number, texts, size = number + len(texts), [], 0
    yield _batch(number, texts)


def _batch(first: int, texts: list[str]) -> tuple[Texts, Texts]:
    return pa.array([f"{first + i:08}" for i in range(len(texts))]), pa.array(texts, pa.large_string())


def han_runs(text: str) -> Any:
    """Hashes of all runs of 20 Han characters of a text, whatever stands between them."""
    chars = np.frombuffer(_OTHER.sub("", text).encode("utf-32-le"), np.uint32).astype(np.uint64)
    num = max(0, len(chars) - HAN_RUN + 1)
    hashes = np.zeros(num, np.uint64)
    for i in range(HAN_RUN):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + chars[i : i + num] * np.uint64(0xD6E8FEB86659FD93)
    return hashes


def sharing(data: Path, corpus: str, contexts: list[str]) -> list[str]:
    """Contexts that share such a run with an article: found by brute force, to compare with."""
    runs = [han_runs(context) for context in contexts]
    keys, owner = np.concatenate(runs), np.repeat(np.arange(len(runs)), [len(found) for found in runs])
    shared = np.zeros(len(keys), bool)
    for _, texts in articles(data, corpus):
        seen = [han_runs(text) for text in map(str, texts.to_pylist())]
        shared |= np.isin(keys, np.concatenate([np.zeros(0, np.uint64), *seen]))
    return [contexts[i] for i in sorted(set(owner[shared].tolist()))]


def measure(data: Path, corpus: str, items: pa.Table) -> dict[str, Any]:
    """Scan one Wikipedia for all sets; hits judged as in the lake, speeds and the scan's own check."""
    started = time.process_time()
    built = index.build(items)
    build_seconds = time.process_time() - started
    scanning.scan(built, pa.array(["0"]), pa.array(["warm up"]))
    matches, ids, num_bytes, seconds, hosts = [], [], 0, 0.0, list[str]()
    for batch_ids, texts in articles(data, corpus):
        hosts = hosts or [text for text in texts[:20].to_pylist() if text]
        started = time.process_time()
        matches.append(scanning.scan(built, batch_ids, texts))
        seconds += time.process_time() - started
        num_bytes += texts.nbytes
        ids += batch_ids.to_pylist()
    with duckdb.connect() as connection:
        connection.register("contamination_matches", pa.concat_tables(matches))
        connection.register("documents", pa.table({"id": ids}))
        connection.execute(f"CREATE TABLE contamination AS {verdict.contamination_sql()}")
        found = connection.execute(verdict.contaminated_items_sql()).to_arrow_table()
        hits = connection.execute("SELECT * FROM contamination").to_arrow_table()
    checks = planting.check(built, hosts, verdict.MIN_OVERLAP)
    return {
        "items": found, "hits": hits, "checks": checks, "num_documents": len(ids), "index_bytes": built.num_bytes,
        "mb_per_s": num_bytes / seconds / 1e6, "megabytes": num_bytes / 1e6, "build_seconds": build_seconds,
    }  # fmt: skip


def paragraphs(items: pa.Table, matches: pa.Table, where: str) -> int:
    """Different contexts of which something was found, under a condition."""
    with duckdb.connect() as connection:
        connection.register("items", items)
        connection.register("hits", matches)
        sql = f"SELECT count(DISTINCT context) FROM items JOIN hits USING (evaluation_set, item) WHERE part = 'context' AND {where}"
        return int(connection.execute(sql).fetchall()[0][0])


def own_check(checks: pa.Table) -> tuple[float, float]:
    """Precision and recall over what was planted."""
    rows = checks.to_pylist()
    true = sum(row["num_found"] for row in rows if row["is_contaminated"])
    false = sum(row["num_found"] for row in rows if not row["is_contaminated"])
    return true / max(1, true + false), true / max(1, sum(row["num_planted"] for row in rows if row["is_contaminated"]))


def main() -> None:
    """Print counts beside the truth, then one line of JSON."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "corpora").is_dir():
        raise SystemExit("usage: python benchmarks/contamination.py DATA_DIR, a folder with corpora/ and eval/")
    data = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        sets = {name: read_set(data, name, Path(folder)) for name in SETS}
    english = pa.concat_tables([sets[name] for name in ("xquad-en", "lambada", "piqa", "gsm8k")])
    en, zh = measure(data, "enwiki-wikiextractor", english), measure(data, "zhwiki-wikiextractor", sets["cmrc-dev"])
    line: dict[str, Any] = {
        "xquad_paragraphs": paragraphs(english, en["hits"], "evaluation_set = 'xquad-en'"),
        "xquad_paragraphs_half": paragraphs(english, en["hits"], "evaluation_set = 'xquad-en' AND overlap >= 0.5"),
    }
    for name in ("lambada", "piqa", "gsm8k"):
        rows = [row for row in en["items"].to_pylist() if row["evaluation_set"] == name]
        line[f"{name}_items"], line[f"{name}_items_touched"] = sum(row["contaminated"] for row in rows), len(rows)
    contexts = sorted({str(context) for context in sets["cmrc-dev"]["context"].to_pylist()})
    sharers = sharing(data, "zhwiki-wikiextractor", contexts)
    touched = {row["item"] for row in zh["hits"].to_pylist() if row["part"] == "context"}
    by_item = zip(sets["cmrc-dev"]["item"].to_pylist(), sets["cmrc-dev"]["context"].to_pylist(), strict=True)
    line["cmrc_paragraphs"] = len({context for item, context in by_item if item in touched and context in sharers})
    line["cmrc_paragraphs_touched"] = paragraphs(sets["cmrc-dev"], zh["hits"], "true")
    line["cmrc_paragraphs_half"] = paragraphs(sets["cmrc-dev"], zh["hits"], "overlap >= 0.5")
    for language, found in (("en", en), ("zh", zh)):
        line[f"precision_{language}"], line[f"recall_{language}"] = own_check(found["checks"])
        line[f"mb_per_s_{language}"] = round(found["mb_per_s"], 1)
        print(f"{language}: {found['num_documents']:,} articles, {found['megabytes']:.0f} MB, index {found['index_bytes'] / 1e6:.1f} MB")
        print(f"  built in {found['build_seconds']:.1f} s, scanned at {found['mb_per_s']:.1f} MB per second and core")
        for row in found["checks"].to_pylist():
            print(f"  planted {row['evaluation_set']:9} {row['kind']:9} {row['num_planted']:3}, found {row['num_found']:3}")
    print(f"a run of {HAN_RUN} Han characters, other characters aside, is shared by {len(sharers)} paragraphs of CMRC: by brute force")
    truth = {"xquad_paragraphs": 79, "xquad_paragraphs_half": 67, "lambada_items": 0, "piqa_items": 0, "gsm8k_items": 0,
             "cmrc_paragraphs": len(sharers), "cmrc_paragraphs_half": 0}  # fmt: skip
    print(f"\n{'':28}{'found':>8}{'known':>8}")
    for name, known in truth.items():
        print(f"{name:28}{line[name]:8}{known:8}")
    for row in en["items"].to_pylist():
        if row["evaluation_set"] != "xquad-en":
            print("  ", row)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
