"""Log-likelihood of each choice of an item after what the choices share.

Two ways that give the same numbers. Choices that share a long beginning read it once: its keys and values are kept, and one choice of
every item in a batch is read after the other (four endings of HellaSwag then cost two fifths of the tokens). All other choices are rows
of their own, sorted by length so that little is padding; attention is causal, so padding on the right changes nothing but the last
bits. The head is asked only where something is scored. What is longer than the context loses its beginning, as elsewhere in the field,
and is reported as truncated; a choice that is itself longer than the context is read in pieces of half a context, each with the half
before it, so that every token is predicted once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lm.evaluation.requests import Request, Tokens
from lm.models.attention import KeyValueCache
from lm.models.build import Model
from lm.models.transformer import token_losses

BATCH_TOKENS = 8192
MIN_SHARED = 16
"""Tokens that choices must share to be read through the cache: below it, more and smaller passes cost more than they save."""
MIN_ITEMS = 16
"""Items of one length for the cache to be used. Milliseconds per item without and with it, one core, 4 layers of width 128, 70 shared
tokens and four endings of 28: 12.3 and 12.3 at 8 items, 11.5 and 8.4 at 16, 11.7 and 7.8 at 64."""
CACHE_TOKENS = 32768
"""Tokens that a cache has room for, over all items of a batch: each item takes a whole context."""


@dataclass(slots=True)
class Scored:
    """One item: log-likelihood of each choice in nats, whether each is what greedy decoding says, whether something was cut off."""

    log_likelihood: list[float] = field(default_factory=list)
    greedy: list[bool] = field(default_factory=list)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """Tokens read in one row, of which the last `num_targets` are scored for a choice of an item."""

    item: int
    choice: int
    tokens: Tokens
    num_targets: int


@torch.inference_mode()
def score(model: Model, requests: Sequence[Request], *, dtype: str = "float32", batch_tokens: int = BATCH_TOKENS) -> list[Scored]:
    """One `Scored` per request, in order. `dtype` bfloat16: matrices multiply in bfloat16, losses are float32 all the same.

    Raises: ValueError for a token that the model does not know.
    """
    _check(model, requests)
    scored = [Scored([0.0] * len(r.rests), [True] * len(r.rests)) for r in requests]
    shared = _shared(requests, model.config.context_tokens)
    device = model.embedding.weight.device
    autocast = torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
    with autocast:
        for places in _buckets(requests, shared, batch_tokens, CACHE_TOKENS // model.config.context_tokens):
            _score_bucket(model, [requests[i] for i in places], [scored[i] for i in places])
        rows = _rows(requests, shared, scored, model.config.context_tokens)
        for batch in _batches(rows, batch_tokens):
            _score_rows(model, batch, scored)
    return scored


def _check(model: Model, requests: Sequence[Request]) -> None:
    largest = max((int(part.max()) for r in requests for part in (r.shared, *r.rests)), default=0)
    if largest >= model.config.vocab_size:
        raise ValueError(f"an item holds token {largest}, the model knows {model.config.vocab_size}; encode it with the model's tokenizer")


def _shared(requests: Sequence[Request], context: int) -> list[bool]:
    """Which items are read through the cache: those of which at least MIN_ITEMS share equally many tokens."""
    fits = [_is_shared(request, context) for request in requests]
    keys = [(len(request.shared), len(request.rests)) for request in requests]
    sizes = Counter(key for key, one in zip(keys, fits, strict=True) if one)
    return [one and sizes[key] >= MIN_ITEMS for key, one in zip(keys, fits, strict=True)]


def _is_shared(request: Request, context: int) -> bool:
    longest = max(map(len, request.rests))
    return len(request.rests) > 1 and len(request.shared) >= MIN_SHARED and len(request.shared) + longest - 1 <= context


def _buckets(requests: Sequence[Request], shared: Sequence[bool], batch_tokens: int, most: int) -> Iterator[list[int]]:
    """Items whose shared beginnings are equally long, with equally many choices; a batch at a time."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, request in enumerate(requests):
        if shared[i]:
            groups.setdefault((len(request.shared), len(request.rests)), []).append(i)
    for (length, _), places in sorted(groups.items()):
        places.sort(key=lambda i: (-max(map(len, requests[i].rests)), i))
        while places:
            size = max(1, min(most, batch_tokens // (length + max(map(len, requests[places[0]].rests)))))
            yield places[:size]
            places = places[size:]


def _score_bucket(model: Model, requests: Sequence[Request], scored: Sequence[Scored]) -> None:
    weight = model.embedding.weight
    dtype = torch.bfloat16 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
    cache = KeyValueCache(model.config, len(requests), weight.device, dtype)
    beginning = np.stack([request.shared for request in requests])
    with _head_at(model, np.zeros(1, dtype=np.int64)):
        model(_on(beginning[:, :-1], weight), None, cache)
    read = cache.length
    for choice in range(len(requests[0].rests)):
        rests = [request.rests[choice] for request in requests]
        inputs, targets = _padded([np.concatenate([r.shared[-1:], rest]) for r, rest in zip(requests, rests, strict=True)])
        cache.length = read  # what the choice before has left behind is written over
        asked = np.arange(inputs.shape[1]) < np.array([len(rest) for rest in rests])[:, None]
        sums, greedy = _sums(model, inputs, targets, asked, cache)
        for one, nats, likeliest in zip(scored, sums, greedy, strict=True):
            one.log_likelihood[choice], one.greedy[choice] = -float(nats), bool(likeliest)


def _rows(requests: Sequence[Request], shared: Sequence[bool], scored: Sequence[Scored], context: int) -> list[_Row]:
    rows = []
    for i, request in enumerate(requests):
        for choice, rest in enumerate(() if shared[i] else request.rests):
            tokens = np.concatenate([request.shared, rest])
            scored[i].truncated |= len(tokens) > context + 1
            rows += [_Row(i, choice, *piece) for piece in _pieces(tokens, len(rest), context)]
    return rows


def _pieces(tokens: Tokens, num_targets: int, context: int) -> Iterator[tuple[Tokens, int]]:
    """Tokens to read and targets at their end: one piece if the targets fit into the context, else pieces of half a context."""
    step = num_targets if num_targets <= context else max(1, context // 2)
    first = len(tokens) - num_targets
    for start in range(first, len(tokens), step):
        stop = min(len(tokens), start + step)
        yield tokens[max(0, stop - context - 1) : stop], stop - start


def _batches(rows: list[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    rows = sorted(rows, key=lambda row: (-len(row.tokens), row.item, row.choice))
    while rows:
        size = max(1, batch_tokens // len(rows[0].tokens))
        yield rows[:size]
        rows = rows[size:]


def _score_rows(model: Model, rows: Sequence[_Row], scored: Sequence[Scored]) -> None:
    inputs, targets = _padded([row.tokens for row in rows])
    last = np.array([len(row.tokens) - 1 for row in rows])[:, None]
    first = last - np.array([row.num_targets for row in rows])[:, None]
    places = np.arange(inputs.shape[1])
    sums, greedy = _sums(model, inputs, targets, (places >= first) & (places < last))
    for row, nats, likeliest in zip(rows, sums, greedy, strict=True):
        scored[row.item].log_likelihood[row.choice] -= float(nats)
        scored[row.item].greedy[row.choice] &= bool(likeliest)


def _sums(
    model: Model, inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray, cache: KeyValueCache | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Per row the nats of the targets that are asked for, and whether each of them is the likeliest token."""
    weight = model.embedding.weight
    places = np.flatnonzero(asked)
    with _head_at(model, places):
        logits = model(_on(inputs, weight), None, cache)
    wanted = _on(targets.reshape(-1)[places], weight)
    nats = token_losses(logits[None], wanted[None])[0].double().cpu().numpy()
    missed = (logits.argmax(-1) != wanted).cpu().numpy()
    rows = places // inputs.shape[1]
    return np.bincount(rows, nats, len(inputs)), np.bincount(rows, missed, len(inputs)) == 0


@contextmanager
def _head_at(model: Model, places: np.ndarray) -> Iterator[None]:
    """Let the head see only these places, counted over all rows: after a long context it would be most of the work."""
    kept = _on(places, model.embedding.weight)
    handle = model.final_norm.register_forward_hook(lambda _module, _inputs, out: out.flatten(0, 1)[kept])
    try:
        yield
    finally:
        handle.remove()


def _padded(pieces: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and the tokens that follow them, zeros where a row has ended."""
    whole = np.zeros((len(pieces), max(map(len, pieces))), dtype=np.int64)
    for row, piece in zip(whole, pieces, strict=True):
        row[: len(piece)] = piece
    return whole[:, :-1], whole[:, 1:]


def _on(rows: np.ndarray, weight: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(weight.device)
