"""Every table of the lake: its columns, types, units and keys, in one place.

The texts written here are stored as comments in the catalog, so that a person who attaches the lake with plain DuckDB
reads the same words as a person who reads this file. A column marked `volatile` holds a clock, a speed or a place (when,
how fast, where in a file); it is left out of the content digest, because two faithful runs may differ in it.

The choice: types are DuckDB's own, written as text. An ORM would add a second vocabulary for the same fact; the cost is that
a wrong type name shows only when the table is made, which the first test does.
"""

from collections.abc import Mapping

from storage.schema import corpus, ledger, training
from storage.schema.table import Table

SCHEMA_VERSION = 1
"""Raised when a table changes in a way that older code cannot read; a lake of a newer version is refused."""


def _tables_of(*modules: object) -> dict[str, Table]:
    return {found.name: found for module in modules for found in vars(module).values() if isinstance(found, Table)}


TABLES: Mapping[str, Table] = _tables_of(ledger, corpus, training)
"""Every table of the lake by name."""
