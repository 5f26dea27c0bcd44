"""Model, optimizer and data of a run, advanced one step at a time.

Everything that changes is in `state()`: weights, what the optimizer and the guard against spikes remember, and, in the step's number,
the place in the data. There is no dropout and no shuffling by draws, so no random numbers are drawn after the first weights. `load`
copies into the tensors that are there, for the bits of a matrix product may depend on how its memory is aligned.

A batch may go through the model in pieces (`micro_batch_tokens`), whose gradients add up, and be shared by the processes of a `World`.
Both take sums in another order, so on a CPU they decide the last bits; see lm/training/machine.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from lm.models.attention import document_mask
from lm.models.build import build
from lm.tokens.loader import MissingTokensError, Stream
from lm.training import optimizers
from lm.training.compiling import compile_or_not
from lm.training.config import TrainConfig
from lm.training.errors import ConfigError, DataLost, Divergence, TrainingDiverged
from lm.training.guard import Guard
from lm.training.layout import layout, recompute
from lm.training.machine import HERE, Machine
from lm.training.optimizers import State
from lm.training.world import ALONE, World


def default_device() -> str:
    """cuda if there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def reproducible(num_threads: int, compiles: bool = False) -> Iterator[None]:
    """Pin what decides the bits on a CPU, and put it back after; those of the compiler only where it is used.

    The debug mode is the same switch as `use_deterministic_algorithms`, which loads the whole compiler to tell it too: seconds.
    """
    memory: Any = torch.utils.deterministic
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.set_num_threads(num_threads)
    if compiles:
        torch.use_deterministic_algorithms(not torch.cuda.is_available())
    torch.set_deterministic_debug_mode("default" if torch.cuda.is_available() else "error")
    memory.fill_uninitialized_memory = False  # nothing reads it; filling costs time
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        if compiles:
            torch.use_deterministic_algorithms(before[1] > 0)
        torch.set_deterministic_debug_mode(before[1])
        memory.fill_uninitialized_memory = before[2]


class Learner:
    """A model in training. `step` is the number of batches behind it."""

    def __init__(self, config: TrainConfig, stream: Stream, device: str, *, world: World = ALONE, machine: Machine = HERE) -> None:
        self.config, self.world = config, world
        self.device = torch.device(device)
        self.step = 0
        self._stream = stream
        self._num_pieces = num_pieces(config, world, machine.micro_batch_tokens)
        self.model = build(config.model, config.seed).to(self.device)
        self.is_compiled = self._prepare(machine)
        self._layout = layout(machine.parallel, self.model, self.model.blocks, world)
        self._forward, self._parameters = self._layout.forward, self._layout.parameters
        self._optimizer = optimizers.make(self._parameters, config)
        self._guard = Guard(config)
        self.begin()

    def _prepare(self, machine: Machine) -> bool:
        """Recompute and compile where that is asked for. Returns whether the model is compiled."""
        if machine.recompute_blocks:
            recompute(self.model.blocks)
        self.model.head_piece = machine.head_piece_entries
        self._forward = self.model
        if not self.config.compile:
            return False
        in_blocks = self.world.size > 1 and machine.parallel == "fsdp"
        compiled = compile_or_not(self.model, self.model.blocks if in_blocks else None, self._try, machine.compile_mode)
        self.model.zero_grad(set_to_none=True)
        return compiled

    def _try(self) -> None:
        """One pass over made-up tokens in the shape of a batch, forward and back."""
        rows = self.config.batch_tokens // self.config.model.context_tokens // self.world.size
        shape = (rows, self.config.model.context_tokens)
        tokens = self._move((np.arange(rows * shape[1]) % self.config.model.vocab_size).reshape(shape))
        self._pass(tokens.chunk(self._num_pieces)[0], tokens.chunk(self._num_pieces)[0]).backward()  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Go to the state before the first step, drawn again from the seed if there were steps."""
        weights = self.weights() if not self.step else dict(build(self.config.model, self.config.seed).named_parameters())
        empty = {name: torch.zeros_like(tensor) for name, tensor in (self._optimizer.state() | self._guard.state()).items()}
        self.load({f"weight.{name}": weight.detach() for name, weight in weights.items()} | empty, 0)

    def advance(self, learning_rate: float) -> Tensor:
        """One step. Returns [loss in nats per token, gradient norm before clipping, 1 if the update was skipped], still on the device.

        Raises: DataLost, TrainingDiverged if the guard gives up.
        """
        loss = self.world.average(self._backward(*self._batch()))
        norm = self._layout.clip(self.config.clip_norm)
        skipped = self._guard.watches and self._skips(float(loss), float(norm), learning_rate)
        if not skipped:
            self._optimizer.step(learning_rate)
        for parameter in self._parameters.values():
            parameter.grad = None
        self.step += 1
        return torch.stack([loss, norm, torch.full_like(loss, float(skipped))])

    def _backward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients of the mean loss over this process's rows, piece by piece. Returns that loss."""
        losses = []
        pieces = list(zip(inputs.chunk(self._num_pieces), targets.chunk(self._num_pieces), strict=True))
        for place, piece in enumerate(pieces, 1):
            with self._layout.piece(is_last=place == self._num_pieces):
                loss = self._pass(*piece)
                if self._num_pieces > 1:
                    loss = loss / self._num_pieces
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _pass(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of some rows."""
        with self._autocast():
            mask = document_mask(inputs, self._stream.end_of_document) if self.config.mask_documents else None
            loss: Tensor = self._forward(inputs, mask, targets=targets)
        return loss

    def _skips(self, loss: float, norm: float, learning_rate: float) -> bool:
        skip = self._guard.skips(loss, norm)
        if self._guard.gives_up:
            where = Divergence(
                path="",
                step=self.step,
                loss=loss,
                gradient_norm=norm,
                learning_rate=learning_rate,
                num_skipped=self._guard.num_skipped,
            )
            raise TrainingDiverged(where)
        return skip

    def _batch(self) -> tuple[Tensor, Tensor]:
        batch, context = self.config.batch_tokens, self.config.model.context_tokens
        try:
            inputs, targets = self._stream.batch(self.step, batch, context, self.world.worker)
        except (MissingTokensError, OSError, pa.ArrowException) as error:
            raise DataLost(
                f"the tokens of step {self.step} can't be read any more: {type(error).__name__}: {error}; "
                "bring the files back and run again, the run goes on from there"
            ) from error
        return self._move(inputs), self._move(targets)

    def _move(self, rows: np.ndarray) -> Tensor:
        host = torch.from_numpy(rows)
        return host.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else host

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.config.dtype == "bfloat16" else nullcontext()

    def weights(self) -> State:
        """The weights of this process, detached, by name."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    def whole_weights(self) -> State:
        """All weights, on the process that keeps them; all processes must call it."""
        return self._layout.gather(self.weights())

    def state(self) -> State:
        """All that changes with a step, by name, on the process that keeps it; all processes must call it."""
        state = {f"weight.{name}": weight for name, weight in self.weights().items()}
        return self._layout.gather(state | self._optimizer.state() | self._guard.state())

    def load(self, state: State, step: int) -> None:
        """Go to a saved state."""
        self.step = step
        state = self._layout.spread(state)
        for name, parameter in self._parameters.items():
            parameter.data.copy_(state[f"weight.{name}"])
        self._guard.load(state)
        self._optimizer.load(state, step - self._guard.num_skipped)


def num_pieces(config: TrainConfig, world: World, micro_batch_tokens: int | None) -> int:
    """Pieces that a process's part of a batch goes through the model in. Raises: ConfigError for a batch that does not divide."""
    num_rows, context = config.batch_tokens // config.model.context_tokens, config.model.context_tokens
    if num_rows % world.size:
        raise ConfigError(f"the {num_rows} rows of a batch must divide among {world.size} processes; change batch_tokens or their number")
    rows = num_rows // world.size
    piece = rows if micro_batch_tokens is None else min(rows, micro_batch_tokens // context)
    if piece < 1 or rows % piece:
        raise ConfigError(
            f"micro_batch_tokens must be rows of {context} tokens whose number divides the {rows} of a process, got {micro_batch_tokens}"
        )
    return rows // piece
