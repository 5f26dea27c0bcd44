"""States on a disk and on an object store: whole or not at all, one writer, damage found."""

import json
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pyarrow import fs

from lm.training import lease
from lm.training.checkpoint import CheckpointStore, local_file
from lm.training.errors import CheckpointError, ConfigError, LeaseLost, RunMismatch
from lm.training.lease import Lease, Slot, Timing
from lm.training.object_store import ObjectStore, connect

FAST = Timing(beat_seconds=0.05, expiry_seconds=0.4, settle_seconds=0.1)
ROOT = Path(__file__).parents[2]
Where = tuple[str, fs.FileSystem]


@pytest.fixture(params=["disk", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Where]:
    """A place for a run, and a file system to look into it from outside."""
    if request.param == "disk":
        yield str(tmp_path / "run"), fs.LocalFileSystem()
    else:
        monkeypatch.setattr("lm.training.object_store.TIMING", FAST)
        yield request.getfixturevalue("bucket") + "/run", connect()


def path_of(url: str, name: str) -> str:
    return f"{url.removeprefix('s3://')}/{name}"


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((64, 8), value), "turned": torch.arange(12.0).view(3, 4).T}


def test_states_come_back_and_old_ones_go(where: Where) -> None:
    url, _ = where
    store = CheckpointStore(url, "run")
    with store.locked():
        for step in (10, 20, 30, 40):
            store.save("trunk", step, state(step), {"step": step})
        store.save("trunk", 40, state(41.0), {"step": 40, "again": True})
        assert store.newest("trunk", 9) is None
        found = store.newest("trunk", 39)
        assert found is not None
        assert found[1]["step"] == 30
        newest = store.newest("trunk", 99)
        assert newest is not None
        assert newest[1]["again"]
        assert torch.equal(newest[0]["weight"], state(41.0)["weight"])
        assert torch.equal(newest[0]["turned"], state(0)["turned"])
        assert (store.newest_step("trunk", 99), store.newest_step("rung-5", 99)) == (40, 0)
    other = CheckpointStore(url, "another run")
    with pytest.raises(RunMismatch, match="directory of its own"):
        other.newest("trunk", 99)


def names(where: Where, below: str = "") -> list[str]:
    url, system = where
    base = path_of(url, "")
    found = system.get_file_info(fs.FileSelector(base + below, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(base) for info in found if info.type == fs.FileType.File)


def test_a_state_holds_two_files_and_a_finished_rung_no_states(where: Where) -> None:
    store = CheckpointStore(where[0], "run")
    with store.locked():
        for value in (1.0, 2.0):
            store.save("rung-64", 7, state(value), {"step": 7})
        assert [name.split("-")[0] for name in names(where, "rung-64/step-000000007")] == ["rung", "rung"]
        store.finish("rung-64", state(3.0), {"config": "{}"})
        body = store.finished("rung-64")
        assert body is not None
        assert store.finished("rung-128") is None
        with local_file(store.at("rung-64.safetensors")) as file:
            assert file.stat().st_size > 64 * 8 * 4
    assert [name for name in names(where) if name != "lock"] == ["rung-64.json", "rung-64.safetensors"]


@pytest.mark.parametrize("harm", ["turned", "cut", "gone"])
@pytest.mark.parametrize("part", ["tensors", "state.json"])
def test_damage_is_named_and_passed_over(where: Where, harm: str, part: str, caplog: pytest.LogCaptureFixture) -> None:
    url, system = where
    store = CheckpointStore(url, "run")
    with store.locked():
        for step in (10, 20):
            store.save("trunk", step, state(step), {"step": step})
        (name,) = [name for name in names(where, "trunk/step-000000020") if part in name]
        with system.open_input_stream(path_of(url, name)) as file:
            content = bytearray(file.read())
        system.delete_file(path_of(url, name))
        if harm != "gone":
            content[len(content) // 2] ^= 255
            with system.open_output_stream(path_of(url, name)) as file:
                file.write(bytes(content if harm == "turned" else content[:100]))
        found = store.newest("trunk", 99)
        assert found is not None
        assert found[1]["step"] == 10
    assert "step-000000020 is damaged" in caplog.text


def test_damaged_weights_are_not_finished(where: Where, caplog: pytest.LogCaptureFixture) -> None:
    url, system = where
    store = CheckpointStore(url, "run")
    with store.locked():
        store.finish("rung-64", state(3.0), {"config": "{}"})
        with system.open_output_stream(path_of(url, "rung-64.safetensors")) as file:
            file.write(b"half")
    assert CheckpointStore(url, "run").finished("rung-64") is None
    assert "the rung is trained again" in caplog.text


HOLD = """
    import sys, time
    from lm.training.object_store import ObjectStore
    store = ObjectStore(sys.argv[1])
    with store.held():
        draft = store.draft()
        draft.write_bytes(b"half")
        print("held", draft, flush=True)
        time.sleep(600)
"""


def test_a_killed_holder_on_this_machine_is_known_to_be_gone(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLD), f"{bucket}/run"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        draft = Path(child.stdout.readline().split()[1])
        assert draft.exists()
        child.kill()
    with ObjectStore(f"{bucket}/run", FAST).held():
        assert not draft.exists()
    assert "another process" not in caplog.text
    assert ObjectStore(f"{bucket}/run").names() == []


class Shelf:
    """A slot in memory, as strongly consistent as S3."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def claim(self, timing: Timing = FAST) -> Lease:
        return Lease(Slot("lease.json", lambda: self.content, self.write, lambda: self.write(None)), timing)

    def write(self, content: bytes | None) -> None:
        self.content = content


def test_one_holds_while_another_waits(caplog: pytest.LogCaptureFixture) -> None:
    shelf, order = Shelf(), []
    timing = Timing(beat_seconds=0.05, expiry_seconds=1.5, settle_seconds=0.1)

    def second() -> None:
        with shelf.claim(timing).held():
            order.append("second")

    waiting = threading.Thread(target=second)
    with caplog.at_level(logging.WARNING), shelf.claim(timing).held():
        waiting.start()
        waiting.join(3.0)  # twice the expiry: a lease that is renewed does not lapse
        assert waiting.is_alive()
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert "another process trains the run" in caplog.text
    assert shelf.content is None


def test_a_silent_holder_elsewhere_loses_the_run() -> None:
    shelf = Shelf()
    silent = shelf.claim(Timing(beat_seconds=100, expiry_seconds=100, settle_seconds=0))
    with silent.held():
        assert shelf.content is not None
        shelf.content = json.dumps(json.loads(shelf.content) | {"process": "elsewhere @ 1 1"}).encode()
        silent.check()
        with shelf.claim().held(), pytest.raises(LeaseLost, match="belongs to another process now"):
            silent.check()


def test_only_ended_processes_of_this_machine_are_gone() -> None:
    mine = lease.this_process()
    assert mine
    assert not lease.is_gone(mine)
    machine, _, process = mine.partition(" @ ")
    number, started = process.split()
    assert lease.is_gone(f"{machine} @ {number} {int(started) + 1}")
    assert not lease.is_gone(f"elsewhere @ {number} {int(started) + 1}")
    assert not lease.is_gone("")


def test_an_unreachable_store_is_no_damage(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("lm.training.object_store.ATTEMPTS", 1)
    with pytest.raises(CheckpointError, match=r"s3://.*refused or did not answer") as caught:
        CheckpointStore(f"{bucket}/run", "run").newest("trunk", 9)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://", "gs://bucket/run", "https://host/run"])
def test_other_urls_are_explained(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        CheckpointStore(url, "run")
