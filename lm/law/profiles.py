"""How far can a constant be moved before the fit gets worse? The profile: hold it, fit all others anew, see what the objective becomes.

A constant that can be moved far is not known, however many digits its best value has. Two ranges are read off: where the objective
stays within 0.5% of its best, which needs no assumption, and where a 90% likelihood-ratio test would keep it (errors taken as
Laplace-distributed for the Huber and absolute objectives, which is what those assume). A coefficient is followed along the
profile of its exponent, because its unit depends on it.

Cost: some sixty refits per constant, a few hundredths of a second for a ladder, half a second for 182 points and seven constants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm.law.forms import Constant
from lm.law.points import Floats
from lm.law.search import Found, Problem

FLAT = 0.005
"""Share by which the objective may rise for a value to fit as well as the best."""
HALF_CHI2 = 1.3528
"""Half the 90% quantile of chi-squared with one degree of freedom."""
ROUGH = 1e-5
"""A profile need not be more exact than this, as a share of the objective."""
COARSE, FINE = 21, 9
"""Values at which a profile is taken over the whole range, then between the last that fits and the first that does not."""
WIDEST = {"E": 1.5}
WIDEST_EXPONENT = 2.0


@dataclass(frozen=True, slots=True)
class Profile:
    """The best objective for each held value of one constant, and the ranges that follow."""

    constant: str
    values: Floats
    objectives: Floats
    flat: tuple[float, float]
    """Where the objective stays within FLAT of its best."""
    likely: tuple[float, float]
    """Where a 90% likelihood-ratio test would keep the constant."""
    at_edge: tuple[bool, bool]
    """Whether `likely` ends at the edge of the range searched."""

    def sentence(self, widest: float) -> str | None:
        """Why the constant is not identified, or None if it is."""
        for (low, high), what in ((self.flat, f"{FLAT:.1%} of the best objective"), (self.likely, "a 90% likelihood ratio of the best")):
            if low <= 0 or high > low * widest:
                ends = {float(self.values.min()), float(self.values.max())}
                edge = " (the edge of the range searched)" if ends & {low, high} else ""
                return f"not identified: {low:.3g} to {high:.3g}{edge} fit within {what}"
        return None

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "constant": self.constant,
            "flat": list(self.flat),
            "likely": list(self.likely),
            "at_edge": list(self.at_edge),
            "values": self.values.tolist(),
            "objectives": self.objectives.tolist(),
        }


def profiles(task: Problem, found: Found) -> dict[str, Profile]:
    """The profile of every constant that is not held: directly for exponents and the like, along its exponent for a coefficient."""
    free = [k for k in range(len(found.theta)) if task.box.low[k] < task.box.high[k]]
    constants = task.form.constants
    direct = [k for k in free if constants[k].exponent is None]
    rows = _refine(task, found, direct)
    taken = {constants[k].name: _profile(task, found, k, k, *rows[k]) for k in direct}
    along = {constants[k].name: k for k in direct}
    followers = {k: along[constants[k].exponent or ""] for k in free if constants[k].exponent in along}
    return taken | {constants[k].name: _profile(task, found, k, place, *rows[place]) for k, place in followers.items()}


def open_constants(constants: Sequence[Constant], taken: Mapping[str, Profile]) -> dict[str, str]:
    """Constants that are not identified, with the sentence."""
    found = {}
    for constant in constants:
        widest = constant.widest or WIDEST.get(constant.name) or (WIDEST_EXPONENT if constant.is_exponent else None)
        if constant.name in taken and widest is not None and constant.exponent is None:
            sentence = taken[constant.name].sentence(widest)
            if sentence is not None:
                found[constant.name] = sentence
    return found


def _refine(task: Problem, found: Found, places: Sequence[int]) -> dict[int, tuple[Floats, Floats]]:
    """Rows of internal constants and objectives for each held place: over the whole range, then near where the fit gets worse."""
    coarse = {k: np.linspace(task.box.low[k], task.box.high[k], COARSE) for k in places}
    rows = _solve(task, {k: _moved(found.theta, k, values) for k, values in coarse.items()})
    limit = _limit(task, found.objective)
    finer = {k: _moved_from(*rows[k], found, k, limit) for k in places}
    more = _solve(task, finer)
    return {k: tuple(np.concatenate(pair) for pair in zip(rows[k], more[k], strict=True)) for k in places}  # type: ignore[misc]


def _limit(task: Problem, best: float) -> float:
    freedom = max(1, len(task.target) - len(task.form.constants))
    share = HALF_CHI2 / freedom * (2.0 if task.objective.kind == "squares" else 1.0)
    return best * (1.0 + share) + 1e-14 * len(task.target)


def _moved(theta: Floats, place: int, values: Floats) -> Floats:
    rows = np.tile(theta, (len(values), 1))
    rows[:, place] = values
    return rows


def _moved_from(rows: Floats, objectives: Floats, found: Found, place: int, limit: float) -> Floats:
    """Starts between the last value that fits and the first that does not, on both sides of the best."""
    values, best = rows[:, place], found.theta[place]
    starts = []
    for side in (values < best, values > best):
        good = side & (objectives <= limit)
        inner = values[good][np.argmax(np.abs(values[good] - best))] if good.any() else best
        outer = values[side & (np.abs(values - best) > abs(inner - best))]
        if len(outer):
            nearest = outer[np.argmin(np.abs(outer - inner))]
            starts.append(_moved(found.theta, place, inner + (nearest - inner) * np.linspace(0.02, 0.98, FINE)))
    return np.concatenate(starts) if starts else found.theta[None].copy()


def _solve(task: Problem, starts: Mapping[int, Floats]) -> dict[int, tuple[Floats, Floats]]:
    """Fit every row with its place held; then once more from the ends of its two neighbours, which mends fits that got stuck."""
    places = np.concatenate([np.full(len(rows), k) for k, rows in starts.items()])
    ends, values = _held(task, np.concatenate(list(starts.values())), places)
    for shift in (1, -1):
        from_neighbour = np.where((np.roll(places, shift) == places)[:, None], np.roll(ends, shift, axis=0), ends)
        from_neighbour[np.arange(len(places)), places] = ends[np.arange(len(places)), places]
        more, more_values = _held(task, from_neighbour, places)
        better = more_values < values
        ends[better], values[better] = more[better], more_values[better]
    return {k: (ends[places == k], values[places == k]) for k in starts}


def _held(task: Problem, starts: Floats, places: Floats) -> tuple[Floats, Floats]:
    """Minimise each row of starts without moving its own place, by giving that place no gradient. Rows are told apart by a last column."""
    low, high = np.append(task.box.low, -1.0), np.append(task.box.high, float(len(starts)))

    def predict(theta: Floats) -> tuple[Floats, Floats]:
        predicted, gradient = task.predict(theta[:, :-1])
        gradient = np.concatenate([gradient, np.zeros_like(gradient[:, :1])], axis=1)
        gradient[np.arange(len(theta)), places[theta[:, -1].astype(np.int64)].astype(np.int64)] = 0.0
        return predicted, gradient

    numbered = np.concatenate([starts, np.arange(len(starts), dtype=np.float64)[:, None]], axis=1)
    box = type(task.box)(low, high)
    ends, values = task.objective.descend(predict, numbered, task.target[None], task.weight[None], box, ROUGH)
    return ends[:, :-1], values


def _profile(task: Problem, found: Found, of: int, along: int, rows: Floats, objectives: Floats) -> Profile:
    """Read ranges off the rows, in the units people read; `of` is the constant, `along` the one that was held."""
    rows, objectives = np.concatenate([rows, found.theta[None]]), np.append(objectives, found.objective)
    order = np.argsort(rows[:, along], kind="stable")
    rows, objectives = rows[order], objectives[order]
    values = task.form.to_constants(rows, task.scale)[:, of]
    best = min(found.objective, float(objectives.min()))
    limit = _limit(task, best)
    edges = (bool(objectives[0] <= limit), bool(objectives[-1] <= limit))
    flat = _range(values, objectives, best * (1.0 + FLAT) + 1e-15)
    return Profile(task.form.constants[of].name, values, objectives, flat, _range(values, objectives, limit), edges)


def _range(values: Floats, objectives: Floats, limit: float) -> tuple[float, float]:
    """Smallest and largest value that fits within the limit, each moved to where the line to its neighbour outside crosses it."""
    inside = np.flatnonzero(objectives <= limit)
    ends = []
    for place, step in ((inside[0], -1), (inside[-1], 1)):
        outer = place + step
        if 0 <= outer < len(values):
            share = (limit - objectives[place]) / (objectives[outer] - objectives[place])
            ends.append(float(values[place] + share * (values[outer] - values[place])))
        else:
            ends.append(float(values[place]))
    return min(ends), max(ends)
