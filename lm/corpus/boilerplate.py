"""Lines that many documents of one host share: counted by SQL over the lake, and taken out of texts.

Lines are compared as they stand, white space at their ends aside, because a menu is copied and not retold. Counting is DuckDB's: it sorts
on disk what does not fit in memory. A line counts once per text.
"""

from collections.abc import Mapping, Set
from typing import Any

import pyarrow as pa

VARIANT = "without_boilerplate"
_TYPES: dict[str, Any] = {"id": pa.string(), "variant": pa.string(), "text": pa.string(), "num_removed_bytes": pa.int64()}
VARIANTS = pa.schema(_TYPES)


def host_lines_sql(min_documents: int, min_share: float) -> str:
    """SELECT of the columns of `host_lines`: lines in at least so many texts of a host and at least this share of them."""
    return f"""WITH texts AS (SELECT DISTINCT ON (host, id) host, id, text FROM documents WHERE host IS NOT NULL),
sizes AS (SELECT host, count(*) AS num FROM texts GROUP BY host HAVING count(*) >= {int(min_documents)}),
lines AS (
  SELECT DISTINCT host, id, trim(line) AS line FROM (SELECT host, id, unnest(string_split(text, chr(10))) AS line FROM texts)
  WHERE trim(line) <> '' AND host IN (SELECT host FROM sizes))
SELECT host, md5_number_lower(line)::UBIGINT AS line_key, count(*) AS num_documents, any_value(num) AS num_host_documents,
  line[:200] AS line, line AS whole
FROM lines JOIN sizes USING (host) GROUP BY host, line
HAVING count(*) >= {int(min_documents)} AND count(*) >= {float(min_share)!r} * any_value(num) ORDER BY host, line"""


def variants(rows: pa.RecordBatch, lines: Mapping[str, Set[str]]) -> pa.Table:
    """Rows of the table `text_variants` from columns id, host and text: texts without the lines of their host, where there are any."""
    found = []
    for row in rows.to_pylist():
        ours = lines.get(row["host"], frozenset())
        kept = "\n".join(line for line in row["text"].split("\n") if line.strip() not in ours).strip("\n")
        removed = len(row["text"].encode()) - len(kept.encode())
        if removed:
            found.append({"id": row["id"], "variant": VARIANT, "text": kept, "num_removed_bytes": removed})
    return pa.Table.from_pylist(found, schema=VARIANTS)
