"""Training on a GPU: tokens per second and MFU of several sizes over the settings that may matter, and what the time of a step goes into.

    python benchmarks/train_gpu.py [--out DIR] [--minutes 7.5]        on a GPU: everything, in one command of at most ten minutes
    python benchmarks/train_gpu.py --device cpu --tiny              the same code on small sizes, to see that it works

For each size (GPT-2 with 124M parameters, the Transformer with 350M and with 1B, bfloat16, context 1,024 or 2,048, a vocabulary padded
to a multiple of 128) settings are tried one after the other, each changed from the best so far: rows that go through the model at
once, which attention of torch's, how it compiles, the loss in pieces. A setting that does not fit or does not compile is said and
passed over. Steps are our trainer's, loader, clipping and optimizer included; the clock is the wall's between two synchronisations.
MFU stands against the fastest matrix product found in the same run, and against the data sheet where the device is known. The best
setting of each size is run once more under torch's profiler, and its kernels are summed by kind.

Everything measured goes to DIR/train_gpu.json as it is found, so that a run that is cut off leaves what it had. Ends with one line of
JSON: `mfu_124m`, `mfu_1b`, `tokens_per_s_124m`, `waiting_share` and more.
"""

import argparse
import gc
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from lm.models.config import ModelConfig, from_depth, from_params, gpt2
from lm.tokens.loader import Documents, TokenStream
from lm.training.config import TrainConfig
from lm.training.learner import Learner, reproducible
from lm.training.machine import CompileMode, Machine
from lm.training.peak import measure as measure_peak

VOCAB = 50304
SHEET_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
"""Dense bfloat16 by the makers' data sheets."""
RATE = 3e-4


@dataclass(frozen=True, slots=True)
class Size:
    """A model, the tokens of a step, the rows to begin with, and its share of the time."""

    name: str
    model: ModelConfig
    batch_tokens: int
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What is tried."""

    rows: int
    attention: str = "torch's choice"
    compile: CompileMode | None = "default"
    head_piece: int | None = None


@dataclass(slots=True)
class Measured:
    """A setting and what came of it."""

    size: str
    setting: Setting
    tokens_per_s: float = 0.0
    mfu: float = 0.0
    waiting_share: float = 0.0
    memory_gb: float = 0.0
    warmup_seconds: float = 0.0
    failure: str = ""


def sizes(tiny: bool) -> list[Size]:
    """Three sizes, largest share of the time to the first."""
    if tiny:
        small = {"vocab_size": 512, "context_tokens": 64}
        return [
            Size("124m", gpt2(2, 64, **small), 1024, 4, 0.5),
            Size("350m", from_depth(2, **small), 1024, 4, 0.25),
            Size("1b", from_depth(3, **small), 1024, 4, 0.25),
        ]
    wide = {"vocab_size": VOCAB, "width_per_layer": 64}
    return [
        Size("124m", gpt2(12, 768, vocab_size=VOCAB, context_tokens=1024), 1 << 19, 32, 0.45),
        Size("1b", from_params(1e9, context_tokens=2048, head_width=128, **wide), 1 << 18, 8, 0.35),
        Size("350m", from_params(350e6, context_tokens=1024, head_width=64, **wide), 1 << 19, 16, 0.2),
    ]


def stream(model: ModelConfig, num_tokens: int) -> TokenStream:
    """Tokens drawn by rank, as in a language, in documents of 700."""
    tokens = np.minimum(np.random.default_rng(0).zipf(1.2, num_tokens), model.vocab_size - 1).astype(np.uint16)
    tokens[699::700] = tokens[-1] = 0
    offsets = np.unique(np.r_[0, np.arange(700, num_tokens, 700), num_tokens])
    names = ["document"] * (len(offsets) - 1)
    return TokenStream(Documents(names, names, np.diff(offsets), offsets, tokens, 0), num_tokens)


def candidates(best: Setting, size: Size, tried: set[Setting], on_gpu: bool) -> Iterator[Setting]:
    """Neighbours of the best setting, the most promising first."""
    backends = ["cudnn", "flash"] if on_gpu else ["math"]
    modes: list[CompileMode | None] = ["max-autotune-no-cudagraphs", "reduce-overhead", None] if on_gpu else []
    options = [
        *(
            replace(best, rows=rows)
            for rows in (best.rows * 2, best.rows // 2)
            if rows and size.batch_tokens % (rows * _context(size)) == 0
        ),
        *(replace(best, attention=backend) for backend in backends),
        *(replace(best, compile=mode) for mode in modes),
        replace(best, head_piece=1 << 28 if on_gpu else 1 << 14),
    ]
    yield from (option for option in options if option not in tried)


def _context(size: Size) -> int:
    return size.model.context_tokens


def attention(name: str) -> Any:
    """The context in which torch takes one kind of attention."""
    kinds = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}
    return sdpa_kernel(kinds[name]) if name in kinds else nullcontext()


def learner(size: Size, setting: Setting, tokens: TokenStream, device: str) -> Learner:
    """Our trainer's step in a setting."""
    config = TrainConfig(
        model=size.model,
        seed=0,
        learning_rate=RATE,
        embedding_rate=1.0,
        batch_tokens=size.batch_tokens,
        warmup_tokens=0,
        dtype="bfloat16",
        compile=setting.compile is not None,
        num_threads=torch.get_num_threads(),
    )
    machine = Machine(
        device=device,
        micro_batch_tokens=setting.rows * _context(size),
        compile_mode=setting.compile or "default",
        head_piece_entries=setting.head_piece,
    )
    return Learner(config, tokens, device, machine=machine)


def run(size: Size, setting: Setting, tokens: TokenStream, device: str, peak: float, seconds: float) -> Measured:
    """Steps in a setting for so many seconds, after two that compile and warm up."""
    found = Measured(size.name, setting)
    started = time.perf_counter()
    try:
        with attention(setting.attention):
            trainer = learner(size, setting, tokens, device)
            if setting.compile is not None and not trainer.is_compiled:
                found.failure = "does not compile"
                return found
            for _ in range(2):
                trainer.advance(RATE)
            _wait(device)
            found.warmup_seconds = time.perf_counter() - started
            _timed(found, size, trainer, tokens, device, seconds)
            found.mfu = found.tokens_per_s * size.model.flops_per_token / peak
            found.memory_gb = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    except torch.OutOfMemoryError:
        found.failure = "out of memory"
    except RuntimeError as error:
        found.failure = str(error).splitlines()[0][:200]
    finally:
        trainer = None  # type: ignore[assignment]
        _clean(device)
    return found


def _timed(found: Measured, size: Size, trainer: Learner, tokens: TokenStream, device: str, seconds: float) -> None:
    waited, begun, rates = tokens.seconds_waiting, time.perf_counter(), []
    while time.perf_counter() - begun < seconds and trainer.step < tokens.num_tokens // size.batch_tokens:
        started = time.perf_counter()
        trainer.advance(RATE)
        _wait(device)
        rates.append(size.batch_tokens / (time.perf_counter() - started))
    found.tokens_per_s = statistics.median(rates)
    found.waiting_share = (tokens.seconds_waiting - waited) / (time.perf_counter() - begun)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _clean(device: str) -> None:
    gc.collect()
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


KINDS = {
    "matrix products": ("gemm", "cutlass", "nvjet", "cublas", "sm90_xmma", "addmm", "aten::mm", "bmm", "linear", "wgmma"),
    "attention": ("flash", "fmha", "cudnn", "attention", "sdpa"),
    "optimizer and clipping": ("adam", "multi_tensor", "foreach", "norm_", "lpnorm"),
    "copies": ("memcpy", "memset", "copy"),
    "compiled, elementwise": ("triton",),
}


def what_takes_time(size: Size, setting: Setting, tokens: TokenStream, device: str) -> dict[str, Any]:
    """Time of kernels by kind, and the largest, of two steps."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with attention(setting.attention):
        trainer = learner(size, setting, tokens, device)
        for _ in range(2):
            trainer.advance(RATE)
        _wait(device)
        with profile(activities=activities) as profiler:
            for _ in range(2):
                trainer.advance(RATE)
            _wait(device)
    events = profiler.key_averages()
    times = {e.key: (e.self_device_time_total if device == "cuda" else e.self_cpu_time_total) for e in events}
    total = sum(times.values()) or 1.0
    kinds: Counter[str] = Counter()
    for name, spent in times.items():
        kinds[next((kind for kind, marks in KINDS.items() if any(mark in name.lower() for mark in marks)), "other")] += spent / total
    top = sorted(times.items(), key=lambda item: -item[1])[:12]
    del trainer
    _clean(device)
    return {"kinds": {k: round(v, 4) for k, v in kinds.most_common()}, "top": [[k[:100], round(v / total, 4)] for k, v in top]}


def sweep(size: Size, device: str, peak: float, until: float, seconds: float, keep: Any) -> Measured | None:
    """Climb from the first setting to better ones while there is time. Returns the best."""
    tokens = stream(size.model, size.batch_tokens * 40)
    best: Measured | None = None
    setting, tried = Setting(size.rows, compile="default" if device == "cuda" else None), set[Setting]()  # a CPU compiles for minutes
    slowest = 0.0
    while time.perf_counter() + slowest < until:
        begun = time.perf_counter()
        tried.add(setting)
        found = run(size, setting, tokens, device, peak, seconds)
        slowest = max(slowest, time.perf_counter() - begun)
        keep(found)
        if not found.failure and (best is None or found.tokens_per_s > best.tokens_per_s):
            best = found
        base = best.setting if best else replace(setting, rows=max(1, setting.rows // 2))
        if best is None and base not in tried:
            setting = base
            continue
        following = next(candidates(base, size, tried, device == "cuda"), None)
        if following is None:
            break
        setting = following
    if best is not None:
        keep({"size": size.name, "profile": what_takes_time(size, best.setting, tokens, device)})
    return best


class Report:
    """Prints what is found and keeps it in a file."""

    def __init__(self, file: Path | None) -> None:
        self._file, self._all = file, list[Any]()

    def keep(self, found: Any) -> None:
        self._all.append(asdict(found) if isinstance(found, Measured) else found)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(self._all, indent=1))
        if isinstance(found, Measured):
            s = found.setting
            what = (
                f"{found.size:>5} rows {s.rows:3} attention {s.attention:14} compile {s.compile!s:27} head {s.head_piece or 'whole'!s:>9}"
            )
            done = (
                f"{found.tokens_per_s:11,.0f} tokens/s  MFU {found.mfu:6.1%}  waiting {found.waiting_share:.2%}  {found.memory_gb:5.1f} GB"
            )
            print(f"{what}  {found.failure or done}  (first {found.warmup_seconds:.0f} s)", flush=True)
        else:
            print(json.dumps(found, indent=1), flush=True)


def copy_speed(device: str) -> float:
    """GB per second read and written by a large copy."""
    source = torch.empty(1 << (30 if device == "cuda" else 24), dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(10):
        _wait(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() / best / 1e9


def main() -> None:
    """Measure, print, end with one line of JSON."""
    parser = argparse.ArgumentParser(description="Training on a GPU: tokens per second and MFU.")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU can do")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--out", type=Path, help="folder for train_gpu.json")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a GPU; --device cpu --tiny shows that it works")
    if given.device == "cpu":
        torch.set_num_threads(1)  # others may use the machine, and this only shows that it works
    began, device = time.perf_counter(), given.device
    report = Report(given.out / "train_gpu.json" if given.out else None)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    peak = measure_peak(torch.device(device), "bfloat16", torch.get_num_threads())
    sheet = next((tflops * 1e12 for part, tflops in SHEET_TFLOPS.items() if part in name), None)
    report.keep({"device": name, "torch": torch.__version__, "peak_tflops": peak / 1e12, "copy_gb_per_s": copy_speed(device)})
    found: dict[str, Any] = {"device": name, "peak_tflops": round(peak / 1e12, 3)}
    until = began
    with reproducible(torch.get_num_threads()):
        for size in sizes(given.tiny):
            until += size.share * given.minutes * 60
            best = sweep(size, device, peak, until - 0.15 * size.share * given.minutes * 60, 1.0 if given.tiny else 5.0, report.keep)
            found |= figures(size, best, peak, sheet)
    found["waiting_share"] = max((value for key, value in found.items() if key.startswith("waiting_share_") and value), default=None)
    print(json.dumps(found))


def figures(size: Size, best: Measured | None, peak: float, sheet: float | None) -> dict[str, Any]:
    """What the last line says of a size; nulls where no setting worked."""
    values: dict[str, Any] = dict.fromkeys(("mfu", "mfu_data_sheet", "tokens_per_s", "waiting_share", "setting"))
    if best is not None:
        values = {
            "mfu": round(best.mfu, 4),
            "mfu_data_sheet": round(best.mfu * peak / sheet, 4) if sheet else None,
            "tokens_per_s": round(best.tokens_per_s),
            "waiting_share": round(best.waiting_share, 5),
            "setting": asdict(best.setting),
        }
    return {"num_params_" + size.name: size.model.num_params} | {f"{key}_{size.name}": value for key, value in values.items()}


if __name__ == "__main__":
    main()
