"""The Transformer: sizes by hand, causality, rotation, and what it is before training."""

import math
from typing import Literal

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lm.models.attention import document_blocks
from lm.models.build import build
from lm.models.config import DEPTHS, GPT2_SHAPES, ModelConfig, from_depth, from_params, gpt2, preset
from lm.models.transformer import Rotation, Transformer, document_mask, mean_loss, token_losses
from tests.models.model_maker import SHAPES, random_model, random_tokens

SMALL = from_depth(2, vocab_size=128, context_tokens=32)


def trained_looking(config: ModelConfig, seed: int = 0) -> Transformer:
    """A model whose zero matrices were given values, so that attention matters."""
    model = Transformer(config, seed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("attention_out.weight", "mlp_out.weight")):
                parameter.normal_(std=0.1, generator=generator)
    return model


def tokens_of(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 128, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "vocab", "num_params", "non_embedding"),
    [
        # d2w64: 2 x (4 x 4096 attention + 3 x 64 x 176 SwiGLU + 2 x 64 + 2 x 32 norms) + 64, and twice 2048 x 64
        ("d2w64", 2048, 362_944, 100_800),
        # d4w128: 4 x (4 x 16384 + 3 x 128 x 352 + 2 x 128 + 2 x 32) + 128, and twice 4096 x 128
        ("d4w128", 4096, 1_852_800, 804_224),
    ],
)
def test_known_sizes(name: str, vocab: int, num_params: int, non_embedding: int) -> None:
    config = preset(name, vocab_size=vocab, context_tokens=128)
    assert (config.name, config.num_params, config.num_params_non_embedding) == (name, num_params, non_embedding)
    multiplied = num_params - vocab * config.width  # all but the embedding, which is looked up
    assert config.flops_per_token == 6 * multiplied + 12 * config.depth * config.width * 128


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["tied", "untied", "shared keys", "gpt2"])
def test_counts_are_those_of_the_module(depth: int, kind: str) -> None:
    sizes = {"vocab_size": 300, "context_tokens": 16}
    config = {
        "tied": lambda: from_depth(depth, tied_embeddings=True, **sizes),
        "untied": lambda: from_depth(depth, **sizes),
        "shared keys": lambda: from_depth(depth, width_per_layer=64, queries_per_key=2, **sizes),
        "gpt2": lambda: gpt2(depth, 64 * depth, **sizes),
    }[kind]()
    counts = {name: parameter.numel() for name, parameter in build(config).named_parameters()}
    outside = sum(count for name, count in counts.items() if name.startswith(("embedding", "head", "positions")))
    matrices = sum(p.numel() for name, p in build(config).named_parameters() if name.startswith("blocks") and p.dim() == 2)
    assert config.num_params == sum(counts.values())
    assert config.num_params_embedding == outside
    assert config.num_params_non_embedding == sum(counts.values()) - outside
    assert config.num_params_matrices == matrices


@pytest.mark.parametrize("shape", SHAPES)
def test_operations_are_those_counted(shape: str) -> None:
    model, tokens = random_model(SHAPES[shape]), random_tokens(3, 32)
    onednn = {torch.ops.mkldnn._linear_pointwise: lambda x, weight, *_, **__: 2 * math.prod(x) * weight[0]}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=onednn) as counter:
        model(tokens)
    config = model.config
    assert counter.get_total_flops() == config.forward_matmul_flops * tokens.numel()
    not_multiplied = config.num_params_non_embedding - config.num_params_matrices
    assert config.flops_per_token == 3 * config.forward_matmul_flops + 6 * not_multiplied
    assert config.flops_per_token_non_embedding == config.flops_per_token - 6 * config.vocab_size * config.width


def test_published_gpt2_sizes_are_met() -> None:
    found = {name: preset(name, vocab_size=50257, context_tokens=1024).num_params for name in GPT2_SHAPES}
    assert found == {"gpt2": 124439808, "gpt2-medium": 354823168, "gpt2-large": 774030080, "gpt2-xl": 1557611200}


@pytest.mark.parametrize("count", ["all", "non_embedding"])
@pytest.mark.parametrize("target", [1e6, 5e6, 25e6, 124e6, 1e9])
def test_a_number_of_parameters_becomes_a_size(target: float, count: Literal["all", "non_embedding"]) -> None:
    config = from_params(target, vocab_size=2048, context_tokens=128, count=count)
    found = config.num_params if count == "all" else config.num_params_non_embedding
    assert found == pytest.approx(target, rel=0.16 if target < 5e6 else 0.06)
    assert 16 <= config.width / config.depth <= 64


def test_sizes_by_name_and_by_number_agree() -> None:
    assert preset("25M", vocab_size=2048, context_tokens=128) == from_params(25e6, vocab_size=2048, context_tokens=128)
    with pytest.raises(ValueError, match="nearest, d1w32, has"):
        preset("10k", vocab_size=2048, context_tokens=128)


def test_a_configuration_says_only_what_it_always_said() -> None:
    """The id of a run is a digest of this: it must not change with what others can choose."""
    assert set(SMALL.to_dict()) == {
        "depth", "width", "num_heads", "mlp_width", "context_tokens", "vocab_size", "tied_embeddings", "rope_base", "norm_epsilon"
    }  # fmt: skip
    for config in SHAPES.values():
        assert ModelConfig(**config.to_dict()) == config


def test_an_untied_head_costs_parameters_and_no_work() -> None:
    tied, untied = (from_depth(2, vocab_size=300, context_tokens=16, tied_embeddings=tie) for tie in (True, False))
    assert untied.num_params == tied.num_params + 300 * 64
    assert untied.flops_per_token == tied.flops_per_token


@pytest.mark.parametrize("tied", [True, False])
def test_the_first_loss_is_that_of_a_uniform_guess(tied: bool) -> None:
    config = from_depth(4, vocab_size=1000, context_tokens=32, tied_embeddings=tied)
    tokens = torch.randint(0, 1000, (64, 33), generator=torch.Generator().manual_seed(0))
    loss = mean_loss(Transformer(config)(tokens[:, :-1]), tokens[:, 1:])
    assert loss.item() == pytest.approx(math.log(1000), abs=0.1)


def test_a_token_sees_nothing_after_it() -> None:
    model = trained_looking(SMALL)
    tokens = tokens_of((2, 32))
    changed = tokens.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 128
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_a_token_sees_what_is_before_it() -> None:
    model = trained_looking(SMALL)
    tokens = tokens_of((1, 32))
    changed = tokens.clone()
    changed[0, 0] = (changed[0, 0] + 1) % 128
    assert not torch.allclose(model(tokens)[0, 31], model(changed)[0, 31])


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    rotate = Rotation(32, 64, 10000.0)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(32, generator=generator).expand(1, 64, 1, 32) for _ in range(2))
    turned_q, turned_k = rotate(q)[0, :, 0], rotate(k)[0, :, 0]
    assert torch.allclose(turned_q.norm(dim=-1), q[0, :, 0].norm(dim=-1), atol=1e-5)
    assert torch.equal(turned_q[0], q[0, 0, 0])
    scores = turned_q @ turned_k.T
    for distance in (0, 1, 7, 31):
        diagonal = scores.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-4)
    assert scores[5, 5] != pytest.approx(scores[5, 4].item(), abs=1e-3)


def test_rotation_is_the_complex_one() -> None:
    x = torch.randn(1, 8, 1, 4, generator=torch.Generator().manual_seed(0))
    pairs = torch.complex(x[..., :2], x[..., 2:])
    angle = torch.arange(8)[:, None] * 10000.0 ** (-torch.tensor([0.0, 2.0]) / 4)
    by_hand = pairs * torch.polar(torch.ones_like(angle), angle)[None, :, None]
    assert torch.allclose(Rotation(4, 8, 10000.0)(x), torch.cat([by_hand.real, by_hand.imag], -1), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_documents_are_read_as_if_alone(shape: str) -> None:
    model = random_model(SHAPES[shape])
    tokens = random_tokens(1, 32)
    tokens[0, 0] = tokens[0, 12] = 0
    masked = model(tokens, document_mask(tokens, 0))
    assert torch.allclose(masked[:, :12], model(tokens)[:, :12], atol=1e-5)
    other = tokens.clone()
    other[0, 3] = (other[0, 3] + 1) % 127 + 1
    assert torch.allclose(masked[:, 12:], model(other, document_mask(other, 0))[:, 12:], atol=1e-6)
    assert not torch.allclose(masked[:, 12:], model(tokens)[:, 12:], atol=1e-3)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("shape", ["transformer", "shared keys"])
def test_both_forms_of_the_document_mask_agree(shape: str) -> None:
    model, tokens = random_model(SHAPES[shape]), random_tokens(2, 32)
    tokens[0, 12] = tokens[1, 3] = tokens[1, 30] = 0
    with torch.inference_mode():
        assert torch.allclose(model(tokens, document_blocks(tokens, 0)), model(tokens, document_mask(tokens, 0)), atol=1e-4)


def test_losses_by_token_average_to_the_mean() -> None:
    tokens = tokens_of((4, 33))
    logits = trained_looking(SMALL)(tokens[:, :-1])
    each = token_losses(logits, tokens[:, 1:])
    assert each.shape == (4, 32)
    assert each.mean().item() == pytest.approx(mean_loss(logits, tokens[:, 1:]).item(), abs=1e-6)
    assert each[1, 2].item() == pytest.approx(-logits[1, 2].log_softmax(-1)[tokens[1, 3]].item(), abs=1e-5)


def test_the_seed_decides_the_weights() -> None:
    weights = [Transformer(SMALL, seed).blocks[0].get_parameter("qkv.weight") for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_learns(shape: str) -> None:
    model, tokens = build(SHAPES[shape]), random_tokens(4, 33)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = mean_loss(model(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(128), abs=0.3)
    assert losses[-1] < losses[0] / 2


def test_autocast_runs_without_a_warning_and_agrees() -> None:
    model, tokens = trained_looking(SMALL), tokens_of((2, 33))
    exact = mean_loss(model(tokens[:, :-1]), tokens[:, 1:])
    with torch.autocast("cpu", torch.bfloat16):
        rough = mean_loss(model(tokens[:, :-1]), tokens[:, 1:])
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), abs=0.05)


def test_shapes_that_cannot_be_are_explained() -> None:
    with pytest.raises(ValueError, match=f"must be one of {', '.join(DEPTHS)}"):
        preset("gpt5", vocab_size=10, context_tokens=8)
    with pytest.raises(ValueError, match="even multiple of num_heads"):
        ModelConfig(depth=1, width=30, num_heads=4, mlp_width=8, context_tokens=8, vocab_size=8)
    with pytest.raises(ValueError, match="at least 1"):
        from_depth(2, vocab_size=0, context_tokens=8)
