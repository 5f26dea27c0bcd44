"""One trunk, a decayed branch per rung, and the same weights however often it was stopped.

The trunk runs at constant rate. Where a rung of T tokens begins to decay, at (1 - f) T, the trunk's state is kept, the branch runs to
its end and leaves its weights, and the trunk goes on from the kept state. Rungs are trained smallest first, so a later call with more
rungs finds the trunk where it stopped and continues; finished rungs are never trained again. Every sitting goes through the same
files, so a killed and repeated run, a run extended rung by rung, and one done at a stretch end in the same bits on a CPU with the
same number of threads. A rung smaller than those already trained starts over, for only the trunk's newest two states are kept.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lm.tokens.loader import TokenStream
from lm.tokens.selection import TokenData
from lm.training import curve
from lm.training.checkpoint import TRUNK, Body, CheckpointStore
from lm.training.config import RungPlan, TrainConfig, plan_rungs, run_id
from lm.training.curve import Curve
from lm.training.errors import ConfigError, RunMismatch, TrainingDiverged
from lm.training.learner import Learner, default_device, reproducible
from lm.training.result import Checkpoint, Progress, TrunkResult
from lm.training.schedule import learning_rate

LOG = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 20.0
OnProgress = Callable[[Progress], None]


def train_trunk(
    config: TrainConfig,
    data: TokenData,
    rungs_tokens: Sequence[int],
    out_dir: str | Path,
    *,
    ladder_id: str = "",
    on_progress: OnProgress | None = None,
    device: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrunkResult:
    """Train until every rung has its decayed weights in `out_dir`; what is there already is kept.

    A state is kept every `checkpoint_seconds` and wherever a branch begins; how often decides no weights.
    Raises: the errors of lm/training/errors.py, MissingTokensError, FileNotFoundError.
    """
    plans = plan_rungs(config, list(rungs_tokens))
    store = CheckpointStore(Path(out_dir), run_id(config, ladder_id))
    with store.locked():
        todo = [plan for plan in plans if store.finished(plan.name) is None]
        if todo:
            with reproducible(config.num_threads):
                stream = _open(config, data, plans[-1].num_tokens)
                sitting = Sitting(config, store, stream, device or default_device(), on_progress, checkpoint_seconds, todo)
                for plan in todo:
                    sitting.train(plan)
        return _result(config, ladder_id, store, plans)


def _open(config: TrainConfig, data: TokenData, num_tokens: int) -> TokenStream:
    stream = TokenStream.open(data, num_tokens)
    if stream.max_token >= config.model.vocab_size:
        raise ConfigError(f"vocab_size {config.model.vocab_size} is too small for token {stream.max_token}; use the tokenizer's vocab_size")
    return stream


@dataclass(slots=True)
class Position:
    """A place on the trunk or on a branch, beside the learner's state."""

    path: str
    curve: Curve = field(default_factory=Curve)
    seconds: float = 0.0
    environments: list[str] = field(default_factory=list)
    trunk: Body = field(default_factory=dict)
    """For a branch: points and seconds of the trunk behind it."""
    unread: list[Tensor] = field(default_factory=list)
    """Steps of the open window whose values are still on the device."""


class Sitting:
    """One process's work on a run."""

    def __init__(
        self,
        config: TrainConfig,
        store: CheckpointStore,
        stream: TokenStream,
        device: str,
        on_progress: OnProgress | None,
        checkpoint_seconds: float,
        todo: Sequence[RungPlan],
    ) -> None:
        self.config, self.store, self.stream = config, store, stream
        self.learner = Learner(config, stream, device)
        self._initial = {name: tensor.clone() for name, tensor in self.learner.state().items()}
        self._environment = f"{device_name(device)}|{torch.__version__}"
        self._on_progress, self._checkpoint_seconds = on_progress, checkpoint_seconds
        self._num_steps_done = 0
        self._num_steps_total = _num_steps(store, todo)
        self._started = self._mark = self._saved = time.monotonic()
        self._hashed = (0, hashlib.blake2b(digest_size=16))

    def train(self, plan: RungPlan) -> None:
        """Bring one rung to its decayed weights."""
        branch = self._resume(plan.name, plan.last_step)
        if branch is None:
            trunk = self._resume(TRUNK, plan.branch_step) or self._begin()
            if self.learner.step < plan.branch_step:
                self._advance(trunk, plan.branch_step, None)
                self._save(trunk)
            record = {"points": trunk.curve.points, "seconds": trunk.seconds}
            branch = Position(plan.name, environments=list(trunk.environments), trunk=record)
        self._advance(branch, plan.last_step, plan)
        self.store.finish(plan.name, self.learner.weights(), self._body(branch))

    def _begin(self) -> Position:
        self.learner.load(self._initial, 0)
        return Position(TRUNK, environments=[self._environment])

    def _resume(self, path: str, max_step: int) -> Position | None:
        """Load the newest state of a path, after checking that it saw the tokens that the stream holds."""
        found = self.store.newest(path, max_step)
        if found is None:
            return None
        state, body = found
        if body["tokens_digest"] != self._tokens_digest(body["step"]):
            raise RunMismatch(
                f"{self.store.directory} was trained on other tokens than the first {body['step'] * self.config.batch_tokens} of this "
                "selection; a changed selection is another ladder and needs another directory"
            )
        self.learner.load(state, body["step"])
        curve_so_far = Curve([(step, loss, norm) for step, loss, norm in body["points"]], [(loss, norm) for loss, norm in body["pending"]])
        position = Position(path, curve_so_far, body["seconds"], body["environments"], body["trunk"])
        if position.environments[-1] != self._environment:
            LOG.warning("%s continues on %s what %s began; the last bits may differ", path, self._environment, position.environments[-1])
            position.environments.append(self._environment)
        return position

    def _advance(self, position: Position, until: int, plan: RungPlan | None) -> None:
        """Train to a step, closing windows and keeping states on the way."""
        self._mark = time.monotonic()
        while (step := self.learner.step) < until:
            position.unread.append(self.learner.advance(learning_rate(self.config, step, plan)))
            self._num_steps_done += 1
            if (step + 1) % self.config.log_every_steps == 0 or (plan is not None and step + 1 == until):
                self._close_window(position, plan)
            if time.monotonic() - self._saved > self._checkpoint_seconds and step + 1 < until:
                self._read(position, plan)
                self._save(position)
        self._read(position, plan)

    def _read(self, position: Position, plan: RungPlan | None) -> None:
        """Bring values from the device and stop at the first that is no number; the clock is read here, when work is done."""
        if position.unread:
            values = torch.stack(position.unread).tolist()
            first = self.learner.step - len(values)
            for step, (loss, norm) in enumerate(values, first):
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise TrainingDiverged(step, loss, norm, learning_rate(self.config, step, plan))
            position.curve.pending += [(loss, norm) for loss, norm in values]
            position.unread = []
        now = time.monotonic()
        position.seconds, self._mark = position.seconds + now - self._mark, now

    def _close_window(self, position: Position, plan: RungPlan | None) -> None:
        self._read(position, plan)
        _, loss, _ = position.curve.close_window(self.learner.step)
        if self._on_progress is not None:
            done, total = (steps * self.config.batch_tokens for steps in (self._num_steps_done, self._num_steps_total))
            rate = done / max(1e-9, time.monotonic() - self._started)
            self._on_progress(Progress(done, total, position.path, self.learner.step, loss, rate))

    def _save(self, position: Position) -> None:
        self.store.save(position.path, self.learner.step, self.learner.state(), self._body(position))
        self._saved = time.monotonic()

    def _body(self, position: Position) -> Body:
        return {
            "config": self.config.to_json(),
            "step": self.learner.step,
            "points": position.curve.points,
            "pending": position.curve.pending,
            "seconds": position.seconds,
            "environments": position.environments,
            "tokens_digest": self._tokens_digest(self.learner.step),
            "trunk": position.trunk,
        }

    def _tokens_digest(self, step: int) -> str:
        """Digest of all tokens before a step, taken further from the last one asked for where that was earlier."""
        start, hasher = self._hashed if self._hashed[0] <= step else (0, hashlib.blake2b(digest_size=16))
        hasher.update(self.stream.raw(start * self.config.batch_tokens, step * self.config.batch_tokens))
        self._hashed = (step, hasher)
        return hasher.hexdigest()


def _num_steps(store: CheckpointStore, todo: Sequence[RungPlan]) -> int:
    """Steps of trunk and branches still ahead, from the states that are there."""
    num_steps = trunk_step = 0
    for plan in todo:
        if branch_step := store.newest_step(plan.name, plan.last_step):
            num_steps += plan.last_step - branch_step
        else:
            trunk_step = max(trunk_step, store.newest_step(TRUNK, plan.branch_step))
            num_steps += plan.last_step - trunk_step
            trunk_step = plan.branch_step
    return num_steps


def device_name(device: str) -> str:
    """The device as people know it: cpu, or the name of the accelerator."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _result(config: TrainConfig, ladder_id: str, store: CheckpointStore, plans: Sequence[RungPlan]) -> TrunkResult:
    """Collect the run's record from what its finished rungs say, and write the curve."""
    bodies = [body for plan in plans if (body := store.finished(plan.name)) is not None]
    assert len(bodies) == len(plans), "every rung was just trained"
    longest = bodies[-1]
    _write_curve(config, store, plans, bodies)
    train_tokens = (plans[-1].branch_step + sum(plan.last_step - plan.branch_step for plan in plans)) * config.batch_tokens
    seconds = max(body["trunk"]["seconds"] for body in bodies) + sum(body["seconds"] for body in bodies)
    environments = [environment.split("|") for body in bodies for environment in body["environments"]]
    return TrunkResult(
        run_id=store.run_id,
        ladder_id=ladder_id,
        model=config.model.name,
        num_params=config.model.num_params,
        num_params_non_embedding=config.model.num_params_non_embedding,
        seed=config.seed,
        config=config.to_json(),
        learning_rate=config.learning_rate,
        batch_tokens=config.batch_tokens,
        context_tokens=config.model.context_tokens,
        num_threads=config.num_threads,
        dtype=config.dtype,
        device=", ".join(dict.fromkeys(device for device, _ in environments)),
        torch_version=", ".join(dict.fromkeys(version for _, version in environments)),
        num_tokens=longest["step"] * config.batch_tokens,
        train_tokens=train_tokens,
        train_flops=config.model.flops_per_token * train_tokens,
        tokens_per_second=train_tokens / seconds,
        seconds=seconds,
        metrics_file=str(store.directory / "metrics.parquet"),
        checkpoints=[
            Checkpoint(index, plan.last_step, plan.num_tokens, str(store.directory / f"{plan.name}.safetensors"), body["weights_digest"])
            for index, (plan, body) in enumerate(zip(plans, bodies, strict=True))
        ],
    )


def _write_curve(config: TrainConfig, store: CheckpointStore, plans: Sequence[RungPlan], bodies: Sequence[Body]) -> None:
    trunk = curve.rows(store.run_id, config, bodies[-1]["trunk"]["points"], None, None)
    branches = [
        curve.rows(store.run_id, config, body["points"], index, plan) for index, (plan, body) in enumerate(zip(plans, bodies, strict=True))
    ]
    curve.write([trunk, *branches], store.directory / "metrics.parquet")
