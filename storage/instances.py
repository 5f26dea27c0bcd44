"""One DuckDB per lake and process, and a connection to it for everyone who opens the lake.

A new DuckDB takes 0.2 s to see a lake: its extensions are checked and loaded, the catalog is attached, the tables are read. A further
connection to one that has done so takes 3 ms, and a pipeline opens its lake dozens of times. So the last few stay open, for reading and
for writing apart. Connections share nothing but that: each has its own transactions, settings and temporary tables, and sees what others
commit. The cost: a lake that somebody replaces by another one at the same place is told by its file's number, not by its content. With
PostgreSQL nothing is kept, for the server may go and come back in between; nor with data on S3, of which DuckDB would keep in memory what
it has read.
"""

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import duckdb

from storage import catalog
from storage.settings import LakeSettings

MAX_KEPT = 4
_KEPT: OrderedDict[Hashable, duckdb.DuckDBPyConnection] = OrderedDict()
_GUARD = threading.Lock()
_OF_PARENT: list[Any] = []
"""What a fork must neither use nor close."""


def connect(settings: LakeSettings, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection with the lake attached and in use, to be closed by the caller. Raises: as `catalog.connect`."""
    if settings.is_postgres or settings.uses_s3:
        return catalog.connect(settings, read_only=read_only)
    with _GUARD:
        instance = _KEPT.pop(_key(settings, read_only), None) or catalog.connect(settings, read_only=read_only)
        _KEPT[_key(settings, read_only)] = instance  # asked again, for a lake that was just made has a file only now
        while len(_KEPT) > MAX_KEPT:
            _KEPT.popitem(last=False)  # let go, not closed: that would close every connection to it
        connection = instance.cursor()
    catalog.use(connection)
    return connection


def forget() -> None:
    """Keep nothing; a DuckDB ends when the last connection to it does."""
    with _GUARD:
        _KEPT.clear()


def _key(settings: LakeSettings, read_only: bool) -> Hashable:
    """What makes two openings the same: place, file, keys and mode."""
    file = settings.catalog_file
    number = (file.stat().st_dev, file.stat().st_ino) if file.exists() else None
    return number, settings, settings.data_path, read_only


def _start_anew() -> None:
    """In a fork: the parent's instances have threads that are not here."""
    global _GUARD
    _OF_PARENT.append(dict(_KEPT))
    _KEPT.clear()
    _GUARD = threading.Lock()


os.register_at_fork(after_in_child=_start_anew)
atexit.register(forget)
