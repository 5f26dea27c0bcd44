"""How the processes of a run hold the model: each a copy (ddp), or each a part (fsdp).

- **ddp**: every process has all weights and moments; gradients are averaged while the backward pass goes on. For what fits a device.
- **fsdp**: torch's FSDP2. Every parameter, its gradient and its moments are split by rows; the weights of a block are gathered when it is
  computed and let go after. Sixteen bytes per parameter become sixteen by the number of processes; the price is to move all weights three
  times a step. The weights travel in float32, so that a step computes what one process computes; half of that would do for bfloat16.

Both average gradients in float32 and clip by the norm over all processes. A state leaves here whole and comes back whole, so it may be
continued on any number of processes, either way. Muon needs whole matrices: under fsdp each process gathers the momentum of a matrix,
makes it orthogonal itself and keeps its rows, so that work is not shared out.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from lm.training.layout import Layout, State, whole
from lm.training.world import World


class Copies(Layout):
    """Every process has it all."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        # positions are the only buffers and never change; torch 2.13 has a new name for leaving them alone
        names = signature(DistributedDataParallel.__init__).parameters
        leave: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}
        self._ddp = DistributedDataParallel(model, gradient_as_bucket_view=True, **leave)
        self.forward = self._ddp

    @contextmanager
    def piece(self, *, is_last: bool) -> Iterator[None]:
        """See Layout."""
        with nullcontext() if is_last else self._ddp.no_sync():
            yield


class Parts(Layout):
    """Every process has some rows of every parameter."""

    def __init__(self, model: nn.Module, blocks: Iterable[nn.Module], world: World) -> None:
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # logits are a view; nothing changes them in place
        mesh = init_device_mesh("cpu" if world.device == "cpu" else "cuda", (world.size,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        self._sharded = fully_shard(model, mesh=mesh)
        self._is_first = world.is_first
        super().__init__(model)

    @contextmanager
    def piece(self, *, is_last: bool) -> Iterator[None]:
        """See Layout."""
        self._sharded.set_requires_gradient_sync(is_last)
        yield

    def gather(self, state: State) -> State:
        """See Layout. One tensor at a time, and only the first process keeps it."""
        found = {}
        for name, tensor in state.items():
            gathered = whole(tensor)
            if self._is_first:
                found[name] = gathered.cpu()
        return found

    def spread(self, state: State) -> State:
        """See Layout. A tensor belongs to a parameter by its name and shape, as weight.<name> or exp_avg.<name> do."""
        found = {}
        for name, tensor in state.items():
            parameter = self.parameters.get(name.partition(".")[2])
            found[name] = part(tensor, parameter) if parameter is not None and parameter.shape == tensor.shape else tensor
        return found


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """What of a whole tensor lies here, as another one does."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
