"""The shape of a decoder-only model, and what it costs.

One dial sets a size. The depth: width is 32 per layer and a head is 32 wide, so `from_depth(4)` is four layers of width 128; a
constant aspect ratio keeps sizes of one ladder comparable. The published ladders use 64 to 128 per layer, which at two layers would
leave a model that is nearly all embedding; for models beyond some hundred million parameters ask for 64 or 128 per layer and heads
of 64 or 128. Or the parameters: `from_params` searches depth and width for the count asked for. Names such as d4w128 are for
people; nothing parses them.

What was added to a configuration later stands in its JSON only where it is not the default, so the id of a run that uses none of
it is what it was before.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

WIDTH_PER_LAYER = 32
HEAD_WIDTH = 32
MLP_MULTIPLE = 16
MAX_DEPTH = 128
PARAMS_TOLERANCE = 0.05
"""How far from the parameters asked for a size may be for nothing; beyond, a tenth weighs as much as twice the width per layer."""

Architecture = Literal["transformer", "gpt2"]


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
    num_kv_heads: int | None = None
    """Heads of keys and values, each shared by num_heads / num_kv_heads queries; None: as many as num_heads. Source: arXiv:2305.13245."""
    architecture: Architecture = "transformer"
    """transformer: lm/models/transformer.py. gpt2: lm/models/gpt2.py, which has no rotation and always ties its embeddings."""

    def __post_init__(self) -> None:
        kv_heads = self.num_kv_heads if self.num_kv_heads is not None else self.num_heads
        if min(self.depth, self.width, self.num_heads, self.mlp_width, self.context_tokens, self.vocab_size, kv_heads) < 1:
            raise ValueError(f"every size of a model must be at least 1, got {self}")
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width must be an even multiple of num_heads (rotation pairs), got {self.width} and {self.num_heads}")
        if self.num_heads % kv_heads:
            raise ValueError(f"num_heads must be a multiple of num_kv_heads, got {self.num_heads} and {kv_heads}")
        if self.architecture not in ("transformer", "gpt2"):
            raise ValueError(f"architecture must be transformer or gpt2, got {self.architecture!r}")
        if self.architecture == "gpt2" and not (self.tied_embeddings and kv_heads == self.num_heads):
            raise ValueError("GPT-2 ties its embeddings and has as many key heads as query heads; set tied_embeddings and no num_kv_heads")

    @property
    def name(self) -> str:
        """Name of the size, for people."""
        shape = f"d{self.depth}w{self.width}"
        return shape if self.architecture == "transformer" else f"{self.architecture}-{shape}"

    @property
    def head_width(self) -> int:
        """Numbers per attention head."""
        return self.width // self.num_heads

    @property
    def kv_width(self) -> int:
        """Numbers of the keys of one position, over all heads; the values are as many."""
        return (self.num_kv_heads or self.num_heads) * self.head_width

    @property
    def num_params_embedding(self) -> int:
        """Token embedding, the output head where it is not the same matrix, and GPT-2's learned positions."""
        positions = self.context_tokens * self.width if self.architecture == "gpt2" else 0
        return self.vocab_size * self.width * (1 if self.tied_embeddings else 2) + positions

    @property
    def num_params_matrices(self) -> int:
        """Entries of the matrices of all blocks: what multiplies. Embedding and head are not among them.

        Per layer 2 w^2 + 2 w k for attention (k: width of keys) and 3 w h for SwiGLU, or 2 w h for GPT-2's perceptron.
        """
        w, h = self.width, self.mlp_width
        return self.depth * (2 * w * w + 2 * w * self.kv_width + (2 if self.architecture == "gpt2" else 3) * w * h)

    @property
    def num_params_non_embedding(self) -> int:
        """Trainable parameters of layers and norms.

        Beside the matrices 2 w + 2 head widths per layer and w at the end (gains). GPT-2: 4 w (norms) + 5 w + h (biases) and 2 w.
        """
        w = self.width
        if self.architecture == "gpt2":
            return self.num_params_matrices + self.depth * (9 * w + self.mlp_width) + 2 * w
        return self.num_params_matrices + self.depth * (2 * w + 2 * self.head_width) + w

    @property
    def num_params(self) -> int:
        """Trainable parameters, embedding included; a tied head counts once."""
        return self.num_params_non_embedding + self.num_params_embedding

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of one training token, forward and backward: 6 N + 12 depth width context.

        N = non-embedding parameters and the output head (tied or not), for looking a token up costs nothing and the head costs as
        much as any matrix; at these sizes it is a fifth to a half of the work. The second term is attention over the whole square;
        the causal half is not deducted, and heads that share keys do not lower it. Norms, softmax and the optimizer are left out.
        Source: arXiv:2001.08361 section 2.1 and arXiv:2204.02311 appendix B, with the head added.
        """
        return self.flops_per_token_non_embedding + 6.0 * self.vocab_size * self.width

    @property
    def flops_per_token_non_embedding(self) -> float:
        """The same without the head: what the blocks cost."""
        return 6.0 * self.num_params_non_embedding + 12.0 * self.depth * self.width * self.context_tokens

    @property
    def forward_matmul_flops(self) -> float:
        """Operations of all matrix products of one token going forward, exactly: a product and a sum per entry.

        2 (matrices + head) + 4 depth width context. Three times that is `flops_per_token` but for gains and biases, which that
        formula counts as if they multiplied: under 1% from d4w128 on.
        """
        return 2.0 * (self.num_params_matrices + self.vocab_size * self.width) + 4.0 * self.depth * self.width * self.context_tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what was added later is left out where it is the default."""
        later = {field.name: field.default for field in fields(self) if field.name in ("num_kv_heads", "architecture")}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


def from_depth(
    depth: int,
    *,
    vocab_size: int,
    context_tokens: int,
    tied_embeddings: bool = False,
    width_per_layer: int = WIDTH_PER_LAYER,
    head_width: int = HEAD_WIDTH,
    queries_per_key: int = 1,
) -> ModelConfig:
    """The size that belongs to a depth: width 32 x depth, heads of 32, SwiGLU of 8/3 width rounded up to 16.

    `queries_per_key`: query heads that share one head of keys and values.
    Raises: ValueError where width or heads do not divide.
    """
    return _shape(depth, width_per_layer * depth, head_width, queries_per_key, vocab_size, context_tokens, tied_embeddings)


def _shape(
    depth: int, width: int, head_width: int, queries_per_key: int, vocab_size: int, context_tokens: int, tied_embeddings: bool
) -> ModelConfig:
    num_heads = max(1, width // head_width)
    if num_heads % queries_per_key:
        raise ValueError(f"{num_heads} heads can't be shared by {queries_per_key}; queries_per_key must divide their number")
    return ModelConfig(
        depth=depth,
        width=width,
        num_heads=num_heads,
        mlp_width=-(-8 * width // (3 * MLP_MULTIPLE)) * MLP_MULTIPLE,
        context_tokens=context_tokens,
        vocab_size=vocab_size,
        tied_embeddings=tied_embeddings,
        num_kv_heads=None if queries_per_key == 1 else num_heads // queries_per_key,
    )


def from_params(
    num_params: float,
    *,
    vocab_size: int,
    context_tokens: int,
    tied_embeddings: bool = False,
    count: Literal["all", "non_embedding"] = "all",
    width_per_layer: int = WIDTH_PER_LAYER,
    head_width: int = HEAD_WIDTH,
    queries_per_key: int = 1,
) -> ModelConfig:
    """The size nearest to a number of parameters, with the embedding or without.

    Widths are whole heads. Every depth and width is weighed: how far its count is off beyond 5%, and how far its width per layer is
    from `width_per_layer`. Raises: ValueError if what is best misses the target by more than half.
    """
    if num_params <= 0:
        raise ValueError(f"num_params must be above 0, got {num_params}")
    step = head_width * queries_per_key

    def at(depth: int, steps: int) -> ModelConfig:
        return _shape(depth, steps * step, head_width, queries_per_key, vocab_size, context_tokens, tied_embeddings)

    def miss(model: ModelConfig) -> float:
        return abs((model.num_params if count == "all" else model.num_params_non_embedding) / num_params - 1)

    def weight(model: ModelConfig) -> float:
        return 10 * max(0.0, miss(model) - PARAMS_TOLERANCE) + abs(math.log2(model.width / model.depth / width_per_layer))

    sizes = [at(depth, steps) for depth in range(1, MAX_DEPTH + 1) for steps in _nearby(depth, num_params, step)]
    best = min(sizes, key=weight)
    if miss(best) > 0.5:
        found = best.num_params if count == "all" else best.num_params_non_embedding
        raise ValueError(
            f"no size has about {num_params:,.0f} parameters; the nearest, {best.name}, has {found:,}: use a smaller vocabulary"
        )
    return best


def _nearby(depth: int, num_params: float, step: int) -> range:
    """Widths worth trying, in steps: up to that whose blocks alone hold the target (12 width^2 per layer, less with shared keys)."""
    return range(1, max(1, int((num_params / (10 * depth)) ** 0.5 / step) + 1) + 1)


def gpt2(depth: int, width: int, *, vocab_size: int, context_tokens: int, num_heads: int | None = None) -> ModelConfig:
    """GPT-2's shape: heads of 64 (at least one), a perceptron of four widths, tied embeddings. Source: Radford et al., 2019."""
    return ModelConfig(
        depth=depth,
        width=width,
        num_heads=num_heads or max(1, width // 64),
        mlp_width=4 * width,
        context_tokens=context_tokens,
        vocab_size=vocab_size,
        tied_embeddings=True,
        norm_epsilon=1e-5,
        architecture="gpt2",
    )


DEPTHS: dict[str, int] = {f"d{depth}w{WIDTH_PER_LAYER * depth}": depth for depth in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)}
GPT2_SHAPES: dict[str, tuple[int, int]] = {"gpt2": (12, 768), "gpt2-medium": (24, 1024), "gpt2-large": (36, 1280), "gpt2-xl": (48, 1600)}
"""Depth and width as published; with 50,257 entries and 1,024 positions the first has 124,439,808 parameters."""
_UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


def preset(name: str, *, vocab_size: int, context_tokens: int, tied_embeddings: bool = False) -> ModelConfig:
    """A size by name: d4w128, gpt2-medium, or parameters such as 25M. Raises: ValueError naming the sizes there are."""
    if name in GPT2_SHAPES:
        return gpt2(*GPT2_SHAPES[name], vocab_size=vocab_size, context_tokens=context_tokens)
    if name in DEPTHS:
        return from_depth(DEPTHS[name], vocab_size=vocab_size, context_tokens=context_tokens, tied_embeddings=tied_embeddings)
    target = _params_of(name)
    if target is None:
        raise ValueError(
            f"model must be one of {', '.join([*DEPTHS, *GPT2_SHAPES])}, or a number of parameters such as 500k, 25M, 1.3B; got {name!r}"
        )
    return from_params(target, vocab_size=vocab_size, context_tokens=context_tokens, tied_embeddings=tied_embeddings)


def _params_of(name: str) -> float | None:
    number, unit = name[:-1], _UNITS.get(name[-1:])
    try:
        return float(number) * unit if unit else None
    except ValueError:
        return None
