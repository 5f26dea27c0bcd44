"""Small models of every shape, with weights that make each part matter."""

import torch

from lm.models.build import Model, build
from lm.models.config import ModelConfig, from_depth, gpt2

VOCAB, CONTEXT = 128, 32
SHAPES: dict[str, ModelConfig] = {
    "transformer": from_depth(2, vocab_size=VOCAB, context_tokens=CONTEXT),
    "tied": from_depth(2, vocab_size=VOCAB, context_tokens=CONTEXT, tied_embeddings=True),
    "shared keys": from_depth(2, vocab_size=VOCAB, context_tokens=CONTEXT, width_per_layer=64, queries_per_key=2),
    "gpt2": gpt2(2, 64, vocab_size=VOCAB, context_tokens=CONTEXT, num_heads=4),
}


def random_model(config: ModelConfig, seed: int = 0) -> Model:
    """A model whose every weight, also those that start at zero or one, is random."""
    model = build(config, seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            near_one = parameter.dim() == 1 and not name.endswith("bias")
            parameter.normal_(mean=float(near_one), std=0.2 if parameter.dim() == 1 else parameter.shape[1] ** -0.5, generator=generator)
    return model


def random_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    """Token ids from 1 on; 0 is kept for the end of documents."""
    return torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(seed))
