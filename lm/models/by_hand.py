"""Operations of a block on a CPU, each with a gradient written by hand.

A small model spends its time on launching operations and on passes over memory: torch's own gradient of an RMSNorm takes fifteen
operations where six do, a rotation copies what it could turn in place, and the gradient of a split joins what could be written once.
The formulas here are those of lm/models/transformer.py and lm/models/gpt2.py, which a GPU and torch.compile use as they stand and
against which these are tested; sums may come in another order. The price is code that must be kept equal to those formulas.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

GELU_SLOPE = 1.5957691216057308
"""2 sqrt(2 / pi): tanh(z) = 2 sigmoid(2 z) - 1, and torch's sigmoid takes a fifth of the time of its tanh."""
GELU_CUBE = 0.044715


def wanted(x: Tensor) -> bool:
    """Whether an operation on x is done here: on a CPU, in float32, with nobody compiling."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


def rms_norm(x: "Float[Tensor, '*rows width']", gain: "Float[Tensor, 'width']", epsilon: float) -> "Float[Tensor, '*rows width']":
    """x / rms(x) times the gain, over the last axis."""
    out: Tensor = _RMSNorm.apply(x, gain, epsilon)  # type: ignore[no-untyped-call]
    return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        scale = (x * x).mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, gain)
        return normed * gain

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, gain = ctx.saved_tensors
        product = grads[0] * normed
        width = gain.shape[0]
        rows = product.reshape(-1, width)
        along = torch.mv(rows, gain).div_(-width).view_as(scale)
        grad = torch.addcmul(grads[0] * gain, normed, along).mul_(scale)
        return grad, rows.sum(0), None


def turned_heads(
    qkv: "Float[Tensor, 'batch seq parts']",
    gains: "tuple[Float[Tensor, 'head'], Float[Tensor, 'head']]",
    table: "tuple[Float[Tensor, 'seq head'], Float[Tensor, 'seq head']]",
    num_heads: int,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys normed by their gains and turned by the table (cos, sin), and values: each (batch, heads, seq, head)."""
    q, k, v = _TurnedHeads.apply(qkv, *gains, *table, num_heads, epsilon)  # type: ignore[no-untyped-call]
    return q, k, v


class _TurnedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, query_gain: Tensor, key_gain: Tensor, cos: Tensor, sin: Tensor, num_heads: int, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = qkv.view(*qkv.shape[:2], -1, len(query_gain))
        num_kv_heads = (heads.shape[2] - num_heads) // 2
        turned, values = heads.split_with_sizes([num_heads + num_kv_heads, num_kv_heads], 2)
        scale = (turned * turned).mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        normed = turned * scale
        gain = torch.cat([query_gain.expand(num_heads, -1), key_gain.expand(num_kv_heads, -1)])
        cos, sin = cos[:, None], sin[:, None]
        ctx.save_for_backward(normed, scale, gain, cos, sin)
        ctx.num_heads = num_heads
        q, k = _turn(normed * gain, cos, sin).split_with_sizes([num_heads, num_kv_heads], 2)
        return q.transpose(1, 2), k.transpose(1, 2), values.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, gain, cos, sin = ctx.saved_tensors
        batch, length, num_turned, width = normed.shape
        num_kv_heads = num_turned - ctx.num_heads
        grad_q, grad_k, grad_v = (grad.transpose(1, 2) for grad in grads)
        out = normed.new_empty(batch, length, num_turned + num_kv_heads, width)
        turned, values = out.split_with_sizes([num_turned, num_kv_heads], 2)
        values.copy_(grad_v)
        grad = _turn(torch.cat([grad_q, grad_k], 2), cos, -sin)
        product = grad * normed
        by_head = product.sum((0, 1))
        grad.mul_(gain)
        along = (product * gain).mean(-1, keepdim=True).neg_()
        torch.mul(grad.addcmul_(normed, along), scale, out=turned)
        grad_gains = (part.sum(0) for part in by_head.split_with_sizes([ctx.num_heads, num_kv_heads]))
        return out.flatten(2), *grad_gains, None, None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split pairs turned by their angles; the table's first half of sin is negative, as in `Rotation`."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half])
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def gelu(x: "Float[Tensor, '*rows width']") -> "Float[Tensor, '*rows width']":
    """GELU by tanh, which is x sigmoid(1.6 (x + 0.045 x^3))."""
    out: Tensor = _GELU.apply(x)  # type: ignore[no-untyped-call]
    return out


class _GELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        opened = (x * x).mul_(GELU_SLOPE * GELU_CUBE).add_(GELU_SLOPE).mul_(x).sigmoid_()
        ctx.save_for_backward(x, opened)
        return x * opened

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # y = x s(u) with u = x (a + b x^2), so y' = s + x s (1 - s) (a + 3 b x^2)
        x, opened = ctx.saved_tensors
        slope = (x * x).mul_(3 * GELU_SLOPE * GELU_CUBE).add_(GELU_SLOPE).mul_(x)
        slope.mul_(opened).mul_(1 - opened).add_(opened)
        out: Tensor = slope.mul_(grads[0])
        return out
