"""recipe: thresholds over stored signals become views that say, for every text, whether it stays and why not.

Nothing is recomputed from text: a new recipe or a changed threshold costs one query. What each rule removes is counted, and a rule
that removes nothing or everything raises an alarm.
"""

from lm.corpus.recipes import Recipe

from flows.common import Planned, code_of, stage_keys
from flows.settings import RecipeSettings
from lm.corpus import recipes
from storage.lake import Lake
from storage.ledger import Work


def plan(lake: Lake, settings: RecipeSettings) -> list[Planned[Recipe]]:
    """One unit per recipe."""
    inputs = {**stage_keys(lake, "signals"), **stage_keys(lake, "near_duplicates")}
    code = code_of("lm.corpus.recipes", "lm.corpus.near_duplicates")
    loaded = [recipes.load(name) for name in settings.recipes]
    return [
        Planned(Work(stage="recipe", slot=recipe.name, parameters={"definition": recipe.definition}, code=code, inputs=inputs), recipe)
        for recipe in loaded
    ]
