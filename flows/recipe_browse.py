"""What the page of a recipe shows: per rule, documents that go for it and the kept ones that came closest, drawn by queries.

A rule that removes nothing because another one stands before it shows documents that fail it all the same. Everything is drawn by a hash
of the id or by distance from the limit, so a page of the same lake is the same page.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flows.recipe_inspect import known, removals, similar
from lm.corpus.recipe_page import CLOSEST, FAILS, GOES, Sample
from lm.corpus.recipe_sql import literal
from lm.corpus.recipes import Recipe, Rule
from lm.corpus.verdicts import explain
from storage.lake import Lake

NUM_CLOSEST = 3
"""Kept documents shown per rule, those closest to its limit."""
DRAWN = """
    CREATE OR REPLACE TEMP TABLE drawn AS
    WITH decided AS MATERIALIZED ({view}), measured AS MATERIALIZED ({values}),
    judged AS MATERIALIZED (SELECT reason, kept, m.* FROM decided JOIN measured AS m USING (id))
    SELECT coalesce(reason, 'kept') AS rule, {goes} AS role, id, row_number() OVER (PARTITION BY reason ORDER BY md5(id)) AS place
    FROM decided QUALIFY place <= $per_reason
    {others}
"""
FAILING = """
    UNION ALL (SELECT {name}, {fails}, id, row_number() OVER (ORDER BY md5(id)) AS place FROM judged
      WHERE reason <> {name} AND measured AND NOT coalesce("{column}" {op} {threshold!r}, {missing}) QUALIFY place <= $per_reason)
"""
NEAREST = """
    UNION ALL (SELECT {name}, {closest}, id, row_number() OVER (ORDER BY abs("{column}" - {threshold!r}), id) AS place FROM judged
      WHERE kept AND "{column}" IS NOT NULL QUALIFY place <= {num})
"""
TEXTS = """
    WITH texts AS (
      SELECT d.id, min(url) AS url, min(title) AS title, coalesce(max(strlen(v.text)), max(num_bytes)) AS num_bytes,
        left(coalesce(min(v.text), min(d.text)), $max_chars) AS text
      FROM documents AS d SEMI JOIN drawn USING (id)
      LEFT JOIN (SELECT id, text FROM text_variants WHERE variant = $judged AND text <> '') AS v ON v.id = d.id GROUP BY d.id),
    kept AS (
      SELECT r.id, r.kept_id, r.jaccard, min(d.url) AS kept_url FROM removals_asked AS r SEMI JOIN drawn ON drawn.id = r.id
      JOIN documents AS d ON d.id = r.kept_id GROUP BY ALL),
    known AS (
      SELECT id, arg_max(
          {{'evaluation_set': evaluation_set, 'item': item, 'part': part, 'overlap': overlap, 'text': matched_text}}, overlap) AS item
      FROM contamination SEMI JOIN drawn USING (id) WHERE contaminated GROUP BY id)
    SELECT w.rule AS section, w.role, t.url, t.title, t.num_bytes, t.text, k.kept_id, k.jaccard, k.kept_url, c.item AS known_item, v.*
    FROM drawn AS w JOIN texts AS t USING (id) LEFT JOIN kept AS k ON k.id = w.id LEFT JOIN known AS c ON c.id = w.id
    JOIN ({values}) AS v ON v.id = w.id ORDER BY w.rule, w.role, w.place
"""


@dataclass(frozen=True, slots=True)
class Browsed:
    """Rows of `recipe_counts`, and samples for them."""

    counts: list[dict[str, Any]]
    samples: list[Sample]


def browse(lake: Lake, recipe: Recipe, per_reason: int, max_chars: int) -> Browsed:
    """What each rule removes, and samples; texts cut to `max_chars` characters."""
    others = "".join(_others(rule) for rule in recipe.rules)
    drawn = DRAWN.format(view=recipe.view_sql("removals_asked"), values=recipe.values_sql(), goes=literal(GOES), others=others)
    with removals(lake, recipe) as connection:
        connection.execute(drawn, {"per_reason": per_reason})
        asked = {"max_chars": max_chars, "judged": recipe.judged}
        rows = connection.execute(TEXTS.format(values=recipe.values_sql()), asked).to_arrow_table()
        counts: pa.Table = connection.execute(recipe.counts_sql("removals_asked")).to_arrow_table()
        connection.execute("DROP TABLE drawn")
    return Browsed(counts.to_pylist(), [_sample(recipe, row) for row in rows.to_pylist()])


def _others(rule: Rule) -> str:
    names = {"name": literal(rule.name), "column": rule.name, "op": rule.op, "threshold": rule.threshold}
    failing = FAILING.format(**names, fails=literal(FAILS), missing="true" if rule.missing == "pass" else "false")
    return failing + NEAREST.format(**names, closest=literal(CLOSEST), num=NUM_CLOSEST)


def _sample(recipe: Recipe, row: dict[str, Any]) -> Sample:
    evidence = [similar(row["kept_id"], row["jaccard"], row["kept_url"])] if row["section"] == "near_duplicate" and row["kept_id"] else []
    if item := row["known_item"]:
        evidence.append(known(**item))
    verdicts = explain(recipe, row)
    return Sample(
        id=row["id"],
        url=row["url"],
        title=row["title"],
        num_bytes=row["num_bytes"],
        language=row["language"],
        section=row["section"],
        role=row["role"],
        verdicts=verdicts,
        evidence=tuple(evidence),
        text=row["text"],
    )
