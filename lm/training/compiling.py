"""torch.compile, where it works: tried before training, so that a machine without a compiler trains all the same.

A model is compiled as a whole, or block by block where its blocks are split among processes (sharding.py), because what gathers a block's
weights stands around it. Compiling happens at the first pass, so one pass forward and back on made-up tokens is the trial; what it costs
would be paid at the first step anyway. If it fails, for whatever reason, one warning says why and the model goes on as it was written.
Whether it was compiled stands in the run's environment, for it changes the last bits.
"""

import logging
from collections.abc import Callable, Iterable

import torch
from torch import nn

from lm.training.machine import CompileMode

LOG = logging.getLogger(__name__)
COMPILED = " compiled"


def compile_or_not(
    model: nn.Module, blocks: Iterable[nn.Module] | None, trial: Callable[[], object], mode: CompileMode = "default"
) -> bool:
    """Compile a model, or only its `blocks`, and try it. Returns whether it is compiled.

    `trial` passes forward and back through the model. Raises: torch.OutOfMemoryError, which is not the compiler's fault.
    """
    parts = [model] if blocks is None else list(blocks)
    try:
        for part in parts:
            part.compile(mode=mode)
        trial()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        for part in parts:
            part._compiled_call_impl = None
        torch.compiler.reset()
        LOG.warning("torch.compile does not work here, so the model runs uncompiled, and slower: %s", reason(error))
        return False
    return True


def reason(error: BaseException) -> str:
    """The first lines of what the compiler said, without its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:300]
