"""Optimizers whose state has names, so that it lies in a checkpoint beside the weights and no pickle is needed.

Parameters fall into three kinds: the **matrices** of the blocks, which alone decay; the **tables**, which are embedding, positions and
head and learn `embedding_rate` times as fast; and the **gains**, with the biases. AdamW trains all three. Muon trains the matrices and
AdamW the rest. Every optimizer is what `Optimizer` says, so a new one is a class here and a name in `TrainConfig`.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    """torch's fused kernel, one call per group. Source: arXiv:1711.05101.

    The kernel is called as torch.optim.AdamW calls it, with the same bits. That class loads torch's whole compiler when it is made: two
    seconds before the first step. The cost is a name of torch's with an underscore, which a test compares with the class.
    """

    MOMENTS = ("exp_avg", "exp_avg_sq")

    def __init__(self, groups: Sequence[Group], config: TrainConfig) -> None:
        self._groups = groups
        self._moments: dict[str, State] = {}
        self._num_updates = torch.tensor(0.0)
        self._beta1, self._beta2, self._epsilon = config.beta1, config.beta2, config.epsilon

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Apply the gradients. A parameter without one stays as it is."""
        self._num_updates += 1
        for group in self._groups:
            gradients = {name: parameter.grad for name, parameter in group.parameters.items() if parameter.grad is not None}
            if not gradients:
                continue
            moments = [self._moments_of(name, group.parameters[name]) for name in gradients]
            torch._fused_adamw_(
                [group.parameters[name] for name in gradients],
                list(gradients.values()),
                [moment["exp_avg"] for moment in moments],
                [moment["exp_avg_sq"] for moment in moments],
                [],
                [self._num_updates] * len(gradients),
                lr=learning_rate * group.rate,
                beta1=self._beta1,
                beta2=self._beta2,
                weight_decay=group.weight_decay,
                eps=self._epsilon,
                amsgrad=False,
                maximize=False,
            )

    def state(self) -> State:
        """Both moments of every parameter; zeros before the first step."""
        found = {name: self._moments_of(name, parameter) for name, parameter in self._parameters()}
        return {f"{key}.{name}": moments[key] for name, moments in found.items() for key in self.MOMENTS}

    def load(self, state: State, num_updates: int) -> None:
        """Copy moments, and count the updates, for the correction of their bias."""
        for name, parameter in self._parameters():
            self._moments[name] = {key: torch.empty_like(parameter.detach()).copy_(state[f"{key}.{name}"]) for key in self.MOMENTS}
            self._num_updates = torch.tensor(float(num_updates), device=parameter.device if parameter.is_cuda else "cpu")

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for group in self._groups for name, parameter in group.parameters.items())

    def _moments_of(self, name: str, parameter: nn.Parameter) -> State:
        if name not in self._moments:
            self._moments[name] = {key: torch.zeros_like(parameter.detach()) for key in self.MOMENTS}
        return self._moments[name]


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
