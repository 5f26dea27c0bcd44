"""One trunk with decayed branches against a training of its own for every rung: is the shortcut honest, and what does it save?

    python benchmarks/trunk_vs_runs.py [TEXT_DIR] [--schedules cosine,linear] [--seeds 3] [--work DIR]

TEXT_DIR is searched for an archive *enwiki*.tar.xz of wikiextractor's files, or for *.txt. Without it the script makes its own text, of
a Markov chain, and trains a smaller ladder. One thread; some fifteen minutes of one core with TEXT_DIR, half a minute without. Stopped,
it goes on where it was if --work names a folder that stays.

What is compared: rungs of 262,144 to 1,048,576 tokens, each sqrt(2) times the one before (without TEXT_DIR 16,384 to 131,072, doubling),
trained once as branches of one trunk (warmup-stable-decay, the last fifth decays) and once each on its own with the schedule's end at
the rung. Each schedule has its own learning rate, from a grid of factor 2 at one rung with a seed that is not used again; a grid whose
best rate is at its end is extended, and a parabola in the log of the rate gives the optimum. Model, data and their order, batch and
warm-up are the same. The loss is that of the whole validation split. Shorter rungs are another matter: at 131,072 tokens the trunk was
worse by 0.045 nats (docs/log.md), for a fifth of so little is a short decay.

How it is judged: per rung, the difference is the mean over seeds of trunk minus separate, and its standard error is
sqrt((s_trunk^2 + s_separate^2) / seeds) with the standard deviations between seeds at that rung. `within_noise`: at every rung the
difference is at most twice that error; a trunk that is better passes. The error of differences paired by seed stands beside it. Noise
is not pooled over rungs, for it differs between them; and the rungs of one trunk are correlated, so they are no independent votes.

Ends with one line of JSON; `token_ratio` is tokens trained by the trunk with its branches over those of separate trainings.
"""

import argparse
import hashlib
import json
import math
import random
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm.evaluation.loss import evaluate
from lm.models.config import ModelConfig
from lm.tokens import tokenizer
from lm.tokens.encode import write_tokens
from lm.tokens.selection import TokenData, write_selection
from lm.training import TrainConfig, train_trunk
from lm.training.config import plan_rungs
from lm.training.tuning import Point, beyond, grid, optimum

TUNING_SEED = 100
CENTERS = {"wsd": 0.0042, "cosine": 0.0057, "linear": 0.0057}
"""Where each grid of four begins; what is found does not depend on it, as grids go on until the best rate has neighbours."""
MAX_EXTENSIONS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the comparison is."""

    train_bytes: int
    validation_bytes: int
    vocab_size: int
    depth: int
    width: int
    rungs: tuple[int, ...]
    tuning_rung: int
    batch_tokens: int = 512
    context_tokens: int = 128
    warmup_tokens: int = 16_384


REAL = Scale(4_500_000, 160_000, 1024, 4, 64, (262_144, 370_688, 524_288, 741_376, 1_048_576), 262_144)
MADE_UP = Scale(500_000, 40_000, 512, 2, 32, (16_384, 32_768, 65_536, 131_072), 32_768, warmup_tokens=4096)


def main() -> None:
    parser = argparse.ArgumentParser(description="One trunk against a training for every rung.")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--schedules", default="cosine", help="Schedules of separate trainings, with commas.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds of each; at least two, or there is no noise to compare with.")
    parser.add_argument("--work", type=Path, help="Folder that keeps finished trainings.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(given.folder, given.schedules.split(","), range(max(2, given.seeds)), given.work or Path(scratch))


def compare(folder: Path | None, separate: list[str], seeds: range, work: Path) -> None:
    """Train what is missing, say what came out."""
    scale = REAL if folder else MADE_UP
    work.mkdir(parents=True, exist_ok=True)
    data = prepare(texts(folder, scale), scale, work)
    bench = Bench(scale, data, work)
    rates = {schedule: tune(bench, schedule) for schedule in ["wsd", *separate]}
    losses = {
        schedule: {seed: [loss for loss, _ in bench.losses(schedule, rate, seed, scale.rungs)] for seed in seeds}
        for schedule, rate in rates.items()
    }
    found = {schedule: judge(losses["wsd"], losses[schedule]) for schedule in separate}
    show(scale, rates, losses, found)
    tokens = {schedule: bench.train_tokens(schedule) for schedule in rates}
    print(
        json.dumps(
            {
                "token_ratio": round(tokens["wsd"] / tokens[separate[0]], 4),
                "within_noise": all(all(rung["within_noise"] for rung in rungs) for rungs in found.values()),
                "num_seeds": len(seeds),
                "learning_rates": rates,
                "rungs_tokens": scale.rungs,
                "differences": found,
                "losses": losses,
                "cpu_seconds_now": round(time.process_time(), 1),
            }
        )
    )


def texts(folder: Path | None, scale: Scale) -> Iterator[str]:
    """Documents, in an order that depends on nothing but the folder."""
    if folder is None:
        yield from made_up(scale.train_bytes + scale.validation_bytes)
        return
    archives, plain = sorted(folder.rglob("*enwiki*.tar.xz")), sorted(folder.rglob("*.txt"))
    if not archives and not plain:
        sys.exit(f"{folder} holds neither an archive *enwiki*.tar.xz nor *.txt; leave the argument out to train on made-up text")
    if not archives:
        for path in plain:
            yield from filter(None, re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")))
        return
    with tarfile.open(archives[0], "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            for match in re.finditer(r"<doc [^>]*>\n(.*?)</doc>", file.read().decode("utf-8", "replace") if file else "", re.DOTALL):
                yield match[1].strip()


def made_up(num_bytes: int) -> Iterator[str]:
    """Documents of words drawn by a chain that knows two words back, so that there is something to learn at every size."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioulnrst", k=draw.randint(2, 7))) for _ in range(600)]
    done = 0
    while done < num_bytes:
        one, two = draw.choices(words, k=2)
        text = [one, two]
        for _ in range(draw.randint(40, 400)):
            rng = random.Random(f"{text[-2]} {text[-1]}" if draw.random() < 0.5 else text[-1])
            text.append(words[min(599, int(draw.paretovariate(0.7)))] if draw.random() < 0.2 else rng.choice(words))
        yield " ".join(text)
        done += len(text) * 6


def prepare(documents: Iterator[str], scale: Scale, work: Path) -> TokenData:
    """Vocabulary, token file and selection; documents are in training or in validation by a hash of their text."""
    selection = work / "selection.parquet"
    files = (str(work / "tokens-00000.parquet"),)
    if selection.exists():
        return TokenData(files=files, selection=str(selection))
    by_split: dict[str, dict[str, str]] = {"train": {}, "validation": {}}
    wanted = {"train": scale.train_bytes, "validation": scale.validation_bytes}
    for text in documents:
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        split = "validation" if name.startswith("0") else "train"
        if wanted[split] > 0:
            by_split[split][name] = text
            wanted[split] -= len(text.encode())
        if max(wanted.values()) <= 0:
            break
    info = tokenizer.train(by_split["train"].values(), scale.vocab_size, work / "tokenizer.json")
    rows = {name: text for split in by_split.values() for name, text in split.items()}
    batch = pa.RecordBatch.from_pydict({"id": list(rows), "host": ["text"] * len(rows), "text": list(rows.values())})
    write_tokens(
        [batch],
        tokenizer.load(work / "tokenizer.json"),
        rank_key="trunk",
        tokenizer_id=info.tokenizer_id,
        produced_by="benchmark",
        out_dir=work,
    )
    table = pq.read_table(files[0], columns=["rank", "id", "num_tokens", "host"])
    splits = ["validation" if name in by_split["validation"] else "train" for name in table["id"].to_pylist()]
    num_bytes = {split: sum(len(text.encode()) for text in found.values()) / 1e6 for split, found in by_split.items()}
    print(
        f"{num_bytes['train']:.2f} MB to train on, {num_bytes['validation']:.2f} MB of validation, vocabulary {info.vocab_size}", flush=True
    )
    return TokenData(files=files, selection=write_selection(table.append_column("split", pa.array(splits)), selection))


@dataclass(frozen=True, slots=True)
class Bench:
    """Trainings of one scale on one set of data."""

    scale: Scale
    data: TokenData
    work: Path

    def config(self, schedule: str, rate: float, seed: int) -> TrainConfig:
        """The same but for schedule, rate and seed."""
        scale = self.scale
        mlp = -(-8 * scale.width // 48) * 16
        model = ModelConfig(
            depth=scale.depth,
            width=scale.width,
            num_heads=scale.width // 32,
            mlp_width=mlp,
            context_tokens=scale.context_tokens,
            vocab_size=scale.vocab_size,
        )
        config = TrainConfig(model=model, seed=seed, learning_rate=rate, batch_tokens=scale.batch_tokens, warmup_tokens=scale.warmup_tokens)
        return replace(config, schedule=schedule, embedding_rate=8.0)  # type: ignore[arg-type]

    def train_tokens(self, schedule: str) -> int:
        """Tokens trained for all rungs of one seed."""
        plans = plan_rungs(self.config(schedule, 0.001, 0), list(self.scale.rungs))
        own = sum(plan.last_step - plan.branch_step for plan in plans)
        return (plans[-1].branch_step + own) * self.scale.batch_tokens

    def losses(self, schedule: str, rate: float, seed: int, rungs: tuple[int, ...]) -> list[tuple[float, float]]:
        """Validation loss and its standard error over documents at each rung; kept in a file once it is known."""
        config = self.config(schedule, rate, seed)
        name = f"{schedule}-{rate:g}-seed{seed}"
        known = self.work / f"{name}-{len(rungs)}.json"
        if not known.exists():
            started = time.process_time()
            trained = train_trunk(config, self.data, list(rungs), self.work / name, ladder_id="benchmark")
            found = [self._measure(config, checkpoint) for checkpoint in trained.checkpoints]
            known.write_text(json.dumps(found))
            text = "  ".join(f"{loss:.4f}" for loss, _ in found)
            print(f"{name:28} {text}   {trained.train_tokens:,} tokens, {time.process_time() - started:.0f} s of CPU", flush=True)
        return [(loss, error) for loss, error in json.loads(known.read_text())]

    def _measure(self, config: TrainConfig, checkpoint: Any) -> tuple[float, float]:
        place = {name: value for name, value in asdict(checkpoint).items() if name in ("rung", "step", "num_tokens")}
        rows = evaluate(checkpoint.file, config, self.data, run_id="-", validation_id="-", num_threads=1, **place).to_pylist()
        (row,) = [row for row in rows if (row["domain"], row["name"]) == ("all", "loss_nats_per_token")]
        return row["value"], row["stderr"]


def tune(bench: Bench, schedule: str) -> float:
    """The best rate of a schedule at one rung, with a seed of its own."""
    rung = (bench.scale.tuning_rung,)
    rates = grid(CENTERS[schedule], 4)
    for _ in range(MAX_EXTENSIONS + 1):
        points = [Point(rate, bench.losses(schedule, rate, TUNING_SEED, rung)[0][0]) for rate in rates]
        further = beyond(points)
        if further is None:
            break
        rates.append(further)
    best = optimum(points)
    print(f"{schedule}: best rate {best.learning_rate:g} [{best.low:.2g}, {best.high:.2g}] at {rung[0]:,} tokens", flush=True)
    return best.learning_rate


def judge(trunk: dict[int, list[float]], separate: dict[int, list[float]]) -> list[dict[str, Any]]:
    """Per rung the difference, its error, and whether it is within the noise."""
    one, two = np.array(list(trunk.values())), np.array(list(separate.values()))
    errors = np.sqrt((one.var(axis=0, ddof=1) + two.var(axis=0, ddof=1)) / len(one))
    paired = (one - two).std(axis=0, ddof=1) / math.sqrt(len(one))
    return [
        {
            "difference": round(float(mean), 4),
            "stderr": round(float(error), 4),
            "paired_stderr": round(float(of_pairs), 4),
            "within_noise": bool(mean <= 2 * error),
        }
        for mean, error, of_pairs in zip((one - two).mean(axis=0), errors, paired, strict=True)
    ]


def show(scale: Scale, rates: dict[str, float], losses: dict[str, dict[int, list[float]]], found: dict[str, list[dict[str, Any]]]) -> None:
    """A table per schedule."""
    for schedule, rungs in found.items():
        pair = f"trunk at {rates['wsd']:g} against {schedule} at {rates[schedule]:g}"
        print(f"\n{pair}; nats per token, mean of {len(losses['wsd'])} seeds (SD)")
        for number, (tokens, rung) in enumerate(zip(scale.rungs, rungs, strict=True)):
            both = [np.array([losses[name][seed][number] for seed in losses[name]]) for name in ("wsd", schedule)]
            one, two = (f"{values.mean():.4f} ({values.std(ddof=1):.4f})" for values in both)
            verdict = "within" if rung["within_noise"] else "BEYOND"
            print(f"{tokens:>10,}  trunk {one}  {schedule} {two}  difference {rung['difference']:+.4f} +- {rung['stderr']:.4f}  {verdict}")


if __name__ == "__main__":
    main()
