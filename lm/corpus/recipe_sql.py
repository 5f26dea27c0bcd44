"""A recipe as SQL over the lake's tables `documents`, `signals`, `signatures`, `near_duplicates` and `duplicate_removals`.

Names come from the recipe's validation and are quoted all the same; texts are literals with their quotes doubled. Table names are
unqualified, so a query reads whatever lake the connection has as its default. A similarity is compared as the FLOAT it is stored
as: 0.7 stored is less than the DOUBLE 0.7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm.corpus.recipes import Recipe, Rule

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _relation(name: str) -> str:
    if not _TABLE.fullmatch(name):
        raise ValueError(f"a table name must be letters, digits and _, not {name!r}")
    return f'"{name}"'


def _rule_holds(rule: Rule) -> str:
    return f'coalesce(s."{rule.signal}" {rule.op} {rule.threshold!r}, false)'


def _conditions(recipe: Recipe) -> list[tuple[str, str]]:
    """Reason and the condition under which it applies, in order."""
    found = []
    if recipe.rules:
        found.append(("not_measured", "s.id IS NULL"))
    if recipe.language:
        codes = ", ".join(literal(code) for code in recipe.language.codes)
        holds = f"d.language IN ({codes}) AND d.language_score > CAST({recipe.language.min_score!r} AS FLOAT)"
        found.append(("language", f"NOT coalesce({holds}, false)"))
    found += [(rule.name, f"s.id IS NOT NULL AND NOT {_rule_holds(rule)}") for rule in recipe.rules]
    if recipe.presets:
        found.append(("not_compared", "c.id IS NULL"))
    return found


def _source(recipe: Recipe) -> str:
    """FROM clause: distinct texts as d, their signals as s, those with band keys as c. The host is that of the least name."""
    lines = [
        "(SELECT id, max(num_bytes) AS num_bytes, min(host) AS host, min(language) AS language, max(language_score) AS language_score",
        "  FROM documents GROUP BY id) AS d",
    ]
    if recipe.rules:
        lines.append("LEFT JOIN signals AS s ON s.id = d.id")
    for preset in recipe.presets:
        lines.append(f"LEFT JOIN (SELECT DISTINCT id FROM signatures WHERE method = {literal(preset)}) AS c ON c.id = d.id")
    return "\n".join(lines)


def rules_sql(recipe: Recipe) -> str:
    """SELECT id, num_bytes, host, reason: one row per distinct text, reason NULL if all rules hold."""
    cases = "\n".join(f"  WHEN {condition} THEN {literal(reason)}" for reason, condition in _conditions(recipe))
    reason = f"CASE\n{cases}\n  END" if cases else "CAST(NULL AS VARCHAR)"
    return f"SELECT d.id, d.num_bytes, d.host, {reason} AS reason\nFROM {_source(recipe)}"


def pairs_sql(recipe: Recipe) -> str:
    """SELECT id_a, id_b, jaccard: the pairs that the policy decides on, among documents that pass the rules; none without a policy."""
    if not recipe.presets:
        return "SELECT id_a, id_b, jaccard FROM near_duplicates WHERE false"
    return f"""WITH passing AS (SELECT id FROM ({rules_sql(recipe)}) WHERE reason IS NULL)
SELECT id_a, id_b, max(jaccard) AS jaccard FROM near_duplicates
WHERE method = {literal(recipe.dedup.preset)} AND jaccard >= CAST({recipe.dedup.threshold!r} AS FLOAT)
  AND id_a IN (SELECT id FROM passing) AND id_b IN (SELECT id FROM passing)
GROUP BY id_a, id_b ORDER BY id_a, id_b"""


def view_sql(recipe: Recipe, removals: str) -> str:
    """SELECT id, kept, reason, num_bytes, host: one row per distinct text."""
    if not recipe.presets:
        return f"SELECT id, reason IS NULL AS kept, reason, num_bytes, host FROM ({rules_sql(recipe)})"
    return f"""WITH judged AS ({rules_sql(recipe)}),
removed AS (SELECT id FROM {_relation(removals)} WHERE recipe = {literal(recipe.name)}),
decided AS (
  SELECT j.id, coalesce(j.reason, CASE WHEN r.id IS NOT NULL THEN 'near_duplicate' END) AS reason, j.num_bytes, j.host
  FROM judged AS j LEFT JOIN removed AS r ON r.id = j.id)
SELECT id, reason IS NULL AS kept, reason, num_bytes, host FROM decided"""


def counts_sql(recipe: Recipe, removals: str) -> str:
    """One row per rule and total, in order.

    A rule's num_failing counts texts that fail it whatever else they fail, num_removed those that go for it first. The rows `all` and
    `kept` hold the documents and bytes of these totals; all = exact_duplicate + what the reasons remove + kept. An alarm stands where a
    rule fails no text or every text, and at `kept` if nothing is left.
    """
    conditions = [*_conditions(recipe)]
    order = ["all", "exact_duplicate", *(reason for reason, _ in conditions), *(["near_duplicate"] if recipe.presets else []), "kept"]
    rows = ", ".join(f"({position}, {literal(rule)})" for position, rule in enumerate(order))
    failing = ", ".join(f"CASE WHEN {condition} THEN {literal(reason)} END" for reason, condition in conditions)
    alarmed = ", ".join(literal(name) for name in order if name not in ("all", "exact_duplicate", "not_measured", "not_compared", "kept"))
    return f"""WITH decided AS ({view_sql(recipe, removals)}),
failing AS (
  SELECT reason, count(*) AS num FROM (
    SELECT unnest(CAST([{failing}] AS VARCHAR[])) AS reason FROM {_source(recipe)}
    UNION ALL SELECT 'near_duplicate' FROM decided WHERE reason = 'near_duplicate')
  WHERE reason IS NOT NULL GROUP BY reason),
texts AS (SELECT count(*) AS num, coalesce(sum(num_bytes), 0) AS bytes FROM decided),
everything AS (SELECT count(*) AS num, coalesce(sum(num_bytes), 0) AS bytes FROM documents),
totals AS (
  SELECT 'all' AS rule, num AS num_failing, num AS num_removed, bytes FROM everything
  UNION ALL
  SELECT 'exact_duplicate', e.num - t.num, e.num - t.num, e.bytes - t.bytes FROM everything AS e, texts AS t
  UNION ALL
  SELECT coalesce(reason, 'kept'), NULL, count(*), sum(num_bytes) FROM decided GROUP BY reason),
counted AS (
  SELECT r.position, r.rule, coalesce(f.num, t.num_failing, t.num_removed, 0) AS num_failing,
    coalesce(t.num_removed, 0) AS num_removed, coalesce(t.bytes, 0) AS num_removed_bytes
  FROM (VALUES {rows}) AS r(position, rule) LEFT JOIN totals AS t ON t.rule = r.rule LEFT JOIN failing AS f ON f.reason = r.rule)
SELECT {literal(recipe.name)} AS recipe, rule, CAST(num_failing AS BIGINT) AS num_failing, CAST(num_removed AS BIGINT) AS num_removed,
  CAST(num_removed_bytes AS BIGINT) AS num_removed_bytes,
  CASE
    WHEN (SELECT num FROM texts) = 0 THEN NULL
    WHEN rule = 'kept' AND num_removed = 0 THEN 'removes_everything'
    WHEN rule IN ('kept', 'all', 'exact_duplicate') THEN NULL
    WHEN num_failing = (SELECT num FROM texts) THEN 'removes_everything'
    WHEN num_failing = 0 AND rule IN ({alarmed or "''"}) THEN 'removes_nothing'
  END AS alarm
FROM counted ORDER BY position"""
