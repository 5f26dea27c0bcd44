"""A fresh lake per test, and the helpers of the committing process."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from storage.lake import Lake
from storage.settings import LakeSettings

COMMITTER = Path(__file__).parent / "committer.py"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("LADDER_", "AWS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> LakeSettings:
    return LakeSettings(lake=str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake without rows, to copy: making its tables takes longer than most tests."""
    place = tmp_path_factory.mktemp("template") / "lake"
    Lake.open(LakeSettings(lake=str(place), catalog=None, data=None)).close()
    return place


@pytest.fixture
def lake(settings: LakeSettings, empty_lake: Path) -> Iterator[Lake]:
    shutil.copytree(empty_lake, settings.lake)
    with Lake.open(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def committer() -> ModuleType:
    """The module tests/storage/committer.py: work(number), output(lake, work)."""
    spec = importlib.util.spec_from_file_location("committer", COMMITTER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["committer"] = module
    spec.loader.exec_module(module)
    return module
