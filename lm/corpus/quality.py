"""A quality score of one's own: a linear classifier over hashed words and word pairs, trained on texts one likes and texts one does not.

The model is fastText's without its hidden layer (arXiv:1607.01759): the mean of one weight per word and per pair of neighbours, hashed
into 2^18 places, through a logistic function. It is trained in seconds on a core, reads Arrow buffers in a compiled pass, and its
weights are one safetensors file of 1 MB without code in it. The cost is that it knows no word order beyond pairs, and that words may share
a weight. Texts are drawn for training and for holding out by a hash of their content, so the same texts give the same weights whatever
their order in the files.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import Texts, characters, hashing, kernel, over_ranges, utf8_buffers
from lm.corpus.signals import characters as ch
from lm.corpus.signals.hashing import inner, int64, uint64

Array = NDArray[Any]

NUM_BUCKETS = 1 << 18
HELD_OUT_SHARE = 0.1
LEARNING_RATE = 0.5
NUM_EPOCHS = 5
MIN_TEXTS = 10
"""Fewer texts of a kind say nothing about others."""

_SPREAD = uint64(0x9E37_79B9_7F4A_7C15)
_PAIR = uint64(0xD6E8_FEB8_6659_FD93)
_SHIFT = uint64(64 - 18)


@dataclass(frozen=True, slots=True)
class Model:
    """Weights of the places, and the constant."""

    weights: NDArray[np.float32]
    bias: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and how it did on texts it had not seen."""

    model: Model
    num_positives: int
    num_negatives: int
    num_held_out: int
    auc: float
    accuracy: float


@inner
def features(chars: Array, num_chars: int, flags: Array, lower: Array, out: Array) -> int:
    """Places of the words and pairs of a text, repeats included; returns how many. A Han or Hiragana character is a word."""
    num, word, before, size = int64(0), uint64(0), uint64(0), 0
    for i in range(num_chars + 1):
        flag = flags[chars[i]] if i < num_chars else ch.SPACE
        single = flag & ch.SINGLE != 0
        letter = flag & (ch.ALPHA | ch.DIGIT) != 0 and not single
        if size > 0 and not letter:
            out[num] = int64((word * _SPREAD) >> _SHIFT)
            out[num + 1] = int64(((before * _PAIR ^ word) * _SPREAD) >> _SHIFT)
            num, before, word, size = num + 2, word, uint64(0), 0
        if letter or single:
            word = (word ^ uint64(lower[chars[i]])) * _SPREAD
            word ^= word >> uint64(29)
            size += 1
        if single:
            out[num] = int64((word * _SPREAD) >> _SHIFT)
            out[num + 1] = int64(((before * _PAIR ^ word) * _SPREAD) >> _SHIFT)
            num, before, word, size = num + 2, word, uint64(0), 0
    return num


@inner
def _logit(places: Array, num: int, weights: Array, bias: float) -> float:
    total = 0.0
    for i in range(num):
        total += weights[places[i]]
    return bias + total / max(num, 1)


def _version() -> int:
    return kernel.sources_digest(__file__, ch.__file__, hashing.__file__, kernel.__file__)


def _small(weights: bool) -> tuple[Any, ...]:
    data, offsets = np.zeros(1, dtype=np.uint8), np.zeros(2, dtype=np.int64)
    data.setflags(write=False)
    offsets.setflags(write=False)
    text = (data, offsets, characters.flags(), characters.lower(), np.zeros(NUM_BUCKETS if weights else 1, dtype=np.float32))
    return text


@cache
def _score_kernel() -> Callable[..., Any]:
    """score(data, offsets, flags, lower, weights, bias, first, last, chars, places, out)."""
    version = _version()

    def score(
        data: Array, offsets: Array, flags: Array, lower: Array, weights: Array, bias: float, first: int, last: int, chars: Array,
        places: Array, out: Array,
    ) -> int:  # fmt: skip
        for document in range(first, last):
            num_chars = kernel.decode(data, offsets[document], offsets[document + 1], chars)
            num = features(chars, num_chars, flags, lower, places)
            out[document] = 1.0 / (1.0 + np.exp(-_logit(places, num, weights, bias)))
        return version

    def trial(run: Callable[..., Any]) -> object:
        return run(*_small(False), 0.0, 0, 0, np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.int64), np.zeros(1))

    return kernel.compiled(score, trial)


@cache
def _train_kernel() -> Callable[..., Any]:
    """train(data, offsets, flags, lower, weights, squares, labels, importances, order, chars, places, rate): the bias."""
    version = _version()

    def train(
        data: Array, offsets: Array, flags: Array, lower: Array, weights: Array, squares: Array, labels: Array, importances: Array,
        order: Array, chars: Array, places: Array, rate: float,
    ) -> float:  # fmt: skip
        bias, bias_squares = 0.0 * version, 1e-8
        for document in order:
            num_chars = kernel.decode(data, offsets[document], offsets[document + 1], chars)
            num = features(chars, num_chars, flags, lower, places)
            if num == 0:
                continue
            error = 1.0 / (1.0 + np.exp(-_logit(places, num, weights, bias))) - labels[document]
            error *= importances[document]
            bias_squares += error * error
            bias -= rate * error / np.sqrt(bias_squares)
            step = error / num
            for i in range(num):
                place = places[i]
                squares[place] += step * step
                weights[place] -= rate * step / np.sqrt(squares[place])
        return bias

    def trial(run: Callable[..., Any]) -> object:
        numbers = np.zeros(1, dtype=np.int64)
        return run(
            *_small(False), np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int32), numbers, 0.1
        )

    return kernel.compiled(train, trial)


def score(texts: Texts, model: Model, num_threads: int = 1) -> NDArray[np.float64]:
    """Probability, for each text, of being like the positives."""
    data, offsets = utf8_buffers(texts)
    out = np.zeros(len(offsets) - 1)
    if not len(out):
        return out
    run, max_bytes = _score_kernel(), int(np.diff(offsets).max()) + 1

    def work(first: int, last: int, room: tuple[Array, Array]) -> None:
        run(data, offsets, characters.flags(), characters.lower(), model.weights, model.bias, first, last, *room, out)

    over_ranges(offsets, max(1, num_threads), lambda: (np.zeros(max_bytes, np.int32), np.zeros(2 * max_bytes, np.int64)), work)
    return out


def train(positives: Sequence[str], negatives: Sequence[str]) -> Trained:
    """A model that tells positives from negatives, both kinds counting the same in all.

    Equal texts count once, and a text of both kinds as neither. A tenth of the texts is held out. Raises ValueError if fewer than
    MIN_TEXTS of a kind are left.
    """
    both = set(positives) & set(negatives)
    labelled = sorted((_draw(text), label, text) for label, kind in ((1, positives), (0, negatives)) for text in set(kind) - both)
    sizes = {label: sum(1 for _, found, _ in labelled if found == label) for label in (0, 1)}
    if min(sizes.values()) < MIN_TEXTS:
        raise ValueError(
            f"training needs at least {MIN_TEXTS} different texts of each kind that are not of the other kind as well; "
            f"there are {sizes[1]} positives and {sizes[0]} negatives, and {len(both)} in both"
        )
    held = [row for row in labelled if row[0] < HELD_OUT_SHARE]
    seen = [row for row in labelled if row[0] >= HELD_OUT_SHARE]
    model = _fit([text for _, _, text in seen], np.array([label for _, label, _ in seen], dtype=np.float64))
    labels = np.array([label for _, label, _ in held])
    auc, accuracy = _judge(score(pa.array([text for _, _, text in held], pa.string()), model), labels)
    return Trained(model, sizes[1], sizes[0], len(held), auc, accuracy)


def _draw(text: str) -> float:
    """A uniform number from 0 to 1 that hangs on the text alone: the order of training, and what is held out."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=b"quality").digest(), "big") / 2**64


def _fit(texts: list[str], labels: NDArray[np.float64]) -> Model:
    if not 0 < labels.sum() < len(labels):
        raise ValueError("after a tenth is held out, texts of both kinds must be left to train on; bring more of them")
    data, offsets = utf8_buffers(pa.array(texts))
    importances = np.where(labels == 1, 0.5 * len(labels) / labels.sum(), 0.5 * len(labels) / (len(labels) - labels.sum()))
    weights, squares = np.zeros(NUM_BUCKETS, dtype=np.float32), np.full(NUM_BUCKETS, 1e-8)
    max_bytes = int(np.diff(offsets).max()) + 1
    chars, places = np.zeros(max_bytes, dtype=np.int32), np.zeros(2 * max_bytes, dtype=np.int64)
    order = np.tile(np.arange(len(labels)), NUM_EPOCHS)
    run = _train_kernel()
    bias = run(
        data, offsets, characters.flags(), characters.lower(), weights, squares, labels, importances, order, chars, places, LEARNING_RATE
    )
    return Model(weights, float(bias))


def _judge(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Area under the ROC curve, ties counting half, and the share on the right side of 0.5; NaN where nothing was held out."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    ranked = np.sort(negative)
    below = np.searchsorted(ranked, positive, "left") + np.searchsorted(ranked, positive, "right")
    return float(below.mean() / (2 * len(negative))), float(((scores > 0.5) == (labels == 1)).mean())


def save(model: Model, path: str | Path) -> None:
    """Write the model as safetensors."""
    from safetensors.numpy import save_file

    save_file({"weights": model.weights, "bias": np.array([model.bias])}, str(path), {"format": "dataladder quality 1"})


def load(path: str | Path) -> Model:
    """Read a model. Raises ValueError if the file is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file, written by `ladder quality train`: {error}") from error
    if set(found) != {"weights", "bias"} or found["weights"].shape != (NUM_BUCKETS,):
        raise ValueError(f"{path} must hold {NUM_BUCKETS} weights and a bias, written by `ladder quality train`; it holds {sorted(found)}")
    return Model(found["weights"].astype(np.float32), float(found["bias"][0]))
