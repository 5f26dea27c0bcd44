"""The fastest matrix product of a device, measured: the 100% of MFU.

Data sheets promise what power and cooling do not give, and for a CPU there is none; so the peak is the best of many square products of
random numbers in memory that is warm, by the library that models use (lm/models/linear.py). Side 512 and 1024 fill one CPU core
(measured on an AVX-512 core of AMD's: 220 GFLOP/s in float32 by oneDNN, where MKL gave 95; 436 in bfloat16; 256 and 2048 gave no
more), several threads need up to 4096, an accelerator 4096 to 8192. On one thread the clock is the thread's own, so that other work
on the machine hardly lowers the result. A peak is a maximum: a day later it is measured again, and the larger stays.

The cost is a quarter of a second per device, dtype, thread count and version of PyTorch, once a day: the result lies as JSON in the
user's cache folder. It decides no weights; numbers come from a generator of their own.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from lm.models.linear import product

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CACHE_SECONDS = 86_400
SECONDS_PER_SIZE = 0.1
MIN_REPEATS = 3
FEW_THREADS = 4

_FOUND: dict[str, float] = {}


def matmul_peak(device: str | torch.device, dtype: str, num_threads: int, cache_dir: Path | None = None) -> float:
    """Floating-point operations per second of the best square matrix product; a product and a sum per entry.

    device: as torch names it. dtype: float32 (as `torch.get_float32_matmul_precision` has it) or bfloat16. num_threads: for a CPU.
    cache_dir: where results are kept; the user's cache folder if not said. Where nothing can be written, the process remembers.
    Raises: KeyError for another dtype.
    """
    place = torch.device(device)
    key = _key(place, dtype, num_threads)
    if key not in _FOUND:
        file = (cache_dir or default_cache_dir()) / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"
        _FOUND[key] = _remembered(file, key, lambda: measure(place, dtype, num_threads))
    return _FOUND[key]


def default_cache_dir() -> Path:
    """The user's cache folder, as the XDG base directory specification places it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dataladder" / "matmul-peak"


def measure(device: torch.device, dtype: str, num_threads: int) -> float:
    """The same, measured now."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(num_threads)
    try:
        return max(_best(device, DTYPES[dtype], side) for side in _sides(device, num_threads))
    finally:
        torch.set_num_threads(before)
        if device.type == "cuda":  # a run's peak of memory begins after this
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def _sides(device: torch.device, num_threads: int) -> tuple[int, ...]:
    if device.type != "cpu":
        return (4096, 8192)
    return (512, 1024) if num_threads <= FEW_THREADS else (1024, 2048, 4096)


def _best(device: torch.device, dtype: torch.dtype, side: int) -> float:
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    timed = _timed_cuda if device.type == "cuda" else _timed
    timed(left, right, out)  # the first chooses a kernel and touches memory
    seconds: list[float] = []
    until = time.monotonic() + SECONDS_PER_SIZE
    while len(seconds) < MIN_REPEATS or time.monotonic() < until:
        seconds.append(timed(left, right, out))
    return 2.0 * side**3 / min(seconds)


def _timed(left: Tensor, right: Tensor, _out: Tensor) -> float:
    clock: Callable[[], float] = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    product(left, right)
    return clock() - started


def _timed_cuda(left: Tensor, right: Tensor, out: Tensor) -> float:
    """By the device's own clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    torch.mm(left, right, out=out)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def _key(device: torch.device, dtype: str, num_threads: int) -> str:
    """Everything that may change the peak."""
    if device.type == "cuda":
        what = [torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory]
    else:
        what = [device.type, platform.node(), platform.machine(), num_threads, "oneDNN"]
    return json.dumps([*what, dtype, torch.__version__, torch.get_float32_matmul_precision()])


def _remembered(file: Path, key: str, measured: Callable[[], float]) -> float:
    """What is kept, or the larger of that and a new measurement where it is older than a day."""
    kept, age = 0.0, float("inf")
    with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged file counts as none
        body = json.loads(file.read_text(encoding="utf-8"))
        kept, age = float(body["flops_per_second"]), time.time() - float(body["measured_at"])
    if kept > 0 and 0 <= age < CACHE_SECONDS:
        return kept
    peak = max(kept, measured())
    with suppress(OSError):  # a home that can't be written costs the measurement again, nothing else
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.stem}-{os.getpid()}.part")
        beside.write_text(json.dumps({"flops_per_second": peak, "measured_at": time.time(), "of": json.loads(key)}), encoding="utf-8")
        beside.replace(file)
    return peak
