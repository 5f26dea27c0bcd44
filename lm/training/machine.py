"""How a run is carried out: on which device, in which pieces, how often it is kept.

None of it is part of `run_id`, for it decides where a run trains and how fast, and not what it learns: on another device, or with the
batch cut into other pieces, sums are taken in another order and the last bits of the weights differ, no more. So a run may be begun
on one machine and continued on another; what it trained on is kept with each state and said when it changes (`environment`).
Restarted under the same `Machine`, a run on a CPU ends in the same bits.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from lm.tokens.loader import IN_MEMORY_TOKENS
from lm.training.errors import ConfigError

CHECKPOINT_SECONDS = 20.0
Parallel = Literal["none", "ddp", "fsdp"]
CompileMode = Literal["default", "max-autotune-no-cudagraphs", "reduce-overhead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Settings of the place of training. Raises: ConfigError."""

    device: str | None = None
    """cpu, cuda or cuda:1; the accelerator if there is one."""
    micro_batch_tokens: int | None = None
    """Tokens that go through the model at once, on each process; gradients of a batch add up over its pieces. None: all at once."""
    parallel: Parallel = "ddp"
    """How several processes share the run: ddp (each a copy of the model), fsdp (each a part of it), none (there is one process)."""
    recompute_blocks: bool = False
    """Keep only the inputs of each block and compute the rest again going back: less memory, a third more work, the same bits."""
    compile_mode: CompileMode = "default"
    """How a compiled model is compiled. max-autotune-no-cudagraphs: kernels are chosen by trying them, which takes minutes.
    reduce-overhead: a step's kernels are launched as one CUDA graph, for models whose kernels take less time than their launching."""
    head_piece_entries: int | None = None
    """Logits that the loss holds at once (lm/models/head.py): less memory on a GPU for large batches. None: as the model sees fit."""
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    """A state is kept this often, and wherever a branch begins. It decides no weights."""
    in_memory_tokens: int = IN_MEMORY_TOKENS
    """Up to so many tokens are held in memory; beyond, they are read as they are wanted. It decides no batch."""
    writers: tuple[str, ...] = ()
    """Who gets the windows of the run beside the lake: tensorboard, wandb (lm/training/writers.py)."""

    def __post_init__(self) -> None:
        if self.micro_batch_tokens is not None and self.micro_batch_tokens < 1:
            raise ConfigError(f"micro_batch_tokens must be at least 1 or None, got {self.micro_batch_tokens}")
        if self.parallel not in get_args(Parallel):
            raise ConfigError(f"parallel must be one of {', '.join(get_args(Parallel))}, got {self.parallel!r}")
        if self.compile_mode not in get_args(CompileMode):
            raise ConfigError(f"compile_mode must be one of {', '.join(get_args(CompileMode))}, got {self.compile_mode!r}")
        if self.head_piece_entries is not None and self.head_piece_entries < 1:
            raise ConfigError(f"head_piece_entries must be at least 1 or None, got {self.head_piece_entries}")

    def pieces(self, num_processes: int) -> str:
        """What of it decides the last bits, beside the device, in words; empty for the whole batch on one process."""
        cut = "" if self.micro_batch_tokens is None else f" in pieces of {self.micro_batch_tokens} tokens"
        shared = "" if num_processes == 1 else f" on {num_processes} processes by {self.parallel}"
        kernels = "" if self.compile_mode == "default" else f" in mode {self.compile_mode}"
        head = "" if self.head_piece_entries is None else f" with a loss in pieces of {self.head_piece_entries} logits"
        return cut + shared + kernels + head


HERE = Machine()
