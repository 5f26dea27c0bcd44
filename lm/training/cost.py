"""What a training costs before it is paid for: tokens and FLOPs exactly, hours by what the device has done before, money by a price.

Tokens follow from the plan of the rungs: the trunk once, and each rung's decay. Hours are an estimate and say where they come from: the
speed of the earlier run nearest in size on the same device, scaled by the FLOPs of a token; else a peak of matrix products and a share
of it that is assumed. Small models reach less of a peak than large ones, so a speed carried over a factor of ten in size may be off by
two. Memory is an upper estimate, for deciding how many runs fit on one device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm.training.config import TrainConfig, plan_rungs

ASSUMED_MFU = 0.4
"""Share of the matmul peak where no run tells: 0.4 to 0.78 measured on one CPU thread, 0.33 to 0.52 published for GPUs."""
STATE_BYTES_PER_PARAM = 16
"""float32 weights, gradients and two moments of AdamW."""
ACTIVATION_BYTES = 34
"""Per token, layer and unit of width, of a block in 16 bits without recomputation; twice that in 32. Source: arXiv:2205.05198 section 4."""
DEVICE_BYTES = 1 << 30
"""What a process takes of an accelerator before the first tensor: context, kernels, workspaces of matrix products."""
SECONDS_PER_HOUR = 3600.0
START_SECONDS = 5.0
"""Until the first step: a process, its libraries, the tokens. Measured: 3 to 4 s on an idle core, several times that on a busy one."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Training tokens per second of one size, and how that is known."""

    tokens_per_second: float
    source: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An earlier run: FLOPs of a token, its speed, its device."""

    flops_per_token: float
    tokens_per_second: float
    device: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training still takes."""

    train_tokens: int
    flops: float
    hours: float
    money: float | None
    """In the currency of the price; None where no price is set."""
    memory_bytes: int
    speed: str
    """Where the hours come from."""


def train_tokens(config: TrainConfig, rungs_tokens: Sequence[int], reached_tokens: int = 0) -> int:
    """Tokens through the model for all rungs above `reached_tokens`, the largest rung that is trained already (0: none).

    A trunk goes on from where its last branch left it, so only what lies beyond counts; a rung of cosine or linear is trained from the
    start. Raises: ConfigError for rungs that do not fit.
    """
    plans = plan_rungs(config, list(rungs_tokens))
    todo = [plan for plan in plans if plan.num_tokens > reached_tokens]
    if not todo:
        return 0
    begun = max((plan.branch_step for plan in plans if plan.num_tokens <= reached_tokens), default=0)
    steps = todo[-1].branch_step - begun + sum(plan.last_step - plan.branch_step for plan in todo)
    return steps * config.batch_tokens


def speed_of(config: TrainConfig, seen: Sequence[Seen], device: str, peak_flops: float) -> Speed:
    """Tokens per second to expect on a device. `peak_flops`: its matmul peak per second, for where no run on it is known."""
    wanted = config.model.flops_per_token
    here = [run for run in seen if run.device == device and run.tokens_per_second > 0]
    if not here:
        rate = peak_flops * ASSUMED_MFU / wanted
        return Speed(rate, f"{ASSUMED_MFU:.0%} of a peak of {peak_flops / 1e9:,.0f} GFLOP/s on {device}, assumed")
    near = min(here, key=lambda run: (abs(math.log(run.flops_per_token / wanted)), run.flops_per_token))
    same = [run.tokens_per_second for run in here if run.flops_per_token == near.flops_per_token]
    middle = sorted(same)[len(same) // 2]
    factor = near.flops_per_token / wanted
    scaled = "" if factor == 1 else f", scaled by {factor:.2g} for the FLOPs of a token"
    return Speed(middle * factor, f"measured on {device}{scaled}")


def cost_of(
    config: TrainConfig, rungs_tokens: Sequence[int], speed: Speed, *, reached_tokens: int = 0, price_per_hour: float | None = None
) -> Cost:
    """Tokens, FLOPs, hours and money of what is left of one training, alone on its device or thread."""
    tokens = train_tokens(config, rungs_tokens, reached_tokens)
    hours = (tokens / speed.tokens_per_second + START_SECONDS) / SECONDS_PER_HOUR if tokens else 0.0
    money = None if price_per_hour is None else hours * price_per_hour
    return Cost(tokens, tokens * config.model.flops_per_token, hours, money, memory_bytes(config), speed.source)


def memory_bytes(config: TrainConfig) -> int:
    """Upper estimate of the memory of one training: state, activations of a whole batch, logits; without what the device itself takes."""
    model = config.model
    wide = 2 if config.dtype == "float32" else 1
    blocks = ACTIVATION_BYTES * wide * config.batch_tokens * model.depth * model.width
    logits = 3 * 4 * config.batch_tokens * model.vocab_size
    return int(STATE_BYTES_PER_PARAM * model.num_params + blocks + logits)


def accelerator_bytes() -> int | None:
    """Memory of the accelerator that this process sees first; None without one. It wakes the accelerator up, so ask in a child process."""
    import torch  # plans are made where it need not be loaded

    return int(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def this_device() -> str:
    """The device this machine trains on, as runs name it."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def this_peak() -> float:
    """Its peak of matrix products, in the type that runs take there; of one thread on a CPU."""
    import torch

    from lm.training.peak import matmul_peak

    return matmul_peak("cuda", "bfloat16", 1) if torch.cuda.is_available() else matmul_peak("cpu", "float32", 1)


def fit_side_by_side(memories: Sequence[int], device_bytes: int, most: int, headroom: float = 0.9) -> int:
    """How many of these trainings fit on one device at once, whichever they are: the largest first, at most `most`, at least one."""
    left, count = device_bytes * headroom, 0
    for memory in sorted(memories, reverse=True):
        left -= memory + DEVICE_BYTES
        if left < 0 or count == most:
            break
        count += 1
    return max(1, count)


def wall_hours(hours: Sequence[float], num_slots: int) -> float:
    """Hours until all are done on so many slots, the longest first onto the slot that is free first."""
    slots = [0.0] * max(1, num_slots)
    for one in sorted(hours, reverse=True):
        slots[slots.index(min(slots))] += one
    return max(slots)
