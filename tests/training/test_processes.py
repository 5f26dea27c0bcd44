"""Real processes: two at once, no room on the disk, and a machine without the rest of the project."""

import fcntl
import importlib.metadata
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import training_children
from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training.trainer import train_trunk

ROOT = Path(__file__).parents[2]


def test_a_second_process_waits_for_the_first(children: ForkServerContext, data: TokenData, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    ours, theirs = children.Pipe(duplex=False)
    with open(tmp_path / "lock", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = children.Process(target=training_children.tell_warnings, args=(theirs, CONFIG, data, RUNGS[:1], tmp_path))
        second.start()
        assert "another process trains the run" in ours.recv()
        assert second.is_alive()
        assert not (tmp_path / "rung-1280.json").exists()
    assert ours.recv() == "done"
    second.join()
    assert (tmp_path / "rung-1280.json").exists()


def told(children: ForkServerContext, target: Callable[..., None], *arguments: object) -> tuple[str | None, object]:
    """The two things that a process tells."""
    ours, theirs = children.Pipe(duplex=False)
    process = children.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    failure = ours.recv()
    rest = None if failure is None else ours.recv()
    process.join()
    return failure, rest


def test_a_limit_on_files_is_explained_and_harms_nothing(children: ForkServerContext, data: TokenData, tmp_path: Path) -> None:
    failure, untouched = told(children, training_children.fill_by_a_limit, CONFIG, data, RUNGS[:2], tmp_path / "full")
    assert failure is not None
    assert "earlier states are intact: make room and run again" in failure
    assert untouched
    check_resumed(data, RUNGS[:2], tmp_path, tmp_path / "full")


def test_a_full_filesystem_is_explained_and_harms_nothing(children: ForkServerContext, data: TokenData, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    arguments = (CONFIG, data, RUNGS, tmp_path / "tiny", tmp_path / "kept")
    failure, whole = told(children, training_children.fill_a_filesystem, *arguments)
    if failure is None:
        pytest.skip("needs a kernel that lets this user mount a filesystem in a namespace")
    assert "No space left on device" in failure
    assert "earlier states are intact: make room and run again" in failure
    assert whole
    check_resumed(data, RUNGS, tmp_path, tmp_path / "kept")


def check_resumed(data: TokenData, rungs: list[int], tmp_path: Path, left: Path) -> None:
    unbroken, resumed = (train_trunk(CONFIG, data, rungs, folder) for folder in (tmp_path / "unbroken", left))
    assert [found.weights_digest for found in resumed.checkpoints] == [found.weights_digest for found in unbroken.checkpoints]


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


ALLOWED = {"torch", "numpy", "pyarrow", "safetensors"}
ALONE = """
    import runpy, sys
    from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
    class Some:
        def find_spec(self, name, path=None, target=None):
            top = "sys" if name.startswith("_sysconfigdata") else name.partition(".")[0]
            if name in ("storage", "storage.digest") or top in sys.stdlib_module_names or top in {allowed}:
                return PathFinder.find_spec(name, path, target)
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Some()]
    for config in {configs}:
        sys.argv = ["lm.training", "--config", config]
        try:
            runpy.run_module("lm.training", run_name="__main__")
        except SystemExit as end:
            assert end.code == 0, end.code
"""


def modules_of(packages: set[str]) -> set[str]:
    """Modules that are installed with packages, and with what these ask for."""
    found, left = set(packages), list(packages)
    while left:
        for requirement in importlib.metadata.requires(left.pop()) or []:
            name = re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-")
            if "extra ==" not in requirement and name not in found:
                found.add(name)
                left.append(name)
    owners = importlib.metadata.packages_distributions().items()
    return {module for module, names in owners if found & {name.lower().replace("_", "-") for name in names}}


def test_the_command_needs_nothing_of_the_rest(data: TokenData, tmp_path: Path) -> None:
    """Train, go on further, and evaluate where nothing but torch with what it asks for, numpy, pyarrow and safetensors can be imported."""
    configs = []
    for count in (1, 2):
        configs.append(str(tmp_path / f"run-{count}.json"))
        Path(configs[-1]).write_text(json.dumps(specification(data, tmp_path / "out") | {"rungs_tokens": RUNGS[:count]}))
    allowed = sorted((modules_of(ALLOWED) - {"fsspec"}) | {"lm"})
    code = textwrap.dedent(ALONE.format(allowed=allowed, configs=configs))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
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
    from lm.training import __main__ as command

    (tmp_path / "run.json").write_text(json.dumps(specification(data, tmp_path / "out") | change))
    monkeypatch.setattr(sys, "argv", ["lm.training", "--config", str(tmp_path / "run.json")])
    assert command.main() == 1
    assert re.search(says, capsys.readouterr().err)
