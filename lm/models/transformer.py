"""A decoder-only Transformer: RMSNorm before each part, rotary positions, QK-norm, SwiGLU, no biases.

It is Qwen3's architecture to the letter, so weights can be exported to it and run elsewhere; query, key and value share one matrix
here, and so do gate and up, because at these sizes time goes to launching operations. Output projections start at zero: every block is
the identity at first and the loss starts near ln(vocab_size). Heads of keys and values may be fewer than those of queries. Plain cross-
entropy over flattened logits stays, for a chunked one that never holds them all saved a tenth of the head's time at 2,048 entries and a
quarter at 4,096. The head is a matrix of its own unless the configuration ties it to the embedding: it costs no work, and at two layers
of width 64 after 262,144 tokens it scored 4.89 nats where tied ones reached 5.02 at their best rates. The same seed gives the same
weights on every device, because they are drawn on the CPU.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm.models.attention import KeyValueCache, attend, document_mask
from lm.models.config import ModelConfig

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
        end, half = start + x.shape[1], x.shape[-1] // 2
        cos, sin = self.cos[start:end, None].to(x.dtype), self.sin[start:end, None].to(x.dtype)
        return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin


class Block(nn.Module):
    """Attention and SwiGLU, each behind a norm and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        width = config.width
        self.layer, self.head_width = layer, config.head_width
        self.parts = [width, config.kv_width, config.kv_width]
        self.attention_norm = RMSNorm(width, config.norm_epsilon)
        self.qkv = nn.Linear(width, sum(self.parts), bias=False)
        self.query_norm = RMSNorm(config.head_width, config.norm_epsilon)
        self.key_norm = RMSNorm(config.head_width, config.norm_epsilon)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = RMSNorm(width, config.norm_epsilon)
        self.gate_up = nn.Linear(width, 2 * config.mlp_width, bias=False)
        self.mlp_out = nn.Linear(config.mlp_width, width, bias=False)

    def forward(
        self, x: "Float[Tensor, 'batch seq width']", rotate: Rotation, mask: "Mask", cache: KeyValueCache | None = None
    ) -> "Float[Tensor, 'batch seq width']":
        x = x + self.attention_out(self._attend(self.attention_norm(x), rotate, mask, cache))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        out: Tensor = x + self.mlp_out(F.silu(gate) * up)
        return out

    def _attend(self, x: Tensor, rotate: Rotation, mask: "Mask", cache: KeyValueCache | None) -> Tensor:
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in self.qkv(x).split(self.parts, -1))
        start = 0 if cache is None else cache.length
        q, k = rotate(self.query_norm(q), start), rotate(self.key_norm(k), start)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        return attend(q, k, v, mask, causal=cache is None).transpose(1, 2).reshape(x.shape)


class Transformer(nn.Module):
    """Tokens in, logits of the next token out."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.rotation = Rotation(config.head_width, config.context_tokens, config.rope_base)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.final_norm = RMSNorm(config.width, config.norm_epsilon)
        self.head = None if config.tied_embeddings else nn.Linear(config.width, config.vocab_size, bias=False)
        _draw_weights(self, seed)

    def forward(
        self, tokens: "Int[Tensor, 'batch seq']", mask: "Mask" = None, cache: KeyValueCache | None = None
    ) -> "Float[Tensor, 'batch seq vocab']":
        """Logits. `mask` (true = may look) replaces the causal mask where documents are to be kept apart.

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
        return F.linear(self.final_norm(x), self.embedding.weight if self.head is None else self.head.weight)


def token_losses(logits: "Float[Tensor, 'batch seq vocab']", targets: "Int[Tensor, 'batch seq']") -> "Float[Tensor, 'batch seq']":
    """Cross-entropy of each target in nats, in float32 whatever the logits' type."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)


def mean_loss(logits: "Float[Tensor, 'batch seq vocab']", targets: "Int[Tensor, 'batch seq']") -> "Float[Tensor, '']":
    """Mean cross-entropy in nats per token, in float32 whatever the logits' type."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


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
