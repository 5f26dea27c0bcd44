"""Optimizers whose state has names, so that it lies in a checkpoint beside the weights and no pickle is needed.

Parameters fall into three kinds: the **matrices** of the blocks, which alone decay; the **tables**, which are embedding, positions and
head and learn `embedding_rate` times as fast; and the **gains**, with the biases. AdamW trains all three. Muon trains the matrices and
AdamW the rest. Every optimizer is what `Optimizer` says, so a new one is a class here and a name in `TrainConfig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lm.training.config import TrainConfig
from lm.training.muon import Muon

State = dict[str, Tensor]
"""Tensors by name: weights, moments, whatever changes with a step."""
Parameters = Mapping[str, nn.Parameter]


class Optimizer(Protocol):
    """Turns gradients into updates. Its tensors have names such as exp_avg.blocks.0.qkv.weight."""

    def step(self, learning_rate: float) -> None:
        """Apply the gradients at the rate of this step."""
        ...

    def state(self) -> State:
        """All that changes with a step, beside the weights."""
        ...

    def load(self, state: State, num_updates: int) -> None:
        """Go to a saved state, so many updates from the start."""
        ...


def make(parameters: Parameters, config: TrainConfig) -> Optimizer:
    """The optimizer of a configuration over the named parameters of a model."""
    if config.optimizer == "adamw":
        return AdamW(adamw_groups(parameters, config), config)
    matrices = {name: parameter for name, parameter in parameters.items() if kind(name, parameter) == "matrices"}
    rest = {name: parameter for name, parameter in parameters.items() if name not in matrices}
    return Together([Muon(matrices, config), AdamW(adamw_groups(rest, config), config)])


def kind(name: str, parameter: nn.Parameter) -> str:
    """matrices, tables or gains."""
    return "gains" if parameter.dim() == 1 else "matrices" if name.startswith("blocks") else "tables"


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are treated alike; `rate` is a multiple of the learning rate."""

    parameters: Parameters
    weight_decay: float
    rate: float


def adamw_groups(parameters: Parameters, config: TrainConfig) -> list[Group]:
    """Matrices, tables and gains, as AdamW treats each."""
    kinds: dict[str, dict[str, nn.Parameter]] = {"matrices": {}, "tables": {}, "gains": {}}
    for name, parameter in parameters.items():
        kinds[kind(name, parameter)][name] = parameter
    treated = {"matrices": (config.weight_decay, 1.0), "tables": (0.0, config.embedding_rate), "gains": (0.0, 1.0)}
    return [Group(kinds[name], weight_decay, rate) for name, (weight_decay, rate) in treated.items() if kinds[name]]


class AdamW:
    """torch's fused AdamW: one call per group. Source: arXiv:1711.05101."""

    MOMENTS = ("exp_avg", "exp_avg_sq")

    def __init__(self, groups: Sequence[Group], config: TrainConfig) -> None:
        self._parameters = {name: parameter for group in groups for name, parameter in group.parameters.items()}
        listed = [{"params": list(g.parameters.values()), "weight_decay": g.weight_decay, "rate": g.rate} for g in groups]
        betas = (config.beta1, config.beta2)
        self._torch = torch.optim.AdamW(listed, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)

    def step(self, learning_rate: float) -> None:
        """Apply the gradients."""
        for group in self._torch.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self._torch.step()

    def state(self) -> State:
        """Both moments of every parameter; zeros before the first step."""
        state: State = {}
        for name, parameter in self._parameters.items():
            moments = self._torch.state.get(parameter) or {key: torch.zeros_like(parameter) for key in self.MOMENTS}
            state |= {f"{key}.{name}": moments[key].detach() for key in self.MOMENTS}
        return state

    def load(self, state: State, num_updates: int) -> None:
        """Copy moments, and count the updates, for the correction of their bias."""
        for name, parameter in self._parameters.items():
            moments = {key: torch.empty_like(parameter).copy_(state[f"{key}.{name}"]) for key in self.MOMENTS}
            at = parameter.device if parameter.is_cuda else "cpu"
            self._torch.state[parameter] = {"step": torch.tensor(float(num_updates), device=at), **moments}


class Together:
    """Several optimizers, each with parameters of its own."""

    def __init__(self, members: Sequence[Optimizer]) -> None:
        self._members = members

    def step(self, learning_rate: float) -> None:
        """Apply the gradients."""
        for member in self._members:
            member.step(learning_rate)

    def state(self) -> State:
        """What all of them remember."""
        return {name: tensor for member in self._members for name, tensor in member.state().items()}

    def load(self, state: State, num_updates: int) -> None:
        """Go to a saved state."""
        for member in self._members:
            member.load(state, num_updates)
