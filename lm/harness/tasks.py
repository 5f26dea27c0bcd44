"""Tasks for lm-evaluation-harness from local files: registered evaluation sets, and task files of a user's own.

A task file is YAML or JSON in the harness's own terms, of which only what is plain data is taken: no `!function`, no `include`, and data
that are files on this machine (`dataset_path: json`, `csv`, `parquet` or `text` with `dataset_kwargs.data_files`). So nothing is
downloaded and no code of a task runs. Names of files are relative to the task's file.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm.evaluation.requests import bare

BUILDERS = ("json", "csv", "parquet", "text")
Config = dict[str, Any]


class HarnessTaskError(ValueError):
    """A task that cannot be run from local files alone; the message says why."""


def of_items(name: str, items: Sequence[Mapping[str, Any]], folder: Path) -> list[Config]:
    """A task per kind of items of a registered set; rows have item, kind, prompt, choices and label. Writes the items into `folder`.

    The white space that all choices begin with becomes the delimiter, for the harness normalizes by the choice without it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for kind in sorted({str(row["kind"]) for row in items}):
        rows = [row for row in items if row["kind"] == kind]
        delimiter = "" if kind == "cloze" else bare([choice for row in rows for choice in row["choices"]])[0]
        file = folder / f"{re.sub('[^A-Za-z0-9_-]', '-', name)}-{kind}.jsonl"  # brackets would be a pattern to the harness
        lines = [json.dumps(_row(row, delimiter), ensure_ascii=False) + "\n" for row in rows]
        beside = file.with_suffix(f".{os.getpid()}.part")
        beside.write_text("".join(lines), encoding="utf-8")
        beside.replace(file)
        found.append(_config(name, kind, file, delimiter))
    return found


def _row(row: Mapping[str, Any], delimiter: str) -> Config:
    choices = [choice.removeprefix(delimiter) for choice in row["choices"]]
    fields = {"item": row["item"], "prompt": row["prompt"], "choices": choices, "label": row["label"]}
    return fields | {"answer": row["choices"][row["label"]]}


def _config(name: str, kind: str, file: Path, delimiter: str) -> Config:
    config: Config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "doc_to_text": "prompt",
        "target_delimiter": delimiter,
    }
    if kind == "cloze":
        return config | {"output_type": "loglikelihood", "doc_to_target": "answer", "metric_list": _metrics("acc", "perplexity")}
    chosen = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "label"}
    return config | chosen | {"metric_list": _metrics("acc", "acc_norm", "acc_bytes")}


def _metrics(*names: str) -> list[Config]:
    return [
        {"metric": name, "aggregation": "perplexity" if name == "perplexity" else "mean", "higher_is_better": name != "perplexity"}
        for name in names
    ]


def from_file(path: str | Path) -> Config:
    """The task of a YAML or JSON file. Raises: HarnessTaskError if it wants more than local files."""
    file = Path(path)
    if not file.is_file():
        raise HarnessTaskError(f"{file}: no such task file")
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        config = json.loads(text)
    else:
        import yaml  # comes with lm-eval

        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise HarnessTaskError(f"{file}: only plain data is taken, no !function: {error}") from error
    return _local(config, file)


def _local(config: Any, file: Path) -> Config:
    if not isinstance(config, dict) or "task" not in config or "include" in config:
        raise HarnessTaskError(f"{file}: a task file holds one task with its name under `task`, and includes no other")
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    if config.get("dataset_path") not in BUILDERS or not files:
        raise HarnessTaskError(f"{file}: dataset_path must be one of {', '.join(BUILDERS)}, with dataset_kwargs.data_files")
    if isinstance(files, str | list):
        return config | {"dataset_kwargs": {"data_files": _placed(files, file)}}
    return config | {"dataset_kwargs": {"data_files": {split: _placed(names, file) for split, names in files.items()}}}


def _placed(names: str | Sequence[str], file: Path) -> list[str]:
    found = []
    for name in [names] if isinstance(names, str) else names:
        place = file.parent / name
        if "://" in name or not place.is_file():
            raise HarnessTaskError(f"{file}: data must be files on this machine; there is no {place}")
        found.append(str(place.absolute()))
    return found
