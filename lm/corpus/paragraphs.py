"""Repeated paragraphs across documents: DCLM's rule, exact, and in an order that owes nothing to workers.

A paragraph is a line. One of 13 words or more goes if more than 0.8 of its 13-grams were seen before, and gives its 13-grams to what was
seen if it stays; a whole document goes if more than 0.8 of all its 13-grams were seen. "Before" means in a document of smaller id, or
further up in the same one, so the same documents give the same result whatever their order. Seen 13-grams are kept as 64-bit hashes in a
table, not in a Bloom filter: nothing goes by its error rate.

Two passes over the texts: the first marks 13-grams in two bitmaps, to know which may occur twice; the second writes these few, by
document, to partitions that follow the order of ids. Bitmaps only spare work, so their collisions change nothing. Memory holds the
bitmaps and 16 bytes per repeated 13-gram; the price of exactness is that everything is looked at again when documents come. Source of the
rule: mlfoundations/dclm, dedup/bff.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus import folded_words
from lm.corpus.folded_words import Words, code_points, cut, powers, spread, trial_text, workspace
from lm.corpus.near_duplicates.spill import Partitions, decode_ids, encode_ids
from lm.corpus.signals import hashing, kernel, utf8_buffers
from lm.corpus.signals.hashing import find, inner, int64, uint64

Array = NDArray[Any]
Texts = Callable[[], Iterable[pa.RecordBatch]]
"""Gives batches with columns id and text, the same ones at each call, in any order."""

NGRAM = 13
MAX_SEEN = 0.8
VARIANT = "without_repeats"
_BASE = uint64(folded_words.BASE)
_HEAD = 4
"""Numbers of a line on disk: both halves of the id, 13-grams, repeated 13-grams; then first byte and byte after, then the hashes."""
_FIELDS = _HEAD + 2
_TYPES: dict[str, Any] = {"id": pa.string(), "spans": pa.list_(pa.int64()), "is_whole": pa.bool_()}
REPEATS = pa.schema(_TYPES)


@inner
def _grams(w: Words, first: int, last: int, prefix: Array, power: int, out: Array) -> int:
    """Hashes of the 13-grams of words first to last; how many."""
    prefix[0] = uint64(0)
    for i in range(last - first):
        prefix[i + 1] = prefix[i] * _BASE + w.hashes[first + i]
    num = max(int64(0), last - first - NGRAM + 1)
    for i in range(num):
        out[i] = spread(prefix[i + NGRAM] - prefix[i] * power)
    return num


@inner
def _line_end(w: Words, first: int, num: int) -> int:
    last = first + 1
    while last < num and w.lines[last] == w.lines[first]:
        last += 1
    return last


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """mark(data, offsets, table, words, prefix, grams, power, once, twice, shift): bits of 13-grams met, and met again.

    repeated(..., once, twice, shift, ids, out): lines with a 13-gram that may occur twice; numbers needed, written as far as there is room.
    judge(records, starts, keys, stamps, shift, seen): 13-grams of each line that were seen before it, line by line in order.
    """
    version = kernel.sources_digest(__file__, str(folded_words.__file__), hashing.__file__, kernel.__file__)
    six, rest, one = uint64(6), uint64(63), uint64(1)

    def mark(
        data: Array, offsets: Array, t: Array, w: Words, prefix: Array, grams: Array, power: int, once: Array, twice: Array, shift: int
    ) -> int:
        for document in range(len(offsets) - 1):
            num, first = cut(data, offsets[document], offsets[document + 1], t, w), int64(0)
            while first < num:
                last = _line_end(w, first, num)
                for i in range(_grams(w, first, last, prefix, power, grams)):
                    place = grams[i] >> uint64(shift)
                    word, bit = int64(place >> six), one << (place & rest)
                    twice[word] |= once[word] & bit
                    once[word] |= bit
                first = last
        return version

    def repeated(
        data: Array, offsets: Array, t: Array, w: Words, prefix: Array, grams: Array, power: int, twice: Array, shift: int,
        high: Array, low: Array, out: Array,
    ) -> int:  # fmt: skip
        used = 0 if version else -1
        for document in range(len(offsets) - 1):
            num, first = cut(data, offsets[document], offsets[document + 1], t, w), int64(0)
            while first < num:
                last = _line_end(w, first, num)
                num_grams, at = _grams(w, first, last, prefix, power, grams), used + 6
                for i in range(num_grams):
                    place = grams[i] >> uint64(shift)
                    if (twice[int64(place >> six)] >> (place & rest)) & one:
                        if at < len(out):
                            out[at] = grams[i]
                        at += 1
                if num_grams > 0:
                    if at <= len(out):
                        out[used], out[used + 1], out[used + 2] = high[document], low[document], num_grams
                        out[used + 3], out[used + 4], out[used + 5] = at - used - 6, w.begins[first], w.ends[last - 1]
                    used = at
                first = last
        return used

    def judge(records: Array, starts: Array, keys: Array, stamps: Array, shift: int, seen: Array) -> None:
        for line in range(len(starts)):
            at = starts[line]
            total, num, found = int64(records[at + 2]), int64(records[at + 3]), 0
            for i in range(num):
                key = records[at + 6 + i]
                if stamps[find(keys, stamps, 1, shift, key)] == 1:
                    found += 1
            seen[line] = found
            if found > MAX_SEEN * total:
                continue
            for i in range(num):
                key = records[at + 6 + i]
                slot = find(keys, stamps, 1, shift, key)
                keys[slot], stamps[slot] = key, 1

    (data,), offsets = trial_text(), np.zeros(1, np.int64)
    offsets.setflags(write=False)
    w, numbers = workspace(1), np.zeros(2, np.uint64)
    none = np.zeros(0, np.int64)
    common = (data, offsets, code_points(), w, numbers, numbers.copy(), np.uint64(1))
    return (
        kernel.compiled(mark, lambda run: run(*common, numbers, numbers, 63)),
        kernel.compiled(repeated, lambda run: run(*common, numbers, 63, numbers, numbers, numbers.copy())),
        kernel.compiled(judge, lambda run: run(numbers, none, numbers.copy(), np.zeros(2, np.int32), 61, none)),
    )


def bitmap_bits(num_bytes: int) -> int:
    """Size of a bitmap for so many bytes of text, as a power of two: 16 bits per word, from 2^16 to 2^30."""
    return min(30, max(16, (16 * num_bytes // 6).bit_length()))


def find_repeats(texts: Texts, num_bytes: int, folder: Path) -> Iterator[pa.Table]:
    """Documents that lose paragraphs: id, spans of these as [first byte, byte after, ...], whether the whole document goes; by id.

    `num_bytes` of text decides the size of bitmaps and nothing else. A document that comes twice counts once. Files go to `folder`.
    """
    bits = bitmap_bits(num_bytes)
    lines = _write_lines(texts, bits, num_bytes, folder)
    num_grams = max(1, lines.num_records)
    size_bits = max(4, (2 * num_grams).bit_length())
    keys, stamps = np.zeros(1 << size_bits, np.uint64), np.zeros(1 << size_bits, np.int32)
    for number in range(lines.num):
        records = lines.read(number)
        lines.remove(number)
        if len(records):
            yield _judged(records, keys, stamps, 64 - size_bits)


def _write_lines(texts: Texts, bits: int, num_bytes: int, folder: Path) -> Partitions:
    """Lines with 13-grams, with those that may occur twice, in partitions that follow the order of ids."""
    once, twice = np.zeros(1 << (bits - 6), np.uint64), np.zeros(1 << (bits - 6), np.uint64)
    power = powers(NGRAM + 1)[NGRAM]
    for batch in texts():
        data, offsets = utf8_buffers(batch["text"])
        if len(offsets) > 1:
            _kernels()[0](data, offsets, code_points(), *_room(offsets), power, once, twice, 64 - bits)
    lines = Partitions(folder, "lines", max(1, num_bytes >> 24), np.uint64)
    for batch in texts():
        data, offsets = utf8_buffers(batch["text"])
        if len(offsets) > 1:
            ids = encode_ids(batch["id"])
            high, low = (np.ascontiguousarray(ids[half]) for half in ("high", "low"))
            _append(lines, data, offsets, power, twice, 64 - bits, high, low)
    return lines


def _room(offsets: Array) -> tuple[Words, Array, Array]:
    w = workspace(int(np.diff(offsets).max()))
    return w, np.zeros(len(w.hashes) + 1, np.uint64), np.zeros(len(w.hashes) + 1, np.uint64)


def _append(lines: Partitions, data: Array, offsets: Array, power: Any, twice: Array, shift: int, high: Array, low: Array) -> None:
    room = _room(offsets)
    out = np.zeros(int(offsets[-1] - offsets[0]) + 64, np.uint64)
    used = _kernels()[1](data, offsets, code_points(), *room, power, twice, shift, high, low, out)
    assert used <= len(out), "a line of 13 words has more bytes than numbers on disk"
    at = _starts(out[:used])
    sizes = np.diff(np.append(at, used))
    partition = ((out[at] >> np.uint64(32)) * np.uint64(lines.num) >> np.uint64(32)).astype(np.int32)
    lines.append(out[:used].copy(), np.repeat(partition, sizes))


def _starts(records: Array) -> Array:
    """Where each line begins."""
    found, at = [], 0
    while at < len(records):
        found.append(at)
        at += _FIELDS + int(records[at + 3])
    return np.array(found, np.int64)


def _judged(records: Array, keys: Array, stamps: Array, shift: int) -> pa.Table:
    starts = _starts(records)
    order = np.lexsort((records[starts + 4], records[starts + 1], records[starts]))
    starts = starts[order]
    same = np.zeros(len(starts), bool)
    same[1:] = np.all([np.diff(records[starts + field]) == 0 for field in (0, 1, 4)], axis=0)
    starts = starts[~same]
    seen = np.zeros(len(starts), np.int64)
    _kernels()[2](records, starts, keys, stamps, shift, seen)
    totals = records[starts + 2].astype(np.int64)
    edges = np.nonzero(np.concatenate([[True], (np.diff(records[starts]) != 0) | (np.diff(records[starts + 1]) != 0)]))[0]
    whole = np.add.reduceat(seen, edges) > MAX_SEEN * np.add.reduceat(totals, edges)
    goes = seen > MAX_SEEN * totals
    rows = []
    for number, (first, last) in enumerate(zip(edges, np.append(edges[1:], len(starts)), strict=True)):
        if whole[number] or goes[first:last].any():
            spans = [
                int(records[at + field]) for at, gone in zip(starts[first:last], goes[first:last], strict=True) if gone for field in (4, 5)
            ]
            rows.append((int(first), spans, bool(whole[number])))
    ids = np.zeros(len(rows), [("high", "<u8"), ("low", "<u8")])
    for half, field in (("high", 0), ("low", 1)):
        ids[half] = records[starts[[first for first, _, _ in rows]] + field] if rows else 0
    columns: list[Any] = [decode_ids(ids), [spans for _, spans, _ in rows], [is_whole for _, _, is_whole in rows]]
    return pa.table(columns, schema=REPEATS)
