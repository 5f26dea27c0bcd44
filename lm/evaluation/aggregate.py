"""Rows of the table `metrics` from the scores of items.

The domain says of which items: NAME all of an evaluation set, NAME/SUBSET those of a subset such as a phenomenon of BLiMP, NAME~clean and
NAME~known those that the ladder's training data does not hold and those it holds. The last two are there where texts were compared with
the set, also if nothing was found, so that a query for ~clean never loses a set. What is known is judged by the ladder's whole data, for
all rungs alike: with items that come and go from rung to rung a curve would mean nothing.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa

from lm.evaluation.estimates import Estimate, exponential, ratio
from lm.evaluation.records import TASK
from lm.training.curve import METRICS_SCHEMA

CLEAN, KNOWN = "~clean", "~known"
PERPLEXITY_OF = {"answer_nats": "perplexity", "loss_nats_per_token": "perplexity"}
"""Metrics in nats and the name of their exponential."""


def metrics_of(items: pa.Table, place: Mapping[str, Any], known: Set[str] | None, split: str = TASK) -> pa.Table:
    """Rows of `metrics` from the rows of `item_metrics` of one checkpoint and one evaluation set.

    place: run_id, rung, step, num_tokens and validation_id, which here is the digest of the set: only equal ones compare.
    known: items that the training data holds; None if it was not compared with the set.
    """
    base = {**place, "split": split}
    records = [base | record for name, part in _by_name(items) for record in _of_metric(name, part, known)]
    return pa.Table.from_pylist(records, schema=METRICS_SCHEMA)


def _by_name(items: pa.Table) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Metric and its columns."""
    columns = {name: np.array(items[name].to_pylist()) for name in ("evaluation_set", "subset", "item", "name")}
    columns |= {name: items[name].to_numpy() for name in ("value", "weight")}
    for name in sorted(set(columns["name"].tolist())):
        chosen = columns["name"] == name
        yield name, {key: column[chosen] for key, column in columns.items()}


def _of_metric(name: str, part: Mapping[str, np.ndarray], known: Set[str] | None) -> Iterator[dict[str, Any]]:
    for domain, chosen in _domains(part, known):
        estimate = ratio(part["value"][chosen] * part["weight"][chosen], part["weight"][chosen])
        yield as_record(domain, name, estimate)
        if name in PERPLEXITY_OF:
            yield as_record(domain, PERPLEXITY_OF[name], exponential(estimate))


def _domains(part: Mapping[str, np.ndarray], known: Set[str] | None) -> Iterator[tuple[str, np.ndarray]]:
    """Domain and the items in it; none is empty."""
    whole = str(part["evaluation_set"][0])
    yield whole, np.ones(len(part["item"]), dtype=bool)
    subsets = sorted({subset for subset in part["subset"].tolist() if subset})
    for subset in subsets if len(subsets) > 1 else []:
        yield f"{whole}/{subset}", part["subset"] == subset
    if known is not None:
        held = np.array([item in known for item in part["item"].tolist()])
        for suffix, chosen in ((CLEAN, ~held), (KNOWN, held)):
            if chosen.any():
                yield whole + suffix, chosen


def as_record(domain: str, name: str, estimate: Estimate) -> dict[str, Any]:
    """The columns of `metrics` that an estimate fills."""
    return {"domain": domain, "name": name, "value": estimate.value, "stderr": estimate.stderr, "num_items": estimate.num_items}
