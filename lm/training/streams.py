"""The tokens a run sees, step by step, as its configuration says: in rank order once, a limited set again and again, or a mix.

    unique_tokens   the first so many tokens of the ladder are all there is; they come again in epochs, each after the first in an
                    order of its own that the run's seed decides. Rungs beyond them are runs on repeated data.
    mix             rows from several sources by weight, with exact counts. A source is a host or a domain with all its hosts, as the
                    selection names them; * is every host that no other source of the mix takes. With `unique_tokens` too, the first
                    so many tokens of the mix are all there is, and each source repeats its own part of them.

How far a run goes changes no batch before, so a ladder can grow in all of these.
"""

from dataclasses import replace

from lm.tokens.loader import IN_MEMORY_TOKENS, MissingTokensError, Stream, TokenStream
from lm.tokens.mix import MixedStream, token_counts
from lm.tokens.selection import TokenData
from lm.training.config import TrainConfig
from lm.training.errors import ConfigError


def open_stream(config: TrainConfig, data: TokenData, num_tokens: int, *, in_memory_tokens: int = IN_MEMORY_TOKENS) -> Stream:
    """The first `num_tokens` tokens of a run.

    Raises: MissingTokensError saying how many are missing and of what, FileNotFoundError, ConfigError for a vocabulary too small.
    """
    if config.mix:
        stream: Stream = _mixed(config, data, num_tokens, in_memory_tokens)
    else:
        stream = TokenStream.open(data, num_tokens, unique_tokens=config.unique_tokens, seed=config.seed, in_memory_tokens=in_memory_tokens)
    if stream.max_token >= config.model.vocab_size:
        raise ConfigError(f"vocab_size {config.model.vocab_size} is too small for token {stream.max_token}; use the tokenizer's vocab_size")
    return stream


def _mixed(config: TrainConfig, data: TokenData, num_tokens: int, in_memory_tokens: int) -> MixedStream:
    names, weights = [name for name, _ in config.mix], [weight for _, weight in config.mix]
    context = config.model.context_tokens
    wanted = token_counts(weights, num_tokens, context)
    unique = None if config.unique_tokens is None else token_counts(weights, config.unique_tokens, context)
    if unique is not None and 0 in unique:
        raise ConfigError(f"unique_tokens {config.unique_tokens} leave no row of {names[unique.index(0)]} in the mix; raise them")
    streams = []
    for i, name in enumerate(names):
        source = replace(data, source=name, sources=tuple(names))
        options = {"seed": config.seed, "in_memory_tokens": in_memory_tokens // len(names)}
        try:
            limit = None if unique is None else unique[i]
            streams.append(TokenStream.open(source, max(context, wanted[i]), unique_tokens=limit, **options))
        except MissingTokensError as error:
            raise MissingTokensError(f"source {name} of the mix: {error}; or give it less weight, or set unique_tokens") from error
        except ValueError as error:
            raise ConfigError(f"a mix names sources that there are: {error}") from error
    return MixedStream(dict(zip(names, zip(streams, weights, strict=True), strict=True)), num_tokens, context)
