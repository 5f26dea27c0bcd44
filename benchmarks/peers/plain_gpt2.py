"""A GPT-2 and its training step as small public trainers write them (karpathy/nanoGPT), on a CPU.

Modules of torch, one call per operation: LayerNorm, one matrix for queries, keys and values, torch's fused attention, GELU, learned
positions, a head tied to the embedding; AdamW as it comes where there is no GPU (one loop over parameters, decay on all matrices), the
gradient clipped at 1, batches cut out of an array of 16-bit numbers. Without dropout, and without biases unless asked for, as in that
project's example for a CPU, which leaves GELU exact; `published` asks for what OpenAI published: biases and GELU by tanh.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainNorm(nn.Module):
    """LayerNorm whose bias is a choice."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class PlainAttention(nn.Module):
    """Causal attention of all heads."""

    def __init__(self, width: int, num_heads: int, bias: bool) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.c_proj = nn.Linear(width, width, bias=bias)
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.size()
        q, k, v = (
            part.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2) for part in self.c_attn(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
        out: Tensor = self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))
        return out


class PlainBlock(nn.Module):
    """Attention and a perceptron of four widths, each behind a norm and added to the stream."""

    def __init__(self, width: int, num_heads: int, published: bool) -> None:
        super().__init__()
        self.ln_1 = PlainNorm(width, published)
        self.attn = PlainAttention(width, num_heads, published)
        self.ln_2 = PlainNorm(width, published)
        self.c_fc = nn.Linear(width, 4 * width, bias=published)
        self.gelu = nn.GELU(approximate="tanh" if published else "none")
        self.c_proj = nn.Linear(4 * width, width, bias=published)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))
        return out


class PlainGPT2(nn.Module):
    """Tokens and targets in, mean loss out."""

    def __init__(self, depth: int, num_heads: int, width: int, context_tokens: int, vocab_size: int, *, published: bool) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, width)
        self.wpe = nn.Embedding(context_tokens, width)
        self.h = nn.ModuleList(PlainBlock(width, num_heads, published) for _ in range(depth))
        self.ln_f = PlainNorm(width, published)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if name.endswith("c_proj.weight") else 0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        places = torch.arange(0, tokens.size(1), dtype=torch.long, device=tokens.device)
        x = self.wte(tokens) + self.wpe(places)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


class PlainTrainer:
    """One step after another over an array of tokens."""

    def __init__(self, model: PlainGPT2, tokens: np.ndarray, rows: int, context_tokens: int, weight_decay: float = 0.1) -> None:
        self.model, self._tokens, self._rows, self._context = model, tokens.astype(np.uint16), rows, context_tokens
        matrices = [p for p in model.parameters() if p.dim() >= 2]
        others = [p for p in model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
        self.step = 0

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The rows that follow: the same that our loader gives, cut the way a random crop would be."""
        starts = [(self.step * self._rows + row) * self._context for row in range(self._rows)]
        x = torch.stack([torch.from_numpy(self._tokens[i : i + self._context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(self._tokens[i + 1 : i + 1 + self._context].astype(np.int64)) for i in starts])
        return x, y

    def advance(self, learning_rate: float) -> Tensor:
        """One step; returns the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss: Tensor = self.model(*self._batch())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()
