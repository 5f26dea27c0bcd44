"""One run on several processes of this machine: torchrun as a child, its progress followed, its errors raised here.

A process per accelerator is what torch's libraries expect, so the flow starts torchrun, as anyone would by hand, with the same JSON file,
and reads lines of JSON from its standard output. Nothing of Prefect is loaded there. The cost against a child of our own (processes.py)
is a second or two for torchrun itself, and that errors come back as words: those of lm/training/errors.py are raised again by their name.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.common import LOG
from flows.processes import ChildDiedError, die_with_parent
from lm.tokens.gather import MissingTokensError
from lm.tokens.selection import TokenData
from lm.training import errors
from lm.training.config import TrainConfig
from lm.training.machine import Machine
from lm.training.result import Checkpoint, Progress, TrunkResult
from lm.training.window import Speed, Window

_SAID = re.compile(r"^(?:\[process \d+\] )?([A-Z]\w+): (.*)$")
_LINES = 200
_GRACE_SECONDS = 60.0
"""After SIGTERM: enough to keep the state of a step."""


def num_accelerators() -> int:
    """Accelerators of this machine that this process may use, without loading torch; 0 if there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def processes_for(config: TrainConfig, wanted: int | None) -> int:
    """How many processes train a run: as many as wanted, else one per accelerator, as far as the rows of a batch divide among them."""
    if wanted is not None:
        return wanted
    rows = config.batch_tokens // config.model.context_tokens
    return max((count for count in range(1, num_accelerators() + 1) if rows % count == 0), default=1)


def train_together(
    config: TrainConfig,
    data: TokenData,
    rungs_tokens: list[int],
    out_dir: str | Path,
    *,
    num_processes: int,
    ladder_id: str,
    machine: Machine,
    on_progress: Callable[[Progress], None],
) -> TrunkResult:
    """What `train_trunk` does, on several processes.

    Raises: the errors of lm/training/errors.py, MissingTokensError, FileNotFoundError; ChildDiedError if processes were killed.
    """
    spec: dict[str, Any] = {
        "config": {**asdict(config), "model": config.model.to_dict()},
        "machine": asdict(machine),
        "ladder_id": ladder_id,
    }
    spec |= {"files": list(data.files), "selection": data.selection, "rungs_tokens": rungs_tokens, "out_dir": str(out_dir)}
    said: deque[str] = deque(maxlen=_LINES)
    with _torchrun(spec | {"validation_id": None}, num_processes, said) as process:
        last = _follow(process, on_progress)
        status = process.wait()
    if last is not None and (result := _result(last)) and (status == 0 or result.state == "diverged"):
        return result
    raise _error(said, status)


@contextmanager
def _torchrun(spec: dict[str, Any], num_processes: int, said: deque[str]) -> "Iterator[subprocess.Popen[str]]":
    """The running processes; asked to keep their state and stop, should the context end before them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    with tempfile.TemporaryDirectory(prefix="ladder-") as folder:
        file = Path(folder) / "run.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        command = [*torchrun, "-m", "lm.training", "--config", str(file), "--progress-json"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=_environment(), preexec_fn=die_with_parent, **pipes) as process:
            listening = threading.Thread(target=_listen, args=(process, said), daemon=True)
            listening.start()
            try:
                yield process
            finally:
                _end(process)
                listening.join()


def _environment() -> dict[str, str]:
    """Ours, with this package to be found wherever it was started."""
    root = str(Path(__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listen(process: "subprocess.Popen[str]", said: deque[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.rstrip())
        LOG.debug("  %s", line.rstrip())


def _follow(process: "subprocess.Popen[str]", on_progress: Callable[[Progress], None]) -> dict[str, Any] | None:
    """Pass progress on until the processes end; the last record that is none."""
    assert process.stdout is not None
    last = None
    for line in process.stdout:
        record = json.loads(line)
        if "progress" in record:
            on_progress(_progress(record["progress"]))
        else:
            last = record
    return last


def _progress(values: dict[str, Any]) -> Progress:
    window = values["window"]
    return Progress(**(values | {"window": Window(**(window | {"speed": Speed(**window["speed"])}))}))


def _result(values: dict[str, Any]) -> TrunkResult:
    return TrunkResult(**(values | {"checkpoints": [Checkpoint(**found) for found in values["checkpoints"]]}))


def _error(said: deque[str], status: int) -> Exception:
    """The first known error that a process spoke of; that a companion is lost is only its echo."""
    known: dict[str, type[Exception]] = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    known |= {kind.__name__: kind for kind in (MissingTokensError, FileNotFoundError, MemoryError)}
    found = [(match[1], match[2]) for line in said if (match := _SAID.match(line)) and match[1] in known]
    for name, text in sorted(found, key=lambda one: one[0] == "CompanionLost"):
        return known[name](text)
    words = "\n".join(line for line in list(said)[-20:])
    return ChildDiedError(f"the processes of the training ended with status {status} and no answer; they said last:\n{words}")
