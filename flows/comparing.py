"""Two sides of a comparison from the lake: which runs a name stands for, and their scores on the same items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from flows.common import MissingInputError
from lm.evaluation.compare import Difference, Side, align, paired_bootstrap
from storage.lake import Lake

RECIPE = "recipe:"
ONE = """
    SELECT r.run_id, r.ladder_id, r.model, r.seed, c.rung
    FROM checkpoints c JOIN runs r USING (run_id)
    WHERE (starts_with(r.run_id, $name) OR r.model = $name) AND ($rung::INTEGER IS NULL OR c.rung = $rung)
        AND ($ladder_id::VARCHAR IS NULL OR r.ladder_id = $ladder_id)
    ORDER BY c.num_tokens DESC, r.seed, r.run_id LIMIT 1
"""
LADDER_OF = """
    SELECT ladder_id FROM runs WHERE ladder_id IN (SELECT ladder_id FROM rungs WHERE recipe = ?)
    ORDER BY (SELECT max(finished_at) FROM stages WHERE stage = 'runs' AND slot = run_id) DESC, ladder_id LIMIT 1
"""
LARGEST = "SELECT model FROM runs WHERE ladder_id = ? ORDER BY num_params DESC, model LIMIT 1"
SEEDS = """
    SELECT r.run_id, r.ladder_id, r.model, r.seed, c.rung FROM checkpoints c JOIN runs r USING (run_id)
    WHERE r.ladder_id = ? AND r.model = ? AND c.rung = ?
        AND json_merge_patch(r.config, '{"seed": 0}') = (SELECT json_merge_patch(config, '{"seed": 0}') FROM runs WHERE run_id = ?)
    ORDER BY r.seed, r.run_id
"""
SCORES = """
    SELECT split, evaluation_set, name, coalesce(subset, '') AS subset, item, value, weight FROM item_metrics
    WHERE run_id = ? AND rung = ? AND name NOT IN ('truncated')
    ORDER BY split, evaluation_set, name, subset, item
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One checkpoint of a run."""

    run_id: str
    ladder_id: str
    model: str
    seed: int
    rung: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of one set on both sides; `num_unpaired` items are not scored on all of them."""

    split: str
    evaluation_set: str
    name: str
    difference: Difference
    num_unpaired: int


def chosen(lake: Lake, text: str, *, over_seeds: bool = False) -> list[Chosen]:
    """The checkpoints a name stands for: NAME or NAME@RUNG, where NAME is an id, its beginning, a size, recipe:R or recipe:R/SIZE.

    A recipe stands for all seeds of its newest ladder that has runs, of the largest size unless one is named.
    Raises: LookupError naming what there is.
    """
    name, _, at = text.partition("@")
    if at and not at.isdigit():
        raise LookupError(f"{text!r}: what stands after @ is the number of a rung")
    rung, ladder_id = int(at) if at else None, None
    if name.startswith(RECIPE):
        recipe, _, size = name.removeprefix(RECIPE).partition("/")
        ladder_id = _first(lake, LADDER_OF, recipe, f"no recipe {recipe!r} with runs")
        name, over_seeds = size or _first(lake, LARGEST, ladder_id, f"no runs of recipe {recipe!r}"), True
    rows = lake.rows(ONE, {"name": name, "rung": rung, "ladder_id": ladder_id})
    if not rows:
        known = ", ".join(f"{model} ({run_id[:8]})" for model, run_id in lake.rows("SELECT model, run_id FROM runs ORDER BY ALL LIMIT 10"))
        raise LookupError(f"no run {text!r} in the lake; there are {known or 'none: run `ladder sweep` first'}")
    found = Chosen(*rows[0])
    if not over_seeds:
        return [found]
    return [Chosen(*row) for row in lake.rows(SEEDS, [found.ladder_id, found.model, found.rung, found.run_id])]


def _first(lake: Lake, query: str, value: str, missing: str) -> str:
    rows = lake.rows(query, [value])
    if not rows:
        raise LookupError(f"{missing} in the lake")
    return str(rows[0][0])


def compare(
    lake: Lake, a: Sequence[Chosen], b: Sequence[Chosen], sets: Sequence[str] = (), *, num_samples: int, level: float, seed: int
) -> Iterator[Compared]:
    """Every metric that both sides have, per evaluation set; of validation where it is the same set.

    Raises: MissingInputError if there is none.
    """
    scores = [_scores(lake, one) for one in (*a, *b)]
    common = sorted(set(scores[0]).intersection(*scores[1:]))
    asked = [key for key in common if not sets or key[1] in sets or key[0] in sets]
    if not asked:
        raise MissingInputError("There is nothing that both sides were scored on. Run `ladder evaluate` first.")
    for key in asked:
        tables = [one[key] for one in scores]
        items, num_unpaired = align([list(table) for table in tables])
        if len(items) > 1:
            sides = [_side(list(part), items) for part in (tables[: len(a)], tables[len(a) :])]
            found = paired_bootstrap(sides[0], sides[1], num_samples=num_samples, level=level, seed=seed)
            yield Compared(*key, found, num_unpaired)


Scores = dict[object, tuple[float, float]]
"""(subset, item) -> value and weight."""


def _scores(lake: Lake, one: Chosen) -> dict[tuple[str, str, str], Scores]:
    rows: pa.Table = lake.query(SCORES, [one.run_id, one.rung])
    found: dict[tuple[str, str, str], Scores] = {}
    for split, name_of_set, name, subset, item, value, weight in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        found.setdefault((split, name_of_set, name), {})[subset, item] = (value, weight)
    return found


def _side(tables: Sequence[Scores], items: Sequence[object]) -> Side:
    both = np.array([[table[item] for item in items] for table in tables])
    return Side(both[:, :, 0], both[:, :, 1])
