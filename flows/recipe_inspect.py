"""Questions about recipes that a person asks: why a document went, what two recipes keep, what a rule drops. Nothing is written.

The policy on duplicates is applied anew for the question, so that a recipe can be asked about before it is applied to the lake.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flows.common import MissingInputError
from lm.corpus.recipe_sql import literal
from lm.corpus.recipes import Recipe
from lm.corpus.verdicts import Verdict, explain
from storage.lake import Lake

FIND = """
    SELECT DISTINCT id FROM documents WHERE id = $doc OR url = $doc OR (length($doc) >= 6 AND starts_with(id, $doc)) ORDER BY id LIMIT 2
"""
DOCUMENT = "SELECT min(url) AS url, min(title) AS title, max(num_bytes) AS num_bytes FROM documents WHERE id = ?"
TOKENS = """
    SELECT id, sum(num_tokens) AS num_tokens FROM tokens
    WHERE tokenizer_id = (SELECT tokenizer_id FROM tokenizers JOIN stages ON produced_by = key ORDER BY finished_at DESC LIMIT 1)
    GROUP BY id
"""
AS_TRAINED = """
    SELECT id, kept, reason, num_bytes - coalesce(num_removed_bytes, 0) AS num_bytes, coalesce(id || '~' || variant, id) AS text_id
    FROM ({view}) LEFT JOIN (
        SELECT id, any_value(variant) AS variant, any_value(num_removed_bytes) AS num_removed_bytes
        FROM text_variants WHERE variant = {variant} GROUP BY id) USING (id)
"""
"""Verdicts of a recipe with the size of the text that it trains on, as far as its variant has been made."""
COMPARE = """
    WITH a AS ({a}), b AS ({b}), sizes AS ({tokens})
    SELECT coalesce(a.kept, false) AS in_a, coalesce(b.kept, false) AS in_b, count(*) AS documents,
      sum(a.num_bytes)::BIGINT AS bytes_a, sum(b.num_bytes)::BIGINT AS bytes_b,
      sum(s.num_tokens)::BIGINT AS tokens_a, sum(t.num_tokens)::BIGINT AS tokens_b
    FROM a JOIN b USING (id) LEFT JOIN sizes s ON s.id = a.text_id LEFT JOIN sizes t ON t.id = b.text_id
    GROUP BY ALL ORDER BY in_a DESC, in_b DESC
"""
EDITED = "SELECT any_value(num_removed_bytes) FROM text_variants WHERE id = ? AND variant = ?"
REASONS = """
    WITH a AS ({a}), b AS ({b})
    SELECT CASE WHEN a.kept THEN 'a' ELSE 'b' END AS kept_by, coalesce(a.reason, b.reason) AS reason, count(*) AS documents,
      sum(a.num_bytes)::BIGINT AS bytes
    FROM a JOIN b USING (id) WHERE a.kept <> b.kept GROUP BY ALL ORDER BY kept_by, documents DESC, reason
"""
SAMPLES = """
    WITH verdicts AS ({view}),
    drawn AS (
      SELECT id, reason, row_number() OVER (PARTITION BY reason ORDER BY md5(id)) AS place FROM verdicts QUALIFY place <= $per_reason),
    texts AS (
      SELECT id, min(url) AS url, min(title) AS title, max(num_bytes) AS num_bytes, left(min(text), $max_chars) AS text
      FROM documents SEMI JOIN drawn USING (id) GROUP BY id)
    SELECT d.reason, t.url, t.title, t.num_bytes, t.text, v.* FROM drawn AS d JOIN texts AS t USING (id) JOIN ({values}) AS v USING (id)
    ORDER BY d.reason NULLS FIRST, d.place
"""


@dataclass(frozen=True, slots=True)
class Explained:
    """A document and what a recipe says about it; `reason` is None if it stays."""

    id: str
    url: str
    title: str | None
    num_bytes: int
    reason: str | None
    verdicts: list[Verdict]
    text: str = ""
    variant: str = ""
    """The text that the recipe trains on, and by how many bytes it is shorter; None where it is the document as it is, or not made yet."""
    num_removed_bytes: int | None = None


@contextmanager
def _removals(lake: Lake, *recipes: Recipe) -> Iterator[Any]:
    """A connection on which `removals_asked` holds what the policies of the recipes remove."""
    tables = [recipe.removals(lake.query(recipe.pairs_sql()), lake.query(recipe.keyed_sql())) for recipe in recipes]
    with lake.connection() as connection:
        connection.register("removals_asked", pa.concat_tables(tables))
        try:
            yield connection
        finally:
            connection.unregister("removals_asked")


def explain_document(lake: Lake, recipe: Recipe, doc: str) -> Explained:
    """What a recipe says about a document, by its id, the start of it (six characters or more), or its address.

    Raises: MissingInputError if there is no such document, or more than one.
    """
    found = [id for (id,) in lake.rows(FIND, {"doc": doc})]
    if len(found) != 1:
        raise MissingInputError(
            f"{'More than one document starts' if found else 'The lake has no document'} with id or address {doc!r}. "
            "Give a whole id, at least its first six characters, or an address; `ladder sql` finds them in the table documents."
        )
    row = lake.query(f"SELECT * FROM ({recipe.values_sql()}) WHERE id = ?", [found[0]]).to_pylist()[0]
    with _removals(lake, recipe) as connection:
        view = recipe.view_sql("removals_asked")
        reason = connection.execute(f"SELECT reason FROM ({view}) WHERE id = ?", [found[0]]).fetchone()[0]
    url, title, num_bytes = lake.rows(DOCUMENT, [found[0]])[0]
    removed = lake.value(EDITED, [found[0], recipe.variant])
    return Explained(found[0], url, title, num_bytes, reason, explain(recipe, row), variant=recipe.variant, num_removed_bytes=removed)


def compare(lake: Lake, a: Recipe, b: Recipe) -> tuple[pa.Table, pa.Table]:
    """Documents, bytes and tokens by who keeps them; and for what only one keeps, why the other does not.

    Bytes and tokens are those of the texts that either recipe trains on. Tokens are NULL where texts are not encoded.
    """
    with _removals(lake, a, b) as connection:
        asked = {"a": a, "b": b}
        views = {
            side: AS_TRAINED.format(view=recipe.view_sql("removals_asked"), variant=literal(recipe.variant))
            for side, recipe in asked.items()
        }
        sizes = connection.execute(COMPARE.format(**views, tokens=TOKENS)).to_arrow_table()
        return sizes, connection.execute(REASONS.format(**views)).to_arrow_table()


def samples(lake: Lake, recipe: Recipe, per_reason: int, max_chars: int) -> list[Explained]:
    """Documents that stay, then some that go for each reason, drawn by a hash of their ids; texts cut to `max_chars` characters."""
    with _removals(lake, recipe) as connection:
        query = SAMPLES.format(view=recipe.view_sql("removals_asked"), values=recipe.values_sql())
        rows = connection.execute(query, {"per_reason": per_reason, "max_chars": max_chars}).to_arrow_table().to_pylist()
    return [
        Explained(row["id"], row["url"], row["title"], row["num_bytes"], row["reason"], explain(recipe, row), row["text"]) for row in rows
    ]


def counts(lake: Lake, recipe: Recipe) -> Sequence[dict[str, Any]]:
    """What each rule removes, in order: the columns of `recipe_counts`."""
    with _removals(lake, recipe) as connection:
        rows: list[dict[str, Any]] = connection.execute(recipe.counts_sql("removals_asked")).to_arrow_table().to_pylist()
    return rows
