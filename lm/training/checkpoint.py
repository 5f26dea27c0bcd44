"""A run's states and results, on a disk or on an object store alike.

    <run>/trunk/step-000000820/       newest two states of the trunk: tensors-<digest>.safetensors, then state.json
    <run>/rung-131072/step-.../       the same for a branch, until its rung is finished
    <run>/rung-131072.safetensors     decayed weights, then rung-131072.json, which marks the rung as finished
    <run>/diverged.json               why the run cannot go on, if it cannot
    <run>/lock or lease.json          held while a process trains the run

A file appears whole or not at all (lm/training/places.py), and a state is there once its state.json is: that is written last and names
the tensors by their digest. So a process killed anywhere leaves the previous state, a state written again replaces the old one in one
step, and two writers, should there ever be two, can't mix their files. state.json holds a digest of itself too: what a disk damaged is
noticed, named in the log, and the state before it is used. No pickle is read or written. The price of two states is six times the
weights; of the digests, about a second per gigabyte.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm.training.errors import CheckpointError, RunMismatch
from lm.training.places import Place, place
from storage.digest import digest, file_digest

LOG = logging.getLogger(__name__)
KEEP = 2
TRUNK = "trunk"
_STATE = re.compile(r"step-\d{9}")

Body = dict[str, Any]
State = dict[str, Tensor]


class Damaged(Exception):
    """A file does not hold what its digest says."""


class CheckpointStore:
    """The files of one run, in a directory or under an s3:// URL."""

    def __init__(self, url: str | Path, run_id: str) -> None:
        self.run_id = run_id
        self._place: Place = place(url)
        self._sound: set[tuple[str, str]] = set()

    @property
    def url(self) -> str:
        """Directory or URL of the run."""
        return self._place.at("")

    @property
    def directory(self) -> Path:
        """Directory of a run on a disk."""
        return Path(self.url)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run alone; wait, saying so, while another process trains it."""
        with self._place.held():
            yield

    def save(self, path: str, step: int, tensors: State, body: Body) -> None:
        """Keep a state of the trunk or of a branch. Raises: CheckpointError; the states before stay."""
        folder = f"{path}/{_folder(step)}"
        self._place.check()

        def write(file: Path) -> None:
            save_file(_contiguous(tensors), file)

        tensors_digest = self._put(write, lambda found: f"{folder}/tensors-{found}.safetensors")
        self._seal(f"{folder}/state.json", body | {"tensors_digest": tensors_digest})
        states = self._states(path)
        for name in states[folder]:
            if name not in (f"{folder}/state.json", f"{folder}/tensors-{tensors_digest}.safetensors"):
                self._place.remove(name)
        for old in sorted(states)[:-KEEP]:
            if old != folder:
                self._place.remove(old)

    def newest(self, path: str, max_step: int) -> tuple[State, Body] | None:
        """The latest sound state at or before a step; damaged ones are passed over, with a warning."""
        for folder in sorted(self._states(path), reverse=True):
            if _step(folder) > max_step:
                continue
            try:
                return self._load(folder)
            except (Damaged, OSError, safetensors.SafetensorError) as error:
                LOG.warning("%s is damaged (%s); going back to the state before it", self._place.at(folder), error)
        return None

    def newest_step(self, path: str, max_step: int) -> int:
        """Step of the latest state at or before a step, unread; 0 if there is none. For estimates only."""
        steps = [_step(folder) for folder in self._states(path)]
        return max((step for step in steps if step <= max_step), default=0)

    def finish(self, rung: str, weights: State, body: Body) -> None:
        """Keep a rung's decayed weights and mark it as finished. Raises: CheckpointError."""
        self._place.check()

        def write(file: Path) -> None:
            # one key only: safetensors writes several in no fixed order
            save_file(_contiguous(weights), file, {"dataladder": body["config"]})

        weights_digest = self._put(write, lambda _: f"{rung}.safetensors")
        self._seal(f"{rung}.json", body | {"weights_digest": weights_digest})
        self._place.remove(rung)

    def finished(self, rung: str) -> Body | None:
        """What was recorded when a rung was finished; None if it was not, or if its weights are damaged."""
        try:
            body = self._read(f"{rung}.json")
            self._verify(f"{rung}.safetensors", body["weights_digest"])
            return body
        except (Damaged, OSError) as error:
            if not (isinstance(error, FileNotFoundError) and f"{rung}.json" not in self._place.names()):
                LOG.warning("%s is damaged (%s); the rung is trained again", self._place.at(f"{rung}.json"), error)
            return None

    def keep(self, name: str, write: Callable[[Path], None]) -> str:
        """Keep a further file of the run, whole or not at all; `write` makes it at the path it is given. Returns its path or URL."""
        self._put(write, lambda _: name)
        return self.at(name)

    def note(self, name: str, body: Body) -> None:
        """Keep a small record of the run, <name>.json. Raises: CheckpointError."""
        self._seal(f"{name}.json", body)

    def noted(self, name: str) -> Body | None:
        """A record that was kept; None if there is none, or, with a warning, if it is damaged."""
        try:
            return self._read(f"{name}.json")
        except FileNotFoundError:
            return None
        except (Damaged, OSError) as error:
            LOG.warning("%s is damaged (%s) and counts as absent", self.at(f"{name}.json"), error)
            return None

    def forget(self, name: str) -> None:
        """Remove a record."""
        self._place.remove(f"{name}.json")

    def at(self, name: str) -> str:
        """Path or URL of a file of the run."""
        return self._place.at(name)

    def _states(self, path: str) -> dict[str, list[str]]:
        """Files of each state of a path, by its folder."""
        states: dict[str, list[str]] = {}
        for name in self._place.names(path):
            folder = "/".join(name.split("/")[:2])
            if _STATE.fullmatch(folder.removeprefix(f"{path}/")):
                states.setdefault(folder, []).append(name)
        return states

    def _load(self, folder: str) -> tuple[State, Body]:
        try:
            body = self._read(f"{folder}/state.json")
        except FileNotFoundError:
            raise Damaged("it has no state.json: its writer was stopped, or the file was removed") from None
        with self._verified(f"{folder}/tensors-{body['tensors_digest']}.safetensors", body["tensors_digest"]) as file:
            return load_file(file), body

    @contextmanager
    def _verified(self, name: str, expected: str) -> Iterator[Path]:
        with self._place.local(name) as file:
            if file_digest(file) != expected:
                raise Damaged(f"{name.rsplit('/', 1)[-1]} does not match its digest")
            yield file

    def _verify(self, name: str, expected: str) -> None:
        """Once for each content: on an object store it costs a download."""
        if (name, expected) not in self._sound:
            with self._verified(name, expected):
                self._sound.add((name, expected))

    def _read(self, name: str) -> Body:
        body = _unsealed(self._place.read(name))
        if body.pop("run_id") != self.run_id:
            raise RunMismatch(f"{self.url} holds another run than {self.run_id}; give every run a directory of its own")
        return body

    def _seal(self, name: str, body: Body) -> None:
        """JSON with the digest of its own text."""
        text = json.dumps(body | {"run_id": self.run_id}, sort_keys=True)
        sealed = json.dumps({"body": text, "digest": digest(text)})
        self._put(lambda file: _write_text(file, sealed), lambda _: name)

    def _put(self, write: Callable[[Path], None], name: Callable[[str], str]) -> str:
        """Make a file, find its digest, put it where the digest says. A failure helps with words and leaves nothing half written."""
        draft = self._place.draft()
        try:
            write(draft)
            found = file_digest(draft)
            self._place.put(draft, name(found))
        except (OSError, safetensors.SafetensorError) as error:
            with suppress(OSError):
                draft.unlink()
            raise CheckpointError(
                f"{self._place.at(name('...'))} could not be written ({error}); earlier states are intact: make room and run again"
            ) from error
        return found


@contextmanager
def local_file(url: str) -> Iterator[Path]:
    """A file of a run as a local one: itself on a disk, a copy of one on an object store. Raises: FileNotFoundError."""
    folder, _, name = url.rpartition("/")
    with place(folder or "/").local(name) if "://" in url else _itself(url) as file:
        yield file


@contextmanager
def _itself(path: str) -> Iterator[Path]:
    yield Path(path)


def _folder(step: int) -> str:
    return f"step-{step:09d}"


def _step(folder: str) -> int:
    return int(folder.rsplit("-", 1)[-1])


def _contiguous(tensors: State) -> State:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _unsealed(content: bytes) -> Body:
    try:
        sealed = json.loads(content)
        if sealed["digest"] != digest(sealed["body"]):
            raise Damaged("state.json does not match its digest")
        body: Body = json.loads(sealed["body"])
        return body
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"state.json can't be read: {error}") from error
