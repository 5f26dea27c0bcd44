"""Text from a model, one token after another.

The next token is drawn from softmax(logits / temperature), cut to the `top_k` likeliest and then to the smallest set that holds
`top_p` of the probability; temperature 0 takes the likeliest. Draws come from a generator of their own on the CPU, so a seed gives
the same tokens whatever ran before. Keys and values of what was read are kept, so a token costs one pass over one token. When the
context is full, its later half is read again and generation goes on: the text may be longer than the context, at the price of a
pass over half a context each time, and of forgetting what stood before.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lm.models.attention import KeyValueCache
from lm.models.build import Model

if TYPE_CHECKING:
    from jaxtyping import Float


def generate(
    model: Model,
    prompt: Sequence[int],
    num_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: int | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """Up to `num_tokens` tokens that follow the prompt, as they are drawn; it ends before the token `stop`.

    `use_cache=False` reads everything again for every token: slow, and what the cache is tested against.
    Raises: ValueError for an empty prompt, a token the model does not know, or a setting out of range.
    """
    _check(model, prompt, num_tokens, temperature, top_k, top_p)
    generator = torch.Generator().manual_seed(seed)
    was_training = model.training
    model.eval()
    try:
        reader = _Reader(model, list(prompt), use_cache)
        for _ in range(num_tokens):
            token = sample(reader.next_logits(), generator, temperature=temperature, top_k=top_k, top_p=top_p)
            if token == stop:
                return
            yield token
            reader.add(token)
    finally:
        model.train(was_training)


def sample(
    logits: "Float[Tensor, 'vocab']",
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """One token. Of equal logits the lower id stands first. Source of top_p: arXiv:1904.09751."""
    logits = logits.detach().float().cpu()
    if temperature == 0:
        return int(logits.argmax())
    ordered, ids = torch.sort(logits / temperature, descending=True, stable=True)
    probabilities = ordered[: top_k or len(ordered)].softmax(-1)
    if top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = torch.where(before < top_p, probabilities, 0.0)
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


class _Reader:
    """What was read and what comes next: the logits after the last token."""

    def __init__(self, model: Model, tokens: list[int], use_cache: bool) -> None:
        self._model, self._use_cache = model, use_cache
        self._context = model.config.context_tokens
        self._window = tokens[-self._context :]
        self._cache: KeyValueCache | None = None

    def add(self, token: int) -> None:
        if len(self._window) == self._context:
            self._window = self._window[self._context - self._context // 2 :]
            self._cache = None
        self._window.append(token)

    @torch.inference_mode()
    def next_logits(self) -> Tensor:
        if not self._use_cache:
            return self._read(self._window, None)
        if self._cache is None:
            parameter = self._model.embedding.weight
            self._cache = KeyValueCache(self._model.config, 1, parameter.device, parameter.dtype)
        return self._read(self._window[self._cache.length :], self._cache)

    def _read(self, tokens: list[int], cache: KeyValueCache | None) -> Tensor:
        rows = torch.tensor([tokens], device=self._model.embedding.weight.device)
        logits: Tensor = self._model(rows, None, cache)
        return logits[0, -1]


def _check(model: Model, prompt: Sequence[int], num_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    vocab_size = model.config.vocab_size
    if not prompt:
        raise ValueError("a prompt needs at least one token; begin with the end-of-document token, as documents do")
    if unknown := [token for token in prompt if not 0 <= token < vocab_size]:
        raise ValueError(f"the model knows tokens 0 to {vocab_size - 1}, the prompt holds {unknown[0]}; it belongs to another tokenizer")
    if num_tokens < 0 or temperature < 0 or (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(
            "need num_tokens and temperature of at least 0, top_k of at least 1 and top_p in (0, 1]; "
            f"got {num_tokens}, {temperature}, {top_k}, {top_p}"
        )
