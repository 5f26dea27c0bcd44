"""The SQL behind each figure of the report: run to fill it, shown beneath it.

One text serves both, so a figure and the query printed under it cannot differ. The queries read the tables of the lake and
nothing else; `$ladder_id` is the ladder reported. The cost is a report that knows table names; the lake's own schema tests
and `tests/report` run every query against real tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """One query: its text, the columns it must give, and whether it asks for one ladder."""

    sql: str
    columns: tuple[str, ...]
    of_ladder: bool = False


STAGES = Query(
    """
SELECT stage, count(*) AS num_outputs, sum(num_rows)::BIGINT AS num_rows, sum(seconds) AS seconds, max(finished_at) AS finished_at
FROM stages GROUP BY stage ORDER BY max(finished_at), stage
""",
    ("stage", "num_outputs", "num_rows", "seconds", "finished_at"),
)

FUNNEL = Query(
    """
WITH texts AS (SELECT id, any_value(num_bytes) AS num_bytes FROM documents GROUP BY id),
tokenized AS (
    SELECT id, sum(num_tokens) AS num_tokens FROM tokens
    WHERE tokenizer_id = (SELECT any_value(tokenizer_id) FROM rungs WHERE ladder_id = $ladder_id) GROUP BY id
),
kept AS (SELECT recipe, num_removed AS num_documents, num_removed_bytes AS num_bytes FROM recipe_counts WHERE rule = 'kept')
SELECT 1 AS position, 'captures' AS step, NULL AS recipe, count(*)::BIGINT AS num_documents, sum(num_bytes)::BIGINT AS num_bytes,
    NULL::BIGINT AS num_tokens FROM captures
UNION ALL SELECT 2, 'documents', NULL, count(*), sum(num_bytes)::BIGINT, NULL FROM documents
UNION ALL SELECT 3, 'texts', NULL, count(*), sum(num_bytes)::BIGINT, sum(num_tokens)::BIGINT FROM texts LEFT JOIN tokenized USING (id)
UNION ALL SELECT 4, 'recipe', recipe, num_documents, num_bytes, NULL FROM kept
UNION ALL SELECT 5, 'ladder', r.recipe, r.num_documents, NULL, r.num_tokens FROM rungs r
    WHERE r.ladder_id = $ladder_id AND r.rung = (SELECT max(rung) FROM rungs WHERE ladder_id = $ladder_id)
ORDER BY position, num_documents DESC, recipe
""",
    ("step", "recipe", "num_documents", "num_bytes", "num_tokens"),
    of_ladder=True,
)

RECIPE_COUNTS = Query(
    """
SELECT recipe, rule, num_failing, num_removed, num_removed_bytes, alarm
FROM recipe_counts WHERE rule NOT IN ('kept', 'all') ORDER BY recipe, num_removed DESC, num_failing DESC, rule
""",
    ("recipe", "rule", "num_failing", "num_removed", "num_removed_bytes", "alarm"),
)

REJECTS = Query(
    """
SELECT stage, reason, sum(num_rejects)::BIGINT AS num_rejects, min(example) AS example
FROM rejects GROUP BY stage, reason ORDER BY num_rejects DESC, stage, reason
""",
    ("stage", "reason", "num_rejects", "example"),
)

DUPLICATES = Query(
    """
SELECT (SELECT count(*) FROM documents) AS num_documents, (SELECT count(DISTINCT id) FROM documents) AS num_texts,
    (SELECT count(*) FROM (SELECT id FROM documents GROUP BY id HAVING count(*) > 1)) AS num_repeated_texts,
    (SELECT count(*) FROM (SELECT DISTINCT id_a, id_b FROM near_duplicates)) AS num_near_pairs,
    (SELECT count(*) FROM (SELECT id_a FROM near_duplicates UNION SELECT id_b FROM near_duplicates)) AS num_near_texts
""",
    ("num_documents", "num_texts", "num_repeated_texts", "num_near_pairs", "num_near_texts"),
)

NEAR_HISTOGRAM = Query(
    """
SELECT least(floor(jaccard * 20 + 1e-6) / 20, 0.95) AS bin, count(*) AS num_pairs
FROM (SELECT max(jaccard) AS jaccard FROM near_duplicates GROUP BY id_a, id_b) GROUP BY bin ORDER BY bin
""",
    ("bin", "num_pairs"),
)

LOSSES = Query(
    """
SELECT recipe, kind, source, num_documents, num_removed, alarm FROM source_losses WHERE num_removed > 0
ORDER BY alarm DESC, num_removed / num_documents DESC, num_removed DESC, recipe, kind, source
""",
    ("recipe", "kind", "source", "num_documents", "num_removed", "alarm"),
)

CONTAMINATION = Query(
    """
WITH items AS (SELECT evaluation_set, count(*) AS num_items FROM evaluation_items GROUP BY ALL),
known AS (
    SELECT evaluation_set, count(*) AS num_touched, count(*) FILTER (contaminated) AS num_contaminated
    FROM contaminated_items GROUP BY ALL),
texts AS (SELECT evaluation_set, count(DISTINCT id) AS num_documents FROM contamination WHERE contaminated GROUP BY ALL),
planted AS (
    SELECT evaluation_set, sum(num_planted) FILTER (is_contaminated)::BIGINT AS num_copies,
        sum(num_found) FILTER (is_contaminated)::BIGINT AS num_right, sum(num_found)::BIGINT AS num_found
    FROM contamination_checks GROUP BY ALL)
SELECT evaluation_set, num_items, coalesce(num_touched, 0) AS num_touched, coalesce(num_contaminated, 0) AS num_contaminated,
    coalesce(num_documents, 0) AS num_documents, num_copies, num_right, num_found
FROM items LEFT JOIN known USING (evaluation_set) LEFT JOIN texts USING (evaluation_set) LEFT JOIN planted USING (evaluation_set)
ORDER BY num_contaminated DESC, evaluation_set
""",
    ("evaluation_set", "num_items", "num_touched", "num_contaminated", "num_documents", "num_copies", "num_right", "num_found"),
)

LANGUAGES = Query(
    """
SELECT language, count(*) AS num_documents, sum(num_bytes)::BIGINT AS num_bytes
FROM documents GROUP BY language ORDER BY num_documents DESC, language
""",
    ("language", "num_documents", "num_bytes"),
)

HOSTS = Query(
    """
SELECT host, count(*) AS num_documents, sum(num_bytes)::BIGINT AS num_bytes
FROM documents GROUP BY host ORDER BY num_documents DESC, host
""",
    ("host", "num_documents", "num_bytes"),
)

RUNGS = Query(
    """
SELECT rung, recipe, num_tokens, num_documents, num_available_tokens
FROM rungs WHERE ladder_id = $ladder_id ORDER BY rung
""",
    ("rung", "recipe", "num_tokens", "num_documents", "num_available_tokens"),
    of_ladder=True,
)

RUNS = Query(
    """
SELECT run_id, model, num_params, num_params_non_embedding, seed, num_tokens, train_tokens, train_flops, tokens_per_second,
    mfu, waiting_share, memory_bytes, seconds, device
FROM runs WHERE ladder_id = $ladder_id ORDER BY num_params, seed, run_id
""",
    (
        *("run_id", "model", "num_params", "num_params_non_embedding", "seed", "num_tokens", "train_tokens"),
        *("train_flops", "tokens_per_second", "mfu", "waiting_share", "memory_bytes", "seconds", "device"),
    ),
    of_ladder=True,
)

METRICS = Query(
    """
SELECT m.run_id, r.model, r.num_params, r.seed, m.rung, m.num_tokens, m.name, m.value, m.stderr
FROM metrics m JOIN runs r USING (run_id)
WHERE r.ladder_id = $ladder_id AND m.rung IS NOT NULL AND m.split = 'validation' AND m.domain = 'all'
ORDER BY m.name, r.num_params, m.num_tokens, r.seed, m.run_id
""",
    ("run_id", "model", "num_params", "seed", "rung", "num_tokens", "name", "value", "stderr"),
    of_ladder=True,
)

DOMAINS = Query(
    """
SELECT m.domain, r.num_params, avg(m.value) FILTER (m.rung = t.top) AS value, avg(m.value) FILTER (m.rung = t.bottom) AS first_value,
    max(m.num_items) AS num_items
FROM metrics m JOIN runs r USING (run_id)
CROSS JOIN (
    SELECT max(m.rung) AS top, min(m.rung) AS bottom FROM metrics m JOIN runs r USING (run_id) WHERE r.ladder_id = $ladder_id
) t
WHERE r.ladder_id = $ladder_id AND m.rung IS NOT NULL AND m.split = 'validation' AND m.domain <> 'all' AND m.name = 'bits_per_byte'
    AND NOT starts_with(m.domain, 'source:')
GROUP BY m.domain, r.num_params ORDER BY num_items DESC, m.domain, r.num_params
""",
    ("domain", "num_params", "value", "first_value", "num_items"),
    of_ladder=True,
)

TASKS = Query(
    """
WITH scored AS (
    SELECT m.*, r.num_params, max(m.rung) OVER of_set AS top, min(m.rung) OVER of_set AS bottom FROM metrics m JOIN runs r USING (run_id)
    WHERE r.ladder_id = $ladder_id AND m.split = 'task' AND m.name IN ('accuracy', 'accuracy_normalized', 'answer_bits_per_byte')
        AND NOT contains(m.domain, '/') AND NOT contains(m.domain, '~known')
    WINDOW of_set AS (PARTITION BY m.domain, m.name, r.num_params)
)
SELECT domain, name, num_params, avg(value) FILTER (rung = top) AS value, max(stderr) FILTER (rung = top) AS stderr,
    avg(value) FILTER (rung = bottom) AS first_value, max(num_items) AS num_items
FROM scored GROUP BY domain, name, num_params ORDER BY domain, name, num_params
""",
    ("domain", "name", "num_params", "value", "stderr", "first_value", "num_items"),
    of_ladder=True,
)

LAWS = Query(
    """
SELECT law_id, form, metric, num_params, max_num_tokens, constants, intervals, unidentified, warnings, residuals, exclusions, curve,
    estimator, objective, num_points
FROM laws WHERE ladder_id = $ladder_id ORDER BY metric, max_num_tokens, form, num_params, law_id
""",
    (
        *("law_id", "form", "metric", "num_params", "max_num_tokens", "constants", "intervals", "unidentified", "warnings"),
        *("residuals", "exclusions", "curve", "estimator", "objective", "num_points"),
    ),
    of_ladder=True,
)

FORECASTS = Query(
    """
WITH trained AS (
    SELECT r.num_params, c.rung, min(s.finished_at) AS trained_at
    FROM checkpoints c JOIN runs r USING (run_id) JOIN stages s ON s.key = c.produced_by WHERE r.ladder_id = $ladder_id GROUP BY ALL
)
SELECT f.forecast_id, f.law_id, f.rung, f.num_params, f.num_tokens, f.metric, f.predicted, f.low, f.high, f.level, f.num_seeds,
    f.components, f.registered_at, t.trained_at, f.outcome, f.inside, f.scored_at
FROM forecasts f LEFT JOIN trained t USING (num_params, rung)
WHERE f.ladder_id = $ladder_id ORDER BY f.metric, f.rung, f.num_params, f.forecast_id
""",
    (
        *("forecast_id", "law_id", "rung", "num_params", "num_tokens", "metric", "predicted", "low", "high", "level", "num_seeds"),
        *("components", "registered_at", "trained_at", "outcome", "inside", "scored_at"),
    ),
    of_ladder=True,
)

CONCLUSIONS = Query(
    """
SELECT c.metric, c.question, c.subject, c.status, c.verdict, c.answer, s.code, s.inputs, s.finished_at,
    dense_rank() OVER (PARTITION BY c.metric ORDER BY s.finished_at DESC, s.key) AS age
FROM conclusions c JOIN stages s ON s.key = c.produced_by
WHERE c.ladder_id = $ladder_id QUALIFY age <= 2 ORDER BY age, c.metric, c.question, c.subject
""",
    ("metric", "question", "subject", "status", "verdict", "answer", "code", "inputs", "finished_at", "age"),
    of_ladder=True,
)

QUERIES: Mapping[str, Query] = {
    "stages": STAGES,
    "funnel": FUNNEL,
    "recipe_counts": RECIPE_COUNTS,
    "rejects": REJECTS,
    "duplicates": DUPLICATES,
    "near_histogram": NEAR_HISTOGRAM,
    "losses": LOSSES,
    "contamination": CONTAMINATION,
    "languages": LANGUAGES,
    "hosts": HOSTS,
    "rungs": RUNGS,
    "runs": RUNS,
    "metrics": METRICS,
    "domains": DOMAINS,
    "tasks": TASKS,
    "laws": LAWS,
    "forecasts": FORECASTS,
    "conclusions": CONCLUSIONS,
}
"""The query of each table of `ReportData`, by field name."""
