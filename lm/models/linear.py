"""Matrix products of a linear layer: oneDNN's on a CPU in float32, torch's everywhere else.

torch gives float32 products to MKL, which takes its AVX2 kernels on processors that are not Intel's: 95 GFLOP/s per core of a Zen 5
where oneDNN, which torch brings along for bfloat16, does 220 on the same operands. Both sum in float32, in another order. The three
products of a layer (out, gradient of the input, gradient of the matrix) are asked for by name here; the price is a gradient written
by hand, and an operation of torch's that has no promise of staying, for which `F.linear` is the fallback.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def linear(
    x: "Float[Tensor, '*rows in']", weight: "Float[Tensor, 'out in']", bias: "Float[Tensor, 'out'] | None" = None
) -> "Float[Tensor, '*rows out']":
    """x weight^T + bias."""
    if torch.is_autocast_enabled(x.device.type) or not _by_onednn(x):
        return F.linear(x, weight, bias)
    out: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, input: "Float[Tensor, '*rows in']") -> "Float[Tensor, '*rows out']":
        return linear(input, self.weight, self.bias)


def product(
    left: "Float[Tensor, '*rows inner']", right: "Float[Tensor, 'columns inner']", bias: "Float[Tensor, 'columns'] | None" = None
) -> "Float[Tensor, '*rows columns']":
    """left right^T + bias without a gradient; either may lie transposed in memory."""
    if not _by_onednn(left):
        return F.linear(left, right, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return found


def _by_onednn(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # the compiler knows no gradient of that operation, and has products of its own
        return False
    onednn: Any = torch.backends.mkldnn
    return bool(x.device.type == "cpu" and x.dtype == torch.float32 and onednn.is_available())


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].flatten(0, -2)
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = product(grad, weight.t()).view_as(x) if need_x else None
        grad_weight = product(grad.t(), x.flatten(0, -2).t()) if need_weight else None
        return grad_x, grad_weight, grad.sum(0) if need_bias else None
