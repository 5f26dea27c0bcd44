"""Writers: the real packages, writing to disk and nowhere else, and clear errors where one is missing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from lm.training import writers
from lm.training.errors import ConfigError
from lm.training.window import Speed, Window
from lm.training.writers import RunInfo, open_writers, scalars

SPEED = Speed(2.0, 2560.0, 0.4, 0.01, 0.02, 123_456_789)


def window(path: str, step: int, loss: float) -> Window:
    return Window(path, step, step * 512, loss, 0.5, 0.008, 0, SPEED)


def info(directory: Path) -> RunInfo:
    return RunInfo("0123456789abcdef0123456789abcdef", "d1w32 seed 0", {"seed": 0}, directory)


def test_an_unknown_writer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"writers are \['tensorboard', 'wandb'\], got 'mlflow'"):
        open_writers(["mlflow"], info(Path("unused")))


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"needs the package tensorboard .*pip install 'dataladder\[writers\]'"):
        writers.checked(["tensorboard"])


def test_a_run_on_an_object_store_has_its_writers_files_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert writers.writers_dir("s3://bucket/lake/runs/abc") == tmp_path / "dataladder" / "writers" / "abc"
    assert writers.writers_dir("/lake/runs/abc") == Path("/lake/runs/abc")


def test_nothing_is_loaded_before_a_run_asks() -> None:
    code = "import sys, lm.training.writers; assert not {'tensorboard', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard: pip install 'dataladder[writers]'")
@pytest.mark.filterwarnings("default")
def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (writer,) = open_writers(["tensorboard", "tensorboard"], info(tmp_path))
    for step, loss in ((10, 5.0), (20, 4.5), (30, 4.25)):
        writer.write(window("trunk", step, loss))
    writer.write(window("rung-16384", 32, 4.0))
    writer.close()
    (again,) = open_writers(["tensorboard"], info(tmp_path))  # a sitting that goes on from step 10
    for step, loss in ((20, 4.5), (30, 4.25)):
        again.write(window("trunk", step, loss))
    again.close()
    found = EventAccumulator(str(tmp_path / "tensorboard" / "trunk"), size_guidance={"scalars": 0})
    found.Reload()
    assert set(found.Tags()["scalars"]) == set(scalars(window("trunk", 10, 5.0)))
    assert [(event.step, event.value) for event in found.Scalars("loss_nats_per_token")] == [(10, 5.0), (20, 4.5), (30, 4.25)]
    assert found.Scalars("memory_bytes")[0].value == pytest.approx(123_456_789)
    branch = EventAccumulator(str(tmp_path / "tensorboard" / "rung-16384"))
    branch.Reload()
    assert [event.step for event in branch.Scalars("mfu")] == [32]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: pip install 'dataladder[writers]'")
@pytest.mark.filterwarnings("default")
def test_weights_and_biases_writes_to_disk_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # were it asked, it would fail
    (writer,) = open_writers(["wandb"], info(tmp_path))
    writer.write(window("trunk", 10, 5.25))
    writer.write(window("rung-16384", 32, 4.125))
    writer.write(window("trunk", 20, 4.75))
    writer.close()
    files = {file.name: file.read_bytes() for file in tmp_path.rglob("*.wandb")}
    assert sorted(files) == ["run-0123456789abcdef-rung-16384.wandb", "run-0123456789abcdef-trunk.wandb"]
    trunk = files["run-0123456789abcdef-trunk.wandb"]
    assert all(text in trunk for text in (b"loss_nats_per_token", b"waiting_share", b"5.25", b"4.75", b"0123456789abcdef0123456789abcdef"))
    assert b"4.125" not in trunk
