"""A model of ours as lm-evaluation-harness sees one: log-likelihoods of continuations, of whole texts, and greedy text.

Requests are scored by `lm/evaluation/likelihood.py`, so a number of the harness and one of ours differ only where task definitions do. The
choices of one document come as separate requests and are put together again, so that they share what they share. A text begins after an
end-of-document token, as in training; for models without one the harness itself begins with nothing.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from lm_eval.api.model import LM

from lm.evaluation import likelihood
from lm.evaluation.requests import Request, encode
from lm.models.build import Model
from lm.models.generate import generate

DEFAULT_NEW_TOKENS = 256


class Vocabulary(Protocol):
    """What is needed of a tokenizer."""

    @property
    def end_of_document(self) -> int: ...

    def encode_batch(self, texts: Sequence[str]) -> Sequence[np.ndarray]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...


class LadderLM(LM):  # type: ignore[misc]  # the harness has no types
    """A trained model and its vocabulary."""

    def __init__(self, model: Model, vocabulary: Vocabulary, dtype: str = "float32") -> None:
        super().__init__()
        self.model, self.vocabulary, self.dtype = model, vocabulary, dtype

    @property
    def tokenizer_name(self) -> str:
        """Under which the harness would cache requests."""
        return "ladder"

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation in nats, and whether greedy decoding gives it."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault((request.task_name, request.doc_id, request.args[0]), []).append(place)
        prompts = [str(key[-1]) for key in groups]
        choices = [[requests[place].args[1] for place in places] for places in groups.values()]
        encoded = encode(prompts, choices, self.vocabulary.encode_batch, self.vocabulary.end_of_document)
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for places, scored in zip(groups.values(), likelihood.score(self.model, encoded, dtype=self.dtype), strict=True):
            for place, nats, greedy in zip(places, scored.log_likelihood, scored.greedy, strict=True):
                answers[place] = (nats, greedy)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each text in nats; a long one in pieces of half a context, each after the half before it."""
        begin = np.array([self.vocabulary.end_of_document], dtype=np.int64)
        texts = self.vocabulary.encode_batch([request.args[0] for request in requests])
        encoded = [Request(begin, (tokens.astype(np.int64),)) for tokens in texts]
        return [scored.log_likelihood[0] for scored in likelihood.score(self.model, encoded, dtype=self.dtype)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy text after each context, up to one of its stops."""
        return [self._generated(*request.args) for request in requests]

    def _generated(self, context: str, settings: dict[str, Any]) -> str:
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        end = self.vocabulary.end_of_document
        prompt = [end, *self.vocabulary.encode_batch([context])[0].tolist()]
        tokens: list[int] = []
        for token in generate(self.model, prompt, settings.get("max_gen_toks", DEFAULT_NEW_TOKENS), temperature=0, stop=end):
            tokens.append(token)
            text = self.vocabulary.decode(tokens)
            if found := [text.index(stop) for stop in stops if stop in text]:
                return text[: min(found)]
        return self.vocabulary.decode(tokens)
