"""Items of an evaluation set as tokens: what all choices of an item share, and what each adds.

Token boundaries as the field draws them: context and continuation are encoded whole and cut where the tokens of the context end; white
space at the end of a context belongs to the continuation. Where a token reaches across the end of the context, which is the rule in
Chinese, the usual cut would score a continuation after a context that the whole does not hold, or no token at all. Here the cut goes
back to the last token that the context and every choice agree on, so that all choices of an item are scored from one place. Elsewhere
it is the usual cut. A text begins after an end-of-document token, as documents do in training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

Tokens = np.ndarray[tuple[int], np.dtype[np.int64]]
Encode = Callable[[Sequence[str]], Sequence[np.ndarray]]
"""Texts in, their token ids out, without an end-of-document token."""
BATCH_TEXTS = 4096
_TYPES: dict[str, Any] = {
    "item": pa.string(),
    "subset": pa.string(),
    "kind": pa.string(),
    "label": pa.int32(),
    "num_bytes": pa.list_(pa.int32()),
    "shared": pa.list_(pa.int32()),
    "rests": pa.list_(pa.list_(pa.int32())),
}
REQUESTS_SCHEMA = pa.schema(_TYPES)
"""Encoded items: `num_bytes` UTF-8 bytes of each choice without the white space all begin with, `shared` and `rests` as in `Request`."""


@dataclass(frozen=True, slots=True)
class Request:
    """Tokens that all choices begin with, the end-of-document token first, and those that each choice adds; none is empty."""

    shared: Tokens
    rests: tuple[Tokens, ...]


def encode(prompts: Sequence[str], choices: Sequence[Sequence[str]], encode: Encode, end_of_document: int) -> list[Request]:
    """One request per prompt with its choices. Raises: ValueError for an item without choices or with an empty one."""
    for prompt, texts in zip(prompts, choices, strict=True):
        if not texts or not all(texts):
            raise ValueError(f"an item needs at least one choice and none may be empty; got {list(texts)} after {prompt[-60:]!r}")
    cut = [len(prompt.rstrip()) for prompt in prompts]
    contexts = _encoded([prompt[:end] for prompt, end in zip(prompts, cut, strict=True)], encode)
    wholes = _encoded([prompt + text for prompt, texts in zip(prompts, choices, strict=True) for text in texts], encode)
    places = np.concatenate([[0], np.cumsum([len(texts) for texts in choices])]).tolist()
    return [_request(context, wholes[i:j], end_of_document) for context, (i, j) in zip(contexts, pairwise(places), strict=True)]


def encode_items(items: pa.Table, encode_texts: Encode, end_of_document: int) -> pa.Table:
    """Rows of `evaluation_items` that can be scored, as REQUESTS_SCHEMA, in their order."""
    rows = items.to_pylist()
    requests = encode([row["prompt"] for row in rows], [row["choices"] for row in rows], encode_texts, end_of_document)
    return pa.table({**_columns(rows), **_tokens(requests)}, schema=REQUESTS_SCHEMA)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in ("item", "subset", "kind", "label")}
    return found | {"num_bytes": [[len(text.encode()) for text in bare(row["choices"])[1]] for row in rows]}


def bare(choices: Sequence[str]) -> tuple[str, list[str]]:
    """The white space that all choices begin with, and the choices without it: what an accuracy is normalized by."""
    spaces = [text[: len(text) - len(text.lstrip())] for text in choices]
    shortest = min(spaces, key=len)
    common = shortest if all(space.startswith(shortest) for space in spaces) else ""
    return common, [text[len(common) :] or text for text in choices]


def _tokens(requests: Sequence[Request]) -> dict[str, list[Any]]:
    return {"shared": [request.shared for request in requests], "rests": [list(request.rests) for request in requests]}


def requests_of(table: pa.Table) -> list[Request]:
    """The requests of rows of REQUESTS_SCHEMA."""
    rows = table.select(["shared", "rests"]).to_pylist()
    return [Request(np.array(row["shared"], np.int64), tuple(np.array(rest, np.int64) for rest in row["rests"])) for row in rows]


def _encoded(texts: Sequence[str], encode: Encode) -> list[np.ndarray]:
    batches = [encode(texts[i : i + BATCH_TEXTS]) for i in range(0, len(texts), BATCH_TEXTS)]
    return [tokens for batch in batches for tokens in batch]


def _request(context: np.ndarray, wholes: Sequence[np.ndarray], end_of_document: int) -> Request:
    common = min(_num_common(context, whole) for whole in wholes)
    shared = np.concatenate([[end_of_document], wholes[0][:common]]).astype(np.int64)
    return Request(shared, tuple(whole[common:].astype(np.int64) for whole in wholes))


def _num_common(context: np.ndarray, whole: np.ndarray) -> int:
    """Tokens that both begin with; at least one of the whole is left over."""
    length = min(len(context), len(whole) - 1)
    differing = np.flatnonzero(context[:length] != whole[:length])
    return int(differing[0]) if len(differing) else length
