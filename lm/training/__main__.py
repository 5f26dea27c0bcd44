"""Train one run from a JSON file, on a machine that has nothing but torch, numpy, pyarrow and safetensors.

    python -m lm.training --config run.json
    torchrun --nproc-per-node 2 -m lm.training --config run.json

run.json: {"config": {...TrainConfig...}, "ladder_id": "...", "validation_id": "..." or null, "files": ["tokens-00000.parquet", ...],
"selection": "selection.parquet", "rungs_tokens": [131072, ...], "out_dir": directory or s3:// URL} and, if wanted, "machine":
{...Machine...} or only "device". Progress goes to standard error, or, with --progress-json, as lines {"progress": ...} to standard output.
The result is the last line of JSON on standard output and `out_dir`/result.json; with a validation_id, `out_dir`/evaluation.parquet
holds the rows of `metrics` for every rung. Run it again after an interruption and it continues; SIGTERM and SIGINT keep the state first.
Exit status 1: a known failure, whose message is on standard error; of a run that diverged there is a result too.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lm.evaluation.loss import evaluate
from lm.tokens.loader import MissingTokensError
from lm.tokens.selection import TokenData
from lm.training.checkpoint import CheckpointStore, local_file
from lm.training.config import TrainConfig, from_dict
from lm.training.distributed import companions
from lm.training.errors import ConfigError, Stopped, TrainingDiverged, TrainingError
from lm.training.machine import Machine
from lm.training.result import Checkpoint, Progress, TrunkResult
from lm.training.trainer import train_trunk

FIELDS = {"config", "ladder_id", "validation_id", "files", "selection", "rungs_tokens", "out_dir"}
OPTIONAL = {"device", "machine"}
OnProgress = Callable[[Progress], None]


def main() -> int:
    """Read the arguments, train, report. Under torchrun every process comes here, and the first reports."""
    parser = argparse.ArgumentParser(prog="python -m lm.training", description="Train one run from a JSON file.")
    parser.add_argument("--config", required=True, help="JSON file that describes the run")
    parser.add_argument("--progress-json", action="store_true", help="progress as lines of JSON on standard output")
    arguments = parser.parse_args()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    name = "" if rank == 0 else f"[process {rank}] "
    level = logging.INFO if rank == 0 else logging.ERROR
    logging.basicConfig(level=level, format=f"{name}%(message)s", stream=sys.stderr)
    status = _report(Path(arguments.config), _print if arguments.progress_json else _show, name)
    if size > 1:
        sys.stdout.flush()
        os._exit(status)  # gloo's threads abort one process in ten that ends in the ordinary way (torch 2.13)
    return status


def _report(file: Path, on_progress: OnProgress, name: str) -> int:
    try:
        result = run(json.loads(file.read_text(encoding="utf-8")), on_progress)
    except (TrainingError, MissingTokensError, FileNotFoundError, MemoryError, json.JSONDecodeError) as error:
        if not (name and isinstance(error, TrainingDiverged | Stopped)):  # every process has these; the first says them
            print(f"{name}{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if not name and isinstance(error, TrainingDiverged) and error.result is not None:
            print(json.dumps(asdict(error.result)), flush=True)
        return 1
    if not name:
        print(json.dumps(asdict(result)), flush=True)
    return 0


def run(spec: dict[str, Any], on_progress: OnProgress) -> TrunkResult:
    """Train and, with a validation set, evaluate what a specification says."""
    if unknown := (set(spec) - FIELDS - OPTIONAL) | (FIELDS - set(spec)):
        raise ConfigError(f"a run is described by {sorted(FIELDS)}; unknown or missing: {sorted(unknown)}")
    config, machine = from_dict(spec["config"]), _machine(spec)
    data = TokenData(files=tuple(spec["files"]), selection=spec["selection"])
    options = {"ladder_id": spec["ladder_id"], "on_progress": on_progress, "machine": machine}
    with companions(machine.device) as world, _asked_to_stop() as stop:
        result = train_trunk(config, data, spec["rungs_tokens"], spec["out_dir"], world=world, stop=stop, **options)
    if world.is_first:
        _keep(result, config, data, spec, world.device or machine.device)
    return result


def _machine(spec: dict[str, Any]) -> Machine:
    try:
        return Machine(**({"device": spec.get("device")} | spec.get("machine", {})))
    except TypeError as error:
        raise ConfigError(f"machine has the fields of Machine; {error}") from error


def _keep(result: TrunkResult, config: TrainConfig, data: TokenData, spec: dict[str, Any], device: str | None) -> None:
    """Leave the result, and what validation says, beside the run."""
    store = CheckpointStore(spec["out_dir"], result.run_id)
    if validation_id := spec["validation_id"]:
        rows = pa.concat_tables([_evaluate(found, config, data, result.run_id, validation_id, device) for found in result.checkpoints])
        store.keep("evaluation.parquet", lambda file: pq.write_table(rows, file))
    text = json.dumps(asdict(result))
    store.keep("result.json", lambda file: _write(file, text))


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _evaluate(found: Checkpoint, config: TrainConfig, data: TokenData, run_id: str, validation_id: str, device: str | None) -> pa.Table:
    place = {"rung": found.rung, "step": found.step, "num_tokens": found.num_tokens}
    with local_file(found.file) as file:
        return evaluate(str(file), config, data, run_id=run_id, validation_id=validation_id, device=device, **place)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come; the next one of its kind ends the process at once."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(progress: Progress) -> None:
    share = progress.num_tokens_done / progress.num_tokens_total
    print(f"{share:6.1%}  step {progress.step}  {progress.window}", file=sys.stderr, flush=True)


def _print(progress: Progress) -> None:
    print(json.dumps({"progress": asdict(progress)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
