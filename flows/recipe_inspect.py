"""Questions about recipes that a person asks: why a document went, what two recipes keep, what a rule drops. Nothing is written.

The policy on duplicates is applied anew for the question, so that a recipe can be asked about before it is applied to the lake.
"""

from collections.abc import Iterator
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
      sum(s.num_tokens)::BIGINT AS tokens_a, sum(t.num_tokens)::BIGINT AS tokens_b,
      count(s.num_tokens) AS encoded_a, count(t.num_tokens) AS encoded_b
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
SIMILAR = """
    SELECT r.kept_id, r.jaccard, min(d.url) FROM removals_asked AS r JOIN documents AS d ON d.id = r.kept_id
    WHERE r.recipe = ? AND r.id = ? GROUP BY ALL
"""
KNOWN = """
    SELECT evaluation_set, item, part, overlap, matched_text FROM contamination WHERE id = ? AND contaminated
    ORDER BY overlap DESC, evaluation_set, item, part LIMIT 5
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
    variant: str = ""
    """The text that the recipe trains on, and by how many bytes it is shorter, or longer if below zero. None where it is the document as
    it is, or not made yet."""
    num_removed_bytes: int | None = None
    evidence: tuple[str, ...] = ()
    """What it is similar to, where it goes for that; items of evaluation sets that it holds, whatever the recipe does about them."""


@contextmanager
def removals(lake: Lake, *recipes: Recipe) -> Iterator[Any]:
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
    with removals(lake, recipe) as connection:
        view = recipe.view_sql("removals_asked")
        reason = connection.execute(f"SELECT reason FROM ({view}) WHERE id = ?", [found[0]]).fetchone()[0]
        evidence = tuple(similar(*pair) for pair in connection.execute(SIMILAR, [recipe.name, found[0]]).fetchall())
        evidence += tuple(known(*hit) for hit in connection.execute(KNOWN, [found[0]]).fetchall())
    url, title, num_bytes = lake.rows(DOCUMENT, [found[0]])[0]
    removed = lake.value(EDITED, [found[0], recipe.variant])
    verdicts = explain(recipe, row)
    return Explained(found[0], url, title, num_bytes, reason, verdicts, recipe.variant, removed, evidence)


def similar(kept_id: str, jaccard: float, url: str) -> str:
    """Words for the document that stays in another one's place."""
    return f"similar by {jaccard:.2f} to {kept_id} {url}"


def known(evaluation_set: str, item: str, part: str, overlap: float, text: str) -> str:
    """Words for an item of an evaluation set, with the text that document and item share."""
    return f"holds {overlap:.0%} of the {part} of item {item} of {evaluation_set}: {' '.join(text.split())[:200]}"


def compare(lake: Lake, a: Recipe, b: Recipe) -> tuple[pa.Table, pa.Table]:
    """Documents, bytes and tokens by who keeps them; and for what only one keeps, why the other does not.

    Bytes and tokens are those of the texts that either recipe trains on. Tokens are those of the texts that are encoded, whose
    number is `encoded_a` and `encoded_b`.
    """
    with removals(lake, a, b) as connection:
        asked = {"a": a, "b": b}
        views = {
            side: AS_TRAINED.format(view=recipe.view_sql("removals_asked"), variant=literal(recipe.variant))
            for side, recipe in asked.items()
        }
        sizes = connection.execute(COMPARE.format(**views, tokens=TOKENS)).to_arrow_table()
        return sizes, connection.execute(REASONS.format(**views)).to_arrow_table()
