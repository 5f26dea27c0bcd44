"""The module that belongs to a configuration."""

from lm.models.config import ModelConfig
from lm.models.gpt2 import GPT2
from lm.models.transformer import Transformer

Model = Transformer | GPT2


def build(config: ModelConfig, seed: int = 0) -> Model:
    """A model with first weights drawn from the seed."""
    return GPT2(config, seed) if config.architecture == "gpt2" else Transformer(config, seed)
