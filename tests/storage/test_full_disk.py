"""A full disk, played by a limit on file size in a process of its own: a clear error, no half file, the lake as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from storage.files import list_files
from storage.lake import Lake

HERE = Path(__file__).parent

SCRIPT = """
import resource, sys
sys.path.insert(0, {here!r})
import committer, pyarrow as pa
from storage import files
from storage.lake import Lake
from storage.ledger import Output, commit
from storage.settings import LakeSettings

with Lake.open(LakeSettings(lake={lake!r})) as lake:
    commit(lake, [committer.output(lake, committer.work(1))])
    size = max(p.stat().st_size for p in __import__("pathlib").Path({lake!r}).rglob("*") if p.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, size + 100_000))
    of = committer.work(2)
    texts = [f"{{number * 7919 ** 9:x}}" * 20 for number in range({num_rows})]
    rows = committer.filled("tokenizers", {num_rows}, file=texts)
    try:
        {action}
    except OSError as error:
        print(type(error).__name__, error)
"""

ACTIONS = {
    "a file": ('files.write_parquet(lake.staging_dir(of) + "/x.parquet", rows, of.key)', 40_000),
    "rows for a file": ("commit(lake, [Output(work=of, tables={'tokenizers': rows})])", 40_000),
    "rows for the catalog": ("commit(lake, [Output(work=of, tables={'tokenizers': rows})])", 1_000),
}


@pytest.mark.parametrize("what", ACTIONS)
def test_no_room(lake: Lake, what: str) -> None:
    lake.close()
    action, num_rows = ACTIONS[what]
    script = SCRIPT.format(here=str(HERE), lake=lake.settings.lake, action=action, num_rows=num_rows)
    environment = {"PYTHONPATH": str(HERE.parents[1]), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("StorageFull", "OSError")), done.stdout
    assert "space" in done.stdout
    with Lake.open(lake.settings) as after:
        assert after.rows("SELECT slot FROM stages") == [("slot-1",)]
        assert after.rows("SELECT count(*) FROM tokenizers") == [(2,)]
        assert list_files(after.settings.data_path) == after.list_data_files("tokens")
