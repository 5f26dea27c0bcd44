"""Measure the prior of forecast intervals: how far hidden runs of public ladders were missed, and the five numbers that follow.

    python benchmarks/interval_prior.py DATA_DIR

Prints the table of misses by factor of extrapolation, number of points kept and noise, the prior of all data sets, and the prior without
each of them. The numbers go into `lm/law/prior.py` by hand: nothing of the data does.
"""

import json
import sys
from dataclasses import asdict

import numpy as np
from ladders import data_folder, few, thinned, trials_of

from lm.law import backtesting, prior
from lm.law.discover import discover


def main() -> None:
    """Print the table and the priors."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/interval_prior.py DATA_DIR (a folder of public ladders)")
    found, _ = discover(data_folder(sys.argv[1]))
    trials = trials_of([thinned(ladder) for ladder in few(found)])
    misses(trials)
    cases = [trial.case for trial in trials]
    everything = prior.fit_prior(cases)
    for name, without in prior.leave_one_out(cases).items():
        print(f"without {name}: {asdict(without)}")
    print(json.dumps({name: round(value, 3) for name, value in asdict(everything).items()}))


def misses(trials: list[backtesting.Trial]) -> None:
    """Root mean square misses of the log loss, beside what the candidates' spread and the bootstrap said."""
    rows = [
        (
            trial.factor[i],
            trial.num_kept,
            trial.case.evidence.scatter[i],
            trial.case.errors[i],
            trial.case.evidence.spread[i],
            trial.case.evidence.sampling[i],
        )
        for trial in trials
        for i in range(len(trial.factor))
    ]
    table = np.array(rows)
    print(f"{'factor':>10s} {'kept':>9s} {'scatter':>14s} {'targets':>8s} {'miss':>8s} {'spread':>8s} {'bootstrap':>9s}")
    for low, high in backtesting.FACTORS:
        for few_kept, many in ((12, 30), (30, 80), (80, 1000)):
            for quiet, noisy in ((0.0, 0.003), (0.003, 0.01), (0.01, 1.0)):
                keep = (table[:, 0] >= low) & (table[:, 0] < high) & (table[:, 1] >= few_kept) & (table[:, 1] < many)
                keep &= (table[:, 2] >= quiet) & (table[:, 2] < noisy)
                if keep.sum() >= 10:
                    miss, spread, sampling = (np.sqrt((table[keep, k] ** 2).mean()) for k in (3, 4, 5))
                    print(
                        f"{low:4.0f}-{high:<5.0f} {few_kept:4d}-{many:<4d} {quiet:.3f}-{noisy:<7.3f} {keep.sum():8d} "
                        f"{miss:8.4f} {spread:8.4f} {sampling:9.4f}"
                    )


if __name__ == "__main__":
    main()
