"""Mean cross-entropy of a head: from the last hidden states to the loss, for training.

`mean_loss` takes logits that are held whole, in float32, and so is their gradient: at 512 tokens and 2,048 entries three arrays of 4 MB,
at 64 x 1,024 tokens and 50,304 entries three of 13 GB. The loss in pieces takes some of the rows at a time and works out the gradient
of their logits at once, in their place. The head is multiplied three times as before, and no more than a piece is held. On a CPU a
piece stays in the cache, which halves the time of the head from 512 entries on; on a GPU it is memory that is saved. The price:
gradients are computed with the loss, wanted or not.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lm.models.linear import linear, product

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CPU_PIECE = 1 << 18
"""Logits held at once on a CPU: 1 MB, the second-level cache of a core."""
CPU_MIN_VOCAB = 512


def token_losses(logits: "Float[Tensor, 'batch seq vocab']", targets: "Int[Tensor, 'batch seq']") -> "Float[Tensor, 'batch seq']":
    """Cross-entropy of each target in nats, in float32 whatever the logits' type."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)


def mean_loss(logits: "Float[Tensor, 'batch seq vocab']", targets: "Int[Tensor, 'batch seq']") -> "Float[Tensor, '']":
    """Mean cross-entropy in nats per token, in float32 whatever the logits' type."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def head_loss(
    hidden: "Float[Tensor, 'batch seq width']",
    weight: "Float[Tensor, 'vocab width']",
    targets: "Int[Tensor, 'batch seq']",
    piece_entries: int | None = None,
) -> "Float[Tensor, '']":
    """Mean cross-entropy in nats per token of the logits hidden weight^T.

    `piece_entries`: logits held at once. None: all of them, but on a CPU in float32 pieces that fit the cache.
    """
    if piece_entries is None and _fits_the_cache(hidden, weight):
        piece_entries = CPU_PIECE
    if piece_entries is None or not torch.is_grad_enabled():
        return mean_loss(linear(hidden, weight), targets)
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    loss: Tensor = _HeadLoss.apply(hidden.flatten(0, 1), weight, targets.flatten(), piece_entries, dtype)  # type: ignore[no-untyped-call]
    return loss


def _fits_the_cache(hidden: Tensor, weight: Tensor) -> bool:
    plain = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return hidden.device.type == "cpu" and hidden.dtype == torch.float32 and len(weight) >= CPU_MIN_VOCAB and not plain


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, piece_entries: int, dtype: torch.dtype) -> Tensor:
        num_rows, size = len(targets), max(1, piece_entries // len(weight))
        h, w = hidden.to(dtype), weight.to(dtype)
        grad_hidden, grad_weight, losses = torch.empty_like(h), None, []
        for start in range(0, num_rows, size):
            piece, wanted = h[start : start + size], targets[start : start + size, None]
            logits = product(piece, w)
            of_target, probability = _probabilities(logits, wanted)
            losses.append(of_target)
            grad = probability.scatter_add_(1, wanted, torch.full_like(of_target, -1)).to(dtype)  # times num_rows
            grad_hidden[start : start + size] = product(grad, w.t())
            part = product(grad.t(), piece.t()).to(weight.dtype)
            grad_weight = part if grad_weight is None else grad_weight.add_(part)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0] / len(grad_hidden)
        return grad_hidden * scale, grad_weight * scale, None, None, None


def _probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each row, (rows, 1), and all probabilities, in float32; the logits are used up."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        largest, of_target = logits.amax(-1, keepdim=True), logits.gather(1, targets)
        torch.softmax(logits, -1, out=logits)
        return largest - logits.amax(-1, keepdim=True).log_() - of_target, logits  # torch's exp takes longer than its whole softmax
    log_probability = logits.float().log_softmax(-1)
    return -log_probability.gather(1, targets), log_probability.exp_()
