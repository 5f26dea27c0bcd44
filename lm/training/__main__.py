"""Train one run from a JSON file, on a machine that has nothing but torch, numpy, pyarrow and safetensors.

    python -m lm.training --config run.json

run.json: {"config": {...TrainConfig...}, "ladder_id": "...", "validation_id": "..." or null, "files": ["tokens-00000.parquet", ...],
"selection": "selection.parquet", "rungs_tokens": [131072, ...], "out_dir": "...", "device": null}. Progress goes to standard error.
The result is one line of JSON on standard output and `out_dir`/result.json; with a validation_id, `out_dir`/evaluation.parquet
holds the rows of `metrics` for every rung. Run it again after an interruption and it continues. Exit status 1: a known failure, whose
message is on standard error.
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lm.evaluation.loss import evaluate
from lm.tokens.loader import MissingTokensError
from lm.tokens.selection import TokenData
from lm.training.config import TrainConfig, from_dict
from lm.training.errors import ConfigError, TrainingError
from lm.training.machine import Machine
from lm.training.result import Checkpoint, Progress, TrunkResult
from lm.training.trainer import train_trunk

FIELDS = {"config", "ladder_id", "validation_id", "files", "selection", "rungs_tokens", "out_dir", "device"}


def main() -> int:
    """Read the arguments, train, report."""
    parser = argparse.ArgumentParser(prog="python -m lm.training", description="Train one run from a JSON file.")
    parser.add_argument("--config", required=True, help="JSON file that describes the run")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        result = run(json.loads(Path(parser.parse_args().config).read_text(encoding="utf-8")))
    except (TrainingError, MissingTokensError, FileNotFoundError, MemoryError, json.JSONDecodeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


def run(spec: dict[str, Any]) -> TrunkResult:
    """Train and, with a validation set, evaluate what a specification says."""
    if unknown := (set(spec) - FIELDS) | (FIELDS - {"device"} - set(spec)):
        raise ConfigError(f"a run is described by {sorted(FIELDS)}; unknown or missing: {sorted(unknown)}")
    config = from_dict(spec["config"])
    data = TokenData(files=tuple(spec["files"]), selection=spec["selection"])
    out = Path(spec["out_dir"])
    machine = Machine(device=spec.get("device"))
    result = train_trunk(config, data, spec["rungs_tokens"], out, ladder_id=spec["ladder_id"], on_progress=_show, machine=machine)
    if validation_id := spec["validation_id"]:
        rows = [_evaluate(found, config, data, result.run_id, validation_id, machine.device) for found in result.checkpoints]
        beside = out / "evaluation.parquet.part"
        pq.write_table(pa.concat_tables(rows), beside)
        beside.replace(out / "evaluation.parquet")
    beside = out / "result.json.part"
    beside.write_text(json.dumps(asdict(result)), encoding="utf-8")
    beside.replace(out / "result.json")
    return result


def _evaluate(found: Checkpoint, config: TrainConfig, data: TokenData, run_id: str, validation_id: str, device: str | None) -> pa.Table:
    place = {"rung": found.rung, "step": found.step, "num_tokens": found.num_tokens}
    return evaluate(found.file, config, data, run_id=run_id, validation_id=validation_id, device=device, **place)


def _show(progress: Progress) -> None:
    share = progress.num_tokens_done / progress.num_tokens_total
    print(f"{share:6.1%}  step {progress.step}  {progress.window}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
