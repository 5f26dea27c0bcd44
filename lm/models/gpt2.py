"""GPT-2 as published: learned positions, LayerNorm before each part, GELU, biases, the embedding as its head.

The second architecture, for comparison with what others have measured and for weights that are public. Query, key and value share a
matrix, as there. Dropout is left out: it was for data seen many times, and without it nothing random happens after the first
weights. The first weights are those of the published code: 0.02, positions 0.01, and what ends a block divided by
sqrt(2 depth), so that the stream does not grow with depth. Source: Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019.
"""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm.models import by_hand
from lm.models.attention import KeyValueCache, attend
from lm.models.config import ModelConfig
from lm.models.head import head_loss
from lm.models.linear import Linear, linear

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from lm.models.attention import Mask

STD = 0.02
POSITION_STD = 0.01


class GPT2Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width = config.width
        self.layer, self.head_width = layer, config.head_width
        self.attention_norm = nn.LayerNorm(width, config.norm_epsilon)
        self.qkv = Linear(width, 3 * width)
        self.attention_out = Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, config.norm_epsilon)
        self.mlp_in = Linear(width, config.mlp_width)
        self.mlp_out = Linear(config.mlp_width, width)

    def forward(
        self, x: "Float[Tensor, 'batch seq width']", mask: "Mask", cache: KeyValueCache | None = None
    ) -> "Float[Tensor, 'batch seq width']":
        x = x + self.attention_out(self._attend(self.attention_norm(x), mask, cache))
        hidden = self.mlp_in(self.mlp_norm(x))
        out: Tensor = x + self.mlp_out(by_hand.gelu(hidden) if by_hand.wanted(hidden) else F.gelu(hidden, approximate="tanh"))
        return out

    def _attend(self, x: Tensor, mask: "Mask", cache: KeyValueCache | None) -> Tensor:
        q, k, v = (part.unflatten(-1, (-1, self.head_width)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        return attend(q, k, v, mask, causal=cache is None).transpose(1, 2).reshape(x.shape)


class GPT2(nn.Module):
    """Tokens in, logits of the next token out."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.context_tokens, config.width)
        self.blocks = nn.ModuleList(GPT2Block(config, layer) for layer in range(config.depth))
        self.final_norm = nn.LayerNorm(config.width, config.norm_epsilon)
        self.head_piece: int | None = None
        """Logits of a loss that are held at once; None: as lm/models/head.py sees fit."""
        _draw_weights(self, seed)

    def forward(
        self,
        tokens: "Int[Tensor, 'batch seq']",
        mask: "Mask" = None,
        cache: KeyValueCache | None = None,
        targets: "Int[Tensor, 'batch seq'] | None" = None,
    ) -> "Float[Tensor, 'batch seq vocab'] | Float[Tensor, '']":
        """Logits, or with `targets` their mean cross-entropy; `mask` and `cache` as in `Transformer.forward`.

        Positions count from the start of the row, not of a document.
        """
        if cache is not None:
            mask = cache.mask(tokens.shape[1])
        start = 0 if cache is None else cache.length
        x = self.embedding(tokens) + self.positions.weight[start : start + tokens.shape[1]]
        for block in self.blocks:
            x = block(x, mask, cache)
        if cache is not None:
            cache.advance(tokens.shape[1])
        x, weight = self.final_norm(x), self.embedding.weight
        return linear(x, weight) if targets is None else head_loss(x, weight, targets, self.head_piece)


def _draw_weights(model: GPT2, seed: int) -> None:
    """Drawn on the CPU in the order of names, so that the same seed gives the same weights on every device."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.dim() == 2:
            std = POSITION_STD if name.startswith("positions") else STD
            ends = name.endswith(("attention_out.weight", "mlp_out.weight"))
            nn.init.normal_(parameter, std=std / math.sqrt(2 * model.config.depth) if ends else std, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
