"""Scaling laws: fit them to measured losses, forecast the next rung with an interval, score the forecast.

    from lm import law
    laws, skipped = law.fit_all(points, seed=1)
    forecast = law.forecast(laws, num_params=3_000_000, num_tokens=16_000_000)
    score = law.score(forecast, [3.41, 3.43])

    fitted = law.fit("runs.csv", "chinchilla", n="params", d="tokens", loss="loss")

A library of its own: numpy and scipy, arrays or Arrow tables in, typed records out.
"""

from lm.law.backtesting import backtest
from lm.law.downstream import fit_curve, forecast_score
from lm.law.fitting import fit, fit_all
from lm.law.forecasting import curve, forecast, headline_law, score
from lm.law.forms import FORMS, evaluate
from lm.law.frames import groups, read
from lm.law.frontier import envelope, isoflop
from lm.law.joint import fit_joint
from lm.law.objectives import Objective
from lm.law.points import Points, gather
from lm.law.predictive import crps_of
from lm.law.records import Forecast, Law, Score, forecast_row, law_rows

__all__ = [
    "FORMS",
    "Forecast",
    "Law",
    "Objective",
    "Points",
    "Score",
    "backtest",
    "crps_of",
    "curve",
    "envelope",
    "evaluate",
    "fit",
    "fit_all",
    "fit_curve",
    "fit_joint",
    "forecast",
    "forecast_row",
    "forecast_score",
    "gather",
    "groups",
    "headline_law",
    "isoflop",
    "law_rows",
    "read",
    "score",
]
