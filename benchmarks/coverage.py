"""Do forecast intervals hold? Public ladders are cut below each budget, and all runs at 2 to 30 times the compute kept are forecast.

    python benchmarks/coverage.py [DATA_DIR] [--leave-one-out]

DATA_DIR: a folder of data sets, one folder or file each (CSV, TSV, JSON, JSON lines, Parquet), with columns of model size, tokens (or
compute) and loss; what was used and what was not is printed first. Without it, simulated ladders are used. Prints coverage, width and
error by data set and by factor of extrapolation beside the naive bootstrap's, and ends with a line of JSON: coverage80, coverage90 (all
targets), worst90 (the lowest data set), mean_width (of 90% intervals, as a share of the loss), mean_error (absolute, as a share), the
naive_ ones, and means over data sets. --leave-one-out adds the same with a prior fitted without the data set in question. Times are of
one core: about 0.2 s per cut.
"""

if __name__ != "__main__":
    raise ImportError("this is a benchmark and not the package coverage, which numba asks for when a script beside this one runs")

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ladders import data_folder, few, thinned, trials_of

from lm.law import backtesting, prior, simulated
from lm.law.discover import Ladder, discover

COLUMNS = f"{'80%':>5s} {'90%':>5s} {'width':>7s} {'error':>7s}"
HEAD = f"{'':28s} {'targets':>7s}  {COLUMNS} {'bias':>7s}   naive: {COLUMNS}"


def main() -> None:
    """Print the tables and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=data_folder)
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--picture", type=Path, help="draw coverage and width against the factor of extrapolation into this PNG")
    arguments = parser.parse_args()
    started = time.process_time()
    trials = trials_of(ladders(arguments.data_dir))
    if not trials:
        raise SystemExit("no ladder can be cut: a data set needs 12 runs below a budget and others at 2 to 30 times that")
    record = backtesting.score(trials)
    show("Forecasts, with the prior that is shipped", record)
    found = figures(record)
    if arguments.leave_one_out:
        left_out = backtesting.score(trials, prior.leave_one_out([trial.case for trial in trials]))
        show("Forecasts, each data set with a prior fitted without it", left_out)
        found |= {f"leave_one_out_{name}": value for name, value in figures(left_out).items() if not name.startswith("naive")}
    if arguments.picture:
        draw(left_out if arguments.leave_one_out else record, arguments.picture)
    found["cpu_seconds"] = round(time.process_time() - started, 1)
    print(json.dumps(found))


def ladders(data_dir: Path | None) -> list[Ladder]:
    """What there is to forecast, thinned to what a minute can do, said aloud."""
    if data_dir is None:
        print("No DATA_DIR: simulated ladders.")
        return simulated.ladders()
    found, notes = discover(data_dir)
    for note in notes:
        print(f"{'used   ' if note.used else 'skipped'} {note.path}: {note.text}")
    return [thinned(ladder) for ladder in few(found)]


def show(title: str, record: backtesting.Record) -> None:
    """Two tables: by data set, by factor."""
    print(f"\n{title}\n{HEAD}")
    for name, row in record.by_data_set().items():
        line(name, row)
    for (low, high), row in record.by_factor().items():
        if row["num_targets"]:
            line(f"{low:.0f} to {high:.0f} times", row)
    line("all", record.summary())


def line(name: str, row: dict[str, float]) -> None:
    """One row of a table; widths and errors in percent of the loss."""
    percent = [100.0 * row[key] for key in ("mean_width", "mean_error", "mean_bias", "naive_mean_width", "naive_mean_error")]
    print(
        f"{name[:28]:28s} {row['num_targets']:7d}  {row['coverage80']:5.2f} {row['coverage90']:5.2f} {percent[0]:6.2f}% {percent[1]:6.2f}% "
        f"{percent[2]:+6.2f}%          {row['naive_coverage80']:5.2f} {row['naive_coverage90']:5.2f} {percent[3]:6.2f}% {percent[4]:6.2f}%"
    )


def figures(record: backtesting.Record) -> dict[str, float]:
    """The numbers of the last line."""
    every, sets = record.summary(), list(record.by_data_set().values())
    names = ("coverage80", "coverage90", "mean_width", "mean_error", "mean_crps", "naive_coverage80", "naive_coverage90")
    names += ("naive_mean_width", "naive_mean_error")
    worst = {f"{kind}{key}": min(row[f"{kind}{long}"] for row in sets) for kind in ("", "naive_") for key, long in WORST.items()}
    over = {f"data_set_mean_{name}": float(np.mean([row[name] for row in sets])) for name in names[:4]}
    return {name: round(value, 4) for name, value in ({n: every[n] for n in names} | worst | over).items()}


BANDS = ((2.0, 3.0), (3.0, 5.0), (5.0, 8.0), (8.0, 13.0), (13.0, 20.0), (20.0, 30.0))
OURS, NAIVE = "dataladder", "naive bootstrap"


def draw(record: backtesting.Record, path: Path) -> None:
    """Coverage of 90% intervals and their width, by factor of extrapolation, every data set counting the same."""
    import altair as alt

    rows = []
    for low, high in BANDS:
        some = backtesting.Record(tuple(o for o in record.outcomes if low * 0.98 <= o.factor < high * 1.02))
        sets = list(some.by_data_set().values())
        for who, kind in ((OURS, ""), (NAIVE, "naive_")):
            coverage, width = (float(np.mean([row[f"{kind}{name}"] for row in sets])) for name in ("coverage90", "mean_width"))
            rows.append({"who": who, "factor": float(np.sqrt(low * high)), "coverage": coverage, "width": width})
    values = alt.InlineData(values=rows)
    x = alt.X("factor:Q", scale=alt.Scale(type="log", domain=[2, 30]), axis=alt.Axis(values=[2, 4, 8, 15, 30])).title(
        "times the compute of the data"
    )
    color = alt.Color("who:N", scale=alt.Scale(domain=[OURS, NAIVE], range=["#2563eb", "#c2410c"])).title(None)
    line = alt.Chart(values).mark_line(point=True).encode(x=x, color=color)
    share = alt.Axis(format="%")
    covered = line.encode(y=alt.Y("coverage:Q", scale=alt.Scale(domain=[0, 1]), axis=share).title("outcomes inside the 90% interval"))
    promised = alt.Chart(alt.InlineData(values=[{"at": 0.9}])).mark_rule(strokeDash=[4, 4], color="#555").encode(y="at:Q")
    width = line.encode(y=alt.Y("width:Q", scale=alt.Scale(domainMin=0), axis=share).title("width of the interval, of the loss"))
    size = {"width": 300, "height": 220}
    chart = (promised + covered).properties(**size) | width.properties(**size)
    chart.configure(background="white").configure_axis(labelFontSize=12, titleFontSize=12).configure_legend(labelFontSize=12).save(
        path, scale_factor=1.5
    )


WORST = {"worst80": "coverage80", "worst90": "coverage90"}

if __name__ == "__main__":
    main()
