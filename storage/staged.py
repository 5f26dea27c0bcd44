"""An output on its way into the lake: checked against its tables, then moved to its final place.

Files get a name of their own under the table's directory just before they are registered. So a later attempt of the same work can never
overwrite a file that a snapshot refers to, and DuckLake stores them by relative path, so that a lake can be moved. Rows too many for the
catalog become such a file here, because DuckDB would write one file for several outputs and leave half of it on a full disk.
"""

import uuid
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.arrow import fit, with_produced_by
from storage.catalog import INLINE_ROWS
from storage.lake import Lake
from storage.schema import TABLES
from storage.work import Output

LEDGER_TABLES = frozenset({"stages", "rejects", "lake_info"})
"""Written by the ledger alone."""


class Staged:
    """One output between its stage and the commit."""

    def __init__(self, output: Output) -> None:
        """Raises: ValueError if rows do not fit their tables."""
        _check_tables(output)
        self.output = output
        self.key = output.work.key
        self.rows = {name: fit(rows, TABLES[name]) for name, rows in output.tables.items()}
        self.paths = {name: list(paths) for name, paths in output.files.items()}
        self.published: dict[str, list[str]] = {}
        self.is_published = False
        self.num_rows = sum(rows.num_rows for rows in self.rows.values())

    def publish(self, lake: Lake) -> None:
        """Check the files and bring them to their final place, with the rows that are too many for the catalog.

        Raises: ValueError if a file does not fit its table; StorageFull if there is no room.
        """
        if self.is_published:  # an attempt before this one did it
            return
        self.is_published = True
        counts = {path: check_file(lake, name, path, self.key) for name, paths in self.paths.items() for path in paths}
        self.num_rows += sum(counts.values())
        options = lake.settings.s3fs_options()
        for name, paths in self.paths.items():
            for path in paths:
                if counts[path]:
                    files.move(path, self._place(lake, name), options)
        for name, rows in self.rows.items():
            if rows.num_rows > INLINE_ROWS:
                files.write_parquet(self._place(lake, name), rows, self.key, options=options)

    def small_rows(self, name: str) -> pa.Table | None:
        """Rows of a table that go into the catalog, with produced_by."""
        rows = self.rows.get(name)
        return None if rows is None or rows.num_rows > INLINE_ROWS else with_produced_by(rows, self.key)

    @property
    def tables(self) -> list[str]:
        """Tables it has rows in, once it is published."""
        filled = {name for name, rows in self.rows.items() if rows.num_rows} | self.published.keys()
        return sorted(filled | ({"rejects"} if self.output.rejects else set()))

    def discard_staged(self, lake: Lake) -> None:
        """Remove what a repeated attempt staged for an output that was there already."""
        inside = lake.settings.data_path
        _remove(lake, (path for paths in self.paths.values() for path in paths if path.startswith(inside)))

    def discard_published(self, lake: Lake) -> None:
        """Remove the files of a commit that failed; what is still staged stays for the next attempt to replace."""
        _remove(lake, (path for paths in self.published.values() for path in paths))

    def _place(self, lake: Lake, name: str) -> str:
        path = files.join(lake.settings.data_path, "main", name, f"{self.key}-{uuid.uuid4().hex[:12]}.parquet")
        self.published.setdefault(name, []).append(path)
        return path


def check_file(lake: Lake, table: str, path: str, key: str) -> int:
    """Rows of a file that is to be registered. Raises: ValueError if place, columns or produced_by are wrong."""
    if not path.startswith(lake.settings.data_path):
        raise ValueError(f"a file to register must be under {lake.settings.data_path} (see Lake.staging_dir); got {path}")
    with files.open_read(path, lake.settings.s3fs_options()) as file:
        metadata = pq.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    missing, unknown = sorted(TABLES[table].columns.keys() - set(names)), sorted(set(names) - TABLES[table].columns.keys())
    if missing or unknown:
        raise ValueError(f"{path} must have the columns of table {table}; missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    for group in range(metadata.num_row_groups if metadata.num_rows else 0):
        found = metadata.row_group(group).column(names.index("produced_by")).statistics
        if found is None or {found.min, found.max} != {key}:
            raise ValueError(f"{path} must hold produced_by = {key} in every row; row group {group} does not")
    return int(metadata.num_rows)


def check_slots(outputs: Iterable[Output]) -> None:
    """Raises: ValueError if two outputs are for one slot."""
    seen: set[tuple[str, str]] = set()
    for work in (output.work for output in outputs):
        if (work.stage, work.slot) in seen:
            raise ValueError(f"one commit must hold one output per stage and slot; got two for {work.stage} {work.slot}")
        seen.add((work.stage, work.slot))


def _check_tables(output: Output) -> None:
    names = set(output.tables) | set(output.files)
    unknown, own = sorted(names - TABLES.keys()), sorted(names & LEDGER_TABLES)
    if unknown or own:
        raise ValueError(f"{output.work.stage} {output.work.slot} writes unknown tables {unknown} or tables the ledger writes itself {own}")
    for sql, _ in output.updates:
        if not sql.lstrip().upper().startswith("UPDATE "):
            raise ValueError(f"updates of {output.work.stage} {output.work.slot} must be UPDATE statements; got: {sql}")


def _remove(lake: Lake, paths: Iterable[str]) -> None:
    for path in paths:
        files.remove(path, lake.settings.s3fs_options())
