"""Remove what killed commits left behind: files that no snapshot refers to.

Only files are touched that this package itself has named, under the tables' directories, and hidden `.part` files older than an hour.
It runs under the writer lock, and a commit moves its files there only while it holds that lock, so no file of a commit under way is
taken for left over. Staged files and artifacts are not touched: their next attempt replaces them. The cost: it lists the whole data path.
"""

import re
import time
from pathlib import Path

from storage import files
from storage.inventory import METADATA
from storage.lake import Lake
from storage.settings import is_remote

_OURS = re.compile(r"main/\w+/[0-9a-f]{32}-[0-9a-f]{12}\.parquet")
_PART_SECONDS = 3600.0


def left_over(lake: Lake) -> list[str]:
    """Paths that sweep would remove."""
    base = lake.settings.data_path
    listed = files.list_files(base, lake.settings.s3fs_options())
    known = {row[0].rsplit("/", 1)[-1] for row in lake.rows(f"SELECT path FROM {METADATA}.ducklake_data_file")}
    return [path for path in listed if _is_orphan(path.removeprefix(base), known) or _is_old_part(path)]


def sweep(lake: Lake) -> list[str]:
    """Remove files that nobody refers to; gives their paths."""
    with lake.writing():
        found = left_over(lake)
        for path in found:
            files.remove(path, lake.settings.s3fs_options())
    return found


def _is_orphan(relative: str, known: set[str]) -> bool:
    return bool(_OURS.fullmatch(relative)) and relative.rsplit("/", 1)[-1] not in known


def _is_old_part(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    if is_remote(path) or not (name.startswith(".") and name.endswith(".part")):
        return False
    return time.time() - Path(path).stat().st_mtime > _PART_SECONDS
