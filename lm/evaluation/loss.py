"""Loss and bits per byte of decayed weights on validation, whole and by host.

Every validation document is read on its own: it begins after an end-of-document token, as in training, and nothing of another
document is seen. So does every part of a document that is stored in parts; the losses of its parts are added. What is longer than
the context is cut into rows that do not overlap, each beginning with the token before it, so every token is predicted once and the
first of a row from one token alone, as in training too. Reading with overlap would score lower and cost twice; what matters for a
law is that all runs are read alike, so a value compares only within one context length.

`loss_nats_per_token` is the mean over all tokens, closing end-of-document tokens included. `bits_per_byte` is the nats of all tokens
but those over ln 2 and the bytes of the text, and compares across vocabularies. Both are ratios of sums, so a long document counts
more; the standard error is that of a ratio over documents: sqrt(n / (n - 1) sum (a_i - R b_i)^2) / sum b_i.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from lm.models.build import Model, build
from lm.models.config import ModelConfig
from lm.models.transformer import token_losses
from lm.tokens.loader import Documents, MissingTokensError, load
from lm.tokens.selection import TokenData
from lm.training.config import TrainConfig
from lm.training.curve import METRICS_SCHEMA
from lm.training.learner import default_device, reproducible

MAX_HOSTS = 20
OTHER = "other"
BATCH_TOKENS = 8192
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class DocumentLosses:
    """Per document, in the order of ids: nats of its text, nats of its end-of-document tokens, and its size."""

    ids: list[str]
    hosts: list[str]
    text_nats: Floats
    end_nats: Floats
    num_tokens: Floats
    num_bytes: Floats


def evaluate(
    weights_file: str,
    config: TrainConfig,
    data: TokenData,
    *,
    run_id: str,
    rung: int,
    step: int,
    num_tokens: int,
    validation_id: str,
    num_threads: int | None = None,
    device: str | None = None,
) -> pa.Table:
    """Rows of the table `metrics` for one checkpoint: both values for domain 'all' and for each host.

    The MAX_HOSTS hosts with most bytes are reported by name, the rest together as 'other'. `rung`, `step` and `num_tokens` are the
    checkpoint's; `num_threads` is the run's unless given.
    Raises: FileNotFoundError if the weights are not there, MissingTokensError if the validation documents are not.
    """
    losses = document_losses(weights_file, config.model, data, num_threads or config.num_threads, device)
    base = {
        "run_id": run_id,
        "rung": rung,
        "step": step,
        "num_tokens": num_tokens,
        "split": "validation",
        "validation_id": validation_id,
    }
    records = [base | record for record in _summaries(losses)]
    return pa.Table.from_pylist(records, schema=METRICS_SCHEMA)


def document_losses(
    weights_file: str, model: ModelConfig, data: TokenData, num_threads: int = 1, device: str | None = None
) -> DocumentLosses:
    """Nats of every validation document under the weights of a file, in float32."""
    if not Path(weights_file).exists():
        raise FileNotFoundError(f'{weights_file}: no such weights; "ladder train" writes them')
    documents = load(data, "validation")
    if (largest := int(documents.tokens.max())) >= model.vocab_size:
        raise MissingTokensError(
            f"validation holds token {largest}, the model knows {model.vocab_size}; they belong to different tokenizers"
        )
    with reproducible(num_threads), torch.inference_mode():
        transformer = build(model).to(device or default_device()).eval()
        transformer.load_state_dict(load_file(weights_file))
        return _measure(transformer, documents)


def _measure(transformer: Model, documents: Documents) -> DocumentLosses:
    device = transformer.embedding.weight.device
    nats = np.zeros(len(documents.tokens), dtype=np.float64)
    for places, inputs, targets in _batches(documents, transformer.config.context_tokens):
        logits = transformer(torch.from_numpy(inputs).to(device))
        losses = token_losses(logits, torch.from_numpy(targets).to(device)).cpu().numpy()
        for (start, length), row in zip(places, losses, strict=True):
            nats[start : start + length] = row[:length]
    ends = nats[documents.offsets[1:] - 1]
    return _by_document(documents, np.add.reduceat(nats, documents.offsets[:-1]) - ends, ends)


def _by_document(documents: Documents, text_nats: Floats, end_nats: Floats) -> DocumentLosses:
    """Add up the parts of each document."""
    ids, first, place = np.unique(np.array(documents.ids), return_index=True, return_inverse=True)

    def total(values: np.ndarray) -> Floats:
        return np.bincount(place, weights=values, minlength=len(ids)).astype(np.float64)

    sizes = total(np.diff(documents.offsets)), total(documents.num_bytes)
    return DocumentLosses(ids.tolist(), [documents.hosts[i] for i in first], total(text_nats), total(end_nats), *sizes)


def _batches(documents: Documents, context: int) -> Iterator[tuple[list[tuple[int, int]], np.ndarray, np.ndarray]]:
    """Rows (start, length) with their inputs and targets, sorted by length so that little is padding."""
    rows = [
        (start, min(context, int(last) - start))
        for first, last in zip(documents.offsets[:-1], documents.offsets[1:], strict=True)
        for start in range(int(first), int(last), context)
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    while rows:
        longest = rows[0][1]
        places, rows = rows[: max(1, BATCH_TOKENS // longest)], rows[max(1, BATCH_TOKENS // longest) :]
        # what stands before the first document is an end-of-document token, and so is what stands before any other
        before = np.full((len(places), longest + 1), documents.end_of_document, dtype=np.int64)
        for row, (start, length) in enumerate(places):
            piece = documents.tokens[max(0, start - 1) : start + length]
            before[row, length + 1 - len(piece) : length + 1] = piece
        yield places, before[:, :-1], before[:, 1:]


def _summaries(losses: DocumentLosses) -> Iterator[dict[str, object]]:
    """Both values, whole and by host."""
    for domain, chosen in _domains(losses):
        text, ends = losses.text_nats[chosen], losses.end_nats[chosen]
        yield _ratio("loss_nats_per_token", domain, text + ends, losses.num_tokens[chosen])
        yield _ratio("bits_per_byte", domain, text / math.log(2), losses.num_bytes[chosen])


def _domains(losses: DocumentLosses) -> Iterator[tuple[str, np.ndarray]]:
    """Domain and the documents in it: all, the largest hosts, the rest."""
    hosts = np.array(losses.hosts, dtype=str)
    yield "all", np.ones(len(hosts), dtype=bool)
    sizes = {host: losses.num_bytes[hosts == host].sum() for host in np.unique(hosts)}
    named = sorted(sizes, key=lambda host: (-sizes[host], host))[:MAX_HOSTS]
    for host in named:
        yield str(host), hosts == host
    rest = ~np.isin(hosts, named)
    if rest.any():
        yield OTHER, rest


def _ratio(name: str, domain: str, numerators: Floats, denominators: Floats) -> dict[str, object]:
    value = numerators.sum() / denominators.sum()
    num_items = len(numerators)
    spread = math.sqrt(num_items / (num_items - 1) * float(((numerators - value * denominators) ** 2).sum())) if num_items > 1 else None
    stderr = None if spread is None else spread / float(denominators.sum())
    return {"domain": domain, "name": name, "value": float(value), "stderr": stderr, "num_items": num_items}
