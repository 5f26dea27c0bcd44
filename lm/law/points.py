"""The points of a law: one measured loss per run and amount of data, checked, in a fixed order, with what was left out.

Everything that a fit leaves out is written down here under a reason, because the choice of points can matter more than the
choice of optimiser: on the Chinchilla data, five points of 245 move B from 2,144 to 12,846. Points are sorted, so that a
law does not depend on the order of the rows; the cost is that row numbers of the input are lost (run_id and num_tokens
say which point is meant).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = pa.Table | Mapping[str, Sequence[object]]

COLUMNS = ("run_id", "num_params", "num_tokens", "seed", "value")
ONE_OF = ("validation_id", "validation_set", "tokenizer_id", "tokenizer", "loss_unit", "metric")
"""Columns that say what was measured: losses that differ in one of them are not comparable."""
SAME_SIZE = 1e-9
"""Two sizes or amounts of data are one if their logarithms differ by less."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A point that was left out of a fit, and why."""

    run_id: str
    num_tokens: float
    reason: str
    """not_finite, not_positive, duplicate, conflicting_values or highest_loss."""


@dataclass(frozen=True, slots=True)
class Points:
    """Measured losses in canonical order (size, data, seed, run), and the ones left out."""

    run_id: tuple[str, ...]
    num_params: Floats
    num_tokens: Floats
    seed: tuple[int, ...]
    value: Floats
    exclusions: tuple[Exclusion, ...] = field(default=())
    unique_tokens: Floats | None = None
    """Different tokens each run had; None if nobody said, which counts as no repetition."""

    def __len__(self) -> int:
        return len(self.run_id)

    def sizes(self) -> list[float]:
        """Distinct model sizes, smallest first."""
        return distinct(self.num_params)

    def rungs(self) -> list[float]:
        """Distinct amounts of training data, smallest first."""
        return distinct(self.num_tokens)

    def where(self, keep: NDArray[np.bool_]) -> "Points":
        """The points for which `keep` holds, with the same exclusions."""
        index = np.flatnonzero(keep)
        return Points(
            tuple(self.run_id[i] for i in index),
            self.num_params[index],
            self.num_tokens[index],
            tuple(self.seed[i] for i in index),
            self.value[index],
            self.exclusions,
            None if self.unique_tokens is None else self.unique_tokens[index],
        )

    def of_size(self, num_params: float) -> "Points":
        """The points of one model size."""
        return self.where(same(self.num_params, num_params))


def same(values: Floats, wanted: float) -> NDArray[np.bool_]:
    """Which values are the wanted one, up to rounding."""
    return np.abs(np.log(values) - math.log(wanted)) < SAME_SIZE


def distinct(values: Floats) -> list[float]:
    """Distinct positive values in rising order; values that differ by rounding alone count once."""
    found: list[float] = []
    for value in sorted(values.tolist()):
        if not found or math.log(value / found[-1]) >= SAME_SIZE:
            found.append(value)
    return found


def gather(data: Columns, *, drop_highest: int = 0) -> Points:
    """Check measured losses and put them in order.

    data: columns run_id, num_params, num_tokens, seed, value (a loss, in any unit); optionally unique_tokens, and any of ONE_OF, which
    must hold one value only.
    drop_highest: leave out this many of the highest losses (runs too short for the law), recorded as exclusions.
    Raises: ValueError if a column is missing, a number cannot be read, or losses that cannot be compared are mixed.
    """
    columns = _columns(data)
    for name in ONE_OF:
        _one_only(name, columns.get(name, ()))
    kept, left_out = _screen(_rows(columns))
    kept, highest = _without_highest(kept, drop_highest)
    amounts = np.array([row[1:3] + row[4:6] for row in kept], dtype=np.float64).reshape(-1, 4)
    return Points(
        tuple(row[0] for row in kept),
        amounts[:, 0],
        amounts[:, 1],
        tuple(row[3] for row in kept),
        amounts[:, 2],
        tuple(sorted([*left_out, *highest], key=lambda e: (e.reason, e.run_id, e.num_tokens))),
        np.minimum(amounts[:, 3], amounts[:, 1]) if "unique_tokens" in columns else None,
    )


_Row = tuple[str, float, float, int, float, float]
"""run, size, tokens, seed, loss, unique tokens."""


def _columns(data: Columns) -> dict[str, list[object]]:
    columns = data.to_pydict() if isinstance(data, pa.Table) else {name: list(values) for name, values in data.items()}
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"a fit needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of one fit must be equally long; came: {lengths}")
    return columns


def _one_only(name: str, values: Iterable[object]) -> None:
    found = {str(value) for value in values}
    if len(found) > 1:
        names = ", ".join(sorted(found)[:8])
        raise ValueError(
            f"only losses on one validation set, under one tokenizer and in one unit can be compared; "
            f"the column {name} holds {len(found)}: {names}. Fit one {name} at a time"
        )


def _rows(columns: dict[str, list[object]]) -> list[_Row]:
    unique = columns.get("unique_tokens", columns["num_tokens"])
    fields = (columns["run_id"], columns["num_params"], columns["num_tokens"], columns["seed"], columns["value"], unique)
    rows = [
        (
            str(run_id),
            _number(params, "num_params", i),
            _number(tokens, "num_tokens", i),
            int(_number(0 if seed is None else seed, "seed", i)),
            _number(value, "value", i),
            _number(different, "unique_tokens", i),
        )
        for i, (run_id, params, tokens, seed, value, different) in enumerate(zip(*fields, strict=True))
    ]
    return sorted(rows, key=lambda row: (row[1], row[2], row[3], row[0], repr(row[4]), row[5]))


def _number(value: object, column: str, row: int) -> float:
    """A missing value counts as not a number and is left out later; text that is no number is a mistake."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        return float(value if isinstance(value, int | float) else str(value))
    except ValueError:
        raise ValueError(f"the column {column} must hold numbers; row {row} (from 0) holds {value!r}") from None


def _screen(rows: list[_Row]) -> tuple[list[_Row], list[Exclusion]]:
    """Split rows into usable ones and exclusions. Copies with different losses all go: nobody can say which is right."""
    values: dict[tuple[str, float], set[str]] = {}
    for row in rows:
        values.setdefault((row[0], row[2]), set()).add(repr(row[4]))
    kept: list[_Row] = []
    left_out: list[Exclusion] = []
    seen: set[tuple[str, float]] = set()
    for row in rows:
        key = (row[0], row[2])
        if not all(math.isfinite(number) for number in (row[1], row[2], row[4], row[5])):
            reason = "not_finite"
        elif min(row[1], row[2], row[4], row[5]) <= 0:
            reason = "not_positive"
        elif len(values[key]) > 1:
            reason = "conflicting_values"
        elif key in seen:
            reason = "duplicate"
        else:
            seen.add(key)
            kept.append(row)
            continue
        left_out.append(Exclusion(row[0], row[2], reason))
    return kept, left_out


def _without_highest(rows: list[_Row], count: int) -> tuple[list[_Row], list[Exclusion]]:
    if count < 0:
        raise ValueError(f"drop_highest must be 0 or more; came {count}")
    highest = set(sorted(rows, key=lambda row: (-row[4], row[0], row[2]))[:count])
    return [row for row in rows if row not in highest], [Exclusion(row[0], row[2], "highest_loss") for row in sorted(highest)]
