"""What a fit and a forecast hand back: typed records, and their rows for the tables `laws` and `forecasts`.

Numbers in rows are rounded to 12 significant digits, so that a repeated fit writes equal text; the cost is that a row
cannot be turned back into the last bits of a fit. Bootstrap samples stay in memory: the row keeps the intervals and the
drawn curve that come from them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lm.law.forms import Form, Scale, get
from lm.law.points import Exclusion, Floats, Points
from lm.law.predictive import QUANTILES
from storage.digest import digest

if TYPE_CHECKING:
    from lm.law.profiles import Profile

SIGNIFICANT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Residual:
    """One fitted point beside what the law says there."""

    run_id: str
    num_params: float
    num_tokens: float
    observed: float
    fitted: float


@dataclass(frozen=True, slots=True)
class Noise:
    """Scatter of log losses around a law, in two parts: all rungs of a run shift together, and each rung on its own."""

    run_sd: float
    point_sd: float
    degrees_of_freedom: int
    seeds_seen: bool
    """False if no size has two runs, so that the scatter between seeds was not seen and is a stand-in."""


@dataclass(frozen=True, slots=True)
class Law:
    """A fitted law. `theta`, `scale` and `samples` are the internal constants; people read `constants`."""

    law_id: str
    form: str
    num_params: float | None
    """Model size of a data_only law; None for a joint law."""
    constants: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    unidentified: Mapping[str, str]
    """Constants that the data does not fix, each with the reason."""
    warnings: tuple[str, ...]
    residuals: tuple[Residual, ...]
    exclusions: tuple[Exclusion, ...]
    estimator: Mapping[str, Any]
    objective: float
    points: Points
    noise: Noise
    theta: Floats
    scale: Scale
    samples: Floats
    """Internal constants of each bootstrap replicate [replicates, constants]."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Unit of each constant, and of loss, parameters and tokens."""
    profiles: "Mapping[str, Profile]" = field(default_factory=dict)
    """How the best objective depends on each constant; empty if none were asked for."""

    @property
    def form_record(self) -> Form:
        """The form itself."""
        return get(self.form)

    @property
    def max_num_tokens(self) -> int:
        """Largest amount of data among the fitted points."""
        return round(float(self.points.num_tokens.max()))

    def predict(self, num_params: float, num_tokens: float, unique_tokens: float | None = None) -> float:
        """Loss that the law expects at this size and amount of data. unique_tokens: None means that nothing repeats."""
        return float(np.exp(self.log_losses(self.theta[None], num_params, num_tokens, unique_tokens)[0]))

    def log_losses(self, theta: Floats, num_params: float, num_tokens: float, unique_tokens: float | None = None) -> Floats:
        """Log loss under each row of internal constants [fits, constants] -> [fits]."""
        logs = [np.log([amount]) for amount in (num_params, num_tokens, unique_tokens or num_tokens)]
        middles = (self.scale.log_params, self.scale.log_tokens, self.scale.log_tokens)
        coordinates = [log - middle for log, middle in zip(logs, middles, strict=True)][: len(self.form_record.columns)]
        return self.form_record.predict(theta, *coordinates)[0][:, 0] + self.scale.log_value

    def record(self) -> dict[str, Any]:
        """All that people and programs read, JSON-ready: without points, samples and internal constants."""
        found = _law_row(self, "", "", [])
        texts = ("constants", "intervals", "unidentified", "warnings", "residuals", "exclusions", "estimator")
        kept = {
            name: json.loads(found[name]) if name in texts else found[name]
            for name in found
            if name not in ("ladder_id", "metric", "curve")
        }
        profiles = [json.loads(canonical_json(profile.record())) for profile in self.profiles.values()]
        return {"formula": self.form_record.formula, **kept, "units": dict(self.units), "profiles": profiles}


@dataclass(frozen=True, slots=True)
class Forecast:
    """A prediction of the mean loss over `num_seeds` runs, with its interval and what the interval is made of."""

    forecast_id: str
    law_id: str
    num_params: float
    num_tokens: float
    predicted: float
    low: float
    high: float
    level: float
    num_seeds: int
    components: Mapping[str, float]
    """Half-widths on the log loss: sampling_low, sampling_high, seed_noise, form_error; and num_hidden_errors (cuts of the own data),
    own_record (how much they widened the interval), degrees_of_freedom."""
    quantiles: tuple[float, ...]
    """Losses at the probabilities of `lm.law.predictive.QUANTILES`."""
    weights: Mapping[str, float]
    """What each candidate law counts in the average."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What came out, against a forecast."""

    outcome: float
    """Mean over seeds."""
    inside: bool
    """Whether it lies in the interval, ends included."""
    crps: float
    """Continuous ranked probability score, in the unit of the loss; 0 is perfect."""


def rounded(value: float) -> float:
    """A float with SIGNIFICANT_DIGITS digits, so that it is written the same in every run."""
    return float(f"{value:.{SIGNIFICANT_DIGITS - 1}e}")


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces and rounded floats; a number that is not finite is refused."""
    return json.dumps(_rounded_tree(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _rounded_tree(value: object) -> object:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, Mapping):
        return {str(key): _rounded_tree(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_rounded_tree(item) for item in value]
    return value


def law_id(form: str, points: Points, estimator: Mapping[str, Any]) -> str:
    """Digest of what decides a law: its form, the points it saw and how it was fitted."""
    seen = [points.run_id, points.num_params.tolist(), points.num_tokens.tolist(), points.seed, points.value.tolist()]
    if points.unique_tokens is not None:
        seen.append(points.unique_tokens.tolist())
    left_out = [[e.run_id, repr(e.num_tokens), e.reason] for e in points.exclusions]
    return digest("law", form, json.dumps(seen), canonical_json(left_out), canonical_json(estimator))


def law_rows(laws: Iterable[Law], *, ladder_id: str, metric: str, curves: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Rows of the table `laws`. curves: JSON-ready drawn curves by law_id, as `lm.law.curve` returns them."""
    return [_law_row(law, ladder_id, metric, (curves or {}).get(law.law_id, [])) for law in laws]


def _law_row(law: Law, ladder_id: str, metric: str, curve: object) -> dict[str, Any]:
    residuals = [
        {
            "run_id": r.run_id,
            "num_params": round(r.num_params),
            "num_tokens": round(r.num_tokens),
            "observed": r.observed,
            "fitted": r.fitted,
        }
        for r in law.residuals
    ]
    exclusions = [
        {"run_id": e.run_id, "num_tokens": round(e.num_tokens) if np.isfinite(e.num_tokens) else None, "reason": e.reason}
        for e in law.exclusions
    ]
    return {
        "law_id": law.law_id,
        "ladder_id": ladder_id,
        "form": law.form,
        "metric": metric,
        "num_params": None if law.num_params is None else round(law.num_params),
        "max_num_tokens": law.max_num_tokens,
        "constants": canonical_json(law.constants),
        "intervals": canonical_json(law.intervals),
        "unidentified": canonical_json(law.unidentified),
        "warnings": canonical_json(law.warnings),
        "residuals": canonical_json(residuals),
        "exclusions": canonical_json(exclusions),
        "curve": canonical_json(curve),
        "estimator": canonical_json(law.estimator),
        "objective": rounded(law.objective),
        "num_points": len(law.points),
    }


def forecast_row(forecast: Forecast, *, ladder_id: str, rung: int | None, metric: str) -> dict[str, Any]:
    """A row of the table `forecasts`, still without outcome; the lake adds when it was registered and on which snapshot."""
    quantiles = {repr(probability): loss for probability, loss in zip(QUANTILES, forecast.quantiles, strict=True)}
    return {
        "forecast_id": forecast.forecast_id,
        "law_id": forecast.law_id,
        "ladder_id": ladder_id,
        "rung": rung,
        "num_params": round(forecast.num_params),
        "num_tokens": round(forecast.num_tokens),
        "metric": metric,
        "predicted": rounded(forecast.predicted),
        "low": rounded(forecast.low),
        "high": rounded(forecast.high),
        "level": forecast.level,
        "low80": rounded(quantiles["0.1"]),
        "high80": rounded(quantiles["0.9"]),
        "quantiles": canonical_json(quantiles),
        "form_weights": canonical_json(forecast.weights),
        "num_seeds": forecast.num_seeds,
        "components": canonical_json(forecast.components),
        "registered_at": None,
        "lake_snapshot": None,
        "outcome": None,
        "inside": None,
        "inside80": None,
        "crps": None,
        "scored_at": None,
    }
