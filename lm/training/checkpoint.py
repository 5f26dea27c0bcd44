"""Where a run's states lie on disk.

    <run>/trunk/step-000000820/       newest two states of the trunk: tensors.safetensors, state.json
    <run>/rung-131072/step-.../       the same for a branch, until its rung is finished
    <run>/rung-131072.safetensors     decayed weights, then rung-131072.json, which marks the rung as finished
    <run>/lock                        held while a process trains the run

Every file is written beside and renamed, so a process killed anywhere leaves the previous state. state.json holds the digest of the
tensors and of itself: what a disk damaged is noticed, named in the log, and the state before it is used. No pickle is read or
written. The price of two states is six times the weights; of the digests, about a second per gigabyte.
"""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file

from lm.training.errors import CheckpointError, RunMismatch
from lm.training.learner import State
from storage.digest import digest, file_digest

LOG = logging.getLogger(__name__)
KEEP = 2
TRUNK = "trunk"

Body = dict[str, Any]


class Damaged(Exception):
    """A file does not hold what its digest says."""


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """The directory of one run."""

    directory: Path
    run_id: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run alone; wait, saying so, while another process trains it. A killed process holds nothing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                LOG.warning("another process trains the run in %s; waiting for it", self.directory)
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._clean()
            yield

    def _clean(self) -> None:
        """Remove what a killed process left half written."""
        for left in [*self.directory.glob("*.part"), *self.directory.glob("*/*.part")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def save(self, path: str, step: int, tensors: State, body: Body) -> None:
        """Keep a state of the trunk or of a branch. Raises: CheckpointError; the states before stay."""
        final = self.directory / path / f"step-{step:09d}"
        beside = final.with_suffix(".part")
        with self._explained(final, beside):
            beside.mkdir(parents=True)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside / "tensors.safetensors")
            _sync(beside / "tensors.safetensors")
            _write_sealed(beside / "state.json", body | {"tensors_digest": file_digest(beside / "tensors.safetensors")}, self.run_id)
            if final.exists():
                shutil.rmtree(final)
            os.replace(beside, final)
        for old in sorted((self.directory / path).glob("step-*"))[:-KEEP]:
            if old != final:
                shutil.rmtree(old)

    def newest(self, path: str, max_step: int) -> tuple[State, Body] | None:
        """The latest sound state at or before a step; damaged ones are passed over, with a warning."""
        for found in sorted((self.directory / path).glob("step-*"), reverse=True):
            if found.suffix == ".part" or int(found.name.removeprefix("step-")) > max_step:
                continue
            try:
                body = self._read(found / "state.json")
                if file_digest(found / "tensors.safetensors") != body["tensors_digest"]:
                    raise Damaged("tensors.safetensors does not match its digest")
                return load_file(found / "tensors.safetensors"), body
            except (Damaged, OSError, safetensors.SafetensorError) as error:
                LOG.warning("%s is damaged (%s); going back to the state before it", found, error)
        return None

    def newest_step(self, path: str, max_step: int) -> int:
        """Step of the latest state at or before a step, unread; 0 if there is none. For estimates only."""
        steps = [int(found.name.removeprefix("step-")) for found in (self.directory / path).glob("step-*") if found.suffix != ".part"]
        return max((step for step in steps if step <= max_step), default=0)

    def finish(self, rung: str, weights: State, body: Body) -> None:
        """Keep a rung's decayed weights and mark it as finished. Raises: CheckpointError."""
        final, marker = self.directory / f"{rung}.safetensors", self.directory / f"{rung}.json"
        beside = final.with_suffix(".part")
        with self._explained(final, beside):
            # one key only: safetensors writes several in no fixed order
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, beside, {"dataladder": body["config"]})
            _sync(beside)
            os.replace(beside, final)
            _write_sealed(marker, body | {"weights_digest": file_digest(final)}, self.run_id)
        shutil.rmtree(self.directory / rung, ignore_errors=True)

    def finished(self, rung: str) -> Body | None:
        """What was recorded when a rung was finished; None if it was not, or if its weights are damaged."""
        marker, weights = self.directory / f"{rung}.json", self.directory / f"{rung}.safetensors"
        if not marker.exists():
            return None
        try:
            body = self._read(marker)
            if file_digest(weights) != body["weights_digest"]:
                raise Damaged(f"{weights.name} does not match its digest")
            return body
        except (Damaged, OSError) as error:
            LOG.warning("%s is damaged (%s); the rung is trained again", marker, error)
            return None

    def _read(self, path: Path) -> Body:
        body = _read_sealed(path)
        if body.pop("run_id") != self.run_id:
            raise RunMismatch(f"{self.directory} holds another run than {self.run_id}; give every run a directory of its own")
        return body

    @contextmanager
    def _explained(self, final: Path, beside: Path) -> Iterator[None]:
        """Turn a failed write into a message that helps, and leave nothing half written."""
        try:
            yield
        except (OSError, safetensors.SafetensorError) as error:
            with suppress(OSError):
                shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
            raise CheckpointError(f"{final} could not be written ({error}); earlier states are intact: make room and run again") from error


def _write_sealed(path: Path, body: Body, run_id: str) -> None:
    """JSON with the digest of its own text, whole or not at all."""
    text = json.dumps(body | {"run_id": run_id}, sort_keys=True)
    beside = path.with_suffix(".json.part")
    with open(beside, "w", encoding="utf-8") as file:
        json.dump({"body": text, "digest": digest(text)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _read_sealed(path: Path) -> Body:
    try:
        sealed = json.loads(path.read_bytes())
        if sealed["digest"] != digest(sealed["body"]):
            raise Damaged(f"{path.name} does not match its digest")
        body: Body = json.loads(sealed["body"])
        return body
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path.name} can't be read: {error}") from error


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
