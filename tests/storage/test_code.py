import subprocess
import sys
from pathlib import Path

import pytest

from storage import code
from storage.code import code_version

MODULE = '''"""A module."""
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
import lm.other
from . import third
if TYPE_CHECKING:
    import lm.only_types

LIMIT = 3
"""How many."""

def double(value: int) -> int:
    """Twice."""
    # a remark
    return 2 * value
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lm" / "sub").mkdir(parents=True)
    for name in ("__init__", "third", "other", "only_types", "unused"):
        (tmp_path / "lm" / f"{name}.py").write_text("")
    (tmp_path / "lm" / "sub" / "__init__.py").write_text("from ..third import x\n")
    (tmp_path / "lm" / "third.py").write_text("import pyarrow\nx = 1\n")
    (tmp_path / "lm" / "main.py").write_text(MODULE)
    return tmp_path


def versions(project: Path, *modules: str) -> dict[str, str]:
    """In a process of its own, where `lm` is the project under test."""
    script = f"import sys; sys.path[:0] = [{str(project)!r}, {str(Path(code.__file__).parents[1])!r}]\n"
    script += f"from storage.code import code_version; print(code_version(*{modules!r})); assert 'lm' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project)
    found: dict[str, str] = eval(done.stdout)
    return found


def test_imports_are_followed_and_nothing_is_imported(project: Path) -> None:
    found = versions(project, "lm.main")
    assert set(found) == {"lm", "lm.main", "lm.other", "lm.third", "dist:pyarrow"}
    assert set(versions(project, "lm.sub")) == {"lm", "lm.sub", "lm.third", "dist:pyarrow"}


def test_words_do_not_count_and_code_does(project: Path) -> None:
    first = versions(project, "lm.main")["lm.main"]
    path = project / "lm" / "main.py"
    for old, new in (
        ("Twice.", "Two times."),
        ("A module.", "Text."),
        ("# a remark", "# other"),
        ("How many.", "Limit."),
        ("2 * value", "(2 *\n value)"),
    ):
        path.write_text(path.read_text().replace(old, new))
    assert versions(project, "lm.main")["lm.main"] == first
    for old, new in (("2 *", "3 *"), ("LIMIT = 3", "LIMIT = 4"), ("value: int)", "value: float)"), ("import json", "import csv")):
        path.write_text(MODULE.replace(old, new))
        assert versions(project, "lm.main")["lm.main"] != first


def test_this_very_project_can_be_read() -> None:
    found = code_version("storage.ledger")
    assert {"storage", "storage.lake", "storage.schema", "dist:duckdb", "dist:pyarrow"} <= set(found)
    assert found == code_version("storage.ledger")


@pytest.mark.parametrize("module", ["json", "flows.crawl", "lm.no_such_module"])
def test_only_modules_of_this_project_have_a_version(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="code_version needs modules of lm or storage"):
        code_version(module)
