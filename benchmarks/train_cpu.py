"""A training step on a CPU: ours beside a plain GPT-2 step written in the way of nanoGPT, with the same model, batch and data.

    python benchmarks/train_cpu.py [TEXT_FILE]

Two of that project's character-level sizes, 0.8M (4 layers, 4 heads, width 128, context 64, 12 rows) and 10.65M parameters (6, 6, 384, 256,
8 rows), 65 characters. The text is made here unless a file is given. Both trainers start from the same weights and must give the same
losses for three steps. Then they take turns, on one thread and on two, a few steps at a time, and the median of the rounds' ratios
counts, so that what else the machine does falls on both. On one thread the clock is that of the thread, on two the wall's. `plain` has
the biases and the GELU of the published GPT-2, as ours has; `plain_unbiased` is that project's own default, which does less.

Last, two processes with a thread each train side by side, against one of them alone. MFU is against the fastest matrix product of the
library that ours uses, measured in the same run; `mkl_gflops` is torch.mm, which the plain step goes through.
Ends with one line of JSON: `ratio_nanogpt` (0.8M, float32, the smaller of one and two threads), `tokens_per_s` and `mfu` (one thread).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from peers.plain_gpt2 import PlainGPT2, PlainTrainer
from torch import Tensor

from lm.models.config import ModelConfig, gpt2
from lm.models.linear import product
from lm.tokens.loader import Documents, TokenStream
from lm.training.config import TrainConfig
from lm.training.learner import Learner, reproducible

VOCAB = 65
NUM_TOKENS = 1_000_000
MAX_SECONDS = 60.0
"""For the rounds of a size on one or two threads; a quiet machine needs half of it."""
RATE = 1e-3
Clock = Callable[[], float]


class Trainer(Protocol):
    """What is timed."""

    def advance(self, learning_rate: float) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Size:
    """A model, its batch, and how many steps make a round."""

    name: str
    depth: int
    num_heads: int
    width: int
    context: int
    rows: int
    steps: int
    rounds: int

    @property
    def batch_tokens(self) -> int:
        return self.rows * self.context

    @property
    def model(self) -> ModelConfig:
        return gpt2(self.depth, self.width, vocab_size=VOCAB, context_tokens=self.context, num_heads=self.num_heads)


SMALL = Size("0.8M", 4, 4, 128, 64, 12, steps=5, rounds=15)
LARGE = Size("10.65M", 6, 6, 384, 256, 8, steps=1, rounds=5)


def text_tokens(path: Path | None, num_tokens: int) -> np.ndarray:
    """Characters as numbers below 65: of a file, or of sentences whose words are drawn by rank as in a language."""
    if path is not None:
        text = path.read_text(encoding="utf-8")
        numbers = {character: min(at, VOCAB - 1) for at, character in enumerate(sorted(set(text)))}
        found = np.array([numbers[character] for character in text[:num_tokens]], dtype=np.uint16)
        return np.resize(found, num_tokens)
    dice = np.random.default_rng(0)
    words = [dice.integers(1, VOCAB, dice.integers(2, 9)) for _ in range(2000)]
    ranks = np.minimum(dice.zipf(1.3, num_tokens // 3) - 1, len(words) - 1)
    spaced = [part for rank in ranks for part in (words[rank], [0])]
    return np.concatenate(spaced)[:num_tokens].astype(np.uint16)


def ours(size: Size, tokens: np.ndarray, dtype: str, weight_decay: float = 0.1) -> Learner:
    """Our trainer's step over the tokens."""
    config = TrainConfig(
        model=size.model,
        seed=0,
        learning_rate=RATE,
        embedding_rate=1.0,
        batch_tokens=size.batch_tokens,
        warmup_tokens=0,
        weight_decay=weight_decay,
        dtype="bfloat16" if dtype == "bfloat16" else "float32",
        num_threads=torch.get_num_threads(),
    )
    documents = Documents(["text"], ["benchmark"], np.array([len(tokens)]), np.array([0, len(tokens)]), tokens, int(tokens[-1]))
    return Learner(config, TokenStream(documents, len(tokens)), "cpu")


def plain(size: Size, tokens: np.ndarray, *, published: bool = True, weight_decay: float = 0.1) -> PlainTrainer:
    """The plain step over the same tokens; our stream begins with an end-of-document token."""
    model = PlainGPT2(size.depth, size.num_heads, size.width, size.context, VOCAB, published=published)
    return PlainTrainer(model, np.concatenate([tokens[-1:], tokens]), size.rows, size.context, weight_decay)


def worst_difference(size: Size, tokens: np.ndarray) -> float:
    """Largest difference of the losses of three steps from the same weights. Raises: SystemExit above 1e-4."""
    mine, theirs = ours(size, tokens, "float32", weight_decay=0.0), plain(size, tokens, weight_decay=0.0)
    with torch.no_grad():
        for name, parameter in theirs.model.named_parameters():
            parameter.copy_(mine.weights()[_our_name(name)])
    found = max(abs(float(mine.advance(RATE)[0]) - float(theirs.advance(RATE))) for _ in range(3))
    if not found < 1e-4:
        sys.exit(f"{size.name}: losses of the two trainers differ by {found}, so they are not the same model")
    return found


def _our_name(theirs: str) -> str:
    outside = {"wte.weight": "embedding.weight", "wpe.weight": "positions.weight"}
    if theirs in outside:
        return outside[theirs]
    if theirs.startswith("ln_f"):
        return theirs.replace("ln_f", "final_norm")
    _, layer, *part, kind = theirs.split(".")
    inside = {"ln_1": "attention_norm", "attn.c_attn": "qkv", "attn.c_proj": "attention_out", "ln_2": "mlp_norm", "c_fc": "mlp_in"}
    return f"blocks.{layer}.{inside.get('.'.join(part), 'mlp_out')}.{kind}"


def take_turns(trainers: dict[str, Trainer], size: Size, clock: Clock) -> dict[str, list[float]]:
    """Tokens per second of each trainer in each round."""
    for trainer in trainers.values():
        trainer.advance(RATE)
    speeds: dict[str, list[float]] = {name: [] for name in trainers}
    until = time.perf_counter() + MAX_SECONDS
    for _ in range(size.rounds):
        if time.perf_counter() > until and len(speeds["ours"]) >= 3:
            print("  the machine is busy: fewer rounds than planned")
            break
        for name, trainer in trainers.items():
            started = clock()
            for _ in range(size.steps):
                trainer.advance(RATE)
            speeds[name].append(size.steps * size.batch_tokens / (clock() - started))
    return speeds


def ratio(speeds: dict[str, list[float]], name: str, other: str) -> float:
    """Median over the rounds of one's speed over the other's."""
    return statistics.median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))


def peak(multiply: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, clock: Clock) -> float:
    """GFLOP/s of the fastest of many square products."""
    best = 0.0
    for side in (512, 1024):
        left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        for _ in range(20):
            started = clock()
            multiply(left, right)
            best = max(best, 2 * side**3 / (clock() - started) / 1e9)
    return best


def measure(size: Size, num_threads: int, tokens: np.ndarray) -> dict[str, float]:
    """All trainers of a size on so many threads."""
    clock = time.thread_time if num_threads == 1 else time.perf_counter
    trainers: dict[str, Trainer] = {
        "ours": ours(size, tokens, "float32"),
        "plain": plain(size, tokens),
        "plain_unbiased": plain(size, tokens, published=False),
        "ours_bf16": ours(size, tokens, "bfloat16"),
    }
    peaks = {"ours": peak(product, torch.float32, clock), "ours_bf16": peak(torch.mm, torch.bfloat16, clock)}
    mkl = peak(torch.mm, torch.float32, clock)
    speeds = take_turns(trainers, size, clock)
    found = {f"{name}_tokens_per_s": statistics.median(speed) for name, speed in speeds.items()}
    gflops = size.model.flops_per_token / 1e9
    found |= {f"{name}_mfu": found[f"{name}_tokens_per_s"] * gflops / best for name, best in peaks.items()}
    found["plain_mfu_of_mkl"] = found["plain_tokens_per_s"] * gflops / mkl
    found |= {"peak_gflops": peaks["ours"], "peak_gflops_bf16": peaks["ours_bf16"], "mkl_gflops": mkl}
    for name in ("ours", "ours_bf16"):
        found |= {f"{name}_over_{other}": ratio(speeds, name, other) for other in ("plain", "plain_unbiased")}
    print(f"\n{size.name}, {num_threads} thread{'s' * (num_threads > 1)}, {size.batch_tokens} tokens a step")
    for name, speed in speeds.items():
        low, high = np.percentile(speed, [10, 90])
        mfu = f"  MFU {found[f'{name}_mfu']:.0%} of {peaks[name]:.0f} GFLOP/s" if name in peaks else ""
        print(f"  {name:16} {statistics.median(speed):9,.0f} tokens/s  (10% to 90%: {low:,.0f} to {high:,.0f}){mfu}")
    print(f"  ours/plain {found['ours_over_plain']:.2f}  bfloat16 {found['ours_bf16_over_plain']:.2f}  MKL {mkl:.0f} GFLOP/s")
    return found


def alone(seconds: float) -> None:
    """A child process: train on one thread from a common moment on, then print tokens per second of wall time."""
    with reproducible(1):
        learner = ours(SMALL, text_tokens(None, NUM_TOKENS), "float32")
        learner.advance(RATE)
        print("ready", flush=True)
        sys.stdin.readline()
        started, num_steps = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            learner.advance(RATE)
            num_steps += 1
        print(num_steps * SMALL.batch_tokens / (time.perf_counter() - started), flush=True)


def together(num_processes: int, seconds: float) -> float:
    """Tokens per second of all processes, which start at once, on one thread each."""
    command = [sys.executable, __file__, "--alone", str(seconds)]
    with ExitStack() as stack:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        children = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(num_processes)]
        said = [(child.stdin, child.stdout) for child in children if child.stdin and child.stdout]
        for _, out in said:
            out.readline()
        for to, _ in said:
            to.write("go\n")
            to.flush()
        return sum(float(out.readline()) for _, out in said)


def side_by_side(rounds: int = 3, seconds: float = 4.0) -> dict[str, float]:
    """Two runs against one."""
    pairs = [(together(1, seconds), together(2, seconds)) for _ in range(rounds)]
    one, two = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    found = statistics.median(two / one for one, two in pairs)
    print(f"\n{SMALL.name}, processes with a thread each: one {one:,.0f} tokens/s, two {two:,.0f}, {found:.2f} times")
    return {"one_process_tokens_per_s": one, "two_processes_tokens_per_s": two, "two_processes_over_one": found}


def main() -> None:
    """Check, measure, print tables, end with one line of JSON."""
    parser = argparse.ArgumentParser(description="Training on a CPU, against a plain GPT-2 step.")
    parser.add_argument("text", nargs="?", type=Path, help="a text of at least a million characters; made up if absent")
    parser.add_argument("--alone", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone is not None:
        return alone(given.alone)
    tokens = text_tokens(given.text, NUM_TOKENS)
    found: dict[str, dict[str, float]] = {}
    for size in (SMALL, LARGE):
        for num_threads in (1, 2):
            with reproducible(num_threads):
                if num_threads == 1:
                    print(f"{size.name}: largest difference of the losses of three steps {worst_difference(size, tokens):.1e}")
                found[f"{size.name}_{num_threads}"] = measure(size, num_threads, tokens)
    beside = side_by_side()
    print(json.dumps(summary(found) | {name: round(value, 2) for name, value in beside.items()} | {"details": rounded(found)}))


def summary(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures that are asked for, each the smaller of one and two threads where a ratio."""
    small, large = ([found[f"{size.name}_{num}"] for num in (1, 2)] for size in (SMALL, LARGE))
    figures = {
        "ratio_nanogpt": min(f["ours_over_plain"] for f in small),
        "tokens_per_s": small[0]["ours_tokens_per_s"],
        "mfu": small[0]["ours_mfu"],
        "ratio_nanogpt_unbiased": min(f["ours_over_plain_unbiased"] for f in small),
        "ratio_nanogpt_10m": min(f["ours_over_plain"] for f in large),
        "ratio_nanogpt_10m_bf16": min(f["ours_bf16_over_plain"] for f in large),
        "tokens_per_s_10m": large[0]["ours_tokens_per_s"],
        "mfu_10m": large[0]["ours_mfu"],
        "tokens_per_s_10m_bf16": large[0]["ours_bf16_tokens_per_s"],
        "mfu_10m_bf16": large[0]["ours_bf16_mfu"],
    }
    return {name: round(value, 3) for name, value in figures.items()}


def rounded(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """All figures, by size and threads."""
    return {name: {key: float(f"{value:.4g}") for key, value in values.items()} for name, values in found.items()}


if __name__ == "__main__":
    main()
