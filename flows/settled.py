"""Which trainings of a sweep can no longer change an answer, from what the lake has measured so far."""

from collections.abc import Sequence

from flows import decisions
from flows.sweep_table import Entry
from lm.law.decisions import Target, conclusions
from lm.law.decisions.stopping import beaten
from storage.lake import Lake

METRIC = "loss_nats_per_token"


def reasons(lake: Lake, entries: Sequence[Entry]) -> dict[str, str]:
    """Key of each training that need not go on, and why. Sizes without a law for two recipes say nothing."""
    comparable = [entry for entry in entries if _is_usual(entry)]
    found: dict[str, str] = {}
    for size in sorted({entry.config.model.num_params for entry in comparable}):
        of_size = [entry for entry in comparable if entry.config.model.num_params == size]
        found |= _of_size(lake, size, of_size)
    return found


def _is_usual(entry: Entry) -> bool:
    """Laws are about these; see flows/rates.py."""
    config = entry.config
    return (config.schedule, config.optimizer, config.unique_tokens) == ("wsd", "adamw", None)


def _of_size(lake: Lake, size: int, entries: Sequence[Entry]) -> dict[str, str]:
    ids = {str(entry.training.ladder_id) for entry in entries}
    measured = [one for one in decisions.ladders(lake, min(ids), METRIC) if one.ladder_id in ids]
    if len(measured) < 2:
        return {}
    top = min(max(entry.rungs_tokens) for entry in entries)
    try:
        beliefs = conclusions.beliefs_of(measured, size)
    except ValueError:  # no law at this size yet
        return {}
    lost = beaten(beliefs, Target(num_params=size, num_tokens=top))
    by_ladder = {one.ladder_id: lost[one.recipe] for one in measured if one.recipe in lost}
    return {
        entry.key: f"stopped: {by_ladder[ladder_id].by} is better at {top:,} tokens with probability {by_ladder[ladder_id].probability:.3f}"
        for entry in entries
        if (ladder_id := str(entry.training.ladder_id)) in by_ladder
    }
