"""variants: the edited texts of recipes that edit, for the documents that an edit changes.

A recipe may start from texts that are variants themselves: by another engine, without repeats or boilerplate or contaminated paragraphs;
edits come after. All but those by an engine are made over all documents, so what is edited from them is made anew with them. One unit per
variant and output of the signals stage, so that two recipes with equal edits share it and a new crawl adds its own texts only. Every
recipe in the lake counts, not only those applied last: a ladder of any of them trains on its variant.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import engine_texts, paragraphs
from flows.common import Plan, Planned, StageResult, code_of, column, every_slot, open_lake, settle, stage_keys
from lm.corpus import recipes, variants
from lm.corpus.engine_texts import STAGE
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir

TEXTS = """
    SELECT d.id, d.text, coalesce(v.text, d.text) AS start FROM (
        SELECT id, min(text) AS text FROM documents SEMI JOIN (SELECT id FROM signals WHERE produced_by = $key) USING (id) GROUP BY id) AS d
    LEFT JOIN (SELECT id, text FROM text_variants WHERE variant = $start) AS v ON v.id = d.id ORDER BY d.id
"""
"""Distinct texts that one signals output brought first, and what edits start from."""


@dataclass(frozen=True, slots=True)
class Edited:
    """A variant of the texts of one signals output."""

    start: str
    edits: tuple[str, ...]
    signals_key: str


def _named(lake: Lake, but: Collection[str] = ()) -> set[tuple[str, tuple[str, ...]]]:
    """What edits start from, and the edits, of all recipes in the lake but those of these names."""
    found = set()
    for (text,) in lake.rows("SELECT definition FROM recipes WHERE NOT list_contains(?, recipe)", [list(but)]):
        recipe = json.loads(text)
        start = recipes.DECONTAMINATED if recipe.get("contamination") == "paragraph" else str(recipe.get("texts", ""))
        found.add((start, tuple(recipe.get("edits", ()))))
    return found


def start_keys(lake: Lake, start: str) -> dict[str, str]:
    """Outputs that the variant `start` lies in."""
    if not start:
        return {}
    if start in recipes.BY_ENGINE:
        return stage_keys(lake, STAGE, prefix=f"{start}/")
    return stage_keys(lake, "contamination" if start == recipes.DECONTAMINATED else "paragraphs")


def _of_slot(starting: dict[str, str], start: str, slot: str) -> dict[str, str]:
    """Of an engine's outputs the one for this slot; of others all, as they hang on all documents."""
    if start not in recipes.BY_ENGINE:
        return starting
    own = f"{STAGE}/{start}/{slot}"
    return {own: starting[own]} if own in starting else {}


def plan_variants(lake: Lake) -> Plan[Edited]:
    """One unit per distinct list of edits among the lake's recipes and output of the signals stage."""
    units = []
    for start, edits in sorted((start, edits) for start, edits in _named(lake) if edits):
        starting = start_keys(lake, start)
        for slot, key in stage_keys(lake, "signals").items():
            work = Work(
                stage="variants",
                slot=f"{variants.variant_name(edits, start)}/{slot.partition('/')[2]}",
                parameters={"edits": list(edits), **({"start": start} if start else {})},
                code=code_of("lm.corpus.variants"),
                inputs={slot: key, **_of_slot(starting, start, slot.partition("/")[2])},
            )
            units.append(Planned(work, Edited(start, edits, key)))
    return Plan("variants", units, owns=every_slot)


@task(name="edit", cache_policy=NO_CACHE, persist_result=False, task_run_name="edit {work.slot}")
def edit(work: Work, asked: Edited) -> Output:
    """Texts that the edits change."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        texts = lake.query(TEXTS, {"key": asked.signals_key, "start": asked.start})
        ids, as_they_are, starts = (column(texts, name) for name in ("id", "text", "start"))
        rows = variants.variant_table(ids, as_they_are, asked.edits, asked.start, starts)
        files = {"text_variants": [out.write("text_variants", rows)]}
    return Output(work=work, files=files, seconds=time.monotonic() - started)


def edit_all(lake: Lake) -> StageResult:
    """Write the variants that are not there yet."""
    return settle(lake, plan_variants(lake), lambda todo: [edit(p.work, p.unit) for p in todo])


def start_all(lake: Lake, asked: list[recipes.Recipe]) -> None:
    """Bring the texts up to date that one of these recipes or of the lake's others starts from."""
    starts = {start for start, _ in _named(lake, but=[recipe.name for recipe in asked])} | {recipe.start for recipe in asked}
    if starts & set(recipes.WITHOUT_REPEATED):
        paragraphs.bring_up_to_date(lake)
    engine_texts.bring_up_to_date(lake, starts & set(recipes.BY_ENGINE))


def num_unedited(lake: Lake, variant: str) -> int:
    """Outputs whose texts have not been edited for a variant of a recipe's; 0 for variants that no recipe names."""
    start = variant.partition("+")[0]
    if start in recipes.WITHOUT_REPEATED and not paragraphs.is_current(lake):
        return 1
    if start in recipes.BY_ENGINE and not engine_texts.is_current(lake, start):
        return 1
    return sum(unit.work.slot.startswith(f"{variant}/") for unit in plan_variants(lake).todo(lake))
