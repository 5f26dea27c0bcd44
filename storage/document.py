"""The tables of the lake as Markdown, made from storage/schema, so that the page and the catalog's comments never differ.

    python -m storage.document docs/lake.md     writes the tables between the page's two markers

The choice: the page keeps its own words and queries, and only what stands between the markers is made here. The cost: after a change of
the schema someone has to run the line above; a test says so.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from storage.schema import TABLES
from storage.schema.table import Table

BEGIN, END = "<!-- tables -->", "<!-- /tables -->"

STAGES: dict[str, tuple[str, ...]] = {
    "crawl": ("crawl_files",),
    "documents": ("captures", "documents"),
    "signals": (
        "signals",
        "near_duplicates",
        "signatures",
        "document_keys",
        "text_variants",
        "variant_signals",
        "host_lines",
        "pii_spans",
        "scores",
        "quality_models",
    ),
    "contamination": (
        "evaluation_items",
        "contamination_matches",
        "contamination",
        "contaminated_items",
        "contamination_checks",
    ),
    "recipe": ("recipes", "recipe_counts", "duplicate_removals", "source_losses"),
    "tokens": ("tokenizers", "tokens", "validation"),
    "ladder": ("rungs",),
    "tune": ("tunings",),
    "runs": ("runs", "checkpoints", "run_speed"),
    "metrics": ("metrics", "item_metrics", "known_items"),
    "law": ("laws",),
    "forecast": ("forecasts",),
    "decisions": ("conclusions",),
    "all stages": ("stages", "rejects", "statistics", "lake_info"),
}
"""The stage that writes each table, in the order of the stages."""


def tables_as_markdown() -> str:
    """Every table with its columns, by stage.

    Raises: ValueError if a table of the schema stands under no stage, or one that stands here is not in the schema.
    """
    shown = [name for names in STAGES.values() for name in names]
    if sorted(shown) != sorted(TABLES):
        raise ValueError(f"each table must stand under one stage in storage/document.py; differing: {sorted(set(shown) ^ set(TABLES))}")
    return "\n".join(line for stage, names in STAGES.items() for line in _stage(stage, names))


def with_tables(page: str) -> str:
    """The page with its tables made anew. Raises: ValueError if it does not hold both markers once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page must hold {BEGIN} and {END} once each, to say where the tables go")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{tables_as_markdown()}\n{END}{rest.split(END)[1]}"


def _stage(stage: str, names: tuple[str, ...]) -> Iterator[str]:
    yield f"\n### {stage}"
    for name in names:
        yield from _table(TABLES[name])


def _table(table: Table) -> Iterator[str]:
    yield from (f"\n#### {table.name}", "", table.doc, "", "| column | type | meaning |", "|---|---|---|")
    for name, column in table.columns.items():
        mark = " *" if column.volatile else ""
        yield f"| `{name}`{mark} | `{column.type}` | {_cell(column.doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
