"""What a recipe says about documents: what goes, for what, beside which one, and what stays close to a limit."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.common import open_lake
from flows.recipe_browse import browse
from flows.recipe_inspect import explain_document
from lm.corpus import recipe_page, recipes
from lm.corpus.recipe_page import CLOSEST, FAILS, GOES
from lm.corpus.recipes import Recipe
from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES

RECIPE = """
name = "r"
contamination = "document"
[[rules]]
name = "too_short"
signal = "num_words"
op = ">="
threshold = 10
[[rules]]
name = "far_too_short"
signal = "num_words"
op = ">="
threshold = 5
[dedup]
method = "near"
preset = "ladder"
threshold = 0.8
"""
WORDS = {"aaaaaa": 12, "bbbbbb": 11, "cccccc": 30, "dddddd": 4, "eeeeee": 9, "ffffff": 40, "gggggg": 50}


def rows(table: str, found: Sequence[Mapping[str, Any]]) -> Output:
    names = [name for name in TABLES[table].columns if name != "produced_by"]
    columns = {name: [row.get(name) for row in found] for name in names}
    return Output(work=Work(stage=table, slot="one", parameters={}, code={}, inputs={}), tables={table: pa.table(columns)})


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake with a pair of similar documents, a short one, a very short one, and one that holds an item of a set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADDER_LAKE", str(tmp_path_factory.mktemp("inspect") / "lake"))
        with open_lake() as opened:
            where = {"crawl": "c", "host": "h", "language": "en", "language_score": 0.9, "num_bytes": 10}
            hit = {"evaluation_set": "quiz", "item": "i7", "part": "question", "overlap": 0.75, "contaminated": True}
            tables: dict[str, list[dict[str, Any]]] = {
                "documents": [{"id": id, "url": f"https://h/{id}", "text": f"text of {id}", **where} for id in WORDS],
                "signals": [{"id": id, "num_words": words} for id, words in WORDS.items()],
                "signatures": [{"id": id, "method": "ladder", "bands": [1]} for id in WORDS],
                "near_duplicates": [{"id_a": "aaaaaa", "id_b": "cccccc", "jaccard": 0.93, "containment": 1.0, "method": "ladder"}],
                "contamination": [{"id": "ffffff", "matched_text": "Who wrote\nthe first program", **hit}],
            }
            ledger.commit(opened, [rows(name, found) for name, found in tables.items()])
            yield opened


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "r.toml").write_text(RECIPE)
    return recipes.load(tmp_path / "r.toml")


def test_a_document_is_explained_with_what_it_goes_for(lake: Lake, recipe: Recipe) -> None:
    found = explain_document(lake, recipe, "cccccc")
    assert (found.reason, found.evidence) == ("near_duplicate", ("similar by 0.93 to aaaaaa https://h/aaaaaa",))
    found = explain_document(lake, recipe, "https://h/ffffff")
    assert found.reason == "contaminated"
    assert found.evidence == ("holds 75% of the question of item i7 of quiz: Who wrote the first program",)
    assert explain_document(lake, recipes.load("raw"), "ffffff").evidence == found.evidence  # told whatever the recipe does about it
    assert explain_document(lake, recipe, "aaaaaa").evidence == ()


def test_each_rule_shows_what_goes_what_fails_all_the_same_and_what_came_close(lake: Lake, recipe: Recipe) -> None:
    found = browse(lake, recipe, per_reason=5, max_chars=6)
    shown: dict[tuple[str, str], list[str]] = {}
    for sample in found.samples:
        shown.setdefault((sample.section, sample.role), []).append(sample.id)
    assert set(shown.pop(("too_short", GOES))) == {"dddddd", "eeeeee"}
    assert set(shown.pop(("kept", GOES))) == {"aaaaaa", "bbbbbb", "gggggg"}
    assert shown == {
        ("too_short", CLOSEST): ["bbbbbb", "aaaaaa", "gggggg"],
        ("far_too_short", FAILS): ["dddddd"],
        ("far_too_short", CLOSEST): ["bbbbbb", "aaaaaa", "gggggg"],
        ("near_duplicate", GOES): ["cccccc"],
        ("contaminated", GOES): ["ffffff"],
    }
    evidence = {sample.id: sample.evidence for sample in found.samples if sample.evidence}
    assert evidence["cccccc"] == ("similar by 0.93 to aaaaaa https://h/aaaaaa",)
    assert evidence["ffffff"] == ("holds 75% of the question of item i7 of quiz: Who wrote the first program",)
    assert {sample.text for sample in found.samples} == {"text o"}
    assert {row["rule"]: row["num_removed"] for row in found.counts}["kept"] == 3
    page = recipe_page.page(recipe, found.counts, found.samples)
    assert page.count('class="evidence"') == 2
    assert page == recipe_page.page(recipe, found.counts, browse(lake, recipe, per_reason=5, max_chars=6).samples)
