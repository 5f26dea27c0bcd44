"""What the documents say holds: every command shown is run, every file named is there, every list is complete.

    ```console    lines that begin with `$ ` are run in a shell, one block after another in one folder; make only says what it would do
    ```sql        is run by `ladder sql`
    ```text       is not run: patterns, layouts, commands for other machines

The commands meet a small lake that the README's own pipeline has filled from a folder of JSON lines.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments import services
from storage.document import with_tables
from tests.flows import corpus_maker

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deployments" / "README.md"]
SHOWN = [*PAGES, ROOT / "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
KINDS = {"console", "sql", "text"}
pytestmark = pytest.mark.timeout(1800)  # the first to need the small lake waits for all of it


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Commands of a console block."""
        return COMMAND.findall(self.body)


def blocks(kind: str | None = None) -> list[Block]:
    """All blocks, or those of one kind, in the order a reader meets them."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in FENCE.finditer(text)]
    return [block for block in found if kind in (None, block.kind)]


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who follows the documents: a folder with a corpus and the virtual environment, a shell, and a lake."""

    folder: Path
    lake: Path
    env: dict[str, str]

    def run(self, command: str, **env: str) -> str:
        """Run a command or a script of several; what it printed. Fails the test unless it exits 0."""
        script = f"set -euo pipefail\n{command}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{command}\nexited {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    def sql(self, query: str) -> object:
        """Rows of a query through `ladder sql`."""
        done = subprocess.run(
            ["ladder", "sql", query, "--format", "json"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{query}\n{done.stderr}"
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader whose lake was filled by the README's pipeline, with a server that is there for the whole module."""
    folder = tmp_path_factory.mktemp("reader")
    lake = folder / "lake"
    corpus_maker.write(folder / "corpus" / "documents.jsonl", 700)
    (folder / ".venv").symlink_to(sys.prefix)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "LADDER_LAKE": str(lake), "OMP_NUM_THREADS": "1"}
    env.pop("PREFECT_API_URL", None)
    pipeline = next(command for block in blocks("console") for command in block.commands if command.startswith("ladder pipeline"))
    with services.server(lake, echo=lambda _: None):
        person = Reader(folder, lake, env)
        person.run(pipeline)
        yield person


def test_every_block_says_what_it_is() -> None:
    """A block of another kind would be a command that nobody runs."""
    assert [f"{block}: {block.kind}" for block in blocks() if block.kind not in KINDS] == []
    assert [str(block) for block in blocks("console") if not block.commands] == []
    assert [
        str(block) for block in blocks("text") if re.search(r"^\s*(\$ |ladder |make |\.venv/bin/ladder )", block.body, re.MULTILINE)
    ] == []


def as_run(command: str) -> str:
    """The command as the test runs it: make says what it would do, for the suite itself is one of its targets."""
    return re.sub(r"^make ", f"make --no-print-directory -n -C '{ROOT}' ", command)


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in blocks("console") if "ladder up" not in block.body], ids=str)
def test_commands_run(reader: Reader, block: Block) -> None:
    reader.run("\n".join(as_run(command) for command in block.commands))


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in blocks("console") if "ladder up" in block.body], ids=str)
def test_services_come_and_go(reader: Reader, block: Block, tmp_path: Path) -> None:
    """On a lake of their own, for `ladder down` ends what others use."""
    lake = tmp_path / "lake"
    try:
        reader.run("\n".join(as_run(command) for command in block.commands), LADDER_LAKE=str(lake))
    finally:
        services.down(lake, echo=lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_queries_run(reader: Reader, block: Block) -> None:
    assert isinstance(reader.sql(block.body), list)


@pytest.mark.slow
def test_the_small_lake_holds_a_forecast_that_was_scored(reader: Reader) -> None:
    """So that the queries above met rows, and the README's pipeline shows what it promises."""
    found = reader.sql("SELECT count(*) AS n, count(outcome) AS scored FROM forecasts")
    assert isinstance(found, list)
    assert found[0]["n"] > 0
    assert found[0]["n"] == found[0]["scored"]


def test_every_table_and_column_is_documented_as_it_is() -> None:
    page = ROOT / "docs" / "lake.md"
    text = page.read_text(encoding="utf-8")
    assert text == with_tables(text), "docs/lake.md is older than storage/schema; run: python -m storage.document docs/lake.md"


def test_links_lead_somewhere() -> None:
    broken = []
    for page in SHOWN:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http") and not (page.parent / target.partition("#")[0]).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert [link for link in broken if not link.endswith("docs/images/curve.png")] == []


def test_files_named_are_there() -> None:
    names = {
        name
        for page in SHOWN
        for name in re.findall(r"`((?:flows|lm|storage|deployments|docs|tests|benchmarks)/[\w./]*)`", page.read_text())
    }
    assert sorted(name for name in names if not (ROOT / name).exists()) == []


def test_the_tree_is_the_tree() -> None:
    tree = next(block.body for block in blocks("text") if block.body.startswith("flows/"))
    parents: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        parents = [*parents[:depth], name]
        assert ROOT.joinpath(*parents).exists(), line


def test_commands_named_in_passing_exist() -> None:
    from typer.main import get_command

    from flows.cli import app

    known = set(getattr(get_command(app), "commands"))  # noqa: B009
    named = {name for page in SHOWN for name in re.findall(r"(?:`|\$ )ladder (\w+)", page.read_text(encoding="utf-8"))}
    assert named - known == set()
    assert known - named == set()


def test_every_dependency_is_accounted_for() -> None:
    """docs/dependencies.md names the direct dependencies and no others, at the pinned versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [item for items in project["optional-dependencies"].values() for item in items]
    direct = {normal(item) for item in [*project["dependencies"], *extras]} - {"dataladder"}
    pins = dict(line.strip().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    wanted = {name: {normal(pin): version for pin, version in pins.items()}.get(name) for name in direct}
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \| \S.* \|$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    listed = {normal(name): version for name, version in rows if version[0].isdigit()}
    assert listed == wanted


def normal(requirement: str) -> str:
    """Name of a requirement as indexes compare it."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()
