"""Ladders in a folder of strangers' files: which columns are size, data and loss, what is one ladder, and what was left out and why.

CSV, TSV, JSON, JSON lines and Parquet are read; a folder of one-run JSON files counts as one table. Columns are known by their names,
whatever their case and punctuation. Units need no guessing: a forecast is the same whether N counts units or millions. Where D is
missing it comes from compute (C = 6 N D), from tokens per parameter, or from unique tokens and epochs. One ladder is one recipe (or
corpus, or group) and one column of losses; rows that differ in anything else of a name such as learning rate or batch size at equal N
and D are a search for settings, of which the best counts. Nothing else is tuned to a data set.

The cost: names are conventions, and a column that is called something else is not found. Every file says what became of it.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lm.law.points import Points, gather

Row = dict[str, Any]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
MOST_BYTES = 200_000_000
ALIASES: Mapping[str, tuple[str, ...]] = {
    "num_params": (
        *("numparams", "nparams", "params", "parameters", "n", "modelsize", "nonembeddingparams", "nonembparams", "paramsnonembed"),
        *("modelparams", "numparameters", "paramcount", "nonembeddingparameters", "totalparams", "paramsb", "paramsm", "nb", "nm", "size"),
        *(
            "modelsizem",
            "modelsizeb",
            "parameterssize",
            "paramsnoembed",
            "paramsnoemb",
            "activeparams",
            "nactive",
            "nnonembedding",
            "nnonemb",
        ),
        *("nparameters", "numnonembeddingparams", "numnonembeddingparameters", "nonembeddingn", "paramsnonembedding", "modelsizeparams"),
    ),
    "num_tokens": (
        *("numtokens", "ntokens", "tokens", "d", "traintokens", "trainingtokens", "tokensseen", "numtraintokens", "datasize", "datatokens"),
        *("tokensb", "tokensm", "db", "dm", "totaltokens", "tokentrained", "tokenstrained", "trainedtokens", "trainsize"),
        *("data", "datasetsize", "datasettokens", "numtokensseen", "numtrainingtokens", "ntraintokens", "trainingtokensb", "dtokens"),
    ),
    "flops": ("flops", "flop", "trainingflop", "trainingflops", "trainflops", "c", "compute", "isoflop", "budget", "totalflops"),
    "ratio": (
        "tokensperparam",
        "tokensperparameter",
        "tokenmultiplier",
        "dataratio",
        "chinchillamultiplier",
        "tokenparamratio",
        "dn",
        "multiplier",
    ),
    "unique_tokens": ("uniquetokens", "numuniquetokens", "ud", "uniquedata"),
    "epochs": ("epochs", "numepochs", "epoch"),
    "seed": ("seed", "randomseed", "runseed"),
    "run_id": ("runid", "run", "id", "runname", "name", "experiment"),
    "step": ("step", "steps", "iteration", "globalstep"),
}
LOSSES = (
    *("valloss", "validationloss", "evalloss", "testloss", "loss", "finalloss", "finalvalloss", "lmloss", "l", "c4valloss"),
    *("evalc4valcrossentropyloss", "crossentropy", "crossentropyloss", "valce", "smoothloss", "smoothedloss", "bitsperbyte", "bpb"),
    *("heldoutloss", "finalevalloss", "nll", "trainloss", "trainingloss", "finaltrainloss", "value"),
)
"""Columns of losses, the best known first; one that holds `val` is preferred to a training loss."""
GROUPS = (
    *("recipe", "dataset", "data", "corpus", "group", "mix", "mixture", "datarecipe", "dataname", "validation", "valset", "evalset"),
    *("validationset", "architecture", "arch", "family", "series", "tokenizer", "optimizer", "schedule", "modelfamily"),
    *("metric", "task", "domain", "split", "evalname"),
)
SETTINGS = ("lr", "learningrate", "bs", "batchsize", "warmup", "weightdecay", "wd", "maxlr", "peaklr")
MOST_GROUPS = 40
PUBLISHED = {
    "svg_extracted_data.csv": "drop the 5 highest losses, as the published fit does",
    "c4_all_runs.csv": "holds the runs of the published fit again, with those that diverged on repeated data",
    "opt_params_data.csv": "holds fitted constants, no runs",
}


@dataclass(frozen=True, slots=True)
class Ladder:
    """Runs that one law may describe."""

    data_set: str
    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a file."""

    path: str
    used: bool
    text: str


def discover(folder: Path) -> tuple[list[Ladder], list[Note]]:
    """All ladders under a folder, or in a file; each folder directly below it is one data set, files beside them are one each.

    Raises: FileNotFoundError if there is no such folder or file.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder} must be a folder with data sets, or a file of runs; it is not there")
    places = [folder] if folder.is_file() else sorted(folder.iterdir())
    folder = folder.parent if folder.is_file() else folder
    ladders: list[Ladder] = []
    notes: list[Note] = []
    for place in places:
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        name = place.name if place.is_dir() else place.stem
        for found, note in _data_set(name, [file for file in files if file.suffix.lower() in SUFFIXES], folder):
            ladders += found
            notes.append(note)
    return ladders, notes


def _data_set(name: str, files: Sequence[Path], folder: Path) -> Iterable[tuple[list[Ladder], Note]]:
    tables: list[tuple[str, str, list[Row]]] = []
    single: list[tuple[str, str, list[Row]]] = []
    for file in files:
        label = str(file.relative_to(folder))
        if PUBLISHED.get(file.name, "").startswith("holds"):
            yield [], Note(label, False, PUBLISHED[file.name])
            continue
        try:
            rows = read(file)
        except (ValueError, OSError, pa.ArrowException) as error:
            yield [], Note(label, False, f"cannot be read: {str(error)[:120]}")
            continue
        (single if len(rows) == 1 and file.suffix.lower() == ".json" else tables).append((label, file.name, rows))
    if single:
        tables.append((f"{name}/*.json ({len(single)} files)", "", [rows[0] for _, _, rows in single]))
    joined = _joined(tables)
    for label, file_name, rows in joined:
        yield _table(name, label, file_name, rows, alone=len(joined) == 1)


def _joined(tables: Sequence[tuple[str, str, list[Row]]]) -> list[tuple[str, str, list[Row]]]:
    """Files of one data set with the same columns are one table, unless they repeat each other's rows."""
    by_columns: dict[tuple[str, ...], list[tuple[str, str, list[Row]]]] = {}
    for label, name, rows in tables:
        by_columns.setdefault(tuple(rows[0]) if rows else (), []).append((label, name, rows))
    return [
        (" + ".join(label for label, _, _ in same), same[0][1], [row for _, _, rows in same for row in rows])
        for same in by_columns.values()
    ]


def read(path: Path) -> list[Row]:
    """The rows of a file, nested JSON objects flattened with dots. Raises: ValueError if there is no table in it."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read")
    kind = path.suffix.lower()
    if kind == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if kind in (".csv", ".tsv"):
        options = pyarrow.csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ",", newlines_in_values=True)
        return pyarrow.csv.read_csv(path, parse_options=options).to_pylist()
    text = path.read_text(encoding="utf-8")
    if kind == ".jsonl":
        return [_flat(json.loads(line)) for line in text.splitlines() if line.strip()]
    return _rows_of(json.loads(text))


def _rows_of(value: Any) -> list[Row]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_flat(item) for item in value]
    if isinstance(value, dict) and value:
        parts = list(value.values())
        if all(isinstance(part, list) for part in parts) and len({len(part) for part in parts}) == 1 and parts[0]:
            return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
        if all(isinstance(part, dict) for part in parts) and len(parts) > 2:
            return [{"name": key, **_flat(part)} for key, part in value.items()]
        if all(isinstance(part, list) and part and isinstance(part[0], dict) for part in parts):
            return [{"group": key, **_flat(item)} for key, part in value.items() for item in part]
        return [_flat(value)]
    raise ValueError("must hold a list of records, an object of columns or an object of records")


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def plain(name: str) -> str:
    """A column's name without case and punctuation."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def number(value: object) -> float:
    """A number, also from texts such as 70M, 1.4B or 3e9; NaN if it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip().replace(",", "").replace("_", "")
    scale = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}.get(text[-1:].lower(), 1.0)
    try:
        return float(text if scale == 1.0 else text[:-1]) * scale
    except ValueError:
        return math.nan


def _columns(rows: Sequence[Row]) -> dict[str, str]:
    """Which column holds what: name of a quantity -> name in the file; the first alias that holds numbers wins."""
    names = {plain(name): name for name in reversed(list(rows[0]))}
    found: dict[str, str] = {}
    for quantity, aliases in ALIASES.items():
        for alias in aliases:
            if alias in names and (quantity == "run_id" or _is_numeric(rows, names[alias])):
                found[quantity] = names[alias]
                break
    return found


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    values = [number(row.get(name)) for row in rows[:200]]
    return sum(math.isfinite(value) for value in values) * 2 > len(values)


def _loss_columns(rows: Sequence[Row]) -> list[str]:
    """The best known column of losses, and with it one on a common validation set where runs have several."""
    names = {plain(name): name for name in reversed(list(rows[0]))}
    known = [names[alias] for alias in LOSSES if alias in names and _is_numeric(rows, names[alias])]
    if not known:
        likely = [
            name
            for key, name in names.items()
            if ("loss" in key or "bpb" in key or "crossentropy" in key) and not any(w in key for w in ("std", "var", "diff", "err"))
        ]
        known = [name for name in reversed(likely) if _is_numeric(rows, name)][:3]
    shared = [name for name in known if plain(name).startswith("eval")]
    return known[:1] + [name for name in shared if name not in known[:1]][:1] if shared else known[:1] if known else []


def _table(data_set: str, label: str, file_name: str, rows: list[Row], *, alone: bool) -> tuple[list[Ladder], Note]:
    if not rows:
        return [], Note(label, False, "holds no rows")
    columns, losses = _columns(rows), _loss_columns(rows)
    if not losses:
        return [], Note(label, False, f"no column of losses among {', '.join(list(rows[0])[:12])}")
    if "num_params" not in columns and "num_tokens" not in columns:
        return [], Note(label, False, f"no column of model sizes or tokens among {', '.join(list(rows[0])[:12])}")
    if not {"num_tokens", "flops", "ratio", "unique_tokens"} & set(columns):
        return [], Note(label, False, f"no column of tokens, compute or epochs among {', '.join(list(rows[0])[:12])}")
    groups = _group_columns(rows, columns)
    ladders, left_out = [], 0
    for loss in losses:
        for name, members in _grouped(rows, groups).items():
            points, dropped = _points(members, columns, loss, 5 if file_name == "svg_extracted_data.csv" else 0)
            left_out += dropped
            if points is not None and len(points) >= 4:
                title = " ".join(part for part in (name, loss if len(losses) > 1 else "") if part) or "all"
                ladders.append(Ladder(data_set if alone else f"{data_set}/{Path(file_name).stem}".rstrip("/"), title, points))
    used = ", ".join(f"{quantity} = {column}" for quantity, column in columns.items())
    by = f", one ladder per {' and '.join(groups)}" if groups else ""
    rule = f"; {PUBLISHED[file_name]}" if file_name in PUBLISHED else ""
    text = f"{len(rows)} rows, {len(ladders)} ladders: {used}, loss = {' and '.join(losses)}{by}; {left_out} rows left out{rule}"
    return ladders, Note(label, bool(ladders), text)


def _group_columns(rows: Sequence[Row], columns: Mapping[str, str]) -> list[str]:
    """Columns that part rows into ladders: known names first, then other columns of words, none that only names sizes or amounts.

    A column counts if it has 2 to MOST_GROUPS values and leaves each part 8 rows or more; of the first, a tenth may be left behind.
    """
    names = {plain(name): name for name in reversed(list(rows[0])) if name not in columns.values()}
    known = [names[alias] for alias in GROUPS if alias in names]
    words = [name for name in rows[0] if name in names.values() and name not in known and isinstance(rows[0][name], str)]
    found: list[str] = []
    for name in [*known, *(word for word in words if not _is_numeric(rows, word) and plain(word) not in SETTINGS)]:
        values = {str(row.get(name)) for row in rows}
        if not 2 <= len(values) <= min(MOST_GROUPS, len(rows) // 4) or _names_a_place(rows, name, columns):
            continue
        parts = _grouped(rows, [*found, name])
        stray = sum(len(part) for part in parts.values() if len(part) < 8)
        finer = len(parts) > (len(_grouped(rows, found)) if found else 1)
        if finer and stray <= (0 if found or name not in known else len(rows) // 10):
            found.append(name)
    return found


def _names_a_place(rows: Sequence[Row], name: str, columns: Mapping[str, str]) -> bool:
    """Whether every value of a column goes with one model size, one amount of data or one budget."""
    for quantity in ("num_params", "num_tokens", "flops"):
        if quantity in columns:
            pairs = {(str(row.get(name)), number(row.get(columns[quantity]))) for row in rows}
            if len(pairs) == len({value for value, _ in pairs}):
                return True
    return False


def _grouped(rows: Sequence[Row], groups: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(" ".join(str(row.get(name)) for name in groups), []).append(row)
    return found


def _points(rows: Sequence[Row], columns: Mapping[str, str], loss: str, drop_highest: int) -> tuple[Points | None, int]:
    """The points of one ladder, and how many rows gave none."""
    settings = [name for name in rows[0] if plain(name) in SETTINGS]
    measured = [one for index, row in enumerate(rows) if (one := _measured(row, columns, loss, index)) is not None]
    if settings:
        measured = _best(measured)
    measured = _final(measured)
    if len(measured) < 4:
        return None, len(rows)
    names = ("run_id", "num_params", "num_tokens", "seed", "value", "unique_tokens")
    table: dict[str, list[Any]] = {name: [one[name] for one in measured] for name in names}
    if all(unique >= tokens * 0.999 for unique, tokens in zip(table["unique_tokens"], table["num_tokens"], strict=True)):
        del table["unique_tokens"]
    points = gather(table, drop_highest=drop_highest)
    return points, len(rows) - len(points)


def _measured(row: Row, columns: Mapping[str, str], loss: str, index: int) -> dict[str, Any] | None:
    def value(quantity: str) -> float:
        return number(row.get(columns[quantity])) if quantity in columns else math.nan

    params, tokens, unique, epochs = (value(name) for name in ("num_params", "num_tokens", "unique_tokens", "epochs"))
    if not math.isfinite(tokens):
        options = (value("flops") / (6.0 * params), params * value("ratio"), unique * epochs)
        tokens = next((option for option in options if math.isfinite(option)), math.nan)
    if not math.isfinite(params):
        params = value("flops") / (6.0 * tokens) if "flops" in columns else 1.0
    if not math.isfinite(unique):
        unique = tokens / max(1.0, epochs) if math.isfinite(epochs) else tokens
    measured = number(row.get(loss))
    if not all(math.isfinite(one) and one > 0 for one in (params, tokens, measured)):
        return None
    seed = value("seed")
    return {
        "run_id": f"{row.get(columns['run_id'], '')}#{index}" if "run_id" in columns else f"row {index}",
        "run": str(row.get(columns["run_id"])) if "run_id" in columns else f"row {index}",
        "num_params": params,
        "num_tokens": tokens,
        "unique_tokens": min(unique, tokens) if unique > 0 else tokens,
        "seed": int(seed) if math.isfinite(seed) else 0,
        "value": measured,
        "has_step": "step" in columns,
    }


def _best(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lowest loss of each size, amount of data and seed: runs there differ in settings that were searched."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in measured:
        place = (one["num_params"], one["num_tokens"], one["unique_tokens"])
        if place not in best or one["value"] < best[place]["value"]:
            best[place] = one
    return list(best.values())


def _final(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last checkpoint of each run where steps are given and that leaves a ladder; earlier ones have not finished their schedule."""
    if not measured or not measured[0]["has_step"]:
        return list(measured)
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in measured:
        place = (one["run"], one["num_params"], one["seed"])
        if place not in last or one["num_tokens"] > last[place]["num_tokens"]:
            last[place] = one
    if len(last) < len(measured) and (len(last) < 12 or len({one["num_params"] for one in last.values()}) < 4):
        return [{**one, "run_id": f"{one['run']} {one['num_params']:.0f} {one['seed']}"} for one in measured]
    return list(last.values())
