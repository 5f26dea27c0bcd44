"""What Prefect costs around a training, and how long a training task takes to its first step.

    python benchmarks/run_overhead.py [--tokens 524288] [--model d4w128]

A temporary lake is made of Python's own files, with a server of its own. A run is trained along its ladder by `ladder train`; beside it,
up to the first rung, by the same code of the stage without any flow, and by `python -m lm.training`, without the lake. The cost of Prefect
is loading it, what the process of the flow spends beyond that of the stage alone, and what the server spends beyond what it spends
idle; all in CPU time, which other work on the machine changes little. Training happens in a child process and is counted apart. Most
of the cost is the same for every run, so the share falls as runs grow. Ends with one line of JSON: `prefect_share` is that cost over the
CPU time of all of it, `seconds_to_first_step` the wall time from the start of the task, `cpu_seconds_to_first_steps` the CPU time of a
process until its first ten.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments import services

ROOT = Path(__file__).resolve().parents[1]
PIECE = 2000
IDLE_SECONDS = 10.0
REPORT = """
import atexit, json, os, resource, sys
def report():
    own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = {"own": own.ru_utime + own.ru_stime, "child": child.ru_utime + child.ru_stime}
    print("USED", json.dumps(used), file=sys.stderr, flush=True)
atexit.register(report)
"""
PREPARE = """
import json, sys
from flows.crawl import crawl_flow
from flows.documents import documents_flow
from flows.ladder import ladder_flow
from flows.recipe import recipe_flow
from flows.settings import CrawlSettings, LadderSettings, RecipeSettings, TokensSettings
from flows.signals import signals_flow
from flows.tokens import tokens_flow
asked = json.loads(sys.argv[1])
crawl_flow(CrawlSettings(source=asked["source"]))
documents_flow()
signals_flow()
recipe_flow(RecipeSettings(recipes=["raw"]))
tokens_flow(TokensSettings(vocab_size=1024, validation_bytes=200_000, validation_recipe="raw"))
ladder_flow(LadderSettings(recipe="raw", first_rung_tokens=asked["first"], num_rungs=3))
"""
FLOW = REPORT + "from flows.cli import app\napp()"
STAGE = (
    REPORT
    + """
import logging
asked = json.loads(sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
from flows import ladder, train
from flows.common import open_lake
from flows.settings import TrainSettings
with open_lake() as lake:
    ladder_id = ladder.newest(lake)
    (unit,) = train.plan(lake, TrainSettings(model=asked["model"], max_rung=0)).todo(lake)
    output = train.train.fn(unit.work, unit.unit, ladder_id)
    data = train.token_data(lake, ladder_id)
    spec = dict(config=json.loads(unit.unit.to_json()), ladder_id=ladder_id, validation_id=None, files=data.files, selection=data.selection)
    spec |= dict(rungs_tokens=unit.work.parameters["rungs"], out_dir=asked["out"])
    open(asked["spec"], "w").write(json.dumps(spec))
"""
)


PLAIN = (
    REPORT
    + """
import time
import lm.training.__main__ as command
show, first = command._show, []
def watch(progress):
    if not first:
        first.append(time.process_time())
        print(f"CPU to first steps {first[0]:.2f} s", file=sys.stderr)
    show(progress)
command._show = watch
sys.argv = ["lm.training", "--config", sys.argv[1]]
command.main()
"""
)
IMPORT = REPORT + "import prefect, prefect.flows, prefect.tasks, prefect.artifacts"


@dataclass(frozen=True, slots=True)
class Used:
    """One command: wall seconds, CPU seconds of its process and of its children, and what it said."""

    wall: float
    own: float
    child: float
    said: str

    @property
    def first_step(self) -> float | None:
        """Seconds from the start of the task to the first step, as the task says."""
        found = re.search(r"first step after ([\d.]+) s", self.said)
        return float(found[1]) if found else None


def run(arguments: list[str], env: Mapping[str, str]) -> Used:
    """Run Python with these arguments. Exits with what it said if it fails."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, *arguments], env=dict(env), cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{arguments[:2]} failed:\n{done.stdout}\n{done.stderr}")
    found = re.search(r"USED (.*)", done.stderr)
    used = json.loads(found[1]) if found else {"own": 0.0, "child": 0.0}
    return Used(wall, used["own"], used["child"], done.stdout + done.stderr)


def corpus(folder: Path, num_bytes: int) -> Path:
    """Pieces of Python's own files as JSON lines."""
    pieces: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("**/*.py")):
        if "site-packages" not in path.parts and "test" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="replace")
            pieces += [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
        if sum(map(len, pieces[-200:])) and len(pieces) * PIECE > num_bytes:
            break
    lines = [json.dumps({"url": f"https://host{i % 9}.example/{i}", "text": piece}) for i, piece in enumerate(pieces)]
    (folder / "pages.jsonl").write_text("\n".join(lines))
    return folder / "pages.jsonl"


def cpu_of_server(lake: Path) -> float:
    """CPU seconds so far of the processes that hold the lake's server."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if f"PREFECT_HOME={lake / 'prefect'}\0".encode() in (stat.parent / "environ").read_bytes():
                fields = stat.read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prepare, run three times, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1 << 19, help="training tokens of the largest rung")
    parser.add_argument("--model", default="d4w128", help="size")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        measure(Path(folder), asked.tokens, asked.model)


def measure(folder: Path, tokens: int, model: str) -> None:
    """The three runs, each from its beginning."""
    lake = folder / "lake"
    with services.server(lake, echo=lambda text: print(text, file=sys.stderr)) as url:
        env = {**os.environ, "LADDER_LAKE": str(lake), "OMP_NUM_THREADS": "1", "PREFECT_API_URL": url, "PYTHONPATH": str(ROOT)}
        env |= {"PREFECT_HOME": str(lake / "prefect"), "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
        source = f"jsonl:{corpus(folder, 6 * tokens)}"
        prepared = run(["-c", PREPARE, json.dumps({"source": source, "first": tokens // 4})], env)
        print(f"lake with {tokens:,} training tokens: {prepared.wall:.0f} s", file=sys.stderr)
        spec = {"model": model, "out": str(folder / "plain"), "spec": str(folder / "run.json")}
        stage = run(["-c", STAGE, json.dumps(spec)], env)
        (trained,) = (lake / "runs").iterdir()
        trained.rename(folder / "trained")
        before = cpu_of_server(lake)
        time.sleep(IDLE_SECONDS)
        idle = (cpu_of_server(lake) - before) / IDLE_SECONDS
        before = cpu_of_server(lake)
        flow = run(["-c", FLOW, "train", "--model", model], env)
        server = max(0.0, cpu_of_server(lake) - before - idle * flow.wall)
        empty, imported = run(["-c", REPORT], env), run(["-c", IMPORT], env)
    plain = run(["-c", PLAIN, str(folder / "run.json")], env)
    show(flow, stage, plain, server, imported.own - empty.own)


def show(flow: Used, stage: Used, plain: Used, server: float, loading: float) -> None:
    """The table and the line of JSON."""
    print(f"{'':34} {'wall s':>8} {'own CPU s':>10} {'child CPU s':>12} {'to first step s':>16}")
    for name, used in {
        "ladder train, under a server": flow,
        "its first rung without a flow": stage,
        "python -m lm.training": plain,
    }.items():
        first = "" if used.first_step is None else f"{used.first_step:.1f}"
        print(f"{name:34} {used.wall:8.1f} {used.own:10.2f} {used.child:12.2f} {first:>16}")
    prefect = loading + flow.own - stage.own + server
    total = flow.own + flow.child + server
    print(f"Prefect: {prefect:.2f} s of CPU, {loading:.2f} of them to load it and {server:.2f} in the server")
    print(f"the lake and all else of the stage: {stage.own - loading:.2f} s of CPU")
    start = re.search(r"CPU to first steps ([\d.]+) s", plain.said)
    figures = {
        "prefect_share": round(prefect / total, 4),
        "seconds_to_first_step": flow.first_step,
        "cpu_seconds_to_first_steps": float(start[1]) if start else None,
        "prefect_cpu_seconds": round(prefect, 2),
        "stage_cpu_seconds": round(stage.own - loading, 2),
        "training_cpu_seconds": round(flow.child, 2),
        "wall_seconds": {"flow": round(flow.wall, 1), "stage": round(stage.wall, 1), "plain": round(plain.wall, 1)},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
