"""variants: the edited texts of recipes that edit, for the documents that an edit changes.

One unit per variant and output of the signals stage, so that two recipes with equal edits share it and a new crawl adds its own texts only.
Every recipe in the lake counts, not only those applied last: a ladder of any of them trains on its variant.
"""

import json
import time
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.common import Plan, Planned, StageResult, code_of, column, every_slot, open_lake, settle, stage_keys
from flows.scores import TEXTS
from lm.corpus import variants
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir


@dataclass(frozen=True, slots=True)
class Edited:
    """A variant of the texts of one signals output."""

    edits: tuple[str, ...]
    signals_key: str


def plan_variants(lake: Lake) -> Plan[Edited]:
    """One unit per distinct list of edits among the lake's recipes and output of the signals stage."""
    named = {tuple(json.loads(definition).get("edits", ())) for (definition,) in lake.rows("SELECT definition FROM recipes")}
    units = []
    for edits in sorted(named - {()}):
        for slot, key in stage_keys(lake, "signals").items():
            work = Work(
                stage="variants",
                slot=f"{variants.variant_name(edits)}/{slot.partition('/')[2]}",
                parameters={"edits": list(edits)},
                code=code_of("lm.corpus.variants"),
                inputs={slot: key},
            )
            units.append(Planned(work, Edited(edits, key)))
    return Plan("variants", units, owns=every_slot)


@task(name="edit", cache_policy=NO_CACHE, persist_result=False, task_run_name="edit {work.slot}")
def edit(work: Work, asked: Edited) -> Output:
    """Texts that the edits change."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        texts = lake.query(TEXTS, [asked.signals_key])
        rows = variants.variant_table(column(texts, "id"), column(texts, "text"), asked.edits)
        files = {"text_variants": [out.write("text_variants", rows)]}
    return Output(work=work, files=files, seconds=time.monotonic() - started)


def edit_all(lake: Lake) -> StageResult:
    """Write the variants that are not there yet."""
    return settle(lake, plan_variants(lake), lambda todo: [edit(p.work, p.unit) for p in todo])


def num_unedited(lake: Lake, variant: str) -> int:
    """Outputs of the signals stage whose texts have not been edited for a variant of a recipe's edits; 0 for other variants."""
    return sum(unit.work.slot.startswith(f"{variant}/") for unit in plan_variants(lake).todo(lake))
