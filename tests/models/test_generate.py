"""Generation: the cache changes nothing, draws are those asked for, texts may be longer than the context."""

import itertools

import pytest
import torch

from lm.models.attention import KeyValueCache
from lm.models.generate import generate, sample
from tests.models.model_maker import CONTEXT, SHAPES, random_model, random_tokens

shapes = pytest.mark.parametrize("shape", SHAPES)


@shapes
@pytest.mark.parametrize("cuts", [[32], [1] * 32, [5, 1, 1, 20, 5]])
def test_logits_with_a_cache_are_those_without(shape: str, cuts: list[int]) -> None:
    model, tokens = random_model(SHAPES[shape]), random_tokens(2, 32)
    cache = KeyValueCache(model.config, 2)
    ends = list(itertools.accumulate(cuts))
    with torch.inference_mode():
        pieces = [model(tokens[:, end - length : end], None, cache) for end, length in zip(ends, cuts, strict=True)]
        assert torch.allclose(torch.cat(pieces, 1), model(tokens), atol=1e-4)
    with pytest.raises(ValueError, match="more than the context of 32"):
        model(tokens[:, :1], None, cache)


@shapes
def test_generated_tokens_do_not_depend_on_the_cache(shape: str) -> None:
    model, prompt = random_model(SHAPES[shape]), random_tokens(7).tolist()
    for temperature in (0.0, 0.8):
        cached, uncached = (
            list(generate(model, prompt, 3 * CONTEXT, temperature=temperature, top_k=20, seed=5, use_cache=use)) for use in (True, False)
        )
        assert cached == uncached
        assert len(cached) == 3 * CONTEXT
    assert list(generate(model, prompt, 20, seed=1)) != list(generate(model, prompt, 20, seed=2))


def test_it_stops_at_the_end_of_a_document() -> None:
    model, prompt = random_model(SHAPES["transformer"]), random_tokens(4).tolist()
    drawn = list(generate(model, prompt, 40, seed=3))
    stop = drawn[10]
    assert list(generate(model, prompt, 40, seed=3, stop=stop)) == drawn[: drawn.index(stop)]


def test_draws_have_the_probabilities_asked_for() -> None:
    probabilities = torch.tensor([0.1, 0.4, 0.3, 0.2])
    logits = probabilities.log() + 3

    def shares(**options: float) -> list[float]:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.tensor([sample(logits, generator, **options) for _ in range(4000)])
        return [float((drawn == token).float().mean()) for token in range(4)]

    def near(*expected: float) -> object:
        return pytest.approx(expected, abs=0.03)

    assert tuple(shares()) == near(0.1, 0.4, 0.3, 0.2)
    assert tuple(shares(top_k=2)) == near(0, 4 / 7, 3 / 7, 0)
    assert tuple(shares(top_p=0.75)) == near(0, 4 / 9, 3 / 9, 2 / 9)
    assert tuple(shares(top_p=0.39)) == (0, 1, 0, 0)
    assert tuple(shares(temperature=0.5)) == near(*(probabilities**2 / (probabilities**2).sum()).tolist())
    assert tuple(shares(temperature=0)) == (0, 1, 0, 0)


def test_settings_out_of_range_are_explained() -> None:
    model = random_model(SHAPES["transformer"])
    for prompt, options, says in (
        ([], {}, "at least one token"),
        ([128], {}, "tokens 0 to 127, the prompt holds 128"),
        ([1], {"top_p": 0.0}, "top_p in"),
        ([1], {"top_k": 0}, "top_k of at least 1"),
        ([1], {"temperature": -1.0}, "temperature of at least 0"),
    ):
        with pytest.raises(ValueError, match=says):
            next(generate(model, prompt, 1, **options))  # type: ignore[arg-type]
