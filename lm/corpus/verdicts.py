"""What a recipe says about single documents, for people: each rule's value, threshold and verdict."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lm.corpus.recipes import Recipe, Rule

_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule on one document. `value` is None where it was not measured."""

    rule: str
    looks_at: str
    value: float | str | None
    needs: str
    holds: bool
    source: str


def holds(rule: Rule, value: float | None) -> bool:
    """Whether a document with this value passes the rule."""
    return rule.missing == "pass" if value is None else _TESTS[rule.op](value, rule.threshold)


def explain(recipe: Recipe, row: Mapping[str, Any]) -> list[Verdict]:
    """Verdicts of a recipe's language rule and rules on a row of `values_sql`, in the order in which they are reasons."""
    found = []
    if recipe.language:
        code, score = row["language"], row["language_score"] or 0.0
        needs = f"{' or '.join(recipe.language.codes)}, above {recipe.language.min_score:g}"
        good = code in recipe.language.codes and score > recipe.language.min_score
        found.append(Verdict("language", "language", f"{code} {score:.2f}", needs, good, recipe.language.source))
    for rule in recipe.rules:
        value = row[rule.name]
        passes = bool(row["measured"]) and holds(rule, value)
        found.append(Verdict(rule.name, rule.signal, value, f"{rule.op} {rule.threshold:,g}", passes, rule.source))
    return found
