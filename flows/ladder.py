"""ladder: nested amounts of training data for one recipe.

The selection file names the documents of a ladder in rank order; a rung is a prefix of it. No token is copied. A ladder is named by
its content, so the same documents give the same ladder wherever and whenever they came in; ladders of earlier days stay, because
runs were trained on them.
"""

import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import (
    LOG,
    MissingInputError,
    Plan,
    Planned,
    StageResult,
    code_of,
    column,
    markdown_table,
    open_lake,
    publish_markdown,
    recipe_key,
    settle,
    stage_keys,
)
from flows.settings import LadderSettings
from lm.tokens import rungs
from lm.tokens.selection import write_selection
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir, relative

MEMBERS = """
    WITH held AS (SELECT id FROM validation WHERE validation_id = $validation_id),
    too_close AS (
        SELECT id_a AS id FROM near_duplicates SEMI JOIN held ON id_b = held.id WHERE jaccard >= $max_jaccard
        UNION SELECT id_b FROM near_duplicates SEMI JOIN held ON id_a = held.id WHERE jaccard >= $max_jaccard
    ),
    edited AS (SELECT id, text FROM text_variants WHERE variant = $variant),
    train AS (
        SELECT CASE WHEN edited.id IS NULL THEN r.id ELSE r.id || '~' || $variant END AS id
        FROM {view} r LEFT JOIN edited USING (id)
        WHERE kept AND r.id NOT IN (FROM held) AND r.id NOT IN (FROM too_close) AND edited.text IS DISTINCT FROM ''
    )
"""
"""What a ladder trains on, as ids of the table tokens: documents as they are, or as the recipe's edits leave them."""
SELECTION = (
    MEMBERS
    + """
    SELECT rank, id, num_tokens, host, CASE WHEN id IN (FROM held) THEN 'validation' ELSE 'train' END AS split
    FROM tokens WHERE tokenizer_id = $tokenizer_id AND (id IN (FROM held) OR id IN (FROM train)) ORDER BY rank, id
"""
)
NOT_ENCODED = MEMBERS + "SELECT count(*) FROM train WHERE id NOT IN (SELECT id FROM tokens WHERE tokenizer_id = $tokenizer_id)"
EMPTIED = "SELECT count(*) FROM {view} JOIN text_variants USING (id) WHERE kept AND variant = ? AND text = ''"
VARIANT = "SELECT coalesce(any_value(variant), '') FROM recipes WHERE recipe = ?"


def plan(lake: Lake, settings: LadderSettings) -> Plan[dict[str, str]]:
    """One unit: the ladder of one recipe over the data as it is now."""
    tokenizer_id, name = current_tokenizer(lake, settings.tokenizer)
    validation_id = current_validation(lake)
    inputs = {
        f"recipe/{settings.recipe}": recipe_key(lake, settings.recipe),
        **stage_keys(lake, "tokens", prefix=f"{name}/"),
        **stage_keys(lake, "near_duplicates"),
        "validation": validation_id,
    }
    work = Work(
        stage="ladder",
        slot=f"{settings.recipe}/{name}/{digest(*sorted(inputs.values()))[:16]}",
        parameters=settings.model_dump(exclude={"tokenizer"}),
        code=code_of("lm.tokens.rungs"),
        inputs=inputs,
    )
    return Plan("ladder", [Planned(work, {"tokenizer_id": tokenizer_id, "validation_id": validation_id})])


def current_tokenizer(lake: Lake, name: str | None) -> tuple[str, str]:
    """Id and name of a vocabulary; of the newest if no name is given."""
    rows = lake.rows("SELECT slot, tokenizer_id FROM tokenizers JOIN stages ON produced_by = key ORDER BY finished_at DESC")
    found = [(tokenizer_id, slot) for slot, tokenizer_id in rows if name in (None, slot)]
    if not found:
        raise MissingInputError(
            f"The lake has no vocabulary {name or ''} (it has {sorted(slot for slot, _ in rows)}). Run `ladder tokens` first."
        )
    return found[0]


def current_validation(lake: Lake) -> str:
    """Id of the validation set drawn last."""
    rows = lake.rows(
        "SELECT any_value(validation_id) FROM validation JOIN stages ON produced_by = key GROUP BY key ORDER BY max(finished_at) DESC"
    )
    if not rows:
        raise MissingInputError("The lake has no validation set. Run `ladder tokens` first.")
    return str(rows[0][0])


@task(name="lay out", cache_policy=NO_CACHE, persist_result=False, task_run_name="lay out {work.slot}")
def lay_out(work: Work, settings: LadderSettings, tokenizer_id: str, validation_id: str) -> Output:
    """The selection of documents, and where each rung ends in it."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        selection = _select(lake, settings, tokenizer_id, validation_id)
        train = selection.filter(pc.field("split") == "train")
        available = int(pc.sum(train["num_tokens"]).as_py() or 0)
        tokens = rungs.sizes(settings.first_rung_tokens, settings.num_rungs, settings.factor, available, shrink=settings.shrink_to_fit)
        laid = rungs.lay_out(column(train, "id"), train["rank"].to_numpy(), train["num_tokens"].to_numpy(), tokens)
        ladder_id = digest(tokenizer_id, validation_id, *column(selection, "id"), *column(selection, "split"))
        write_selection(selection, out.path / "selection.parquet")
        file = out.publish("selection.parquet")
        rows = pa.table(
            {
                "ladder_id": [ladder_id] * len(laid),
                "rung": pa.array([rung.rung for rung in laid], pa.int32()),
                "recipe": [settings.recipe] * len(laid),
                "tokenizer_id": [tokenizer_id] * len(laid),
                "validation_id": [validation_id] * len(laid),
                "num_tokens": [rung.num_tokens for rung in laid],
                "rank_limit": pa.array([rung.rank_limit for rung in laid], pa.uint64()),
                "num_documents": [rung.num_documents for rung in laid],
                "num_available_tokens": [available] * len(laid),
                "selection_file": [relative(lake, file)] * len(laid),
            }
        )
    LOG.info("  ladder of %d rungs, %s to %s tokens of %s", len(laid), f"{tokens[0]:,}", f"{tokens[-1]:,}", f"{available:,}")
    return Output(work=work, tables={"rungs": rows}, seconds=time.monotonic() - started)


def _select(lake: Lake, settings: LadderSettings, tokenizer_id: str, validation_id: str) -> pa.Table:
    view = f'"recipe_{settings.recipe}"'
    variant = str(lake.value(VARIANT, [settings.recipe]))
    if variant:
        from flows.variants import num_unedited  # loads numba, which whoever asks for the newest ladder need not wait for

        unedited = num_unedited(lake, variant)
    if variant and unedited:
        raise MissingInputError(
            f"Some texts are not edited yet as recipe {settings.recipe} asks. Run `ladder recipe`, then `ladder tokens`."
        )
    asked = {
        "validation_id": validation_id,
        "tokenizer_id": tokenizer_id,
        "max_jaccard": settings.max_validation_jaccard,
        "variant": variant,
    }
    if missing := lake.value(NOT_ENCODED.format(view=view), asked):
        raise MissingInputError(f"{missing} texts that recipe {settings.recipe} keeps are not encoded. Run `ladder tokens` first.")
    if emptied := lake.value(EMPTIED.format(view=view), [variant]):
        LOG.info("  %s texts are left out, for the edits of recipe %s leave nothing of them", f"{emptied:,}", settings.recipe)
    return lake.query(SELECTION.format(view=view), asked)


@flow(name="ladder", flow_run_name="ladder {settings.recipe}")
def ladder_flow(settings: LadderSettings = LadderSettings()) -> StageResult:
    """Lay out nested amounts of training data for a recipe."""
    with open_lake() as lake:

        def produce(todo: Sequence[Planned[dict[str, str]]]) -> list[Output]:
            return [lay_out(planned.work, settings, **planned.unit) for planned in todo]

        def replaces(outputs: Sequence[Output]) -> list[str]:
            return [slot for output in outputs for slot in _other_slots(lake, output)]

        result = settle(lake, plan(lake, settings), produce, replaces=replaces)
        publish_markdown(
            "ladder",
            markdown_table(
                lake.query("SELECT rung, num_tokens, num_documents FROM rungs WHERE ladder_id = ? ORDER BY rung", [newest(lake)])
            ),
            "Rungs",
        )
        return result


def _other_slots(lake: Lake, output: Output) -> list[str]:
    """Slots of the same ladder from other inputs: a night that brought nothing for its recipe, or other code with the same result."""
    found = lake.rows(
        "SELECT DISTINCT slot FROM rungs JOIN stages ON produced_by = key WHERE ladder_id = ? AND slot <> ?",
        [output.tables["rungs"]["ladder_id"][0].as_py(), output.work.slot],
    )
    return [slot for (slot,) in found]


def newest(lake: Lake) -> str:
    """Id of the ladder laid out last."""
    rows = lake.rows("SELECT ladder_id FROM rungs JOIN stages ON produced_by = key ORDER BY finished_at DESC LIMIT 1")
    if not rows:
        raise MissingInputError("The lake has no ladder. Run `ladder rungs` first.")
    return str(rows[0][0])


def current(lake: Lake, settings: LadderSettings) -> str:
    """Id of the ladder that these settings give over the data as it is now."""
    key = plan(lake, settings).units[0].work.key
    rows = lake.rows("SELECT ladder_id FROM rungs WHERE produced_by = ? LIMIT 1", [key])
    if not rows:
        raise MissingInputError("The ladder of these settings is not laid out. Run `ladder rungs` first.")
    return str(rows[0][0])


def top_rung(lake: Lake, ladder_id: str) -> int:
    """Number of the largest rung."""
    return int(lake.value("SELECT max(rung) FROM rungs WHERE ladder_id = ?", [ladder_id]))
