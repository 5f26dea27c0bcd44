"""A side stream whose truth is known: items planted in made-up documents, and hard negatives, through the same scan as real text.

Each document is the words of real ones in a drawn order, so that it has their vocabulary and no sentence of theirs, with one item's text
in its midst. Every way to look for an item is put to the test, each with look-alikes of its own that are no copy by its rule:

- a long part: as it is, in other dress (capitals, punctuation, line breaks), a little more than half of it, and with one word in forty
  replaced; against its words in another order, and every tenth word replaced;
- a part of 8 to 19 words: as it is and in other dress; against the same two;
- one of 3 to 7 words: as a line of its own; against the same words in the midst of a line, and a line with one word replaced;
- a short answer: with its question; against the answer alone.

Words are those of the scan, so a Chinese item is cut by characters. Draws come from digests of names and texts, so every run of the same
set plants the same. The cost is some hundred short documents per scan and set.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from lm.corpus.contamination.index import MIN_LINE, MIN_WHOLE, NGRAM, Index, Part
from lm.corpus.contamination.scanning import scan
from lm.corpus.folded_words import words_of
from storage.digest import digest

NUM_ITEMS = 12
"""Items planted per set, scan and way to look for them, where there are as many; of the shorter ones a quarter, beside long ones."""
MAX_DRAWN = 100
"""Parts of a class that are looked at to find so many."""
MIN_SIZE = 8
"""Stretches of a long part: with fewer, one replaced word may leave too few for any rule."""
POSITIVES = ("verbatim", "restyled", "half", "edited", "line", "answered")
"""Kinds of copies; all others are look-alikes."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "long": ("verbatim", "restyled", "half", "edited", "shuffled", "broken"),
    "short": ("verbatim", "restyled", "shuffled", "broken"),
    "line": ("line", "inline", "broken"),
    "answer": ("answered", "unasked"),
}
"""How each class of parts is planted."""
_HOST_WORDS = 300
_TYPES: dict[str, Any] = {
    "evaluation_set": pa.string(),
    "kind": pa.string(),
    "is_contaminated": pa.bool_(),
    "num_planted": pa.int64(),
    "num_found": pa.int64(),
}
CHECKS = pa.schema(_TYPES)


class Planted(NamedTuple):
    """A document that was made up, and what must or must not be found in it."""

    evaluation_set: str
    kind: str
    item: str
    part: str
    document: str


def plant(text: str, kind: str, seed: str) -> str:
    """One text in the dress of a kind."""
    rng = random.Random(digest(seed, kind))
    if kind == "restyled":
        return _interrupted(text).upper().replace(",", " --")
    if kind == "half":
        ends = _spans(text)[: len(_spans(text)) // 2 + 8]  # half of the 13-grams, and one or two more
        return text.encode()[: ends[-1][1]].decode() if ends else text
    if kind == "edited":
        return _replaced(text, 40, 2)
    if kind == "broken":
        return _replaced(text, 10, rng.randrange(min(5, max(1, len(_spans(text))))))
    if kind == "shuffled":
        return _shuffled(text, rng)
    return " ".join(text.split())


def _spans(text: str) -> list[tuple[int, int]]:
    """First byte and byte after of each word of the scan."""
    (cut,) = words_of(pa.array([text], pa.large_string()))
    return list(zip(cut.begins.tolist(), cut.ends.tolist(), strict=True))


def _replaced(text: str, step: int, start: int) -> str:
    """The text with every so-manieth word of the scan replaced by one that is in no language."""
    raw, out, at = text.encode(), [], 0
    for i, (begin, end) in enumerate(_spans(text)):
        if i % step == start:
            word = raw[begin:end].decode()
            out += [raw[at:begin], ("槑" if len(word) == 1 and not word.isascii() else "qvzx").encode()]
            at = end
    return b"".join([*out, raw[at:]]).decode()


def _interrupted(text: str) -> str:
    """The text with the end of a line, or a comma, behind every seventh word of the scan."""
    raw, out, at = text.encode(), [], 0
    for i, (_, end) in enumerate(_spans(text)):
        if i % 7 == 6:
            out += [raw[at:end], b"\n" if i % 2 else "，".encode()]
            at = end
    return b"".join([*out, raw[at:]]).decode()


def _shuffled(text: str, rng: random.Random) -> str:
    """The words in another order; where they are so few or so equal that there is hardly one, without the first."""
    words = [text.encode()[begin:end].decode() for begin, end in _spans(text)]
    drawn = words
    for _ in range(4):
        drawn = rng.sample(words, len(words))
        if [word.lower() for word in drawn] != [word.lower() for word in words]:
            return " ".join(drawn)
    return " ".join(words[1:])


def _class(part: str, num_words: int, size: int) -> str:
    """How a part is looked for: long, short, line; empty for one whose stretches are mostly templates."""
    if num_words >= NGRAM:
        return "long" if size >= MIN_SIZE else "short" if size == num_words - NGRAM + 1 else ""
    if num_words >= MIN_WHOLE:
        return "short" if part != "answer" else ""
    return "line" if num_words >= MIN_LINE and part != "item" else ""


def _chosen(index: Index, name: str) -> Iterator[tuple[str, Part, str]]:
    """Parts of a set to plant, with their class, and the short answer that goes with a question."""
    by_class: dict[str, list[Part]] = {}
    for part, num_words, size in zip(index.parts, index.num_words.tolist(), index.sizes.tolist(), strict=True):
        if part.evaluation_set != name:
            continue
        by_class.setdefault(_class(part.part, num_words, size), []).append(part)
        if part.part == "question" and (name, part.items[0]) in index.answers and size == max(1, num_words - NGRAM + 1):
            by_class.setdefault("answer", []).append(part)
    quota = NUM_ITEMS // 4 if len(by_class.get("long", [])) >= NUM_ITEMS else NUM_ITEMS
    for kind in KINDS:
        parts = by_class.get(kind, [])
        drawn = random.Random(digest(name, kind)).sample(parts, min(len(parts), MAX_DRAWN))
        answers = [index.answers[name, part.items[0]] if kind == "answer" else "" for part in drawn]
        fit = [(kind, part, answer) for part, answer in zip(drawn, answers, strict=True) if kind != "answer" or _is_short(answer)]
        yield from fit[: NUM_ITEMS if kind == "long" else quota]


def _is_short(answer: str) -> bool:
    return 1 <= len(_spans(answer)) < NGRAM


def _planted(index: Index, hosts: Sequence[str]) -> Iterator[Planted]:
    vocabulary = [word for text in hosts for word in text.split()][:20_000] or ["word"]
    for name in sorted({part.evaluation_set for part in index.parts}):
        for looked_for, part, answer in _chosen(index, name):
            for kind in KINDS[looked_for]:
                rng = random.Random(digest(part.text, kind, "host"))
                front, back = (" ".join(rng.choices(vocabulary, k=_HOST_WORDS // 2)) for _ in range(2))
                document = _WAYS.get(kind, _own_lines)(front, plant(part.text, kind, part.text), answer, back)
                yield Planted(name, kind, part.items[0], "answer" if answer else part.part, document)


def _own_lines(front: str, text: str, _answer: str, back: str) -> str:
    return f"{front}\n{text}\n{back}"


_WAYS: Mapping[str, Callable[[str, str, str, str], str]] = {
    "inline": lambda front, text, _, back: f"{front} {text} {back}",
    "answered": lambda front, text, answer, back: f"{front}\n{text}\n{back}\n{answer}",
    "unasked": lambda front, _, answer, back: f"{front}\n{answer}\n{back}",
}
"""Where the text stands, if not on lines of its own."""


def _counts(strong: Mapping[tuple[int, str, str, str], int], which: tuple[int, str, str], part: str) -> bool:
    """Whether a part counts as the verdict counts it: a short answer with its question only."""
    run = strong.get((*which, part), 0)
    asked = any((*which, other) in strong for other in ("question", "item", "context"))
    return run > 0 and (part != "answer" or run >= NGRAM or asked)


def check(index: Index, hosts: Sequence[str], min_overlap: float) -> pa.Table:
    """Rows of the table `contamination_checks`: per set and kind, how many documents were planted and in how many their own item was found.

    A document counts as found if the planted part reaches `min_overlap`. `hosts` are real texts that lend their words.
    """
    planted = list(_planted(index, hosts))
    ids = pa.array([str(i) for i in range(len(planted))], pa.string())
    matches = scan(index, ids, pa.array([made.document for made in planted], pa.large_string())).to_pylist()
    strong = {
        (int(row["id"]), row["evaluation_set"], row["item"], row["part"]): row["longest_run"]
        for row in matches
        if len(row["ngrams"]) >= min(2, row["num_ngrams"]) and len(row["ngrams"]) / row["num_ngrams"] >= min_overlap
    }
    counts: dict[tuple[str, str], list[int]] = {}
    for i, made in enumerate(planted):
        count = counts.setdefault((made.evaluation_set, made.kind), [0, 0])
        count[0] += 1
        count[1] += _counts(strong, (i, made.evaluation_set, made.item), made.part)
    rows = [
        {"evaluation_set": name, "kind": kind, "is_contaminated": kind in POSITIVES, "num_planted": planted, "num_found": found}
        for (name, kind), (planted, found) in sorted(counts.items())
    ]
    return pa.Table.from_pylist(rows, schema=CHECKS)
