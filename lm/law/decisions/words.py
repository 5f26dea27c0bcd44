"""Conclusions in words, in English and Chinese: one sentence or two per row, with the doubt in the same sentence as the answer.

Sentences are made from the stored answer alone, so that the page, the artifact and the terminal cannot say different things. `**` marks
what is set in bold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lm.law.decisions.conclusions import Change, answer_of
from lm.law.decisions.phrases import PHRASES

Row = Mapping[str, Any]
WORTH_SAYING = 0.3
"""A crossing that is less likely than this is left to the table."""


def sentence(row: Row, language: str = "en") -> str:
    """One conclusion in words. row: of the table `conclusions`."""
    answer = answer_of(row)
    if row["status"] == "open":
        return _open(row, answer, language)
    return _SAY[str(row["question"])](row, answer, language)


def say(language: str, key: str, **values: str) -> str:
    """A phrase with its blanks filled. Raises: KeyError for a language or phrase that is not there."""
    return PHRASES[language][key].format(**values)


def number(value: float | None) -> str:
    """Three digits and a letter; infinity for what has no bound."""
    if value is None:
        return "∞"
    if abs(value) >= 1e21:
        return f"{value:.3g}"
    for unit, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}" if value / unit < 999.5 else f"{value / unit:,.0f}{letter}"
    return f"{value:.3g}"


def loss(value: float | None) -> str:
    """A loss with three decimals."""
    return "∞" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A probability that never reads as certain."""
    if value is None:
        return "–"
    return ">99%" if value > 0.99 else "<1%" if value < 0.01 else f"{value:.0%}"


def interval(estimate: Mapping[str, float | None], show: Any = number) -> str:
    """value [low, high]."""
    return f"{show(estimate['value'])} [{show(estimate['low'])}, {show(estimate['high'])}]"


def _amount(row: Row, answer: Mapping[str, Any], language: str) -> str:
    gain, found = answer["doubling"], answer["available"]
    told = say(
        language,
        "amount_sure" if (gain["low"] or 0.0) > 0 else "amount_unsure",
        size=number(answer["size"]),
        measured=number(answer["measured_tokens"]),
        gain=interval(gain, loss),
        loss=loss(answer["doubled_loss"]["value"]),
    )
    if found["after_tokens"] <= answer["measured_tokens"] * 1.01:
        return told + say(language, "amount_used_up", tokens=number(found["after_tokens"]))
    return told + say(language, "amount_available", tokens=number(found["after_tokens"]), loss=interval(found["after_loss"], loss))


def _recipes(row: Row, answer: Mapping[str, Any], language: str) -> str:
    one = answer["comparison"]
    a, b, p = one["a"], one["b"], one["probability"]
    better, worse = (b, a) if p >= 0.5 else (a, b)
    tie = row["verdict"] == "tie"
    told = say(
        language,
        "recipes_tie" if tie else "recipes_win",
        better=better,
        worse=worse,
        probability=percent(max(p, 1.0 - p)),
        where=_where(one["target"], language),
    )
    told += say(language, "multiplier", a=a, b=b, multiplier=interval(one["multiplier"]))
    crossing = one["crossing"]
    if crossing["amount"] is not None and crossing["probability"] >= WORTH_SAYING:
        told += say(language, "crossing", probability=percent(crossing["probability"]), at=interval(crossing["amount"]))
    if one["baseline"] is not None:
        base = one["baseline"]
        first = b if base["loss_b"] < base["loss_a"] else a
        agrees = tie or first == better
        told += say(language, "baseline_same" if agrees else "baseline_other", first=first, tokens=number(base["num_tokens"]))
    return told


def _ranking(row: Row, answer: Mapping[str, Any], language: str) -> str:
    order = answer["ranking"]
    return say(language, "ranking", order=str(row["verdict"]), where=_where(order["target"], language))


def _where(target: Mapping[str, float | None], language: str) -> str:
    if target["flops"] is not None:
        return say(language, "at_compute", flops=number(target["flops"]))
    return say(language, "at_tokens", size=number(target["num_params"]), tokens=number(target["num_tokens"]))


def _crawl(row: Row, answer: Mapping[str, Any], language: str) -> str:
    value = answer["value"]
    before, after = value["before_tokens"], value["after_tokens"]
    if before == after:
        return say(language, "crawl_nothing", tokens=number(after))
    key = "crawl_gain" if (value["gain"]["low"] or 0.0) > 0 else "crawl_unsure"
    words = {"before": number(before), "after": number(after), "size": number(value["num_params"])}
    return say(language, key, **words, gain=interval(value["gain"], loss), loss=loss(value["after_loss"]["value"]))


def _repetition(row: Row, answer: Mapping[str, Any], language: str) -> str:
    found = answer["repetition"]
    once, best = found["curve"][0][1], found["best_loss"]
    words = {
        "unique": number(found["unique_tokens"]),
        "size": number(found["num_params"]),
        "once": loss(once),
        "best": interval(best, loss),
    }
    told = say(language, "repetition", **words, epochs=interval(found["worth_it_epochs"]))
    return told if found["is_measured"] else told + say(language, "repetition_assumed")


def _allocation(row: Row, answer: Mapping[str, Any], language: str) -> str:
    found = answer["allocation"]
    off = {one["factor"]: one for one in found["off"]}
    low, high = found["good_sizes"]
    return say(
        language,
        "allocation",
        flops=number(found["flops"]),
        size=interval(found["num_params"]),
        tokens=interval(found["num_tokens"]),
        low=number(low),
        high=number(high),
        twice=percent(off[2.0]["wasted_compute"]),
        half=percent(off[0.5]["wasted_compute"]),
    )


def _constants(row: Row, answer: Mapping[str, Any], language: str) -> str:
    names = sorted(answer["unidentified"])
    law = say(language, "law_own" if answer["form"] == "data_only" else "law_joint")
    if not names:
        return say(language, "constants_fixed", law=law)
    likely = {one["constant"]: one["likely"] for one in answer["profiles"]}
    ranges = [
        say(language, "constants_range", name=name, low=number(likely[name][0]), high=number(likely[name][1]))
        for name in names
        if name in likely
    ]
    return say(language, "constants_open", law=law, names=", ".join(names), ranges=say(language, "comma").join(ranges) or "–")


def _next_run(row: Row, answer: Mapping[str, Any], language: str) -> str:
    advice = answer["advice"]
    first, last = advice["choices"][0], advice["choices"][-1]
    candidate = first["candidate"]
    what = say(language, f"kind_{candidate['kind']}")
    words = {
        "recipe": candidate["recipe"],
        "size": number(candidate["num_params"]),
        "tokens": number(candidate["num_tokens"]),
        "flops": number(candidate["flops"]),
        "what": what,
    }
    told = say(language, "next_run", **words)
    if first["probability_right"] is not None:
        values = {"now": percent(advice["probability_right"]), "then": percent(last["probability_right"]), "rival": str(answer["rival"])}
        told += say(language, "next_run_decides", **values, recipe=str(row["subject"]), runs=str(len(advice["choices"])))
    else:
        told += say(language, "next_run_narrows", left=percent(first["width_left"]), where=_where(answer["target"], language))
    if len(advice["choices"]) > 1:
        told += say(
            language, "next_run_more", runs=str(len(advice["choices"])), left=percent(last["width_left"]), flops=number(advice["spent"])
        )
    return told


def _open(row: Row, answer: Mapping[str, Any], language: str) -> str:
    needs = answer.get("needs", {})
    values = {
        "subject": str(row["subject"]) or "–",
        "size": number(needs.get("size")),
        "tokens": number(needs.get("num_tokens")),
        "flops": number(needs.get("flops")),
        "rungs": str(needs.get("num_rungs", answer.get("rungs", ""))),
        "budget": number(answer.get("budget")),
    }
    return say(
        language, "open", question=say(language, f"question_{row['question']}"), reason=say(language, f"open_{answer['reason']}", **values)
    )


_SAY = {
    "amount": _amount,
    "recipes": _recipes,
    "ranking": _ranking,
    "crawl": _crawl,
    "repetition": _repetition,
    "allocation": _allocation,
    "constants": _constants,
    "next_run": _next_run,
}


def no_conclusions(language: str = "en") -> str:
    """Nothing has been concluded yet."""
    return say(language, "no_conclusions")


def first_time(rows: Sequence[Row], language: str = "en") -> str:
    """The conclusions, where there are none to lay beside them."""
    return say(language, "first_time") + "\n\n" + _list(rows, language)


def changed(found: Sequence[Change], causes: Sequence[str], rows: Sequence[Row], language: str = "en") -> str:
    """What is different from the conclusions before, and which inputs changed in between."""
    why = say(language, "and").join(say(language, cause) for cause in causes) or say(language, "nothing_changed_in_inputs")
    if not found:
        return say(language, "none_changed", why=why) + "\n\n" + _list(rows, language)
    none = say(language, "none")
    lines = [
        say(
            language,
            "change",
            question=say(language, f"question_{one.question}"),
            subject=one.subject or "–",
            before=one.before or none,
            after=one.after or none,
        )
        for one in found
    ]
    return say(language, "some_changed", number=str(len(found)), why=why) + "\n\n" + "\n".join(lines) + "\n\n" + _list(rows, language)


def _list(rows: Sequence[Row], language: str) -> str:
    return "\n".join(f"- {sentence(row, language)}" for row in rows)
