"""Attention as both architectures use it, what may look at what, and the keys and values kept while text is generated.

torch's fused attention does the work: without a mask it is causal, with one it takes a matrix of truth values, which costs memory
and time for the square of the context. On a GPU a `BlockMask` from `document_blocks` does better, for FlexAttention skips blocks
that are hidden whole; it runs on a CPU too, slowly, and is imported only where it is asked for.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lm.models.config import ModelConfig

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch.nn.attention.flex_attention import BlockMask

    Mask = Tensor | BlockMask | None

_compiled: dict[str, Any] = {}


def attend(
    q: "Float[Tensor, 'batch heads queries head']",
    k: "Float[Tensor, 'batch kv_heads keys head']",
    v: "Float[Tensor, 'batch kv_heads keys head']",
    mask: "Mask",
    *,
    causal: bool = True,
) -> "Float[Tensor, 'batch heads queries head']":
    """Softmax attention, scaled by 1/sqrt(head). `mask` replaces the causal one; heads of keys may be fewer than those of queries."""
    shared = q.shape[1] != k.shape[1]
    if mask is None or isinstance(mask, Tensor):
        options = {"enable_gqa": True} if shared else {}
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None, **options)
    found: Tensor = _flex(q.device.type)(q, k, v, block_mask=mask, enable_gqa=shared)
    return found


def _flex(device: str) -> Any:
    """FlexAttention, compiled once on a GPU, where alone that makes it fast."""
    from torch.nn.attention.flex_attention import flex_attention

    if device == "cpu":
        return flex_attention
    return _compiled.setdefault("flex", torch.compile(flex_attention))


def document_mask(tokens: "Int[Tensor, 'batch seq']", end_of_document: int) -> "Bool[Tensor, 'batch 1 seq seq']":
    """Causal mask that also hides earlier documents; an end-of-document token opens the document after it."""
    document = (tokens == end_of_document).cumsum(1)
    same = document[:, :, None] == document[:, None, :]
    causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
    return (same & causal)[:, None]


def document_blocks(tokens: "Int[Tensor, 'batch seq']", end_of_document: int) -> "BlockMask":
    """The mask of `document_mask` for FlexAttention, which skips what it hides in whole blocks of 128."""
    from torch.nn.attention.flex_attention import create_block_mask

    document = (tokens == end_of_document).cumsum(1)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (document[batch, query] == document[batch, key])

    batch, length = tokens.shape
    return create_block_mask(visible, batch, None, length, length, device=tokens.device.type)


class KeyValueCache:
    """Keys and values of the tokens read so far, for each layer; room is taken at once for a whole context.

    A forward pass with a cache reads only new tokens: it appends to every layer and then counts them with `advance`.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        heads = config.num_kv_heads or config.num_heads
        shape = (config.depth, 2, batch, heads, config.context_tokens, config.head_width)
        self._store = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Tokens it can hold: the context."""
        return self._store.shape[4]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep new keys and values of a layer, without gradients; returns all of that layer."""
        end = self.length + k.shape[2]
        self._store[layer, 0, :, :, self.length : end] = k.detach()
        self._store[layer, 1, :, :, self.length : end] = v.detach()
        return self._store[layer, 0, :, :, :end], self._store[layer, 1, :, :, :end]

    def advance(self, num_tokens: int) -> None:
        """Count tokens that all layers have appended."""
        self.length += num_tokens

    def mask(self, num_new: int) -> "Bool[Tensor, 'new all'] | None":
        """What new tokens see: all before and themselves. None for a single one, which sees everything.

        Raises: ValueError if there is no room for them.
        """
        if self.length + num_new > self.capacity:
            raise ValueError(f"{self.length + num_new} tokens are more than the context of {self.capacity}; begin with a new cache")
        if num_new == 1:
            return None
        return torch.ones(num_new, self.length + num_new, dtype=torch.bool, device=self._store.device).tril(self.length)
