"""A Prefect server for all tests here, and `ladder` as a person runs it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deployments import services

TINY = [
    *("--tokens-vocab-size", "512", "--tokens-validation-bytes", "100000", "--tokens-validation-recipe", "raw"),
    *("--recipe-recipes", "raw", "--recipe-recipes", "gopher", "--ladder-recipe", "raw"),
    *("--ladder-first-rung-tokens", "8192", "--ladder-num-rungs", "4", "--sweep-launch", "here", "--sweep-num-parallel", "2"),
    *("--sweep-models", "d1w32", "--sweep-models", "d2w64", "--law-num-bootstrap", "50"),
]
"""Options that make a pipeline small: four rungs, two sizes, two seeds, seconds of training."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The command `ladder` on one lake, in processes of its own."""

    lake: Path
    api_url: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """Environment of the command."""
        own = {"LADDER_LAKE": str(self.lake), "PREFECT_API_URL": self.api_url, "PYTHONWARNINGS": "default"}
        return {**os.environ, **own, **self.settings}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command and return its process."""
        command = [sys.executable, "-c", "from flows.cli import app; app()", *arguments]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def fails(self, *arguments: str) -> str:
        """Run a command that must fail with a message and without a traceback; what it printed."""
        process = self.start(*arguments)
        output = process.communicate(timeout=300)[0]
        assert process.returncode != 0, output
        assert "Traceback" not in output
        return output

    def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed; what it printed."""
        process = self.start(*arguments)
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 0, output
        return output

    def digest(self) -> str:
        """Content of the lake."""
        return self("status", "--digest")


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server for the session."""
    with services.server(tmp_path_factory.mktemp("server"), echo=lambda _: None) as url:
        yield url


@pytest.fixture
def ladder(tmp_path: Path, api_url: str) -> Ladder:
    """`ladder` on an empty lake."""
    return Ladder(tmp_path / "lake", api_url)
