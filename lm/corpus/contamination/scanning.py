"""Finding the index's stretches in documents: one pass over their bytes, in compiled code.

A document is cut into folded words, prefix hashes of these give every stretch of every wanted length for one multiplication, and a bitmap
turns nearly all of them away. What is found is put together per document and item in Python, because it is rare. A row depends on its
document and the index alone: batches, threads and order change nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus import folded_words
from lm.corpus.contamination import index as index_module
from lm.corpus.contamination.index import LINE_SALT, SALT, Index
from lm.corpus.folded_words import Words, code_points, cut, powers, words_of, workspace
from lm.corpus.signals import Texts, hashing, kernel, over_ranges, utf8_buffers
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

MAX_MATCHED_CHARS = 600
"""Longest matching text that is kept; a person judges by less."""
_TYPES: dict[str, Any] = {
    "id": pa.string(),
    "evaluation_set": pa.string(),
    "item": pa.string(),
    "part": pa.string(),
    "num_ngrams": pa.int64(),
    "ngrams": pa.list_(pa.uint64()),
    "longest_run": pa.int64(),
    "spans": pa.list_(pa.int64()),
    "matched_text": pa.string(),
}
MATCHES = pa.schema(_TYPES)
_SALT, _LINE, _BASE = uint64(SALT), uint64(LINE_SALT), uint64(folded_words.BASE)
_ONE, _S6, _M6 = uint64(1), uint64(6), uint64(63)
_COLUMNS = 6


class Lookup(NamedTuple):
    """What the kernel needs of an index."""

    keys: Array
    table: Array
    bitmap: Array
    lengths: Array
    line_lengths: Array
    powers: Array
    code_points: Array


@inner
def _entry(key: int, t: Lookup, table_shift: int, bitmap_shift: int) -> int:
    """Number of a key in the index; -1 if it is not there."""
    place = key >> uint64(bitmap_shift)
    if (t.bitmap[int64(place >> _S6)] >> (place & _M6)) & _ONE == 0:
        return int64(-1)
    slot, mask = int64(key >> uint64(table_shift)), len(t.table) - 1
    while t.table[slot] >= 0:
        if t.keys[t.table[slot]] == key:
            return int64(t.table[slot])
        slot = (slot + 1) & mask
    return int64(-1)


@inner
def _shift(size: int) -> int:
    bits = 0
    while (1 << bits) < size:
        bits += 1
    return 64 - bits


@inner
def _note(hits: Array, num: int, document: int, entry: int, w: Words, first: int, length: int) -> int:
    """Write one hit; returns how many there are, or would be with more room."""
    if num < len(hits):
        hits[num, 0], hits[num, 1], hits[num, 2], hits[num, 3] = document, entry, first, length
        hits[num, 4], hits[num, 5] = w.begins[first], w.ends[first + length - 1]
    return num + 1


@inner
def _line_hits(w: Words, prefix: Array, num_words: int, t: Lookup, shifts: tuple[int, int], document: int, hits: Array, num: int) -> int:
    """Hits of parts that must fill a line."""
    first = 0
    for i in range(1, num_words + 1):
        if i < num_words and w.lines[i] == w.lines[first]:
            continue
        size = i - first
        for length in t.line_lengths:
            if size == length:
                key = prefix[i] - prefix[first] * t.powers[length] + (uint64(length) + _LINE) * _SALT
                entry = _entry(key, t, shifts[0], shifts[1])
                if entry >= 0:
                    num = _note(hits, num, document, entry, w, first, size)
        first = i
    return num


@cache
def _scan_kernel() -> Callable[..., Any]:
    """scan(data, offsets, first, last, lookup, words, prefix, hits): number of hits; those that had no room are counted all the same."""
    version = kernel.sources_digest(__file__, str(folded_words.__file__), hashing.__file__, kernel.__file__, str(index_module.__file__))

    def run(data: Array, offsets: Array, first: int, last: int, t: Lookup, w: Words, prefix: Array, hits: Array) -> int:
        num = 0 if version else -1
        shifts = (_shift(len(t.table)), _shift(len(t.bitmap) * 64))
        for document in range(first, last):
            num_words = cut(data, offsets[document], offsets[document + 1], t.code_points, w)
            for i in range(num_words):
                prefix[i + 1] = prefix[i] * _BASE + w.hashes[i]
            for length in t.lengths:
                offset, power = uint64(length) * _SALT, t.powers[length]
                for i in range(num_words - length + 1):
                    entry = _entry(prefix[i + length] - prefix[i] * power + offset, t, shifts[0], shifts[1])
                    if entry >= 0:
                        num = _note(hits, num, document, entry, w, i, length)
            if len(t.line_lengths) and num_words:
                num = _line_hits(w, prefix, num_words, t, shifts, document, hits, num)
        return num

    def trial(function: Callable[..., Any]) -> object:
        (data,), offsets = folded_words.trial_text(), np.zeros(1, np.int64)
        offsets.setflags(write=False)
        empty = np.zeros(0, np.uint64)
        t = Lookup(empty, np.zeros(2, np.int32), empty, np.zeros(0, np.int64), np.zeros(0, np.int64), empty, code_points())
        return function(data, offsets, 0, 0, t, workspace(1), np.zeros(2, np.uint64), np.zeros((1, _COLUMNS), np.int64))

    return kernel.compiled(run, trial)


def _hits(index: Index, texts: Texts, num_threads: int) -> Array:
    """int64[hit, 6]: document, entry, first word, words, first byte, byte after; in order of documents."""
    data, offsets = utf8_buffers(texts)
    if len(offsets) == 1 or not len(index.keys):
        return np.zeros((0, _COLUMNS), np.int64)
    run = _scan_kernel()
    t = Lookup(index.keys, index.table, index.bitmap, index.lengths, index.line_lengths, powers(14), code_points())

    max_bytes = int(np.diff(offsets).max())
    found: dict[int, Array] = {}

    def work(first: int, last: int, room: tuple[Words, Array]) -> None:
        hits = np.zeros((1024, _COLUMNS), np.int64)
        num = run(data, offsets, first, last, t, *room, hits)
        if num > len(hits):
            hits = np.zeros((num, _COLUMNS), np.int64)
            num = run(data, offsets, first, last, t, *room, hits)
        found[first] = hits[:num]

    over_ranges(offsets, max(1, num_threads), lambda: (workspace(max_bytes), np.zeros(max_bytes // 2 + 3, np.uint64)), work)
    return np.concatenate([found[first] for first in sorted(found)])


def scan(index: Index, ids: Texts, texts: Texts, num_threads: int = 1) -> pa.Table:
    """Rows of the table `contamination_matches`: one per document, item and part that share a stretch, in the order of the documents.

    Raises ValueError if texts are not Arrow strings or hold nulls.
    """
    hits = _hits(index, texts, num_threads)
    if not len(hits):
        return MATCHES.empty_table()
    rows = [row for document in _by_document(hits) for row in _document_rows(index, ids, texts, document)]
    return pa.Table.from_pylist(rows, schema=MATCHES)


def _by_document(hits: Array) -> Iterator[Array]:
    edges = [0, *(np.nonzero(np.diff(hits[:, 0]))[0] + 1).tolist(), len(hits)]
    for start, stop in pairwise(edges):
        yield hits[start:stop]


def _document_rows(index: Index, ids: Texts, texts: Texts, hits: Array) -> Iterator[dict[str, Any]]:
    number = int(hits[0, 0])
    id, text = str(ids[number].as_py()), str(texts[number].as_py())
    raw = text.encode()
    found: dict[int, list[int]] = {}
    for i, entry in enumerate(hits[:, 1].tolist()):
        for part in index.posting_part[index.starts[entry] : index.starts[entry + 1]].tolist():
            found.setdefault(part, []).append(i)
    asked: dict[tuple[str, str], list[int]] = {}
    for number in sorted(found):
        part, mine = index.parts[number], hits[found[number]]
        row = {"id": id, "evaluation_set": part.evaluation_set, "part": part.part, **_evidence(index, mine, raw)}
        row["num_ngrams"] = int(index.sizes[number])
        for item in part.items:
            yield {**row, "item": item}
            if part.part == "question":
                asked[part.evaluation_set, item] = row["spans"]
    yield from _answers(
        index, id, text, asked, {(p.evaluation_set, i) for n in found for p in [index.parts[n]] if p.part == "answer" for i in p.items}
    )


def _evidence(index: Index, hits: Array, raw: bytes) -> dict[str, Any]:
    """Distinct stretches, where they lie, the longest run of them in words, and its text."""
    spans: list[list[int]] = []
    for _, _, first, length, begin, end in hits[np.argsort(hits[:, 2], kind="stable")].tolist():
        if spans and first < spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], first + length)
            spans[-1][3] = max(spans[-1][3], end)
        else:
            spans.append([first, first + length, begin, end])
    longest = max(spans, key=lambda span: span[1] - span[0])
    return {
        "ngrams": index.keys[np.unique(hits[:, 1])].tolist(),
        "longest_run": longest[1] - longest[0],
        "spans": [byte for span in spans for byte in span[2:]],
        "matched_text": raw[longest[2] : longest[3]].decode("utf-8", "ignore")[:MAX_MATCHED_CHARS],
    }


def _answers(
    index: Index, id: str, text: str, asked: dict[tuple[str, str], list[int]], known: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Answers too short to be looked for alone, where the document holds their question."""
    wanted = [(key, index.answers[key]) for key in sorted(asked) if key in index.answers and key not in known]
    if not wanted:
        return
    cuts: Sequence[Words] = words_of(pa.array([text, *(answer for _, answer in wanted)], pa.large_string()))
    for ((name, item), _), words in zip(wanted, cuts[1:], strict=True):
        num = len(words.hashes)
        if not 1 <= num < index_module.NGRAM:
            continue
        ours = folded_words.stretches(words.hashes, num)
        at = np.nonzero(folded_words.stretches(cuts[0].hashes, num) == ours[0])[0]
        if len(at):
            span = [int(cuts[0].begins[at[0]]), int(cuts[0].ends[at[0] + num - 1])]
            base = {"id": id, "evaluation_set": name, "item": item, "part": "answer", "num_ngrams": 1, "longest_run": num}
            yield {
                **base,
                "ngrams": ours.tolist(),
                "spans": span,
                "matched_text": text.encode()[span[0] : span[1]].decode("utf-8", "ignore"),
            }
