"""Bad input: a clear error, or a clear warning in the result, and never a confident curve."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lm.law import forms
from lm.law.fitting import fit
from lm.law.records import Law

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "a": 0.347, "b": 0.366}
COLUMNS = {"n": "n", "d": "d", "loss": "loss"}
Table = dict[str, list[Any]]


def table(noise: float = 0.004, num_sizes: int = 5, num_amounts: int = 6, seed: int = 0) -> Table:
    """A grid of runs of a known law."""
    rng = np.random.default_rng(seed)
    cells = [(n, d) for n in np.geomspace(1e7, 1e9, num_sizes).tolist() for d in np.geomspace(5e8, 5e10, num_amounts).tolist()]
    losses = [forms.evaluate("chinchilla", TRUE, n, d) * math.exp(rng.normal(0, noise)) for n, d in cells]
    return {"n": [n for n, _ in cells], "d": [d for _, d in cells], "loss": losses}


def few(count: int) -> Table:
    return {name: values[:count] for name, values in table().items()}


def fitted(data: Table, form: str = "chinchilla", **more: Any) -> Law:
    return fit(data, form, **COLUMNS, num_bootstrap=20, with_profiles=False, **more)


def said(data: Table, text: str) -> bool:
    return any(text in warning for warning in fitted(data).warnings)


def test_a_clean_table_gives_one_warning_only_that_seeds_were_not_varied() -> None:
    assert all("two seeds" in warning for warning in fitted(table()).warnings)


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (few(1), "chinchilla", "came 1 points at 1 model sizes"),
        (few(1), "data_only", "at least 3 amounts of data; came 1 points"),
        (few(3), "bnsl", "6 constants and needs as many distinct points; came 3"),
        (few(0), "chinchilla", "came 0 points"),
        (few(6), "farseer", "at least 4 model sizes"),
        (table(), "data_constrained", "needs the column unique_tokens"),
        ({**table(), "tokenizer": ["a", "b"] * 15}, "chinchilla", "column tokenizer holds 2: a, b"),
        ({**table(), "validation_set": ["a", "b"] * 15}, "chinchilla", "column validation_set holds 2"),
        ({**table(), "loss_unit": ["bits", "nats"] * 15}, "chinchilla", "column loss_unit holds 2: bits, nats"),
        ({**table(), "loss": ["3.1", "oops", *table()["loss"][2:]]}, "chinchilla", "column value must hold numbers; row 1 .*'oops'"),
        ({"n": [1.0], "d": [1.0], "bpb": [1.0]}, "chinchilla", "no column loss; there are: n, d, bpb"),
    ],
)
def test_what_cannot_carry_a_law_is_refused(data: Table, form: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(data, form)


def test_three_points_are_never_a_confident_curve() -> None:
    law = fit(few(3), "data_only", **COLUMNS, num_bootstrap=20)
    assert any("nothing is left to judge the form by" in warning for warning in law.warnings)
    assert law.unidentified


def test_equal_losses_fix_nothing_but_the_level() -> None:
    law = fit({**table(), "loss": [3.0] * 30}, "chinchilla", **COLUMNS, num_bootstrap=20)
    assert any("all losses are equal" in warning for warning in law.warnings)
    assert {"a", "b"} <= set(law.unidentified)
    assert law.predict(1e12, 1e13) == pytest.approx(3.0, rel=1e-3)


def test_losses_that_rise_are_said() -> None:
    data = table()
    assert said({**data, "loss": data["loss"][::-1]}, "loss does not fall with data or parameters")
    assert said({**data, "loss": data["loss"][::-1]}, "loss rises with data")


def test_not_a_number_and_copies_are_left_out_with_their_reason() -> None:
    data = table()
    data = {name: [*values, values[3]] for name, values in data.items()}
    data["loss"][0], data["loss"][7] = math.nan, None
    assert sorted(e.reason for e in fitted(data).exclusions) == ["duplicate", "not_finite", "not_finite"]


def with_short_runs(tokens: float, factor: float) -> Table:
    """One more amount of data per size, at which losses are `factor` times what the law says."""
    data = table()
    more = [(n, tokens, factor * forms.evaluate("chinchilla", TRUE, n, tokens)) for n in dict.fromkeys(data["n"])]
    return {name: [*values, *(row[k] for row in more)] for k, (name, values) in enumerate(data.items())}


def test_warm_up_points_that_bend_the_law_are_seen_and_their_effect_is_said() -> None:
    law = fitted(with_short_runs(2e7, 2.5))
    warning = next(w for w in law.warnings if "Warm-up, or runs too short for the law?" in w)
    assert "hangs on the 5 points with the least data (up to 20,000,000 tokens); without them: " in warning
    assert f"b {law.constants['b']:.4g} -> 0.3" in warning


def test_single_warm_up_points_that_lie_off_the_law_are_seen() -> None:
    data = table()
    bad = {**data, "loss": [v * 1.8 if i in (0, 6) else v for i, v in enumerate(data["loss"])]}
    assert said(bad, "2 of 30 points lie far from the law (2 above, 0 below")
    assert said(bad, "all above it with the least data: warm-up, or runs too short for the law?")


@pytest.mark.parametrize(
    ("column", "factor", "text"),
    [
        ("n", 1e-6, "are they given in thousands, millions or billions?"),
        ("d", 1e-9, "is it given in millions or billions?"),
        ("d", 1e-7, "parameters and tokens may be in different units"),
        ("loss", 20.0, "perplexities, or a run that went wrong?"),
    ],
)
def test_other_units_are_suspected(column: str, factor: float, text: str) -> None:
    data = table()
    assert said({**data, column: [value * factor for value in data[column]]}, text)


def test_rows_in_other_units_are_suspected() -> None:
    data = table()
    mixed = {**data, "n": [n * 1e-6 if i % 6 == 0 else n for i, n in enumerate(data["n"])]}
    assert said(mixed, "some rows may be in other units")
    bits = {**data, "loss": [v * 1.442695 if i in (8, 15) else v for i, v in enumerate(data["loss"])]}
    assert said(bits, "about the factor between nats and bits: are the losses in one unit?")


def test_the_unit_of_the_loss_is_unknown_until_somebody_says_it() -> None:
    assert fitted(table()).units["loss"] == "as given (nobody said which unit)"
    assert fitted(table(), loss_unit="bits per byte").units["loss"] == "bits per byte"


def test_the_order_of_rows_of_a_file_without_names_does_not_matter() -> None:
    data, place = table(), np.random.default_rng(0).permutation(30)
    assert fitted(data).law_id == fitted({name: [values[i] for i in place] for name, values in data.items()}).law_id


def test_other_files_are_refused_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "runs.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"read from \.csv, \.tsv or \.parquet; came runs\.xlsx"):
        fit(tmp_path / "runs.xlsx", **COLUMNS)
    with pytest.raises(ValueError, match="there is no file"):
        fit(tmp_path / "runs.csv", **COLUMNS)
