"""One trunk, a decayed branch per rung, and the same weights however often it was stopped.

The trunk runs at constant rate. Where a rung of T tokens begins to decay, at (1 - f) T, the trunk's state is kept, the branch runs to
its end and leaves its weights, and the trunk goes on from the kept state. Rungs are trained smallest first, so a later call with more
rungs finds the trunk where it stopped and continues; finished rungs are never trained again. Every sitting goes through the same
files, so a killed and repeated run, a run extended rung by rung, and one done at a stretch end in the same bits on a CPU with the
same number of threads. A rung smaller than those already trained starts over, for only the trunk's newest two states are kept.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lm.tokens.loader import Stream
from lm.tokens.selection import TokenData
from lm.training.checkpoint import TRUNK, Body, CheckpointStore
from lm.training.clock import Clock, Seconds
from lm.training.compiling import COMPILED
from lm.training.config import RungPlan, TrainConfig, plan_rungs, run_id
from lm.training.curve import Curve
from lm.training.errors import DataLost, Divergence, RunMismatch, Stopped, TrainingDiverged
from lm.training.learner import Learner, default_device, reproducible
from lm.training.machine import HERE, Machine
from lm.training.meter import Kept, Meter, kept
from lm.training.outcome import collect, divergence_before, note_divergence
from lm.training.peak import matmul_peak
from lm.training.result import Progress, TrunkResult
from lm.training.schedule import learning_rate
from lm.training.seen import Seen
from lm.training.shared_store import shared_store
from lm.training.streams import open_stream
from lm.training.window import Window
from lm.training.world import ALONE, Verdict, World
from lm.training.writers import RunInfo, Writer, open_writers, writers_dir

LOG = logging.getLogger(__name__)
OnProgress = Callable[[Progress], None]


def train_trunk(
    config: TrainConfig,
    data: TokenData,
    rungs_tokens: Sequence[int],
    out_dir: str | Path,
    *,
    ladder_id: str = "",
    on_progress: OnProgress | None = None,
    machine: Machine = HERE,
    world: World = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> TrunkResult:
    """Train until every rung has its decayed weights in `out_dir`, a directory or an s3:// URL; what is there already is kept.

    `stop` is asked after every step; where it says so the state is kept and Stopped is raised.
    Raises: the errors of lm/training/errors.py, MissingTokensError, FileNotFoundError.
    """
    plans = plan_rungs(config, list(rungs_tokens))
    store = shared_store(out_dir, run_id(config, ladder_id), world)
    with store.locked():
        todo = [plan for plan in plans if store.finished(plan.name) is None]
        if todo:
            with reproducible(config.num_threads, config.compile):
                stream = open_stream(config, data, plans[-1].num_tokens, in_memory_tokens=machine.in_memory_tokens)
                sitting = Sitting(config, store, stream, on_progress, machine, world, todo, stop)
                with sitting.writing():
                    try:
                        for plan in todo:
                            sitting.train(plan)
                    except TrainingDiverged as error:
                        raise TrainingDiverged(error.divergence, collect(config, ladder_id, store, plans, error.divergence)) from None
        return collect(config, ladder_id, store, plans)


@dataclass(slots=True)
class Position:
    """A place on the trunk or on a branch, beside the learner's state."""

    path: str
    curve: Curve = field(default_factory=Curve)
    seconds: Seconds = field(default_factory=Seconds)
    window: Seconds = field(default_factory=Seconds)
    """Of the open window."""
    speeds: list[Kept] = field(default_factory=list)
    """Of the windows before it."""
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
        stream: Stream,
        on_progress: OnProgress | None,
        machine: Machine,
        world: World,
        todo: Sequence[RungPlan],
        stop: Callable[[], bool],
    ) -> None:
        self.config, self.store, self.stream, self.machine, self.world = config, store, stream, machine, world
        device = world.device or machine.device or default_device()
        self.meter = Meter(config, device, matmul_peak(device, config.dtype, config.num_threads) * world.size)
        self.learner = Learner(config, stream, device, world=world, machine=machine)
        self.clock = Clock(stream)
        compiled = COMPILED if self.learner.is_compiled else ""
        self._environment = f"{device_name(device)}{machine.pieces(world.size)}{compiled}|{torch.__version__}"
        self._on_progress, self._stop = on_progress, stop
        info = RunInfo(store.run_id, f"{config.model.name} seed {config.seed}", json.loads(config.to_json()), writers_dir(store.url))
        self._writers: list[Writer] = open_writers(machine.writers, info) if world.is_first else []
        self._num_steps_done = 0
        self._num_steps_total = _num_steps(store, todo)
        self._started = self._saved = time.monotonic()
        self._seen = Seen(stream, config.batch_tokens)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Close the writers when the sitting ends, however it does."""
        try:
            yield
        finally:
            for writer in self._writers:
                writer.close()

    def train(self, plan: RungPlan) -> None:
        """Bring one rung to its decayed weights. Raises: TrainingDiverged, also where that was found in an earlier sitting."""
        if before := divergence_before(self.store, plan, self._environment):
            raise TrainingDiverged(before)
        branch = self._resume(plan.name, plan.last_step)
        if branch is None:
            trunk = self._resume(TRUNK, plan.branch_step) or self._begin()
            if self.learner.step < plan.branch_step:
                self._advance(trunk, plan.branch_step, None)
                self._save(trunk)
            curve, seconds = trunk.curve, asdict(trunk.seconds)
            record = {"points": curve.points, "skipped": curve.skipped, "seconds": seconds, "speeds": trunk.speeds}
            branch = Position(plan.name, environments=list(trunk.environments), trunk=record)
        self._advance(branch, plan.last_step, plan)
        weights = self.learner.whole_weights()
        self.store.finish(plan.name, weights, self._body(branch))

    def _begin(self) -> Position:
        self.learner.begin()
        return Position(TRUNK, environments=[self._environment])

    def _resume(self, path: str, max_step: int) -> Position | None:
        """Load the newest state of a path, after checking that it saw the tokens that the stream holds."""
        found = self.store.newest(path, max_step)
        if found is None:
            return None
        state, body = found
        if body["tokens_digest"] != self._seen.digest(body["step"]):
            raise RunMismatch(
                f"{self.store.url} was trained on other tokens than the first {body['step'] * self.config.batch_tokens} of this "
                "selection; a changed selection is another ladder and needs another directory"
            )
        self.learner.load(state, body["step"])
        spent, window = Seconds.of(body["seconds"]), Seconds.of(body.get("window", 0.0))
        position = Position(path, Curve.of(body), spent, window, body.get("speeds", []), body["environments"], body["trunk"])
        if position.environments[-1] != self._environment:
            LOG.warning("%s continues on %s what %s began; the last bits may differ", path, self._environment, position.environments[-1])
            position.environments.append(self._environment)
        return position

    def _advance(self, position: Position, until: int, plan: RungPlan | None) -> None:
        """Train to a step, closing windows and keeping states on the way."""
        self.clock.start()
        while (step := self.learner.step) < until:
            self._step(position, learning_rate(self.config, step, plan), plan)
            if (step + 1) % self.config.log_every_steps == 0 or (plan is not None and step + 1 == until):
                self._close_window(position, plan)
            if step + 1 < until:
                self._keep_or_stop(position, plan)
        self._read(position, plan)

    def _keep_or_stop(self, position: Position, plan: RungPlan | None) -> None:
        is_due = time.monotonic() - self._saved > self.machine.checkpoint_seconds
        verdict = self.world.decide(Verdict(save=is_due, stop=self._stop()))
        if verdict.save or verdict.stop:
            self._read(position, plan)
            self._save(position)
        if verdict.stop:
            raise Stopped(
                f"stopped at step {self.learner.step} of {position.path}; its state is kept, a repeated command goes on from there"
            )

    def _step(self, position: Position, rate: float, plan: RungPlan | None) -> None:
        try:
            position.unread.append(self.learner.advance(rate))
        except TrainingDiverged as error:
            raise self._diverged(position, replace(error.divergence, path=position.path)) from None
        except DataLost:
            if self.world.size == 1:  # companions still wait for this step's gradients
                self._read(position, plan)
                self._save(position)
            raise
        self._num_steps_done += 1

    def _diverged(self, position: Position, divergence: Divergence) -> TrainingDiverged:
        """The error of a run that cannot go on, after leaving word of it beside the states."""
        note_divergence(self.store, divergence, self._body(position), self._environment)
        return TrainingDiverged(divergence)

    def _read(self, position: Position, plan: RungPlan | None) -> None:
        """Bring values from the device and stop at the first that is no number; the clock is read here, when work is done."""
        if position.unread:
            values = torch.stack(position.unread).tolist()
            first = self.learner.step - len(values)
            for step, (loss, norm, skipped) in enumerate(values, first):
                if not (skipped or (math.isfinite(loss) and math.isfinite(norm))):
                    rate = learning_rate(self.config, step, plan)
                    found = Divergence(path=position.path, step=step, loss=loss, gradient_norm=norm, learning_rate=rate)
                    raise self._diverged(position, found)
                position.curve.add(step, loss, norm, skipped=bool(skipped))
            position.unread = []
        lap = self.clock.lap()
        position.seconds += lap
        position.window += lap

    def _close_window(self, position: Position, plan: RungPlan | None) -> None:
        self._seen.follow(self.learner.step)  # while an accelerator still computes
        self._read(position, plan)
        num_skipped = position.curve.num_skipped_open
        speed = self.meter.speed(len(position.curve.pending) + num_skipped, position.window)
        step, loss, norm = position.curve.close_window(self.learner.step)
        position.speeds.append(kept(step, speed))
        position.window = Seconds()
        rate, num_tokens = learning_rate(self.config, step - 1, plan), step * self.config.batch_tokens
        self._tell(Window(position.path, step, num_tokens, loss, norm, rate, num_skipped, speed))

    def _tell(self, window: Window) -> None:
        """Pass a window on to those who watch."""
        for writer in self._writers:
            writer.write(window)
        if self._on_progress is not None and self.world.is_first:
            done, total = (steps * self.config.batch_tokens for steps in (self._num_steps_done, self._num_steps_total))
            rate = done / max(1e-9, time.monotonic() - self._started)
            self._on_progress(Progress(done, total, window.path, window.step, window.loss_nats_per_token, rate, window))

    def _save(self, position: Position) -> None:
        with self.clock.saving():
            state = self.learner.state()
            self.store.save(position.path, self.learner.step, state, self._body(position))
        self._saved = time.monotonic()

    def _body(self, position: Position) -> Body:
        return {
            "config": self.config.to_json(),
            "step": self.learner.step,
            "points": position.curve.points,
            "pending": position.curve.pending,
            "skipped": position.curve.skipped,
            "seconds": asdict(position.seconds),
            "window": asdict(position.window),
            "speeds": position.speeds,
            "environments": position.environments,
            "tokens_digest": self._seen.digest(self.learner.step),
            "trunk": position.trunk,
        }


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
