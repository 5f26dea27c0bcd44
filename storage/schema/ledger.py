"""Tables about the lake itself: what is done, what was set aside, and its version."""

from storage.schema.table import Column, Table, table

STAGES = Table(
    "stages",
    "The ledger: one row per finished stage output. A key that is here is never computed again.",
    {
        "stage": Column("VARCHAR", "Stage name: crawl, documents, signals, ..."),
        "slot": Column("VARCHAR", "What the output is about, e.g. a WARC file or a recipe; one live output per stage and slot."),
        "key": Column("VARCHAR", "BLAKE2b-128 over parameters, code and inputs, in hex."),
        "parameters": Column("VARCHAR", "The stage's parameters as JSON."),
        "code": Column("VARCHAR", "Digest of each source module the stage runs, as JSON {module: digest}."),
        "inputs": Column("VARCHAR", "Digest or key of each input, as JSON {name: digest}."),
        "tables": Column("VARCHAR", "Names of the tables it has rows in, as JSON list."),
        "num_rows": Column("BIGINT", "Rows this output holds over all tables, rejects aside."),
        "finished_at": Column("TIMESTAMPTZ", "When the output was committed (UTC).", volatile=True),
        "seconds": Column("DOUBLE", "Seconds of work behind the output, as the stage reported them.", volatile=True),
    },
)

REJECTS = table(
    "rejects",
    "What was set aside instead of becoming a row, counted under a reason; nothing is dropped silently.",
    stage=Column("VARCHAR", "Stage that set it aside."),
    source=Column("VARCHAR", "File, site or table it came from."),
    reason=Column("VARCHAR", "Why, as a fixed word such as truncated_record, empty_text, http_status."),
    num_rejects=Column("BIGINT", "How many records were set aside for this reason."),
    example=Column("VARCHAR", "One of them, as a place to look: a URL or file and offset.", volatile=True),
)

LAKE_INFO = Table(
    "lake_info",
    "One row about the lake itself.",
    {
        "schema_version": Column("INTEGER", "Version of these tables; code older than it refuses to open the lake."),
        "created_at": Column("TIMESTAMPTZ", "When the lake was made (UTC).", volatile=True),
    },
)
