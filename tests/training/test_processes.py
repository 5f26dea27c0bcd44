"""Real processes: killed and repeated, two at once, a full disk, and a machine without the rest of the project."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training.trainer import train_trunk

ROOT = Path(__file__).parents[2]
PRELUDE = """
    import sys, time, logging
    from pathlib import Path
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from lm.tokens.selection import TokenData
    from lm.training.config import from_json
    from lm.training.machine import Machine
    from lm.training.trainer import train_trunk
    config, files, selection, rungs, out = from_json(sys.argv[1]), sys.argv[2].split(","), sys.argv[3], eval(sys.argv[4]), sys.argv[5]
    data = TokenData(files=tuple(files), selection=selection)
"""


def start(script: str, data: TokenData, rungs: list[int], out: Path) -> subprocess.Popen[str]:
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    arguments = [CONFIG.to_json(), ",".join(data.files), data.selection, repr(rungs), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


SLOW = """
    def step(progress):
        print(progress.path, progress.step, flush=True)
        time.sleep(0.02)
    train_trunk(config, data, rungs, out, on_progress=step, machine=Machine(checkpoint_seconds=0.05))
"""


@pytest.mark.parametrize("lines_before_kill", [1, 9])
def test_a_killed_run_ends_in_the_same_bits(data: TokenData, tmp_path: Path, lines_before_kill: int) -> None:
    unbroken = train_trunk(CONFIG, data, RUNGS, tmp_path / "unbroken")
    process = start(SLOW, data, RUNGS, tmp_path / "killed")
    assert process.stdout is not None
    for _ in range(lines_before_kill):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "rung-5120.json").exists()
    resumed = train_trunk(CONFIG, data, RUNGS, tmp_path / "killed")
    for one, two in zip(unbroken.checkpoints, resumed.checkpoints, strict=True):
        assert Path(one.file).read_bytes() == Path(two.file).read_bytes()
    assert pq.read_table(unbroken.metrics_file).equals(pq.read_table(resumed.metrics_file))
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_a_second_process_waits_for_the_first(data: TokenData, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with open(tmp_path / "lock", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = start("train_trunk(config, data, rungs, out)", data, RUNGS[:1], tmp_path)
        assert second.stderr is not None
        assert "another process trains the run" in second.stderr.readline()
        assert second.poll() is None
    assert second.wait(timeout=120) == 0
    assert (tmp_path / "rung-1280.json").exists()
    second.communicate()


FULL = """
    import resource
    train_trunk(config, data, rungs[:1], out)
    before = sorted(str(path) for path in Path(out).rglob("*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        train_trunk(config, data, rungs, out)
    except Exception as error:
        print(type(error).__name__, error)
    assert sorted(str(path) for path in Path(out).rglob("*")) == before
"""


def test_a_full_disk_is_explained_and_harms_nothing(data: TokenData, tmp_path: Path) -> None:
    process = start(FULL, data, RUNGS[:2], tmp_path / "full")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.startswith("CheckpointError")
    assert "earlier states are intact: make room and run again" in output
    unbroken = train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "unbroken")
    resumed = train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "full")
    assert Path(unbroken.checkpoints[1].file).read_bytes() == Path(resumed.checkpoints[1].file).read_bytes()


def specification(data: TokenData, out: Path) -> dict[str, object]:
    return {
        "config": asdict(CONFIG),
        "ladder_id": "ladder",
        "validation_id": "held-out",
        "files": list(data.files),
        "selection": data.selection,
        "rungs_tokens": RUNGS[:2],
        "out_dir": str(out),
    }


BLOCKED = [
    "polars",
    "duckdb",
    "prefect",
    "jaxtyping",
    "tokenizers",
    "tiktoken",
    "pydantic",
    "sqlalchemy",
    "fsspec",
    "typer",
    "rich",
    "numba",
    "scipy",
    "flows",
    "storage.schema",
]
ALONE = """
    import runpy, sys
    class Block:
        def find_spec(self, name, path=None, target=None):
            if any(name == blocked or name.startswith(blocked + ".") for blocked in {blocked}):
                raise ImportError(name + " is blocked")
    sys.meta_path.insert(0, Block())
    sys.argv = ["lm.training", "--config", {config!r}]
    runpy.run_module("lm.training", run_name="__main__")
"""


def test_the_command_needs_nothing_of_the_rest(data: TokenData, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(specification(data, tmp_path / "out")))
    code = textwrap.dedent(ALONE.format(blocked=BLOCKED, config=str(tmp_path / "run.json")))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    here = train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "here", ladder_id="ladder")
    assert [found["weights_digest"] for found in result["checkpoints"]] == [found.weights_digest for found in here.checkpoints]
    rows = pq.read_table(tmp_path / "out" / "evaluation.parquet").to_pylist()
    assert {(row["rung"], row["validation_id"]) for row in rows} == {(0, "held-out"), (1, "held-out")}
    assert "tokens/s" in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rungs_tokens": [100]}, "ConfigError: rungs must be multiples of batch_tokens = 64"),
        ({"selection": "gone.parquet"}, "FileNotFoundError: gone.parquet: no such selection"),
        ({"rung": 1}, "unknown or missing: .'rung'."),
    ],
)
def test_the_command_explains_what_is_wrong(
    data: TokenData,
    tmp_path: Path,
    change: dict[str, object],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    from lm.training import __main__ as command

    (tmp_path / "run.json").write_text(json.dumps(specification(data, tmp_path / "out") | change))
    monkeypatch.setattr(sys, "argv", ["lm.training", "--config", str(tmp_path / "run.json")])
    assert command.main() == 1
    assert re.search(says, capsys.readouterr().err)
