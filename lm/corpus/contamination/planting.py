"""A side stream whose truth is known: items planted in made-up documents, and hard negatives, through the same scan as real text.

Each document is the words of real ones in a drawn order, so that it has their vocabulary and no sentence of theirs, with one item's text
in its midst: as it is, in other dress (capitals, punctuation, line breaks), more than half of it, or with one word in forty replaced. The
hard negatives are its words in another order, and the item with every tenth word replaced: much alike, and no copy by the rule of 13
words. Draws come from digests of the item's name, so every run of the same set plants the same. The cost is a few dozen short documents
per scan.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from lm.corpus.contamination.index import MIN_WHOLE, NGRAM, Index, Part
from lm.corpus.contamination.scanning import scan
from lm.corpus.folded_words import words_of
from storage.digest import digest

NUM_ITEMS = 12
"""Items planted per set and scan, drawn by digest."""
MIN_SIZE = 8
"""Stretches of a long part: with fewer, one replaced word may leave too few for any rule."""
POSITIVES = ("verbatim", "restyled", "half", "edited")
NEGATIVES = ("shuffled", "broken")
_HOST_WORDS = 300
_TYPES: dict[str, Any] = {
    "evaluation_set": pa.string(),
    "kind": pa.string(),
    "is_contaminated": pa.bool_(),
    "num_planted": pa.int64(),
    "num_found": pa.int64(),
}
CHECKS = pa.schema(_TYPES)


def plant(text: str, kind: str, seed: str) -> str:
    """One text in the dress of a kind; Chinese is cut by characters."""
    rng = random.Random(digest(seed, kind))
    words = text.split()
    space = " "
    if len(words) < 2 or len(text) > 12 * len(words):
        words, space = [c for c in text if not c.isspace()], ""
    if kind == "restyled":
        return ("\n" if space else "，").join(space.join(words[i : i + 7]).upper().replace(",", " --") for i in range(0, len(words), 7))
    if kind == "half":
        (cut,) = words_of(pa.array([text], pa.large_string()))
        ends = cut.ends[: len(cut.ends) // 2 + 8].tolist()  # half of the 13-grams, and one or two more
        return text.encode()[: ends[-1]].decode() if ends else text
    if kind in ("edited", "broken"):
        step, start = (40, 2) if kind == "edited" else (10, rng.randrange(5))
        return space.join(
            "槑" if i % step == start and not space else "qvzx" if i % step == start else word for i, word in enumerate(words)
        )
    if kind == "shuffled":
        rng.shuffle(words)
    return space.join(words)


def _chosen(index: Index, name: str) -> list[Part]:
    """Long parts to plant, the first by digest."""
    long = [part for part, size in zip(index.parts, index.sizes.tolist(), strict=True) if part.evaluation_set == name and size >= MIN_SIZE]
    short = [part for part in index.parts if part.evaluation_set == name and part.part != "answer" and _is_whole(part)]
    return (
        sorted(long, key=lambda part: digest(part.text))[:NUM_ITEMS] + sorted(short, key=lambda part: digest(part.text))[: NUM_ITEMS // 4]
    )


def _is_whole(part: Part) -> bool:
    return MIN_WHOLE <= len(part.text.split()) < NGRAM


def _planted(index: Index, hosts: Sequence[str]) -> Iterator[tuple[str, str, Part, str]]:
    """Set, kind, part and document."""
    vocabulary = [word for text in hosts for word in text.split()][:20_000] or ["word"]
    for name in sorted({part.evaluation_set for part in index.parts}):
        for number, part in enumerate(_chosen(index, name)):
            kinds = (*POSITIVES, *NEGATIVES) if number < NUM_ITEMS and not _is_whole(part) else ("verbatim", "restyled", "shuffled")
            for kind in kinds:
                rng = random.Random(digest(part.text, kind, "host"))
                front, back = (" ".join(rng.choices(vocabulary, k=_HOST_WORDS // 2)) for _ in range(2))
                yield name, kind, part, f"{front}\n{plant(part.text, kind, part.text)}\n{back}"


def check(index: Index, hosts: Sequence[str], min_overlap: float) -> pa.Table:
    """Rows of the table `contamination_checks`: per set and kind, how many documents were planted and in how many their own item was found.

    A document counts as found if the planted part reaches `min_overlap`. `hosts` are real texts that lend their words.
    """
    planted = list(_planted(index, hosts))
    ids = pa.array([str(i) for i in range(len(planted))], pa.string())
    matches = scan(index, ids, pa.array([document for *_, document in planted], pa.large_string())).to_pylist()
    strong = {
        (int(row["id"]), row["evaluation_set"], row["part"], row["item"])
        for row in matches
        if len(row["ngrams"]) >= min(2, row["num_ngrams"]) and len(row["ngrams"]) / row["num_ngrams"] >= min_overlap
    }
    counts: dict[tuple[str, str], list[int]] = {}
    for i, (name, kind, part, _) in enumerate(planted):
        count = counts.setdefault((name, kind), [0, 0])
        count[0] += 1
        count[1] += (i, name, part.part, part.items[0]) in strong
    rows = [
        {"evaluation_set": name, "kind": kind, "is_contaminated": kind in POSITIVES, "num_planted": planted, "num_found": found}
        for (name, kind), (planted, found) in sorted(counts.items())
    ]
    return pa.Table.from_pylist(rows, schema=CHECKS)
