"""Language of a text, by the fastText model lid.176 in its small form, which comes inside a package: nothing is downloaded.

The lookup is compiled here: words and character n-grams are hashed where they stand, their rows added up, and the tree of languages is
walked down to the likeliest. Labels are those of fastText, scores equal to 1e-3 and closer, at a tenth of its time. Only the first
characters are looked at: the model is a bag of n-grams, and more text changes little but costs time in proportion. The cost: a page
that opens with a long menu in another language is labelled by the menu.

Source: Joulin, Grave, Bojanowski, Mikolov (arXiv:1607.01759, arXiv:1612.03651).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm.corpus.compiling import compiled, sources_digest
from lm.corpus.fasttext_file import DIM, FNV_OFFSET, FNV_PRIME, MAX_CHARS, MIN_CHARS, NUM_BUCKETS, Classifier, load_classifier, model_file
from lm.corpus.signals import hashing
from lm.corpus.signals.hashing import inner, int64, maker, uint64
from storage.digest import file_digest

Array = NDArray[Any]

PREFIX_CHARS = 1000
"""Characters looked at."""
UNDETERMINED = ("und", 0.0)
"""ISO 639 code for a text that has no letters."""
_UPPER_SHARE = 0.8
"""Texts with a larger share of capitals among their ASCII letters are read in lower case, which the model knows better."""
_NOT_UPPER = bytes(byte for byte in range(256) if not 65 <= byte <= 90)
_NOT_LETTERS = bytes(byte for byte in range(256) if not 97 <= (byte | 32) <= 122)
_LABEL_WORD = b"__label__"
_FNV_OFFSET, _FNV_PRIME = np.uint64(FNV_OFFSET), np.uint64(FNV_PRIME)
_FNV32_OFFSET, _FNV32_PRIME = np.uint32(2166136261), np.uint32(16777619)
_SIGN = np.uint32(0xFFFFFF00)
_LT, _GT, _SPACE = (ord(char) for char in "<> ")
_MAX_DEPTH = 64


def detect(text: str) -> tuple[str, float]:
    """ISO 639 code of the most likely language, and its probability from 0 to 1; ("und", 0.0) without letters."""
    prefix = " ".join(text[:PREFIX_CHARS].split())
    if not any(char.isalpha() for char in prefix):
        return UNDETERMINED
    words = b"<" + _normalized(prefix).replace(b" ", b"> <") + b"> <</s>>"
    kernel, model, labels = _detector()
    label, log_probability, _ = kernel(np.frombuffer(words, np.uint8), model)
    return (labels[label], min(1.0, float(np.exp(log_probability)))) if label >= 0 else UNDETERMINED


def language_model_digest() -> str:
    """Identity of the model that languages depend on beside the code."""
    return file_digest(model_file())


def _normalized(prefix: str) -> bytes:
    """The words as the model was given them by the package it comes from: capitals alone are lower-cased."""
    data = prefix.encode("utf-8", "replace").replace(b"\0", b" ")
    num_upper, num_letters = len(data.translate(None, _NOT_UPPER)), len(data.translate(None, _NOT_LETTERS))
    if prefix.isupper() or (num_upper > _UPPER_SHARE * num_letters and len(prefix) > 5):
        data = prefix.lower().encode("utf-8", "replace").replace(b"\0", b" ")
    if _LABEL_WORD in data:  # fastText takes such words for answers
        data = b" ".join(word for word in data.split(b" ") if not word.startswith(_LABEL_WORD))
    return data


@inner
def add_row(rows: Array, row: int, total: Array) -> None:
    """Add one row to the sum of rows."""
    for i in range(DIM):
        total[i] += rows[row, i]


@inner
def row_of_word(model: Classifier, key: int) -> int:
    """Row of the word with this key; -1 if it has none."""
    mask = int64(model.keys.size - 1)
    at = int64(key >> np.uint64(8)) & mask
    while model.keys[at] != 0:
        if model.keys[at] == key:
            return int64(model.words[at])
        at = (at + 1) & mask
    return int64(-1)


@inner
def add_ngrams(text: Array, start: int, stop: int, model: Classifier, total: Array) -> int:
    """Add the rows of all character n-grams of `<word>`, which is text[start:stop]; returns how many there are."""
    num = int64(0)
    for first in range(start, stop):
        if text[first] & 0xC0 == 0x80:
            continue
        at, value = first, _FNV32_OFFSET
        for length in range(1, MAX_CHARS + 1):
            if at >= stop:
                break
            is_inside = True
            while is_inside:
                byte = np.uint32(text[at])
                value = np.uint32((value ^ (byte | _SIGN if byte > 127 else byte)) * _FNV32_PRIME)  # numba widens products
                at += 1
                is_inside = at < stop and text[at] & 0xC0 == 0x80
            if length >= MIN_CHARS:
                bucket = int64(value % np.uint32(NUM_BUCKETS))
                if model.is_kept[bucket >> 3] >> (bucket & 7) & 1:
                    add_row(model.rows, int64(model.rows_of_buckets[bucket]), total)
                    num += 1
    return num


@inner
def sum_rows(text: Array, model: Classifier, total: Array) -> int:
    """Add the rows of all words and their n-grams up to the word `</s>`, which stands for the end; returns how many there are."""
    num, at = int64(0), int64(0)
    while at < text.size:
        stop, key = at, _FNV_OFFSET
        while stop < text.size and text[stop] != _SPACE:
            key = (key ^ np.uint64(text[stop])) * _FNV_PRIME
            stop += 1
        row = row_of_word(model, uint64(key | np.uint64(1)))
        if row >= 0:
            add_row(model.rows, row, total)
            num += 1
        if row == 0:
            break
        if stop - at > 2:
            num += add_ngrams(text, at, stop, model, total)
        at = stop + 1
    return num


@maker
def likeliest(mean: Array, model: Classifier) -> tuple[int, float]:
    """The leaf with the highest probability, and its logarithm: the likelier branch first, so that most others need no look."""
    nodes, scores = np.zeros(_MAX_DEPTH, np.int64), np.zeros(_MAX_DEPTH, np.float64)
    num_labels, depth, best, label = int64(model.children.shape[0] + 1), 1, -np.inf, int64(-1)
    nodes[0] = 2 * num_labels - 2
    while depth > 0:
        depth -= 1
        node, score = nodes[depth], scores[depth]
        if score <= best:
            continue
        if node < num_labels:
            best, label = score, node
            continue
        product = np.float32(0)
        for i in range(DIM):
            product += mean[i] * model.output[node - num_labels, i]
        second = 1 / (1 + np.exp(-np.float64(product)))
        likely = 1 if second > 0.5 else 0
        for side in (1 - likely, likely):
            nodes[depth] = model.children[node - num_labels, side]
            scores[depth] = score + np.log((second if side else 1 - second) + 1e-5)
            depth += 1
    return label, best


@cache
def _detector() -> tuple[Callable[..., Any], Classifier, tuple[str, ...]]:
    """The kernel, the tables and the labels, once per process."""

    version = sources_digest(__file__, hashing.__file__)

    def best_label(text: Array, model: Classifier) -> Any:
        total = np.zeros(DIM, np.float32)
        num = sum_rows(text, model, total)
        if num == 0:
            return int64(-1), 0.0, version
        for i in range(DIM):
            total[i] /= np.float32(num)
        label, score = likeliest(total, model)
        return label, score, version

    model, labels = load_classifier(model_file())
    return compiled(best_label, lambda kernel: kernel(np.frombuffer(b"<a> <</s>>", np.uint8), model)), model, labels
