"""Conclusions: every question has an answer or says what is missing, in both languages; changes and their causes are named."""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from lm.law import decisions, gather
from lm.law.decisions import SweepPlan, words
from lm.law.decisions.conclusions import QUESTIONS, Conclusion, Ladder, changes, conclude, plain
from lm.law.decisions.phrases import CHINESE, ENGLISH
from lm.law.decisions.simulation import CHINCHILLA

SIZES = (1e6, 4e6, 1.6e7)
TOKENS = tuple(2.0**k for k in range(20, 26))


def ladder(recipe: str, sizes: Sequence[float], multiplier: float = 1.0, num_rungs: int = 6, available: float = 2.0**26) -> Ladder:
    plan = SweepPlan(sizes=tuple(sizes), tokens=TOKENS[: max(3, num_rungs)], num_seeds=2, run_sd=0.002, point_sd=0.001)
    points = decisions.draw(plan, CHINCHILLA, np.random.default_rng(5), multiplier=multiplier)
    kept = points.where(points.num_tokens <= TOKENS[num_rungs - 1] * 1.01)
    return Ladder(f"id-{recipe}", recipe, kept, available)


def told(found: Sequence[Conclusion]) -> dict[str, Mapping[str, Any]]:
    return {f"{one.question}/{one.subject}" if one.question == "recipes" else one.question: one.row() for one in found}


@pytest.fixture(scope="module")
def many() -> list[Conclusion]:
    """Two recipes, three sizes, and a crawl since."""
    return conclude([ladder("raw", SIZES), ladder("clean", SIZES, 1.8)], before_tokens=2.0**25, num_bootstrap=60)


def test_two_recipes_and_three_sizes_answer_everything(many: list[Conclusion]) -> None:
    rows = told(many)
    assert {one.question for one in many} == set(QUESTIONS)
    assert all(row["status"] in ("answered", "assumed") for row in rows.values())
    assert rows["recipes/raw | clean"]["verdict"] == "clean"
    assert rows["ranking"]["verdict"] == "clean > raw"
    assert "**clean beats raw**" in words.sentence(rows["recipes/raw | clean"])
    assert "taken from published runs" in words.sentence(rows["repetition"])
    assert all(json.loads(row["answer"]) for row in rows.values())


def test_one_recipe_and_one_size_say_what_would_answer(many: list[Conclusion]) -> None:
    rows = told(conclude([ladder("raw", (1e6,))], num_bootstrap=60))
    assert {name for name, row in rows.items() if row["status"] == "open"} == {"recipes/raw", "ranking", "crawl", "allocation"}
    assert "Lay out a ladder of a second recipe and train 1M parameters up to 33.6M tokens" in words.sentence(rows["recipes/raw"])
    assert "Train a second one, such as 500k parameters" in words.sentence(rows["allocation"])
    assert "ladder refresh" in words.sentence(rows["crawl"])
    assert rows["next_run"]["status"] == "answered"
    assert {one.question for one in many} == {row["question"] for row in rows.values()}


def test_without_runs_or_rungs_everything_is_open() -> None:
    empty = Ladder("x", "raw", gather({name: [] for name in ("run_id", "num_params", "num_tokens", "seed", "value")}), 0.0)
    assert {one.status for one in conclude([empty])} == {"open"}
    short = conclude([ladder("raw", (1e6,), num_rungs=2)])
    assert {one.status for one in short} == {"open"}
    assert "2 amounts of data are measured, and a law needs three" in words.sentence(short[0].row())


def test_conclusions_are_equal_when_drawn_again(many: list[Conclusion]) -> None:
    again = conclude([ladder("raw", SIZES), ladder("clean", SIZES, 1.8)], before_tokens=2.0**25, num_bootstrap=60)
    assert [one.row() for one in again] == [one.row() for one in many]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_conclusion_can_be_said(many: list[Conclusion], language: str) -> None:
    for one in [*many, *conclude([ladder("raw", (1e6,))], num_bootstrap=60), *conclude([])]:
        said = words.sentence(one.row(), language)
        assert said
        assert "{" not in said
        assert "nan" not in said


def test_languages_have_the_same_phrases_and_blanks() -> None:
    assert set(ENGLISH) == set(CHINESE)

    def blanks(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert {key for key in ENGLISH if blanks(ENGLISH[key]) != blanks(CHINESE[key])} == set()


def test_changes_are_named_with_their_causes(many: list[Conclusion]) -> None:
    now = [one.row() for one in many]
    before = [{**row, "verdict": "tie"} if row["question"] == "recipes" else row for row in now if row["question"] != "crawl"]
    found = changes(before, now)
    assert [(one.question, one.before, one.after) for one in found] == [("recipes", "tie", "clean"), ("crawl", None, "worth something")]
    note = words.changed(found, ["new_data", "new_runs"], now)
    assert note.startswith("2 conclusions changed, after new data and new runs:")
    assert "was *tie*, is **clean**" in note
    assert words.changed([], [], now).startswith("No conclusion changed (the same data, runs and code).")
    assert words.changed(found, ["new_code"], now, "zh").startswith("2 条结论有变化")


def test_what_is_unbounded_becomes_null() -> None:
    assert plain({"a": float("inf"), "b": [float("nan"), 1.0], "c": np.float64(2.0), "d": np.bool_(True)}) == {
        "a": None,
        "b": [None, 1.0],
        "c": 2.0,
        "d": True,
    }
