"""recipe: thresholds over stored signals become views that say, for every text, whether it stays and why not.

Nothing is recomputed from text: a new recipe or a changed threshold costs a query. What each rule removes is counted, and a rule that
removes nothing or everything raises an alarm.
"""

import time
from collections.abc import Sequence

import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, code_of, markdown_table, open_lake, publish_markdown, require, settle, stage_keys
from flows.settings import RecipeSettings
from flows.variants import edit_all, start_all, start_keys
from lm.corpus import recipes
from lm.corpus.recipes import Recipe
from storage.lake import Lake
from storage.ledger import Output, Work

COUNTS = """
    SELECT recipe, rule, num_failing, num_removed, num_removed_bytes, alarm FROM recipe_counts WHERE list_contains(?, recipe)
    ORDER BY recipe, num_removed DESC, rule
"""
LOSSES = """
    SELECT recipe, kind, source, share FROM source_losses WHERE alarm AND list_contains(?, recipe)
    ORDER BY share DESC, recipe, kind, source
"""
MAX_ALARMS = 20
"""Sources named in the log."""
ALARMS = "SELECT recipe, rule, alarm FROM recipe_counts WHERE alarm IS NOT NULL AND list_contains(?, recipe) ORDER BY ALL"


def plan(lake: Lake, settings: RecipeSettings) -> Plan[Recipe]:
    """One unit per recipe."""
    loaded = [recipes.load(name) for name in settings.recipes]
    stages = ("signals", "near_duplicates", "document_keys", "contamination", "scores")
    inputs = {slot: key for stage in stages for slot, key in stage_keys(lake, stage).items()}
    code = code_of("lm.corpus.recipes")

    def work(recipe: Recipe) -> Work:
        starting = start_keys(lake, recipe.texts)
        definition = {"definition": recipe.definition}
        return Work(stage="recipe", slot=recipe.name, parameters=definition, code=code, inputs={**inputs, **starting})

    return Plan("recipe", [Planned(work(recipe), recipe) for recipe in loaded])


@task(name="apply", cache_policy=NO_CACHE, persist_result=False, task_run_name="apply {work.slot}")
def apply(work: Work, recipe: Recipe) -> Output:
    """Decide on near-duplicates among the documents that pass the rules, and count what each rule removes."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        best = recipe.dedup.score
        if best and not lake.rows("SELECT 1 FROM scores WHERE name = ? LIMIT 1", [best]):
            LOG.warning("  recipe %s: no text has the score %s, so of similar documents the first id stays", recipe.name, best)
        removals = recipe.removals(lake.query(recipe.pairs_sql()), lake.query(recipe.keyed_sql()))
        with lake.connection() as connection:
            connection.register("removals_to_count", removals)
            counts = connection.execute(recipe.counts_sql("removals_to_count")).to_arrow_table()
            losses = connection.execute(recipe.losses_sql("removals_to_count")).to_arrow_table()
    definition = {"recipe": [recipe.name], "definition": [recipe.definition], "recipe_digest": [recipe.digest], "variant": [recipe.variant]}
    tables = {"recipes": pa.table(definition), "duplicate_removals": removals, "recipe_counts": counts}
    if losses.num_rows:
        tables["source_losses"] = losses
    return Output(work=work, tables=tables, seconds=time.monotonic() - started)


@flow(name="recipe")
def recipe_flow(settings: RecipeSettings = RecipeSettings()) -> StageResult:
    """Apply recipes to everything measured so far, and say what each rule removes."""
    with open_lake() as lake:
        require(lake.rows("SELECT 1 FROM stages WHERE stage = 'signals' LIMIT 1"), "signals", "ladder signals")
        start_all(lake, [recipes.load(name) for name in settings.recipes])
        planned = plan(lake, settings)

        def produce(todo: Sequence[Planned[Recipe]]) -> list[Output]:
            return [apply(unit.work, unit.unit) for unit in todo]

        result = settle(lake, planned, produce)
        edit_all(lake)
        for unit in planned.units:
            lake.create_view(f"recipe_{unit.unit.name}", unit.unit.view_sql(), f"Verdict of recipe {unit.unit.name} on every text.")
        _warn(lake, result, [unit.unit.name for unit in planned.units])
        return result


def _warn(lake: Lake, result: StageResult, names: list[str]) -> None:
    """Log alarms of what was applied now, and keep all counts as an artifact."""
    kept = "SELECT recipe, num_removed FROM recipe_counts WHERE rule = 'kept' AND list_contains(?, recipe) ORDER BY recipe"
    if result.num_new:
        LOG.info("  kept: %s", ", ".join(f"{recipe} {num:,}" for recipe, num in lake.rows(kept, [names])))
        silent = [(recipe, rule) for recipe, rule, alarm in lake.rows(ALARMS, [names]) if alarm == "removes_nothing"]
        for recipe, rule, alarm in lake.rows(ALARMS, [names]):
            if alarm == "removes_everything":
                LOG.warning("  ALARM: rule %s of recipe %s removes everything", rule, recipe)
            if alarm == "not_measured":
                LOG.warning("  rule %s of recipe %s says nothing: no text has its value", rule, recipe)
        losses = lake.rows(LOSSES, [names])
        for recipe, kind, source, share in losses[:MAX_ALARMS]:
            LOG.warning("  ALARM: recipe %s takes %.0f%% of %s %s as duplicates", recipe, 100 * share, kind, source)
        if len(losses) > MAX_ALARMS:
            LOG.warning("  ALARM: %d more sources lose too much as duplicates; source_losses names them", len(losses) - MAX_ALARMS)
        if silent:
            LOG.info("  %d rules removed nothing; recipe_counts names them", len(silent))
    publish_markdown("recipe", markdown_table(lake.query(COUNTS, [names])), "What each rule removes")
