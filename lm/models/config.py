"""The shape of a decoder-only Transformer, and what it costs.

One dial, the depth, sets a size: width is 32 per layer and a head is 32 wide, so `from_depth(4)` is four layers of width 128. A
constant aspect ratio keeps sizes of one ladder comparable; the published ladders use 64 to 128 per layer, which at two layers would
leave a model that is nearly all embedding. Names such as d4w128 are for people; nothing parses them.
"""

from dataclasses import asdict, dataclass
from typing import Any

WIDTH_PER_LAYER = 32
HEAD_WIDTH = 32
MLP_MULTIPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Every number that decides the shape. Raises ValueError where they do not fit together."""

    depth: int
    width: int
    num_heads: int
    mlp_width: int
    context_tokens: int
    vocab_size: int
    tied_embeddings: bool = False
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.num_heads, self.mlp_width, self.context_tokens, self.vocab_size) < 1:
            raise ValueError(f"every size of a model must be at least 1, got {self}")
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width must be an even multiple of num_heads (rotation pairs), got {self.width} and {self.num_heads}")

    @property
    def name(self) -> str:
        """Name of the size, for people."""
        return f"d{self.depth}w{self.width}"

    @property
    def head_width(self) -> int:
        """Numbers per attention head."""
        return self.width // self.num_heads

    @property
    def num_params_embedding(self) -> int:
        """Token embedding, and the output head where it is not the same matrix."""
        return self.vocab_size * self.width * (1 if self.tied_embeddings else 2)

    @property
    def num_params_non_embedding(self) -> int:
        """Trainable parameters of layers and norms: per layer 4 w^2 (attention), 3 w h (SwiGLU), 2 w + 2 w/heads (norms); w at the end."""
        w, h = self.width, self.mlp_width
        return self.depth * (4 * w * w + 3 * w * h + 2 * w + 2 * self.head_width) + w

    @property
    def num_params(self) -> int:
        """Trainable parameters, embedding included; a tied head counts once."""
        return self.num_params_non_embedding + self.num_params_embedding

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of one training token, forward and backward: 6 N + 12 depth width context.

        N = matrices that multiply: non-embedding parameters and the output head (tied or not), for looking a token up costs
        nothing and the head costs as much as any matrix; at these sizes it is a fifth to a half of the work. The second term is
        attention over the whole square; the causal half is not deducted. Norms, softmax and the optimizer are left out.
        Source: arXiv:2001.08361 section 2.1 and arXiv:2204.02311 appendix B, with the head added.
        """
        n = self.num_params_non_embedding + self.vocab_size * self.width
        return 6.0 * n + 12.0 * self.depth * self.width * self.context_tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def from_depth(depth: int, *, vocab_size: int, context_tokens: int, tied_embeddings: bool = False) -> ModelConfig:
    """The size that belongs to a depth: width 32 x depth, heads of 32, SwiGLU of 8/3 width rounded up to 16."""
    width = WIDTH_PER_LAYER * depth
    return ModelConfig(
        depth=depth,
        width=width,
        num_heads=max(1, width // HEAD_WIDTH),
        mlp_width=-(-8 * width // (3 * MLP_MULTIPLE)) * MLP_MULTIPLE,
        context_tokens=context_tokens,
        vocab_size=vocab_size,
        tied_embeddings=tied_embeddings,
    )


DEPTHS: dict[str, int] = {f"d{depth}w{WIDTH_PER_LAYER * depth}": depth for depth in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)}


def preset(name: str, *, vocab_size: int, context_tokens: int, tied_embeddings: bool = False) -> ModelConfig:
    """A size by name. Raises: ValueError naming the sizes there are."""
    if name not in DEPTHS:
        raise ValueError(f"model must be one of {', '.join(DEPTHS)}; got {name!r}")
    return from_depth(DEPTHS[name], vocab_size=vocab_size, context_tokens=context_tokens, tied_embeddings=tied_embeddings)
