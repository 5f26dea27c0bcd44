"""Windows of a run for tools that show curves: TensorBoard and Weights & Biases.

The lake has every window anyway (tables metrics and run_speed); a writer is for people who have such a tool open beside the run. Each
path of a run (the trunk, every branch) is a curve of its own there, named after the path, for a branch begins before the trunk has
ended and a curve's steps may only grow. Both packages are optional (`pip install "dataladder[writers]"`), loaded when a run asks for them,
and checked before anything is trained.

Weights & Biases works offline unless WANDB_MODE says otherwise: files under <run>/wandb, for `wandb sync` later, and nothing goes over a
network. After a kill the curve goes on at the last state; TensorBoard drops the steps that come again, Weights & Biases keeps a
folder per sitting, which `wandb sync` joins by the id.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lm.training.errors import ConfigError
from lm.training.peak import default_cache_dir
from lm.training.window import Window

PROJECT = "dataladder"


class Writer(Protocol):
    """Somewhere windows go."""

    def write(self, window: Window) -> None:
        """Take a window that has just ended. Steps of one path come in order."""
        ...

    def close(self) -> None:
        """Bring everything to its place; no window comes after."""
        ...


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a writer says about the run."""

    run_id: str
    name: str
    """For people."""
    config: Mapping[str, Any]
    directory: Path
    """On this machine; each writer uses a folder of it."""


def open_writers(names: Sequence[str], info: RunInfo) -> list[Writer]:
    """The writers of these names: tensorboard, wandb. Raises: ConfigError for another name or a package that is not installed."""
    return [_WRITERS[name](info) for name in checked(names)]


def writers_dir(run_url: str) -> Path:
    """Where writers put their files: the run's directory, or for a run on an object store a folder of this machine's cache."""
    if "://" not in run_url:
        return Path(run_url)
    return default_cache_dir().parent / "writers" / run_url.rstrip("/").rpartition("/")[2]


def checked(names: Sequence[str]) -> list[str]:
    """The names, each once. Raises: ConfigError for one that is unknown or whose package is not installed."""
    for name in names:
        if name not in _WRITERS:
            raise ConfigError(f"writers are {sorted(_WRITERS)}, got {name!r}")
        _package(name)
    return list(dict.fromkeys(names))


def scalars(window: Window) -> dict[str, float]:
    """A window's values by name, as the lake calls them."""
    speed = window.speed
    return {
        "loss_nats_per_token": window.loss_nats_per_token,
        "gradient_norm": window.gradient_norm,
        "learning_rate": window.learning_rate,
        "tokens_per_second": speed.tokens_per_second,
        "mfu": speed.mfu,
        "waiting_share": speed.waiting_share,
        "saving_share": speed.saving_share,
        "memory_bytes": float(speed.memory_bytes),
        "num_skipped": float(window.num_skipped),
    }


@dataclass(slots=True)
class TensorBoardWriter:
    """Event files under <run>/tensorboard, a folder per path: `tensorboard --logdir <lake>/runs`."""

    info: RunInfo
    _open: dict[str, Any] = field(default_factory=dict)

    def write(self, window: Window) -> None:
        """Every value as a scalar at its step."""
        if window.path not in self._open:
            module = importlib.import_module("torch.utils.tensorboard")
            folder = self.info.directory / "tensorboard" / window.path
            # purge_step: what an earlier, killed sitting wrote from this step on comes again
            self._open[window.path] = module.SummaryWriter(str(folder), purge_step=window.step)
        for name, value in scalars(window).items():
            self._open[window.path].add_scalar(name, value, window.step)

    def close(self) -> None:
        """Write what is still in memory."""
        for writer in self._open.values():
            writer.close()
        self._open.clear()


@dataclass(slots=True)
class WandbWriter:
    """A run of Weights & Biases per path, grouped by ours."""

    info: RunInfo
    _open: dict[str, Any] = field(default_factory=dict)

    def write(self, window: Window) -> None:
        """Every value at its step, beside the tokens so far, which make the better axis."""
        if window.path not in self._open:
            self._open[window.path] = self._begin(window.path)
        self._open[window.path].log({"num_tokens": window.num_tokens, **scalars(window)}, step=window.step)

    def close(self) -> None:
        """End the runs; the packages' own process writes the rest."""
        for run in self._open.values():
            run.finish()
        self._open.clear()

    def _begin(self, path: str) -> Any:
        mode = os.environ.get("WANDB_MODE") or "offline"
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means that crashes are not reported either
        wandb = _package("wandb")
        quiet = {"x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True, "x_save_requirements": False}
        folder = self.info.directory / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=f"{self.info.run_id[:16]}-{path}",
            name=f"{self.info.name} {path}",
            group=self.info.run_id,
            config=dict(self.info.config),
            dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, **quiet),
        )


_WRITERS: dict[str, type[TensorBoardWriter] | type[WandbWriter]] = {"tensorboard": TensorBoardWriter, "wandb": WandbWriter}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"the writer {name} needs the package {name} ({error}); pip install 'dataladder[writers]'") from error
