"""Operations with gradients of their own agree with torch's, in value and in every gradient."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lm.models import by_hand, head
from lm.models.linear import linear
from lm.models.transformer import Rotation
from tests.models.model_maker import SHAPES, random_model, random_tokens


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def agree(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], given: Sequence[Tensor]) -> None:
    """Values and gradients of all inputs, for a gradient that is no constant."""
    found, expected = ours(*given), theirs(*given)
    weight = normal(*found.shape, seed=9).detach() if found.dim() else torch.tensor(1.7)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    pairs = (torch.autograd.grad(out, given, weight) for out in (found, expected))
    for mine, yours in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    given = [normal(3, 5, 24), normal(17, 24, seed=1), *([normal(17, seed=2)] if bias else [])]
    agree(linear, F.linear, given)
    agree(lambda x, *rest: linear(x.transpose(0, 1), *rest), lambda x, *rest: F.linear(x.transpose(0, 1), *rest), given)


def test_linear_of_weights_alone() -> None:
    x = normal(4, 8).detach()
    agree(lambda weight: linear(x, weight), lambda weight: F.linear(x, weight), [normal(6, 8, seed=1)])


def test_rms_norm() -> None:
    agree(
        lambda x, gain: by_hand.rms_norm(x, gain, 1e-6),
        lambda x, gain: F.rms_norm(x, [16], gain, 1e-6),
        [normal(3, 5, 16), normal(16, seed=1)],
    )


def test_gelu() -> None:
    x = (normal(6, 50).detach() * 4).requires_grad_()
    agree(by_hand.gelu, lambda x: F.gelu(x, approximate="tanh"), [x])


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_heads_are_normed_and_turned(num_kv_heads: int) -> None:
    rotation, widths = Rotation(8, 12, 100.0), [32, 8 * num_kv_heads, 8 * num_kv_heads]

    def ours(qkv: Tensor, query_gain: Tensor, key_gain: Tensor) -> Tensor:
        found = by_hand.turned_heads(qkv, (query_gain, key_gain), rotation.table(3, 7), 4, 1e-6)
        return torch.cat([part.flatten() for part in found])

    def theirs(qkv: Tensor, query_gain: Tensor, key_gain: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (-1, 8)) for part in torch.split(qkv, widths, -1))
        q, k = rotation(F.rms_norm(q, [8], query_gain, 1e-6), 3), rotation(F.rms_norm(k, [8], key_gain, 1e-6), 3)
        return torch.cat([part.transpose(1, 2).flatten() for part in (q, k, v)])

    agree(ours, theirs, [normal(2, 7, sum(widths)), normal(8, seed=1), normal(8, seed=2)])


@pytest.mark.parametrize("num_entries", [1, 3 * 40, 1 << 20])
def test_loss_of_a_head_in_pieces(num_entries: int) -> None:
    targets = torch.randint(0, 40, (2, 5), generator=torch.Generator().manual_seed(3))
    agree(
        lambda hidden, weight: head.head_loss(hidden, weight, targets, num_entries),
        lambda hidden, weight: head.mean_loss(F.linear(hidden, weight), targets),
        [normal(2, 5, 16), normal(40, 16, seed=1)],
    )


def test_loss_of_a_head_stays_exact_where_the_target_has_no_probability() -> None:
    hidden, weight = torch.tensor([[[100.0, 0.0]]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert float(head.head_loss(hidden.requires_grad_(), weight, torch.tensor([[1]]), 2).detach()) == 200


def test_loss_of_a_head_in_bfloat16() -> None:
    hidden, weight, targets = normal(2, 5, 16), normal(40, 16, seed=1), torch.arange(10).view(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = head.head_loss(hidden, weight, targets, 80), head.head_loss(hidden, weight, targets)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    pairs = (torch.autograd.grad(loss, [hidden, weight]) for loss in (found, expected))
    for mine, yours in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, yours, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_that_of_the_formula(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients of a whole model, with and without what is written by hand."""
    model, tokens = random_model(SHAPES[shape]), random_tokens(3, 33)
    plain = copy.deepcopy(model)
    monkeypatch.setattr(head, "CPU_MIN_VOCAB", 1)
    loss = model(tokens[:, :-1], targets=tokens[:, 1:])
    loss.backward()
    monkeypatch.setattr(by_hand, "wanted", lambda x: False)
    expected = head.mean_loss(plain(tokens[:, :-1]), tokens[:, 1:])
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
