"""How a process holds the model of a run: alone, or, in lm/training/sharding.py, together with others.

What the learner asks of a layout is the same for all: something to compute with, gradients that are those of the whole batch, their norm,
and states that are whole wherever they are kept. Here stands the layout of a process on its own, for which every answer is what it has;
torch's modules for several processes, which take a second to import, are touched only where there are several.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.checkpoint import checkpoint

from lm.training.errors import ConfigError
from lm.training.machine import Parallel
from lm.training.world import World

State = dict[str, Tensor]


class Layout:
    """A model that one process holds alone; `forward` computes with it."""

    def __init__(self, model: nn.Module) -> None:
        self.forward: Callable[..., Any] = model
        self.parameters = dict(model.named_parameters())

    @contextmanager
    def piece(self, *, is_last: bool) -> Iterator[None]:
        """Around a piece of a batch: only the last sends gradients."""
        yield

    def clip(self, max_norm: float) -> Tensor:
        """Scale gradients down to a norm over all parameters, wherever they lie. Returns the norm before."""
        norm = whole(get_total_norm([parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]))
        clip_grads_with_norm_(self.parameters.values(), max_norm, norm)
        return norm

    def gather(self, state: State) -> State:
        """Whole tensors, on the process that keeps them. All processes must call it."""
        return state

    def spread(self, state: State) -> State:
        """What of whole tensors lies here."""
        return state


def layout(parallel: Parallel, model: nn.Module, blocks: Iterable[nn.Module], world: World) -> Layout:
    """The model as this process is to hold it. Raises: ConfigError if several processes are not told how to share it."""
    if world.size == 1:
        return Layout(model)
    if parallel == "none":
        raise ConfigError(f"parallel is none, and {world.size} processes were started; use ddp or fsdp, or start one")
    from lm.training.sharding import Copies, Parts

    return Copies(model) if parallel == "ddp" else Parts(model, blocks, world)


def whole(tensor: Any) -> Tensor:
    """All of a tensor of which this process may hold some rows. All processes must call it."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


@torch.no_grad()
def add_rows(parameter: Any, start: int, rows: Tensor, alpha: float) -> None:
    """Add rows, times alpha, to those of a parameter from `start` on; where it is spread, to those that lie here."""
    if not hasattr(parameter, "full_tensor"):
        parameter[start : start + len(rows)].add_(rows, alpha=alpha)
        return
    mesh, here = parameter.device_mesh, parameter.to_local()
    first = mesh.get_local_rank() * -(-parameter.shape[0] // mesh.size())  # rows are dealt out as torch.chunk does
    low, high = max(start, first), min(start + len(rows), first + len(here))
    if low < high:
        here[low - first : high - first].add_(rows[low - start : high - start], alpha=alpha)


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Keep only the inputs of each block for the backward pass, and compute the rest again there: a third more work, the same bits."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
