"""Optimizers by name: what each trains, orthogonal updates, and the plain loop they equal."""

import dataclasses

import pytest
import torch
from training_data import CONFIG

from lm.models.build import build
from lm.models.config import ModelConfig, from_depth, gpt2
from lm.training import optimizers
from lm.training.muon import SIZE_OF_ADAMW, orthogonal, parts
from lm.training.optimizers import kind

MUON = dataclasses.replace(CONFIG, optimizer="muon", embedding_rate=1.0)
SHARED = from_depth(2, vocab_size=64, context_tokens=16, queries_per_key=2)
GPT2 = gpt2(1, 64, vocab_size=64, context_tokens=16)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 48), (2, 48, 16)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ orthogonal(matrices) @ v.mT
    strengths = turned.diagonal(dim1=1, dim2=2)
    assert 0.3 < strengths.min() < strengths.max() < 1.3
    assert strengths.median() > 0.65
    assert torch.allclose(turned, torch.diag_embed(strengths), atol=1e-4)
    assert (orthogonal(torch.zeros(shape)) == 0).all()
    assert orthogonal(matrices, torch.bfloat16).dtype == torch.float32
    assert torch.equal(orthogonal(matrices)[1], orthogonal(matrices[1:2])[0])


@pytest.mark.parametrize("model", [CONFIG.model, SHARED, GPT2])
def test_every_parameter_has_one_optimizer_and_named_state(model: ModelConfig) -> None:
    parameters = dict(build(model, 0).named_parameters())
    state = optimizers.make(parameters, dataclasses.replace(MUON, model=model)).state()
    matrices = {name for name, parameter in parameters.items() if name.startswith("blocks") and parameter.dim() == 2}
    assert set(state) == {f"momentum.{name}" for name in matrices} | {
        f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in parameters if name not in matrices
    }
    assert {kind(name, parameters[name]) for name in matrices} == {"matrices"}
    assert all(sum(parts(name, parameters[name], model)) == len(parameters[name]) for name in matrices)
    assert parts("blocks.0.qkv.weight", parameters["blocks.0.qkv.weight"], model) == [model.width, model.kv_width, model.kv_width]


def test_muon_is_its_formula() -> None:
    parameters = dict(build(CONFIG.model, 0).named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = optimizers.make(parameters, MUON)
    draw = torch.Generator().manual_seed(1)
    gradients = [{name: torch.randn(parameter.shape, generator=draw) for name, parameter in parameters.items()} for _ in range(2)]
    for found in gradients:
        for name, parameter in parameters.items():
            parameter.grad = found[name]
        optimizer.step(0.01)
    for name in ("blocks.0.qkv.weight", "blocks.0.gate_up.weight", "blocks.0.mlp_out.weight"):
        weight, momentum = before[name], torch.zeros_like(before[name])
        for gradient in (found[name] for found in gradients):
            momentum = 0.95 * momentum + 0.05 * gradient
            update = 0.05 * gradient + 0.95 * momentum
            size = len(weight) // {"qkv": 3, "gate_up": 2, "mlp_out": 1}[name.split(".")[2]]
            pieces = [orthogonal(piece[None])[0] * SIZE_OF_ADAMW * max(piece.shape) ** 0.5 for piece in update.split(size)]
            weight = weight * (1 - 0.01 * 0.1) - 0.01 * torch.cat(pieces)
        assert torch.allclose(parameters[name], weight, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, MUON])
def test_a_state_that_is_loaded_goes_on_in_the_same_bits(config: object) -> None:
    def train(optimizer: optimizers.Optimizer, parameters: optimizers.Parameters, steps: range) -> None:
        for step in steps:
            draw = torch.Generator().manual_seed(step)
            for parameter in parameters.values():
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            optimizer.step(0.01)

    one, two = (dict(build(CONFIG.model, 0).named_parameters()) for _ in range(2))
    whole, first, second = (optimizers.make(p, config) for p in (one, two, two))  # type: ignore[arg-type]
    train(whole, one, range(5))
    train(first, two, range(3))
    second.load({name: tensor.clone() for name, tensor in first.state().items()}, 3)
    train(second, two, range(3, 5))
    assert all(torch.equal(one[name], two[name]) for name in one)
