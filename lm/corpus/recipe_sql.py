"""A recipe as SQL over the lake's tables `documents`, `signals`, `signatures`, `near_duplicates` and `duplicate_removals`.

Where the recipe's texts are by another engine, rules and language look at these texts, whose values stand in `variant_signals`.

Names come from the recipe's validation and are quoted all the same; texts are literals with their quotes doubled. Table names are
unqualified, so a query reads whatever lake the connection has as its default. A similarity is compared as the FLOAT it is stored as: 0.7
stored is less than the DOUBLE 0.7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm.corpus.recipes import Recipe, Rule

MIN_SOURCE_DOCUMENTS = 20
"""A crawl or host with fewer documents raises no alarm: one duplicate would."""
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _relation(name: str) -> str:
    if not _TABLE.fullmatch(name):
        raise ValueError(f"a table name must be letters, digits and _, not {name!r}")
    return f'"{name}"'


def value(rule: Rule) -> str:
    """The column a rule looks at."""
    return f'q."{rule.score}"' if rule.score else f's."{rule.signal}"'


def rule_holds(rule: Rule) -> str:
    """The condition under which a document passes a rule."""
    return f"coalesce({value(rule)} {rule.op} {rule.threshold!r}, {'true' if rule.missing == 'pass' else 'false'})"


def _conditions(recipe: Recipe) -> list[tuple[str, str]]:
    """Reason and the condition under which it applies, in order."""
    found = []
    if recipe.texts:
        found.append(("nothing_left", "e.id IS NOT NULL"))
    if recipe.rules:
        found.append(("not_measured", "s.id IS NULL"))
    if recipe.language:
        codes = ", ".join(literal(code) for code in recipe.language.codes)
        holds = f"d.language IN ({codes}) AND d.language_score > CAST({recipe.language.min_score!r} AS FLOAT)"
        found.append(("language", f"NOT coalesce({holds}, false)"))
    found += [(rule.name, f"s.id IS NOT NULL AND NOT {rule_holds(rule)}") for rule in recipe.rules]
    if recipe.contamination in ("document", "paragraph"):
        found.append(("contaminated", "k.id IS NOT NULL"))
    if recipe.presets:
        found.append(("not_compared", "c.id IS NULL"))
    return found


def _source(recipe: Recipe) -> str:
    """FROM clause: distinct texts as d, their signals as s, those with band keys as c. The host is that of the least name."""
    lines = [f"{_documents(recipe)} AS d"]
    if recipe.rules:
        lines.append(f"LEFT JOIN {_signals(recipe)} AS s ON s.id = d.id")
    if scores := sorted({rule.score for rule in recipe.rules if rule.score}):
        columns = ", ".join(f'max(value) FILTER (name = {literal(score)}) AS "{score}"' for score in scores)
        lines.append(f"LEFT JOIN (SELECT id, {columns} FROM scores GROUP BY id) AS q ON q.id = d.id")
    if recipe.contamination == "document":
        lines.append("LEFT JOIN (SELECT DISTINCT id FROM contamination WHERE contaminated) AS k ON k.id = d.id")
    elif recipe.contamination == "paragraph":  # goes only if nothing is left of it
        lines.append("LEFT JOIN (SELECT DISTINCT id FROM text_variants WHERE variant = 'decontaminated' AND text = '') AS k ON k.id = d.id")
    if recipe.texts:
        emptied = f"SELECT DISTINCT id FROM text_variants WHERE variant = {literal(recipe.texts)} AND text = ''"
        lines.append(f"LEFT JOIN ({emptied}) AS e ON e.id = d.id")
    for preset in recipe.presets:
        lines.append(f"LEFT JOIN (SELECT DISTINCT id FROM signatures WHERE method = {literal(preset)}) AS c ON c.id = d.id")
    return "\n".join(lines)


def _documents(recipe: Recipe) -> str:
    """Distinct texts with the language of what the rules look at."""
    documents = """(SELECT id, max(num_bytes) AS num_bytes, min(host) AS host,
    min(language) AS language, max(language_score) AS language_score FROM documents GROUP BY id)"""
    if not recipe.judged:
        return documents
    return f"""(SELECT o.id, o.num_bytes, o.host, coalesce(v.language, o.language) AS language,
    CASE WHEN v.id IS NULL THEN o.language_score ELSE v.language_score END AS language_score
  FROM {documents} AS o LEFT JOIN variant_signals AS v ON v.id = o.id AND v.variant = {literal(recipe.judged)})"""


def _signals(recipe: Recipe) -> str:
    """Signals of what the rules look at: of another engine's texts, where they differ."""
    if not recipe.judged:
        return "signals"
    best = [recipe.dedup.signal] if recipe.dedup.signal and not recipe.dedup.score else []
    names = sorted({*best, *(rule.signal for rule in recipe.rules if not rule.score)})
    columns, variant = ", ".join(["id", *(f'"{name}"' for name in names)]), literal(recipe.judged)
    return f"""(SELECT {columns} FROM variant_signals WHERE variant = {variant} UNION ALL
  SELECT {columns} FROM signals ANTI JOIN (SELECT id FROM text_variants WHERE variant = {variant}) USING (id))"""


def values_sql(recipe: Recipe) -> str:
    """SELECT id, language, language_score, measured, then what each rule looks at, under the rule's name: one row per distinct text."""
    measured = "s.id IS NOT NULL" if recipe.rules else "true"
    columns = "".join(f', {value(rule)} AS "{rule.name}"' for rule in recipe.rules)
    return f"SELECT d.id, d.language, d.language_score, {measured} AS measured{columns}\nFROM {_source(recipe)}"


def rules_sql(recipe: Recipe) -> str:
    """SELECT id, num_bytes, host, reason: one row per distinct text, reason NULL if all rules hold."""
    cases = "\n".join(f"  WHEN {condition} THEN {literal(reason)}" for reason, condition in _conditions(recipe))
    reason = f"CASE\n{cases}\n  END" if cases else "CAST(NULL AS VARCHAR)"
    return f"SELECT d.id, d.num_bytes, d.host, {reason} AS reason\nFROM {_source(recipe)}"


_KEYS = {"url": "canonical_url", "content": "content_key"}


def pairs_sql(recipe: Recipe) -> str:
    """SELECT id_a, id_b, jaccard, score_a, score_b: similar documents that the policy decides on, among those that pass the rules.

    In a scope, only documents that share a crawl or a host make a pair.
    """
    dedup = recipe.dedup
    if not recipe.presets:
        return (
            "SELECT id_a, id_b, jaccard, CAST(NULL AS DOUBLE) AS score_a, CAST(NULL AS DOUBLE) AS score_b FROM near_duplicates WHERE false"
        )
    shared = "" if dedup.scope == "all" else _shared(dedup.scope)
    return f"""WITH {_scores(recipe)}
SELECT p.id_a, p.id_b, p.jaccard, a.score AS score_a, b.score AS score_b
FROM near_duplicates AS p JOIN scores AS a ON a.id = p.id_a JOIN scores AS b ON b.id = p.id_b
WHERE p.method = {literal(dedup.preset)} AND p.jaccard >= CAST({dedup.threshold!r} AS FLOAT){shared}
ORDER BY p.id_a, p.id_b"""


def keyed_sql(recipe: Recipe) -> str:
    """SELECT id, key, score: documents that share an address or a content with another one, among those that pass the rules.

    Documents of one key are the same to the policy, however many they are. In a scope, a key belongs to one crawl or host.
    """
    if not recipe.dedup.also:
        return "SELECT CAST(NULL AS VARCHAR) AS id, CAST(NULL AS VARCHAR) AS key, CAST(NULL AS DOUBLE) AS score WHERE false"
    scope = "''" if recipe.dedup.scope == "all" else f"k.{recipe.dedup.scope}"
    ways = " UNION ".join(
        f"SELECT k.id, {literal(way)} || chr(10) || k.{_KEYS[way]} || chr(10) || {scope} AS key, s.score "
        "FROM document_keys AS k JOIN scores AS s USING (id)"
        for way in recipe.dedup.also
    )
    return f"""WITH {_scores(recipe)}
SELECT id, key, score FROM ({ways}) WHERE key IS NOT NULL QUALIFY count(*) OVER (PARTITION BY key) > 1 ORDER BY id, key"""


def _scores(recipe: Recipe) -> str:
    """Tables of a WITH: documents that pass the rules, and the score that says which one is best."""
    signal = recipe.dedup.signal
    score, join = (f's."{signal}"', f" LEFT JOIN {_signals(recipe)} AS s USING (id)") if signal else ("NULL", "")
    if name := recipe.dedup.score:
        own = f"SELECT id, max(value) AS value FROM scores WHERE name = {literal(name)} GROUP BY id"
        score, join = "s.value", f" LEFT JOIN ({own}) AS s USING (id)"
    return f"""passing AS (SELECT id FROM ({rules_sql(recipe)}) WHERE reason IS NULL),
scores AS (SELECT id, CAST({score} AS DOUBLE) AS score FROM passing{join})"""


def _shared(scope: str) -> str:
    return f""" AND EXISTS (
    SELECT 1 FROM documents AS x JOIN documents AS y ON x.{scope} = y.{scope} WHERE x.id = p.id_a AND y.id = p.id_b)"""


def view_sql(recipe: Recipe, removals: str) -> str:
    """SELECT id, kept, reason, num_bytes, host: one row per distinct text."""
    if not recipe.dedup.has_pairs:
        return f"SELECT id, reason IS NULL AS kept, reason, num_bytes, host FROM ({rules_sql(recipe)})"
    if recipe.dedup.keep == "duplicated":
        pairs = pairs_sql(recipe)
        removed = f"SELECT id_a AS id FROM ({pairs}) UNION SELECT id_b FROM ({pairs}) UNION SELECT id FROM ({keyed_sql(recipe)})"
        reason = "CASE WHEN r.id IS NULL THEN 'not_duplicated' END"
    else:
        removed = f"SELECT id FROM {_relation(removals)} WHERE recipe = {literal(recipe.name)}"
        reason = "CASE WHEN r.id IS NOT NULL THEN 'near_duplicate' END"
    return f"""WITH judged AS ({rules_sql(recipe)}),
removed AS ({removed}),
decided AS (
  SELECT j.id, coalesce(j.reason, {reason}) AS reason, j.num_bytes, j.host
  FROM judged AS j LEFT JOIN removed AS r ON r.id = j.id)
SELECT id, reason IS NULL AS kept, reason, num_bytes, host FROM decided"""


def losses_sql(recipe: Recipe, removals: str) -> str:
    """SELECT of the columns of `source_losses`: what the policy takes from each crawl and host, of what passes the rules.

    A negative control, which keeps only what has a duplicate, raises no alarm: losing nearly everything is its purpose.
    """
    if not recipe.dedup.has_pairs:
        return "SELECT NULL AS recipe WHERE false"
    alarms = "false" if recipe.dedup.keep == "duplicated" else "true"
    return f"""WITH decided AS ({view_sql(recipe, removals)}),
sources AS (
  SELECT DISTINCT id, 'crawl' AS kind, crawl AS source FROM documents UNION ALL SELECT DISTINCT id, 'host', host FROM documents),
counted AS (
  SELECT kind, source, count(*) FILTER (reason IS NULL OR reason IN ('near_duplicate', 'not_duplicated')) AS num_documents,
    count(*) FILTER (reason IN ('near_duplicate', 'not_duplicated')) AS num_removed
  FROM decided JOIN sources USING (id) GROUP BY kind, source)
SELECT {literal(recipe.name)} AS recipe, kind, source, num_documents, num_removed, CAST(num_removed / num_documents AS FLOAT) AS share,
  {alarms} AND num_documents >= {MIN_SOURCE_DOCUMENTS} AND num_removed > {recipe.dedup.alarm_share!r} * num_documents AS alarm
FROM counted WHERE num_documents > 0 ORDER BY kind, source"""


def _policy_reason(recipe: Recipe) -> list[str]:
    if not recipe.dedup.has_pairs:
        return []
    return ["not_duplicated" if recipe.dedup.keep == "duplicated" else "near_duplicate"]


def _is_unmeasured(recipe: Recipe, rule: Rule) -> str:
    """Whether no document has the value, so that the rule says nothing."""
    if rule.score:
        return f"NOT EXISTS (SELECT 1 FROM scores WHERE name = {literal(rule.score)})"
    return f'(SELECT count("{rule.signal}") FROM {_signals(recipe)}) = 0'


def counts_sql(recipe: Recipe, removals: str) -> str:
    """One row per rule and total, in order.

    A rule's num_failing counts texts that fail it whatever else they fail, num_removed those that go for it first. The rows `all` and
    `kept` hold the documents and bytes of these totals; all = exact_duplicate + what the reasons remove + kept. An alarm stands where a
    rule fails no text or every text, or where its value was never measured, and at `kept` if nothing is left.
    """
    conditions = [*_conditions(recipe)]
    order = ["all", "exact_duplicate", *(reason for reason, _ in conditions), *_policy_reason(recipe), "kept"]
    rows = ", ".join(f"({position}, {literal(rule)})" for position, rule in enumerate(order))
    failing = ", ".join(f"CASE WHEN {condition} THEN {literal(reason)} END" for reason, condition in conditions)
    unmeasured = "".join(
        f"\n    WHEN rule = {literal(rule.name)} AND {_is_unmeasured(recipe, rule)} THEN 'not_measured'" for rule in recipe.rules
    )
    alarmed = ", ".join(literal(name) for name in order if name not in ("all", "exact_duplicate", "not_measured", "not_compared", "kept"))
    return f"""WITH decided AS ({view_sql(recipe, removals)}),
failing AS (
  SELECT reason, count(*) AS num FROM (
    SELECT unnest(CAST([{failing}] AS VARCHAR[])) AS reason FROM {_source(recipe)}
    UNION ALL SELECT reason FROM decided WHERE reason IN ('near_duplicate', 'not_duplicated'))
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
    WHEN rule IN ('kept', 'all', 'exact_duplicate') THEN NULL{unmeasured}
    WHEN num_failing = (SELECT num FROM texts) THEN 'removes_everything'
    WHEN num_failing = 0 AND rule IN ({alarmed or "''"}) THEN 'removes_nothing'
  END AS alarm
FROM counted ORDER BY position"""
