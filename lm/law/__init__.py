"""Scaling laws: fit them to measured losses, forecast the next rung with an interval, score the forecast.

    from lm import law
    laws, skipped = law.fit_all(points, seed=1)
    forecast = law.forecast(laws, num_params=3_000_000, num_tokens=16_000_000)
    score = law.score(forecast, [3.41, 3.43])

A library of its own: numpy and scipy, arrays or Arrow tables in, typed records out.
"""

from lm.law.backtesting import backtest
from lm.law.fitting import fit, fit_all
from lm.law.forecasting import curve, forecast, headline_law, score
from lm.law.forms import FORMS, evaluate
from lm.law.points import Points, gather
from lm.law.predictive import crps_of
from lm.law.records import Forecast, Law, Score, forecast_row, law_rows

__all__ = [
    "FORMS",
    "Forecast",
    "Law",
    "Points",
    "Score",
    "backtest",
    "crps_of",
    "curve",
    "evaluate",
    "fit",
    "fit_all",
    "forecast",
    "forecast_row",
    "gather",
    "headline_law",
    "law_rows",
    "score",
]
