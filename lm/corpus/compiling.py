"""Kernels that Python calls: compiled for threads, kept on disk, and stale as soon as any of their sources changes.

numba itself looks at the one file that holds a kernel, and a helper in another file would go stale unseen. So a digest of all sources
is part of what is compiled: each kernel returns or holds the number that `sources_digest` gave for its files.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def sources_digest(*files: str) -> int:
    """A positive number that changes with any line of these files."""
    hasher = hashlib.blake2b(digest_size=7)
    for file in files:
        hasher.update(Path(file).read_bytes())
    return int.from_bytes(hasher.digest(), "big") + 1


def compiled(function: Callable[..., Any], trial: Callable[[Callable[..., Any]], object]) -> Callable[..., Any]:
    """The function compiled for threads, kept on disk where that is possible; `trial` calls it once on a tiny input."""
    try:
        kernel: Callable[..., Any] = njit(nogil=True, error_model="numpy", cache=True)(function)
        trial(kernel)
    except (OSError, RuntimeError) as error:
        logging.getLogger(__name__).warning("compiled kernels cannot be kept on disk and are compiled in each process: %s", error)
        kernel = njit(nogil=True, error_model="numpy")(function)
        trial(kernel)
    return kernel
