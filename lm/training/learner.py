"""Model, optimizer and data of a run, advanced one step at a time.

Everything that changes is in `state()`: weights, both moments of AdamW and, in the step's number, the place in the data. There is no
dropout and no shuffling, so no random numbers are drawn after the first weights. `load` copies into the tensors that are there, for
the bits of a matrix product may depend on how its memory is aligned.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm.models.build import build
from lm.models.transformer import document_mask, mean_loss
from lm.tokens.loader import TokenStream
from lm.training.config import TrainConfig

State = dict[str, Tensor]


def default_device() -> str:
    """cuda if there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def reproducible(num_threads: int) -> Iterator[None]:
    """Pin what decides the bits on a CPU, and put it back after."""
    memory: Any = torch.utils.deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    memory.fill_uninitialized_memory = False  # nothing reads it; filling costs time
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = before[2]


class Learner:
    """A model in training. `step` is the number of optimizer steps behind it."""

    def __init__(self, config: TrainConfig, stream: TokenStream, device: str) -> None:
        self.config = config
        self.device = torch.device(device)
        self.step = 0
        self._stream = stream
        self.model = build(config.model, config.seed).to(self.device)
        self._parameters = dict(self.model.named_parameters())
        self._optimizer = _adamw(self._parameters, config)
        self._forward = torch.compile(self.model) if config.compile else self.model
        self.load(self.state(), 0)

    def advance(self, learning_rate: float) -> Tensor:
        """One optimizer step. Returns [loss in nats per token, gradient norm before clipping], still on the device."""
        inputs, targets = (self._move(part) for part in self._batch())
        with self._autocast():
            mask = document_mask(inputs, self._stream.end_of_document) if self.config.mask_documents else None
            loss = mean_loss(self._forward(inputs, mask), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), self.config.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return torch.stack([loss.detach(), norm])

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        return self._stream.batch(self.step, self.config.batch_tokens, self.config.model.context_tokens)

    def _move(self, rows: np.ndarray) -> Tensor:
        host = torch.from_numpy(rows)
        return host.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else host

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.config.dtype == "bfloat16" else nullcontext()

    def weights(self) -> State:
        """The weights, detached, by name."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    def state(self) -> State:
        """All that changes with a step: weights and moments, by name."""
        state = {f"weight.{name}": weight for name, weight in self.weights().items()}
        for name, parameter in self._parameters.items():
            moments = self._optimizer.state.get(parameter) or {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            state |= {f"{key}.{name}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
        return state

    def load(self, state: State, step: int) -> None:
        """Go to a saved state."""
        self.step = step
        for name, parameter in self._parameters.items():
            parameter.data.copy_(state[f"weight.{name}"])
            moments = {key: torch.empty_like(parameter).copy_(state[f"{key}.{name}"]) for key in ("exp_avg", "exp_avg_sq")}
            at = parameter.device if parameter.is_cuda else "cpu"
            self._optimizer.state[parameter] = {"step": torch.tensor(float(step), device=at), **moments}


def _adamw(parameters: dict[str, nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in one fused call per kind: matrices of the blocks, which alone decay; embedding and head, which learn faster; gains."""
    kinds: dict[str, list[nn.Parameter]] = {"matrices": [], "tables": [], "gains": []}
    for name, parameter in parameters.items():
        kinds["gains" if parameter.dim() == 1 else "matrices" if name.startswith("blocks") else "tables"].append(parameter)
    groups = [
        {"params": kinds["matrices"], "weight_decay": config.weight_decay, "rate": 1.0},
        {"params": kinds["tables"], "weight_decay": 0.0, "rate": config.embedding_rate},
        {"params": kinds["gains"], "weight_decay": 0.0, "rate": 1.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)
