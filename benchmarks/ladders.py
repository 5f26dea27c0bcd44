"""Public ladders, thinned to what a minute can do, and the cuts that are made of them."""

from pathlib import Path

import numpy as np

from lm.law import backtesting
from lm.law.discover import Ladder

MOST_LADDERS, MOST_POINTS = 24, 500


def data_folder(named: str | Path) -> Path:
    """The folder of published runs: the one that is named, or its `scaling`."""
    found = Path(named)
    return found / "scaling" if (found / "scaling").is_dir() else found


def few(found: list[Ladder]) -> list[Ladder]:
    """At most MOST_LADDERS of a data set, spread evenly."""
    kept: list[Ladder] = []
    for name in dict.fromkeys(ladder.data_set for ladder in found):
        same = [ladder for ladder in found if ladder.data_set == name]
        chosen = np.unique(np.linspace(0, len(same) - 1, min(len(same), MOST_LADDERS)).round().astype(int))
        if len(chosen) < len(same):
            print(f"thinned {name}: {len(chosen)} of {len(same)} ladders")
        kept += [same[i] for i in chosen]
    return kept


def thinned(ladder: Ladder) -> Ladder:
    """At most MOST_POINTS points, spread evenly over sizes and amounts."""
    count = len(ladder.points)
    if count <= MOST_POINTS:
        return ladder
    print(f"thinned {ladder.data_set} {ladder.name}: {MOST_POINTS} of {count} points")
    keep = np.zeros(count, dtype=bool)
    keep[np.linspace(0, count - 1, MOST_POINTS).round().astype(int)] = True
    return Ladder(ladder.data_set, ladder.name, ladder.points.where(keep))


def trials_of(found: list[Ladder]) -> list[backtesting.Trial]:
    """Every cut of every ladder."""
    trials: list[backtesting.Trial] = []
    for ladder in found:
        try:
            some = backtesting.trials(ladder.points, data_set=ladder.data_set, ladder=ladder.name)
        except (ValueError, np.linalg.LinAlgError) as error:
            print(f"skipped {ladder.data_set} {ladder.name}: {error}")
            continue
        if not some:
            print(f"skipped {ladder.data_set} {ladder.name}: of {len(ladder.points)} points no cut leaves 12 and others further out")
        trials += some
    return trials
