"""What counts as contamination, as SQL over the lake, and what is left of a text without it.

Stretches found in many documents are common property (a licence, a psalm, a phrase) and prove nothing: a stretch in more than `frequent`
documents and in more than one of 10,000 is taken out of both sides of the overlap. A document is contaminated by an item's part if at
least `min_overlap` of what is left was found in it, and two stretches or all there are. Answers below 13 words are told, but it is their
question that counts: by itself an answer of eight is a name or a title as often as not.
"""

import re
from typing import Any

import pyarrow as pa

from lm.corpus.contamination.index import NGRAM

MIN_OVERLAP = 0.5
"""marin-community/marin, decontamination: half of the n-grams."""
FREQUENT_DOCUMENTS = 50
FREQUENT_SHARE = 1e-4
VARIANT = "decontaminated"
_TYPES: dict[str, Any] = {"id": pa.string(), "variant": pa.string(), "text": pa.string(), "num_removed_bytes": pa.int64()}
VARIANTS = pa.schema(_TYPES)
SPANS_SQL = """SELECT d.id, any_value(d.text) AS text, any_value(s.spans) AS spans FROM documents AS d JOIN (
  SELECT id, list(spans) AS spans FROM judged WHERE contaminated GROUP BY id) AS s USING (id) GROUP BY d.id ORDER BY d.id"""
"""Texts of contaminated documents with the places of all that counts; `judged` is what `contamination_sql` gives."""


def contamination_sql(min_overlap: float = MIN_OVERLAP, frequent: int = FREQUENT_DOCUMENTS) -> str:
    """SELECT of the columns of the table `contamination` from `contamination_matches` and `documents`."""
    return f"""WITH matches AS (SELECT DISTINCT ON (id, evaluation_set, item, part) * FROM contamination_matches ORDER BY ALL),
found AS (SELECT id, evaluation_set, item, part, unnest(ngrams) AS ngram FROM matches),
frequent AS (
  SELECT ngram FROM found GROUP BY ngram
  HAVING count(DISTINCT id) > greatest({int(frequent)}, {FREQUENT_SHARE!r} * (SELECT count(DISTINCT id) FROM documents))),
left_out AS (
  SELECT evaluation_set, item, part, count(DISTINCT ngram) AS num FROM found SEMI JOIN frequent USING (ngram) GROUP BY ALL),
rare AS (SELECT id, evaluation_set, item, part, count(*) AS num FROM found ANTI JOIN frequent USING (ngram) GROUP BY ALL),
counted AS (
  SELECT m.id, m.evaluation_set, m.item, m.part, coalesce(r.num, 0) AS num_matched, m.num_ngrams - coalesce(l.num, 0) AS num_ngrams,
    coalesce(l.num, 0) AS num_frequent, m.longest_run, m.spans, m.matched_text
  FROM matches AS m LEFT JOIN rare AS r USING (id, evaluation_set, item, part) LEFT JOIN left_out AS l USING (evaluation_set, item, part)),
judged AS (
  SELECT *, CAST(CASE WHEN num_ngrams > 0 THEN num_matched / num_ngrams ELSE 0 END AS FLOAT) AS overlap FROM counted),
strong AS (
  SELECT *, num_matched >= least(2, num_ngrams) AND num_ngrams > 0 AND overlap >= CAST({min_overlap!r} AS FLOAT) AS is_strong
  FROM judged)
SELECT id, evaluation_set, item, part, overlap, CAST(num_matched AS BIGINT) AS num_matched, CAST(num_ngrams AS BIGINT) AS num_ngrams,
  CAST(num_frequent AS BIGINT) AS num_frequent, longest_run,
  is_strong AND (part <> 'answer' OR longest_run >= {NGRAM}
    OR bool_or(is_strong AND part <> 'answer') OVER (PARTITION BY id, evaluation_set, item)) AS contaminated,
  spans, matched_text
FROM strong ORDER BY id, evaluation_set, item, part"""


def contaminated_items_sql(contamination: str = "contamination") -> str:
    """SELECT of the columns of the table `contaminated_items`: one row per item of which anything was found."""
    return f"""WITH whole AS (
  SELECT evaluation_set, item, part, count(DISTINCT ngram) / max(num_ngrams) AS overlap
  FROM (SELECT evaluation_set, item, part, num_ngrams, unnest(ngrams) AS ngram FROM contamination_matches) GROUP BY ALL),
corpus AS (SELECT evaluation_set, item, CAST(max(overlap) AS FLOAT) AS corpus_overlap FROM whole GROUP BY ALL)
SELECT evaluation_set, item, bool_or(contaminated) AS contaminated,
  bool_or(contaminated AND part IN ('question', 'item')) AS has_question,
  bool_or(contaminated AND part IN ('answer', 'item')) AS has_answer,
  bool_or(contaminated AND part = 'context') AS has_context,
  CAST(max(overlap) AS FLOAT) AS overlap, any_value(corpus_overlap) AS corpus_overlap, CAST(max(longest_run) AS BIGINT) AS longest_run,
  CAST(count(DISTINCT id) FILTER (contaminated) AS BIGINT) AS num_documents, arg_max(id, (overlap, id)) AS closest_id
FROM {contamination} JOIN corpus USING (evaluation_set, item) GROUP BY evaluation_set, item ORDER BY ALL"""


def without_spans(text: str, spans: list[list[int]]) -> str:
    """The text without the paragraphs that hold any of these spans, given as [first byte, byte after, ...] each.

    A paragraph is a line: the texts of the lake have one line per paragraph.
    """
    raw = text.encode()
    cuts = sorted((flat[i], flat[i + 1]) for flat in spans for i in range(0, len(flat), 2))
    kept, start = [], 0
    for line in re.split(rb"(?<=\n)", raw):
        stop = start + len(line)
        if not any(first < stop and last > start for first, last in cuts):
            kept.append(line)
        start = stop
    return b"".join(kept).decode().strip("\n")


def variants(rows: pa.RecordBatch) -> pa.Table:
    """Rows of the table `text_variants` from what `SPANS_SQL` gives: the texts without their contaminated paragraphs."""
    found = []
    for row in rows.to_pylist():
        text = without_spans(row["text"], row["spans"])
        removed = len(row["text"].encode()) - len(text.encode())
        found.append({"id": row["id"], "variant": VARIANT, "text": text, "num_removed_bytes": removed})
    return pa.Table.from_pylist(found, schema=VARIANTS)
