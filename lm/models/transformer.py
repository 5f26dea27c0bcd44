"""A decoder-only Transformer: RMSNorm before each part, rotary positions, QK-norm, SwiGLU, no biases.

It is Qwen3's architecture to the letter, so weights can be exported to it and run elsewhere; query, key and value share one matrix
here, and so do gate and up, because at these sizes time goes to launching operations. Output projections start at zero: every block is
the identity at first and the loss starts near ln(vocab_size). Heads of keys and values may be fewer than those of queries. On a CPU in
float32 norms, rotation and the head's loss go through lm/models/by_hand.py and head.py, which compute the same in less time; what
stands here is the formula, which a GPU and torch.compile use. The head is a matrix of its own unless the configuration ties it to the
embedding: it costs no work, and at two layers of width 64 after 262,144 tokens it scored 4.89 nats where tied ones reached 5.02 at
their best rates. The same seed gives the same weights on every device, because they are drawn on the CPU.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm.models import by_hand
from lm.models.attention import KeyValueCache, attend, document_mask
from lm.models.config import ModelConfig
from lm.models.head import head_loss, mean_loss, token_losses
from lm.models.linear import Linear, linear

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from lm.models.attention import Mask

__all__ = ["RMSNorm", "Rotation", "Transformer", "document_mask", "mean_loss", "token_losses"]

HEAD_STD = 0.02
EMBEDDING_STD = 0.5
"""For an embedding that is not the head too. Scores differed by 0.02 nats between 0.2 and 0.5."""


class RMSNorm(nn.Module):
    """x / rms(x) times a gain, over the last axis."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        if by_hand.wanted(x):
            return by_hand.rms_norm(x, self.gain, self.epsilon)
        return F.rms_norm(x, self.gain.shape, self.gain.to(x.dtype), self.epsilon)


class Rotation(nn.Module):
    """Rotary positions on half-split pairs, as Qwen and Llama rotate. Source: arXiv:2104.09864."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, context_tokens: int, base: float) -> None:
        super().__init__()
        frequency = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angle = torch.arange(context_tokens, dtype=torch.float64)[:, None] * frequency
        self.register_buffer("cos", torch.cat([angle.cos(), angle.cos()], -1).float(), persistent=False)
        self.register_buffer("sin", torch.cat([-angle.sin(), angle.sin()], -1).float(), persistent=False)

    def forward(self, x: "Float[Tensor, 'batch seq heads head']", start: int = 0) -> "Float[Tensor, 'batch seq heads head']":
        """Turn each position by its angle; the first stands at `start`."""
        half = x.shape[-1] // 2
        cos, sin = (part[:, None].to(x.dtype) for part in self.table(start, x.shape[1]))
        return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin

    def table(self, start: int, length: int) -> "tuple[Float[Tensor, 'seq head'], Float[Tensor, 'seq head']]":
        """Cosines and sines of positions from `start` on; the first half of the sines is negative."""
        return self.cos[start : start + length], self.sin[start : start + length]


class Block(nn.Module):
    """Attention and SwiGLU, each behind a norm and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        width = config.width
        self.layer, self.head_width, self.num_heads = layer, config.head_width, config.num_heads
        self.parts = [width, config.kv_width, config.kv_width]
        self.attention_norm = RMSNorm(width, config.norm_epsilon)
        self.qkv = Linear(width, sum(self.parts), bias=False)
        self.query_norm = RMSNorm(config.head_width, config.norm_epsilon)
        self.key_norm = RMSNorm(config.head_width, config.norm_epsilon)
        self.attention_out = Linear(width, width, bias=False)
        self.mlp_norm = RMSNorm(width, config.norm_epsilon)
        self.gate_up = Linear(width, 2 * config.mlp_width, bias=False)
        self.mlp_out = Linear(config.mlp_width, width, bias=False)

    def forward(
        self, x: "Float[Tensor, 'batch seq width']", rotate: Rotation, mask: "Mask", cache: KeyValueCache | None = None
    ) -> "Float[Tensor, 'batch seq width']":
        x = x + self.attention_out(self._attend(self.attention_norm(x), rotate, mask, cache))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        out: Tensor = x + self.mlp_out(F.silu(gate) * up)
        return out

    def _attend(self, x: Tensor, rotate: Rotation, mask: "Mask", cache: KeyValueCache | None) -> Tensor:
        q, k, v = self._heads(self.qkv(x), rotate, 0 if cache is None else cache.length)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        return attend(q, k, v, mask, causal=cache is None).transpose(1, 2).reshape(x.shape)

    def _heads(self, qkv: Tensor, rotate: Rotation, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values, each (batch, heads, seq, head)."""
        if by_hand.wanted(qkv):
            gains = (self.query_norm.gain, self.key_norm.gain)
            return by_hand.turned_heads(qkv, gains, rotate.table(start, qkv.shape[1]), self.num_heads, self.query_norm.epsilon)
        q, k, v = (part.view(*part.shape[:2], -1, self.head_width) for part in qkv.split_with_sizes(self.parts, -1))
        q, k = rotate(self.query_norm(q), start), rotate(self.key_norm(k), start)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


class Transformer(nn.Module):
    """Tokens in, logits of the next token out."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.rotation = Rotation(config.head_width, config.context_tokens, config.rope_base)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.final_norm = RMSNorm(config.width, config.norm_epsilon)
        self.head_piece: int | None = None
        """Logits of a loss that are held at once; None: as lm/models/head.py sees fit."""
        self.head = None if config.tied_embeddings else Linear(config.width, config.vocab_size, bias=False)
        _draw_weights(self, seed)

    def forward(
        self,
        tokens: "Int[Tensor, 'batch seq']",
        mask: "Mask" = None,
        cache: KeyValueCache | None = None,
        targets: "Int[Tensor, 'batch seq'] | None" = None,
    ) -> "Float[Tensor, 'batch seq vocab'] | Float[Tensor, '']":
        """Logits, or with `targets` their mean cross-entropy in nats, for which they need not be held (lm/models/head.py).

        `mask` (true = may look) replaces the causal mask where documents are to be kept apart.

        With a `cache` the tokens follow those it holds, see all of them, and only their logits are returned.
        Raises: ValueError where the cache has no room for them.
        """
        if cache is not None:
            mask = cache.mask(tokens.shape[1])
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.rotation, mask, cache)
        if cache is not None:
            cache.advance(tokens.shape[1])
        x, weight = self.final_norm(x), self.embedding.weight if self.head is None else self.head.weight
        return linear(x, weight) if targets is None else head_loss(x, weight, targets, self.head_piece)


def _draw_weights(model: Transformer, seed: int) -> None:
    """Normal with 1/sqrt(fan in) inside blocks, HEAD_STD for the head, EMBEDDING_STD for an embedding alone; zero where a block ends."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if name.endswith(("attention_out.weight", "mlp_out.weight")):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            outer = EMBEDDING_STD if name.startswith("embedding") and not model.config.tied_embeddings else HEAD_STD
            std = 1 / math.sqrt(parameter.shape[1]) if name.startswith("blocks") else outer
            nn.init.normal_(parameter, std=std, generator=generator)
