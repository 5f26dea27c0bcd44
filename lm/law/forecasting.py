"""Say what a larger run will score, and how far off that may be.

The point is the average of several candidate laws, weighed by how they forecast the user's own hidden rungs (`lm.law.ensemble`). The
interval joins three errors on the log loss, each a half-width, in quadrature:

- *form error*: how far the candidates part at the target, because no form is true;
- *sampling*: how the law moves when the runs are drawn anew, whole runs, since the rungs of one trunk shift together;
- *seed noise*: the scatter of the mean of `num_seeds` runs around a law.

What each is worth was measured on public ladders (`lm.law.prior`) and is corrected by the misses of the user's own hidden rungs; if
too few rungs exist to hide one, the form error is the whole change the law predicts beyond the data.

Why so: bootstrap intervals alone, at a nominal 90%, cover 9-48% of later runs on published data. What it costs: with four rungs the
interval is wide, and a change of regime beyond the data (a learning rate that stops working) is still not in it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lm.law import ensemble
from lm.law.ensemble import RUNGS_ALONE, Ensemble
from lm.law.points import SAME_SIZE, Points
from lm.law.predictive import Predictive, crps
from lm.law.prior import PRIOR
from lm.law.records import Forecast, Law, Score
from storage.digest import digest


def headline_law(laws: Iterable[Law], num_params: float) -> Law:
    """The law to tell about a size: its own data_only law if that has at least 4 rungs, else a joint law, else its own.

    The size's own law carries no assumption about other sizes; the joint one borrows from them where a size has too little.
    Raises: ValueError if no law covers the size.
    """
    candidates = list(laws)
    own = [law for law in candidates if law.num_params is not None and abs(np.log(law.num_params / num_params)) < SAME_SIZE]
    joint = [law for law in candidates if law.num_params is None]
    ranked = [law for law in own if len(law.points.rungs()) >= RUNGS_ALONE] + joint + own
    if not ranked:
        sizes = ", ".join(f"{law.num_params:,.0f}" for law in candidates if law.num_params) or "none"
        raise ValueError(
            f"no law covers {num_params:,.0f} parameters; laws at hand are for: {sizes}. Fit chinchilla over two sizes or more"
        )
    return ranked[0]


def forecast(
    laws: Law | Sequence[Law],
    num_params: float,
    num_tokens: float,
    level: float = 0.9,
    *,
    num_seeds: int = 1,
    unique_tokens: float | None = None,
) -> Forecast:
    """Forecast the mean loss of `num_seeds` runs at a size and an amount of data.

    laws: one law, or several of one ladder; the points behind them are what the forecast is made from.
    unique_tokens: different tokens among num_tokens, if some repeat.
    Raises: ValueError if no law covers the size or an argument is out of range.
    """
    if not (0.0 < level < 1.0 and num_seeds >= 1 and num_params > 0 and num_tokens > 0):
        raise ValueError(
            f"a forecast needs 0 < level < 1, num_seeds >= 1 and a positive target; "
            f"came level {level}, {num_seeds} seeds, N {num_params}, D {num_tokens}"
        )
    at_hand = [laws] if isinstance(laws, Law) else list(laws)
    law = headline_law(at_hand, num_params)
    made = ensemble.build(ensemble.speaking_for(points_behind(at_hand, law), num_params))
    return _forecast(law, made, target(num_params, num_tokens, unique_tokens), level, num_seeds)


def points_behind(laws: Sequence[Law], law: Law) -> Points:
    """The points of the widest law at hand that knows the size: a joint one sees all sizes."""
    joint = [other for other in laws if other.num_params is None]
    return max([law, *joint], key=lambda other: len(other.points)).points


def target(num_params: float, num_tokens: float, unique_tokens: float | None = None) -> Points:
    """A place without a loss."""
    unique = None if unique_tokens is None else np.array([min(unique_tokens, num_tokens)])
    return Points(("target",), np.array([num_params]), np.array([num_tokens]), (0,), np.ones(1), unique_tokens=unique)


def _forecast(law: Law, made: Ensemble, place: Points, level: float, num_seeds: int) -> Forecast:
    stated = made.predictive(place, num_seeds)
    low, high = (float(end[0]) for end in stated.interval(level))
    num_params, num_tokens = float(place.num_params[0]), float(place.num_tokens[0])
    unique = "" if place.unique_tokens is None else repr(float(place.unique_tokens[0]))
    return Forecast(
        forecast_id=digest("forecast", law.law_id, repr(num_params), repr(num_tokens), repr(level), str(num_seeds), unique),
        law_id=law.law_id,
        num_params=num_params,
        num_tokens=num_tokens,
        predicted=float(np.exp(stated.centre[0])),
        low=low,
        high=high,
        level=level,
        num_seeds=num_seeds,
        components=_components(made, stated, level),
        quantiles=tuple(stated.quantiles()[:, 0].tolist()),
        weights=made.weight_by_name,
        warnings=law.warnings,
    )


def _components(made: Ensemble, stated: Predictive, level: float) -> dict[str, float]:
    student = stated.student(level)
    parts = {name: float(student * part[0]) for name, part in stated.parts.items()}
    return {
        "sampling_low": parts["sampling"],
        "sampling_high": parts["sampling"],
        "seed_noise": parts["seed_noise"],
        "form_error": parts["form_error"],
        "num_hidden_errors": float(len(made.cuts)),
        "degrees_of_freedom": stated.freedom,
        "own_record": float(made.own_record(PRIOR)),
    }


def score(prediction: Forecast, outcomes: Sequence[float]) -> Score:
    """Compare a forecast with the losses measured, one per seed. Raises: ValueError if there is none or one is not finite."""
    if not len(outcomes) or not all(np.isfinite(outcomes)):
        raise ValueError(f"a forecast is scored by one finite loss per seed; came {list(outcomes)}")
    outcome = float(np.mean(outcomes))
    return Score(outcome, prediction.low <= outcome <= prediction.high, crps(prediction.quantiles, outcome))


def curve(
    laws: Law | Sequence[Law], *, beyond: float = 4.0, num_points: int = 48, level: float = 0.9, num_seeds: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Each law drawn: by law_id, points {num_params, num_tokens, fitted, low, high} from its smallest to `beyond` times its largest rung.

    The line is the law, or for the law that tells about a size the forecast itself; the band is that of a forecast of `num_seeds` runs
    (None: as many as the size was trained with), around the line, for amounts inside the data as well.
    """
    at_hand = [laws] if isinstance(laws, Law) else list(laws)
    built: dict[bytes, Ensemble] = {}

    def build(law: Law, size: float) -> Ensemble:
        points = ensemble.speaking_for(points_behind(at_hand, law), size)
        place = points.num_params.tobytes() + points.num_tokens.tobytes()
        if place not in built:
            built[place] = ensemble.build(points)
        return built[place]

    return {law.law_id: _curve(law, build, at_hand, beyond, num_points, level, num_seeds) for law in at_hand}


def _curve(
    law: Law,
    build: Callable[[Law, float], Ensemble],
    laws: Sequence[Law],
    beyond: float,
    num_points: int,
    level: float,
    num_seeds: int | None,
) -> list[dict[str, Any]]:
    rows = []
    for size in law.points.sizes()[:16]:
        trained = law.points.of_size(size)
        amounts = np.geomspace(trained.num_tokens.min(), trained.num_tokens.max() * beyond, num_points)
        places = Points(("",) * num_points, np.full(num_points, size), amounts, (0,) * num_points, np.ones(num_points))
        stated = build(law, size).predictive(places, num_seeds or len(set(trained.seed)))
        line = np.exp(stated.centre) if headline_law(laws, size) is law else np.array([law.predict(size, float(d)) for d in amounts])
        low, high = (line * end / np.exp(stated.centre) for end in stated.interval(level))
        rows += [
            {"num_params": round(size), "num_tokens": round(float(d)), "fitted": float(at), "low": float(a), "high": float(b)}
            for d, at, a, b in zip(amounts, line, low, high, strict=True)
        ]
    return rows
