"""All that can be concluded from a lake's ladders, as rows: answered, answered on an assumption, or open with what it would take.

A conclusion is a question, a subject and an answer as JSON; `lm/law/decisions/words.py` says it in a language. Rows are kept, so
that tomorrow's can be laid beside today's and the differences named. A question that the data cannot answer is a row as well,
with the run that would answer it: silence would read as "nothing to see".
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lm.law.decisions.allocation import allocate
from lm.law.decisions.beliefs import FLOPS_PER_PARAM_TOKEN, Belief, believe
from lm.law.decisions.comparison import Target, compare
from lm.law.decisions.crawl_value import crawl_value
from lm.law.decisions.next_run import candidates_for, settle_comparison, sharpen
from lm.law.decisions.ranking import rank
from lm.law.decisions.repetition import repeat
from lm.law.fitting import fit, fit_all
from lm.law.points import Points
from lm.law.records import Law, canonical_json

QUESTIONS = ("amount", "recipes", "ranking", "crawl", "repetition", "allocation", "constants", "next_run")
AHEAD = 4.0
"""Decisions are asked for at so many times the largest amount measured."""
SURE = 0.97
"""Rivals that are told apart with this probability need no further run; the forecast is narrowed instead."""
FEWEST_SIZES = 3
"""Two sizes leave E, A and a of the law open between them, and with them the best size."""
FORMS = ("data_only", "chinchilla")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The measured runs of one ladder, and how much data stands behind it."""

    ladder_id: str
    recipe: str
    points: Points
    available_tokens: float


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One answer."""

    question: str
    subject: str
    """What it is about: a recipe, a pair of recipes, or empty."""
    status: str
    """answered, assumed (answered on an assumption that is named), or open."""
    verdict: str
    """The answer in a word or number, equal as long as the conclusion is: what is compared between two days."""
    answer: Mapping[str, Any]

    def row(self) -> dict[str, str]:
        """The row of the table `conclusions`."""
        answer = canonical_json(plain(self.answer))
        return {"question": self.question, "subject": self.subject, "status": self.status, "verdict": self.verdict, "answer": answer}


def conclude(
    ladders: Sequence[Ladder], *, before_tokens: float | None = None, level: float = 0.9, seed: int = 0, num_bootstrap: int = 400
) -> list[Conclusion]:
    """All conclusions; the first ladder is the one that is reported, the others are those it can be compared with.

    before_tokens: data of the first ladder's recipe before the last crawl that changed it; None if there was one crawl only.
    """
    if not ladders or not len(ladders[0].points):
        return [_open(question, "no_runs") for question in QUESTIONS]
    laws = laws_of(ladders, seed=seed, num_bootstrap=num_bootstrap)
    first = ladders[0]
    if first.recipe not in laws:
        return [_open(question, "no_law", rungs=len(first.points.rungs())) for question in QUESTIONS]
    size = max(s for s in first.points.sizes())
    asked = Target(num_params=size, num_tokens=AHEAD * float(first.points.num_tokens.max()))
    beliefs = believe(_covering(laws, size), size, seed=seed)
    own = {first.recipe: beliefs[first.recipe]}
    makers: list[Callable[[], list[Conclusion]]] = [
        lambda: [_amount(own[first.recipe], first, size, level)],
        lambda: _recipes(beliefs, asked, first, level),
        lambda: [_crawl(own[first.recipe], first, size, before_tokens, level)],
        lambda: [_repetition(own[first.recipe], first, size, level)],
        lambda: [_allocation(laws[first.recipe], first, seed, level)],
        lambda: [_constants(laws[first.recipe], first, size, seed)],
        lambda: [advise(beliefs, asked, ladders, level=level)],
    ]
    return [conclusion for make in makers for conclusion in make()]


def laws_of(ladders: Sequence[Ladder], *, seed: int = 0, num_bootstrap: int = 400) -> dict[str, list[Law]]:
    """The laws of each recipe whose points can carry one."""
    fitted = {
        ladder.recipe: fit_all(ladder.points, seed=seed, num_bootstrap=num_bootstrap, forms=FORMS, with_profiles=False)[0]
        for ladder in ladders
        if len(ladder.points)
    }
    return {name: laws for name, laws in fitted.items() if laws}


def beliefs_of(ladders: Sequence[Ladder], size: float | None, *, seed: int = 0) -> dict[str, Belief]:
    """Joint draws for all recipes that have a law at a size, or over sizes if none is named.

    Raises: ValueError if the first ladder has none.
    """
    laws = laws_of(ladders, seed=seed)
    joint = {name: [law for law in found if law.num_params is None] for name, found in laws.items()}
    able = _covering(laws, size) if size is not None else {name: found for name, found in joint.items() if found}
    if ladders[0].recipe not in able:
        raise ValueError(
            f"no law of {ladders[0].recipe} can answer this: it takes three amounts of data at the size, or two sizes for a budget"
        )
    return believe(able, size, seed=seed)


def _covering(laws: Mapping[str, Sequence[Law]], size: float) -> dict[str, Sequence[Law]]:
    """Recipes with a law that says something about a size."""
    return {
        name: found for name, found in laws.items() if any(law.num_params is None or abs(law.num_params / size - 1) < 1e-9 for law in found)
    }


def _open(question: str, reason: str, subject: str = "", **details: Any) -> Conclusion:
    return Conclusion(question, subject, "open", f"open: {reason}", {"reason": reason, **details})


def _amount(belief: Belief, ladder: Ladder, size: float, level: float) -> Conclusion:
    most = float(ladder.points.of_size(size).num_tokens.max())
    found = crawl_value(belief, size, most, max(most, ladder.available_tokens), level=level)
    doubled = crawl_value(belief, size, most, 2.0 * most, level=level)
    pays = doubled.gain.low > 0
    answer = {"size": size, "measured_tokens": most, "available": found, "doubling": doubled.gain, "doubled_loss": doubled.after_loss}
    return Conclusion("amount", ladder.recipe, "answered", "more data helps" if pays else "not certain that more data helps", answer)


def _recipes(beliefs: Mapping[str, Belief], asked: Target, first: Ladder, level: float) -> list[Conclusion]:
    if len(beliefs) < 2:
        points = first.points
        size = max(points.sizes())
        rungs = points.of_size(size).rungs()
        cost = FLOPS_PER_PARAM_TOKEN * size * rungs[-1]
        need = {"size": size, "num_tokens": rungs[-1], "num_rungs": len(rungs), "flops": cost}
        return [_open(question, "one_recipe", first.recipe, needs=need) for question in ("recipes", "ranking")]
    found = []
    for a, b in combinations(sorted(beliefs, key=lambda name: (name != first.recipe, name)), 2):
        one = compare(beliefs, a, b, asked, level=level)
        found.append(Conclusion("recipes", f"{a} | {b}", "answered", one.winner or "tie", {"comparison": one}))
    order = rank(beliefs, asked, level=level)
    verdict = " > ".join(" = ".join(tier) for tier in order.tiers)
    return [*found, Conclusion("ranking", "", "answered", verdict, {"ranking": order})]


def _crawl(belief: Belief, ladder: Ladder, size: float, before: float | None, level: float) -> Conclusion:
    if before is None or before <= 0 or ladder.available_tokens <= 0:
        return _open("crawl", "one_crawl", ladder.recipe)
    found = crawl_value(belief, size, before, ladder.available_tokens, level=level)
    verdict = (
        "nothing new"
        if before == ladder.available_tokens
        else "worth something"
        if found.gain.low > 0
        else "not certain to be worth anything"
    )
    return Conclusion("crawl", ladder.recipe, "assumed", verdict, {"value": found})


def _repetition(belief: Belief, ladder: Ladder, size: float, level: float) -> Conclusion:
    if ladder.available_tokens <= 0:
        return _open("repetition", "no_data", ladder.recipe)
    found = repeat(belief, size, ladder.available_tokens, level=level)
    return Conclusion("repetition", ladder.recipe, "assumed", f"about {found.worth_it_epochs.value:.0f} epochs", {"repetition": found})


def _allocation(laws: Sequence[Law], ladder: Ladder, seed: int, level: float) -> Conclusion:
    joint = [law for law in laws if law.num_params is None]
    spent = FLOPS_PER_PARAM_TOKEN * float((ladder.points.num_params * ladder.points.num_tokens).max())
    if not joint:
        size = max(ladder.points.sizes())
        return _open("allocation", "one_size", ladder.recipe, needs={"size": size / 2.0, "num_rungs": len(ladder.points.rungs())})
    if len(ladder.points.sizes()) < FEWEST_SIZES:
        return _open("allocation", "two_sizes", ladder.recipe, needs={"size": min(ladder.points.sizes()) / 4.0})
    belief = believe({ladder.recipe: joint[0]}, seed=seed)[ladder.recipe]
    found = allocate(belief, AHEAD * spent, level=level)
    if found.is_open:
        return _open("allocation", "not_fixed", ladder.recipe, allocation=found)
    side = (
        "smaller"
        if found.num_params.value < min(ladder.points.sizes())
        else "larger"
        if found.num_params.value > max(ladder.points.sizes())
        else "within"
    )
    slices = [allocate(belief, spent * factor, level=level) for factor in (0.25, 1.0, 4.0, 16.0)]
    return Conclusion("allocation", ladder.recipe, "answered", side, {"allocation": found, "slices": slices})


def _constants(laws: Sequence[Law], ladder: Ladder, size: float, seed: int) -> Conclusion:
    """Profiles of the constants of the law over all sizes, or of the largest size's own."""
    joint = any(law.num_params is None for law in laws)
    points = ladder.points if joint else ladder.points.of_size(size)
    law = fit(points, "chinchilla" if joint else "data_only", seed=seed, num_bootstrap=20)
    names = sorted(law.unidentified)
    answer = {"form": law.form, "unidentified": law.unidentified, "profiles": law.record()["profiles"], "constants": law.constants}
    return Conclusion("constants", ladder.recipe, "answered", f"not fixed: {', '.join(names)}" if names else "all fixed", answer)


def advise(
    beliefs: Mapping[str, Belief], asked: Target, ladders: Sequence[Ladder], *, budget: float | None = None, level: float = 0.9
) -> Conclusion:
    """The run to pay for next: for the closest decision that is open, else for the forecast of the first ladder.

    budget: in FLOPs; four times the dearest run so far if not said.
    """
    first = ladders[0]
    most = {ladder.recipe: ladder.available_tokens for ladder in ladders if ladder.available_tokens > 0}
    candidates = candidates_for(beliefs, most_tokens=most)
    money = budget or AHEAD * FLOPS_PER_PARAM_TOKEN * float((first.points.num_params * first.points.num_tokens).max())
    doubts = {name: abs(compare(beliefs, first.recipe, name, asked).probability - 0.5) for name in beliefs if name != first.recipe}
    rival = min((name for name, doubt in doubts.items() if doubt < SURE - 0.5), key=lambda name: doubts[name], default=None)
    try:
        advice = (
            settle_comparison(beliefs, first.recipe, rival, asked, candidates, money, level=level)
            if rival
            else sharpen(beliefs, first.recipe, asked, candidates, money, level=level)
        )
    except ValueError:
        return _open("next_run", "nothing_affordable", first.recipe, budget=money)
    if not advice.choices:
        return _open("next_run", "nothing_helps", first.recipe, budget=money)
    best = advice.choices[0].candidate
    verdict = f"{best.recipe} at {best.num_params:.4g} parameters and {best.num_tokens:.4g} tokens"
    return Conclusion("next_run", first.recipe, "answered", verdict, {"advice": advice, "rival": rival, "target": asked})


def plain(value: Any) -> Any:
    """Records and arrays as JSON-ready values; what is infinite or no number becomes null, which reads as unbounded."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


@dataclass(frozen=True, slots=True)
class Change:
    """A conclusion that is no longer what it was."""

    question: str
    subject: str
    before: str | None
    after: str | None


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Change]:
    """Conclusions whose verdict differs between two days, in the order of the newer one; what is gone comes last."""
    old = {(row["question"], row["subject"]): str(row["verdict"]) for row in before}
    new = {(row["question"], row["subject"]): str(row["verdict"]) for row in after}
    found = [Change(*key, old.get(key), verdict) for key, verdict in new.items() if old.get(key) != verdict]
    return found + [Change(*key, verdict, None) for key, verdict in old.items() if key not in new]


def causes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """new_data, new_runs and new_code, as far as two sets of conclusions differ in what they were drawn from.

    before, after: with code and inputs as JSON, as in the table `stages`.
    """
    inputs = _differing(json.loads(before["inputs"]), json.loads(after["inputs"]))
    kinds = {name.partition("/")[0] for name in inputs}
    found = ["new_data"] if kinds & {"ladder", "data"} else []
    found += ["new_runs"] if "metrics" in kinds else []
    return found + (["new_code"] if _differing(json.loads(before["code"]), json.loads(after["code"])) else [])


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> set[str]:
    return {name for name in {*a, *b} if a.get(name) != b.get(name)}


def answer_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a stored row."""
    found: dict[str, Any] = json.loads(row["answer"])
    return found
