"""The index: every stretch of words that betrays an item of an evaluation set.

A part (question, answer, context) of 13 words or more is known by its 13-grams; one of 8 to 12 words by all its words in a row; one of 3
to 7 only where it fills a line, because so few words in a row are soon a coincidence. A question and its answer together, where the
question alone is shorter than that, are one more part, `item`. Answers below 8 words are never looked for alone, but in the documents
that hold their question; below 13 the verdict asks for the question too. A stretch without a letter, or found in more than `MAX_TEXTS`
different texts of a set, is a template of the set and not in the index.

In memory: a hash table of the stretches behind a bitmap that sends most of a document's stretches away after one look.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.folded_words import Words, stretches, words_of

Array = NDArray[Any]

NGRAM = 13
"""Words of a stretch: arXiv:2005.14165, appendix C."""
MIN_WHOLE, MIN_LINE = 8, 3
"""Least words of a part looked for anywhere, and of one looked for as a line."""
MAX_TEXTS = 10
"""A stretch in more different texts of one set is its template."""
SALT = 0x632BE59BD9B4E019
LINE_SALT = 64
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Part:
    """One text of one set, with all items that share it."""

    evaluation_set: str
    part: str
    text: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """Stretches by hash: `keys` sorted, `starts` into the postings, each a part. `lengths` lists the stretches to look for."""

    parts: tuple[Part, ...]
    sizes: Array
    """Number of stretches per part: what an overlap is a share of."""
    num_words: Array
    """Words per part."""
    keys: Array
    starts: Array
    posting_part: Array
    lengths: Array
    line_lengths: Array
    table: Array
    bitmap: Array
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Answers too short to be looked for alone, by set and item."""

    @property
    def num_bytes(self) -> int:
        return int(sum(column.nbytes for column in (self.keys, self.starts, self.posting_part, self.table, self.bitmap)))


def build(items: pa.Table) -> Index:
    """Index over rows of `evaluation_items`, of any number of sets."""
    rows = items.to_pylist()
    parts = list(_parts(rows))
    words = _words(parts)
    short = {part.text for part, w in zip(parts, words, strict=True) if part.part == "question" and len(w.hashes) < MIN_WHOLE}
    joined = list(_joined([row for row in rows if row["question"] in short]))
    parts, words = parts + joined, words + _words(joined)
    found = [_stretches(part, w) for part, w in zip(parts, words, strict=True)]
    used = [i for i, (keys, _) in enumerate(found) if len(keys)]
    keys = np.concatenate([np.zeros(0, np.uint64), *(found[i][0] for i in used)])
    owner = np.repeat(np.arange(len(used)), [len(found[i][0]) for i in used])
    names = [parts[i].evaluation_set for i in used]
    keys, owner = _without_templates(keys, owner, names)
    lengths = {found[i][1] for i in used}
    answers = {(str(row["evaluation_set"]), str(row["item"])): str(row["answer"]) for row in rows if row["answer"]}
    num_words = np.array([len(words[i].hashes) for i in used], dtype=np.int64)
    return _assemble([parts[i] for i in used], num_words, keys, owner, lengths, answers)


def _words(parts: Sequence[Part]) -> list[Words]:
    return words_of(pa.array([part.text for part in parts], pa.large_string()))


def _parts(rows: Sequence[dict[str, Any]]) -> Iterator[Part]:
    """Every distinct text once, with its items in order."""
    texts = [(row, name, row[name]) for row in rows for name in ("question", "answer", "context") if row[name]]
    yield from _shared(texts)


def _joined(rows: Sequence[dict[str, Any]]) -> Iterator[Part]:
    """Question and answer as one text."""
    yield from _shared([(row, "item", f"{row['question']}\n{row['answer']}") for row in rows if row["question"] and row["answer"]])


def _shared(texts: Sequence[tuple[dict[str, Any], str, str]]) -> Iterator[Part]:
    items: dict[tuple[str, str, str], list[str]] = {}
    for row, part, text in texts:
        items.setdefault((row["evaluation_set"], part, text), []).append(row["item"])
    for (name, part, text), ids in items.items():
        yield Part(name, part, text, tuple(ids))


def _stretches(part: Part, words: Words) -> tuple[Array, int]:
    """Keys of a part's stretches, and their length in words; negative for a line."""
    num = len(words.hashes)
    length = NGRAM if num >= NGRAM else num
    if num < (MIN_WHOLE if part.part in ("answer", "item") else MIN_LINE):
        return np.zeros(0, np.uint64), 0
    lettered = np.concatenate([[0], np.cumsum(words.letters)])
    has_letter = lettered[length:] > lettered[: num - length + 1]
    is_line = num < MIN_WHOLE
    return np.unique(stretches(words.hashes, length)[has_letter] + key_offset(length, is_line)), -length if is_line else length


def key_offset(length: int, is_line: bool) -> Any:
    """Added to the hash of a stretch, so that stretches of different lengths have different keys."""
    return np.uint64((length + LINE_SALT * is_line) * SALT & _MASK)


def _without_templates(keys: Array, owner: Array, names: Sequence[str]) -> tuple[Array, Array]:
    """Keys sorted, without those that too many different texts of one set hold."""
    sets = {name: number for number, name in enumerate(sorted(set(names)))}
    set_of = np.array([sets[name] for name in names], dtype=np.int64)
    order = np.lexsort((owner, set_of[owner], keys)) if len(keys) else np.zeros(0, np.int64)
    keys, owner = keys[order], owner[order]
    group = np.concatenate([[True], (np.diff(keys) != 0) | (np.diff(set_of[owner]) != 0)])[: len(keys)]
    number = np.cumsum(group) - 1
    stays = np.bincount(number)[number] <= MAX_TEXTS if len(keys) else np.zeros(0, bool)
    return keys[stays], owner[stays]


def _assemble(
    parts: Sequence[Part], num_words: Array, keys: Array, owner: Array, lengths: set[int], answers: dict[tuple[str, str], str]
) -> Index:
    unique, starts = np.unique(keys, return_index=True)
    bits = max(10, int(2 * max(1, len(unique)) - 1).bit_length())
    table, bitmap = np.full(1 << bits, -1, np.int32), np.zeros(1 << max(6, bits + 3 - 6), np.uint64)
    for entry, slot in enumerate((unique >> np.uint64(64 - bits)).tolist()):
        while table[slot] >= 0:
            slot = (slot + 1) & ((1 << bits) - 1)
        table[slot] = entry
    place = unique >> np.uint64(64 - (len(bitmap) * 64).bit_length() + 1)
    np.bitwise_or.at(bitmap, (place >> np.uint64(6)).astype(np.int64), np.uint64(1) << (place & np.uint64(63)))
    return Index(
        parts=tuple(parts),
        num_words=num_words,
        sizes=np.bincount(owner, minlength=len(parts)).astype(np.int64),
        keys=unique,
        starts=np.concatenate([starts, [len(keys)]]).astype(np.int64),
        posting_part=owner.astype(np.int32),
        lengths=np.array(sorted(n for n in lengths if n > 0), dtype=np.int64),
        line_lengths=np.array(sorted(-n for n in lengths if n < 0), dtype=np.int64),
        table=table,
        bitmap=bitmap,
        answers=answers,
    )
