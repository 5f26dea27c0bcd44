"""What a table and a column are."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column: DuckDB type, meaning with unit, and whether two faithful runs may differ in it."""

    type: str
    doc: str
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the lake: what a row is, and its columns in order."""

    name: str
    doc: str
    columns: Mapping[str, Column]


PRODUCED_BY = Column("VARCHAR", "Key of the stage output that holds this row; joins to stages.key.")
ID = Column("VARCHAR", "Document id: BLAKE2b-128 of the text in hex, so equal texts have equal ids.")


def table(name: str, doc: str, /, **columns: Column) -> Table:
    return Table(name, doc, {"produced_by": PRODUCED_BY, **columns})
