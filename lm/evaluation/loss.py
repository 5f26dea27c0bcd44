"""Loss, perplexity and bits per byte of decayed weights on validation: whole, by host, and by what else is known of a document.

Every validation document is read on its own: it begins after an end-of-document token, as in training, and nothing of another
document is seen. So does every part of a document that is stored in parts; the losses of its parts are added. What is longer than
the context is cut into rows that do not overlap, each beginning with the token before it, so every token is predicted once and the
first of a row from one token alone, as in training too. Reading with overlap would score lower and cost twice; what matters for a
law is that all runs are read alike, so a value compares only within one context length.

`loss_nats_per_token` is the mean over all tokens, closing end-of-document tokens included. `bits_per_byte` is the nats of all tokens
but those over ln 2 and the bytes of the text, and compares across vocabularies. Both are ratios of sums, so a long document counts
more; the standard error is that of a ratio over documents (`lm/evaluation/estimates.py`). `perplexity` is exp of the loss per token.
Domains are 'all', a host, or KIND:VALUE for other labels of documents, such as language:zh and source:NAME.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from lm.evaluation.aggregate import PERPLEXITY_OF, as_record
from lm.evaluation.estimates import Floats, exponential, ratio
from lm.evaluation.records import ITEMS_SCHEMA, VALIDATION
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
UNKNOWN = "und"
"""A label that the lake does not have for a document."""
BATCH_TOKENS = 8192


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
    """Rows of the table `metrics` for one checkpoint: every value for domain 'all' and for each host.

    The MAX_HOSTS hosts with most bytes are reported by name, the rest together as 'other'. `rung`, `step` and `num_tokens` are the
    checkpoint's; `num_threads` is the run's unless given.
    Raises: FileNotFoundError if the weights are not there, MissingTokensError if the validation documents are not.
    """
    place = {"run_id": run_id, "rung": rung, "step": step, "num_tokens": num_tokens, "validation_id": validation_id}
    return metrics_and_items(weights_file, config, data, place, num_threads=num_threads, device=device)[0]


def metrics_and_items(
    weights_file: str,
    config: TrainConfig,
    data: TokenData,
    place: Mapping[str, Any],
    *,
    labels: pa.Table | None = None,
    num_threads: int | None = None,
    device: str | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Rows of the tables `metrics` and `item_metrics` for one checkpoint; an item is a document.

    place: run_id, rung, step, num_tokens, validation_id. labels: a column `id` and one per kind of domain, such as language and source;
    of each kind the MAX_HOSTS largest values by bytes are named, the rest together as KIND:other.
    """
    losses = document_losses(weights_file, config.model, data, num_threads or config.num_threads, device)
    base = {**place, "split": VALIDATION}
    metrics = pa.Table.from_pylist([base | record for record in _summaries(losses, labels)], schema=METRICS_SCHEMA)
    return metrics, _items(losses, place)


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


def _summaries(losses: DocumentLosses, labels: pa.Table | None) -> Iterator[dict[str, object]]:
    """Every value in every domain."""
    values = dict(_values(losses))
    for domain, chosen in _domains(losses, labels):
        for name, (numerators, denominators) in values.items():
            estimate = ratio(numerators[chosen], denominators[chosen])
            yield as_record(domain, name, estimate)
            if name in PERPLEXITY_OF:
                yield as_record(domain, PERPLEXITY_OF[name], exponential(estimate))


def _values(losses: DocumentLosses) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """Name of a metric, and numerator and denominator of each document."""
    yield "loss_nats_per_token", (losses.text_nats + losses.end_nats, losses.num_tokens)
    yield "bits_per_byte", (losses.text_nats / math.log(2), losses.num_bytes)


def _items(losses: DocumentLosses, place: Mapping[str, Any]) -> pa.Table:
    base = {"run_id": place["run_id"], "rung": place["rung"], "split": VALIDATION, "evaluation_set": place["validation_id"], "subset": None}
    tables = []
    for name, (numerators, denominators) in _values(losses):
        num = len(losses.ids)
        columns = {key: [value] * num for key, value in {**base, "name": name}.items()}
        columns |= {"item": losses.ids, "value": (numerators / denominators).tolist(), "weight": denominators.tolist()}
        tables.append(pa.table({field: columns[field] for field in ITEMS_SCHEMA.names}, schema=ITEMS_SCHEMA))
    return pa.concat_tables(tables)


def _domains(losses: DocumentLosses, labels: pa.Table | None) -> Iterator[tuple[str, np.ndarray]]:
    """Domain and the documents in it: all, the largest hosts, the rest; then the same of each label."""
    yield "all", np.ones(len(losses.ids), dtype=bool)
    yield from _largest(losses.hosts, losses.num_bytes, "")
    for kind in [name for name in labels.column_names if name != "id"] if labels else []:
        known = dict(zip(labels["id"].to_pylist(), labels[kind].to_pylist(), strict=True))  # type: ignore[index]
        yield from _largest([known.get(id) or UNKNOWN for id in losses.ids], losses.num_bytes, f"{kind}:")


def _largest(values: Sequence[str], num_bytes: Floats, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    of = np.array(values, dtype=str)
    sizes = {value: num_bytes[of == value].sum() for value in np.unique(of)}
    named = sorted(sizes, key=lambda value: (-sizes[value], value))[:MAX_HOSTS]
    for value in named:
        yield f"{prefix}{value}", of == value
    rest = ~np.isin(of, named)
    if rest.any():
        yield prefix + OTHER, rest
