"""Tables from a crawl to the documents that recipes keep."""

from storage.schema.table import ID, Column, table
from storage.signals import SIGNALS

_LANGUAGE = {
    "language": Column("VARCHAR", "ISO 639 code of the most likely language; 'und' if undetermined."),
    "language_score": Column("FLOAT", "Confidence of the language, 0 to 1."),
}
_SIGNALS = {name: Column(signal.type, signal.doc) for name, signal in SIGNALS.items()}

CRAWL_FILES = table(
    "crawl_files",
    "Files a crawl brought or found: what the documents stage reads.",
    crawl=Column("VARCHAR", "Name of the crawl (one snapshot of one source)."),
    source=Column("VARCHAR", "The source as the user wrote it, e.g. site:https://... or warc:GLOB."),
    kind=Column("VARCHAR", "site, warc, wet, jsonl, parquet, text, wiki or cc."),
    file=Column("VARCHAR", "Path or URL of the file."),
    num_bytes=Column("BIGINT", "Size of the file in bytes.", volatile=True),
    file_digest=Column("VARCHAR", "Identity of the content: BLAKE2b-128, or etag and size for remote files.", volatile=True),
)

CAPTURES = table(
    "captures",
    "One fetched resource: where it came from and where its bytes are.",
    capture_id=Column("VARCHAR", "BLAKE2b-128 of crawl, url and payload digest, in hex."),
    crawl=Column("VARCHAR", "Name of the crawl (one snapshot of one source)."),
    url=Column("VARCHAR", "Address as requested; file#row for sources without addresses."),
    host=Column("VARCHAR", "Host of the address, lower case; the source's name where there is no host."),
    file=Column("VARCHAR", "WARC, WET, JSONL, Parquet or text file that holds the record."),
    file_offset=Column("BIGINT", "Byte offset of the record in the (compressed) file, or the row number.", volatile=True),
    status=Column("SMALLINT", "HTTP status; 200 for sources without HTTP."),
    content_type=Column("VARCHAR", "Media type as sent, without parameters; NULL if none came."),
    payload_digest=Column("VARCHAR", "BLAKE3-128 of the payload bytes, in hex."),
    num_bytes=Column("BIGINT", "Payload size in bytes."),
    etag=Column("VARCHAR", "ETag header, for conditional requests on a later visit."),
    last_modified=Column("VARCHAR", "Last-Modified header, for conditional requests on a later visit."),
    fetched_at=Column("TIMESTAMPTZ", "When the resource was fetched (UTC); NULL if the source does not say.", volatile=True),
)

DOCUMENTS = table(
    "documents",
    "Main text of a capture. Two captures with equal text give two rows with one id.",
    id=ID,
    capture_id=Column("VARCHAR", "Capture the text came from; joins to captures.capture_id."),
    crawl=Column("VARCHAR", "Name of the crawl."),
    url=Column("VARCHAR", "Address of the capture."),
    host=Column("VARCHAR", "Host of the address: the domain by which metrics are split."),
    title=Column("VARCHAR", "Title where the page gave one."),
    **_LANGUAGE,
    extractor=Column("VARCHAR", "Engine that took the text out of the page: blocks, resiliparse, trafilatura, wet, plain."),
    lang_attribute=Column("VARCHAR", "Language the page itself states, as in BCP 47; NULL if it states none."),
    published_at=Column("TIMESTAMPTZ", "When the page says it was published (UTC); NULL if it does not say, or not readably."),
    num_chars=Column("BIGINT", "Unicode code points of the text."),
    num_bytes=Column("BIGINT", "UTF-8 bytes of the text."),
    text=Column("VARCHAR", "The text, NFC, newline separated, never empty."),
)

NEAR_DUPLICATES = table(
    "near_duplicates",
    "Pairs of documents found by MinHash and verified on their shingles. Policies over these pairs decide what goes.",
    id_a=Column("VARCHAR", "Smaller document id of the pair."),
    id_b=Column("VARCHAR", "Larger document id of the pair."),
    jaccard=Column("FLOAT", "Exact Jaccard similarity of the two shingle sets, 0 to 1."),
    containment=Column("FLOAT", "Shared shingles over those of the smaller set, 0 to 1."),
    method=Column("VARCHAR", "Preset that proposed and verified the pair, e.g. fineweb."),
)

SIGNATURES = table(
    "signatures",
    "MinHash band keys per document, kept so that a later crawl is compared with earlier ones without reading their text.",
    id=ID,
    method=Column("VARCHAR", "Preset: shingles, permutations, bands."),
    bands=Column("UBIGINT[]", "One hash per band; equal hashes in one band make a candidate pair."),
)

DOCUMENT_KEYS = table(
    "document_keys",
    "What makes two documents the same by their address or their content: one row per text and address.",
    id=ID,
    crawl=Column("VARCHAR", "Name of the crawl."),
    host=Column("VARCHAR", "Host of the address."),
    canonical_url=Column(
        "VARCHAR", "The address without scheme, www, fragment, default port, tracking parameters and order of parameters."
    ),
    content_key=Column(
        "UBIGINT", "Hash of the text's folded words: equal for texts that differ in case, punctuation and white space only."
    ),
)

TEXT_VARIANTS = table(
    "text_variants",
    "Another text of a document, by an edit or by another engine, for the documents it changes; all others are as they stand in documents.",
    id=ID,
    variant=Column(
        "VARCHAR", "The edit: decontaminated, without_repeats, ...; the engine: trafilatura, resiliparse, ...; or a recipe's own."
    ),
    text=Column("VARCHAR", "The text after the edit; empty if nothing is left."),
    num_removed_bytes=Column(
        "BIGINT", "UTF-8 bytes that it is shorter by than the text in documents; below zero where another engine takes more."
    ),
)

SCORES = table(
    "scores",
    "Values of documents that depend on what a user brought: a trained classifier, a list of words or of addresses.",
    id=ID,
    name=Column("VARCHAR", "Name of the classifier; bad_words; blocked_url."),
    value=Column(
        "DOUBLE", "Probability of being like the positives, 0 to 1; how often a listed word occurs; addresses of the text that are listed."
    ),
)

QUALITY_MODELS = table(
    "quality_models",
    "A classifier trained on texts of a user's choice. Every text of the lake gets its score.",
    model=Column("VARCHAR", "Name: score.NAME in a recipe."),
    file=Column("VARCHAR", "Weights as safetensors, relative to the lake."),
    weights_digest=Column("VARCHAR", "BLAKE2b-128 of the file, in hex."),
    num_positives=Column("BIGINT", "Positive texts, equal ones counted once."),
    num_negatives=Column("BIGINT", "Negative texts, equal ones counted once."),
    num_held_out=Column("BIGINT", "Texts of both kinds held out from training, drawn by a hash of the text."),
    held_out_auc=Column("DOUBLE", "Share of pairs of a held-out positive and negative in which the positive scores higher."),
    held_out_accuracy=Column("DOUBLE", "Share of held-out texts on the right side of 0.5."),
)

HOST_LINES = table(
    "host_lines",
    "Lines that stand in many documents of one host: menus, notices and other boilerplate.",
    host=Column("VARCHAR", "Host."),
    line_key=Column("UBIGINT", "Hash of the line's folded words."),
    num_documents=Column("BIGINT", "Distinct texts of the host that hold the line."),
    num_host_documents=Column("BIGINT", "Distinct texts of the host."),
    line=Column("VARCHAR", "The line as one document writes it, its first 200 code points."),
)

EVALUATION_ITEMS = table(
    "evaluation_items",
    "Items of evaluation sets: what documents are compared with, and what models are scored on.",
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set: its own id, or a digest of its text."),
    question=Column("VARCHAR", "What is asked, or the text to go on with; NULL if there is none."),
    answer=Column("VARCHAR", "What is to be answered; NULL if there is none."),
    context=Column("VARCHAR", "Text the question is about; NULL if there is none."),
    kind=Column("VARCHAR", "minimal_pairs, multiple_choice or cloze; NULL if models are not scored on it."),
    subset=Column("VARCHAR", "Group of items within the set, such as a phenomenon; NULL if there is none."),
    prompt=Column("VARCHAR", "Text a model reads before a choice."),
    choices=Column("VARCHAR[]", "What may follow the prompt, exactly as it is scored, white space before it included."),
    label=Column("INTEGER", "Place of the right choice, from 0."),
)

CONTAMINATION_MATCHES = table(
    "contamination_matches",
    "Stretches of words that a document shares with an item of an evaluation set, before frequent ones are left out.",
    id=ID,
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set."),
    part=Column("VARCHAR", "question, answer, context, or item: question and answer together."),
    num_ngrams=Column("BIGINT", "Stretches by which the part is known: its 13-grams, or 1 where it is matched whole."),
    ngrams=Column("UBIGINT[]", "Hashes of the stretches found in the document."),
    longest_run=Column("BIGINT", "Words of the longest match; a Han character is a word."),
    spans=Column("BIGINT[]", "Where the matches lie in the text: first byte and byte after, one pair after the other."),
    matched_text=Column("VARCHAR", "Longest matching text, its first 600 code points."),
)

CONTAMINATION = table(
    "contamination",
    "Overlap of documents with items of evaluation sets, frequent stretches left out.",
    id=ID,
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set."),
    part=Column("VARCHAR", "question, answer, context, or item: question and answer together."),
    overlap=Column("FLOAT", "Share of the part's 13-grams found in the document, 0 to 1."),
    num_matched=Column("BIGINT", "13-grams found, frequent ones left out; a part matched whole counts 1."),
    num_ngrams=Column("BIGINT", "13-grams of the part, frequent ones left out."),
    num_frequent=Column("BIGINT", "13-grams of the part that are left out because many documents hold them."),
    longest_run=Column("BIGINT", "Words of the longest match; a Han character is a word."),
    contaminated=Column(
        "BOOLEAN", "Whether the overlap is large enough to count; an answer counts with its question, or if it is long itself."
    ),
    spans=Column("BIGINT[]", "Where the matches lie in the text: first byte and byte after, one pair after the other."),
    matched_text=Column("VARCHAR", "Longest matching text, its first 600 code points, for a person to judge."),
)

CONTAMINATED_ITEMS = table(
    "contaminated_items",
    "Items of evaluation sets of which something was found in the documents, so that metrics can be shown with and without them.",
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set."),
    contaminated=Column("BOOLEAN", "Whether a document is contaminated by it."),
    has_question=Column("BOOLEAN", "Whether by its question."),
    has_answer=Column("BOOLEAN", "Whether by its answer."),
    has_context=Column("BOOLEAN", "Whether by its context."),
    overlap=Column("FLOAT", "Largest overlap of a part with one document, 0 to 1."),
    corpus_overlap=Column("FLOAT", "Largest share of a part's 13-grams found anywhere, frequent ones included, 0 to 1."),
    longest_run=Column("BIGINT", "Words of the longest match."),
    num_documents=Column("BIGINT", "Documents contaminated by it."),
    closest_id=Column("VARCHAR", "Document with the largest overlap."),
)

CONTAMINATION_CHECKS = table(
    "contamination_checks",
    "What each scan found of items it planted itself, and of look-alikes that are none.",
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    kind=Column("VARCHAR", "verbatim, restyled, half, edited, line, answered; look-alikes: shuffled, broken, inline, unasked."),
    is_contaminated=Column("BOOLEAN", "Whether the planted text is a copy, or a look-alike."),
    num_planted=Column("BIGINT", "Documents planted."),
    num_found=Column("BIGINT", "Documents in which their own item was found: right for copies, wrong for look-alikes."),
)

SOURCE_LOSSES = table(
    "source_losses",
    "What a recipe's policy for duplicates takes from each crawl and host, with an alarm where it is more than a set share.",
    recipe=Column("VARCHAR", "Name of the recipe."),
    kind=Column("VARCHAR", "crawl or host."),
    source=Column("VARCHAR", "Name of the crawl or host."),
    num_documents=Column("BIGINT", "Distinct texts of the source that pass the recipe's rules."),
    num_removed=Column("BIGINT", "Those that go as duplicates."),
    share=Column("FLOAT", "Removed over passing, 0 to 1."),
    alarm=Column("BOOLEAN", "Whether the share is above the set one and the source is not tiny."),
)

PII_SPANS = table(
    "pii_spans",
    "Personal data found in documents, as spans, so that text can be masked without being stored twice.",
    id=ID,
    kind=Column("VARCHAR", "email, public_ip, phone, payment_card, ..."),
    start_char=Column("BIGINT", "First code point of the span."),
    end_char=Column("BIGINT", "Code point after the span."),
)

RECIPES = table(
    "recipes",
    "A recipe: thresholds over stored signals plus a duplicate policy. Each has a view recipe_<name>(id, kept, reason).",
    recipe=Column("VARCHAR", "Name."),
    definition=Column("VARCHAR", "The recipe as JSON."),
    recipe_digest=Column("VARCHAR", "BLAKE2b-128 of the definition, in hex."),
    variant=Column("VARCHAR", "The edited text that is trained on; joins to text_variants.variant. Empty for documents as they are."),
)

RECIPE_COUNTS = table(
    "recipe_counts",
    "What each rule of a recipe removes from the documents of the lake.",
    recipe=Column("VARCHAR", "Name of the recipe."),
    rule=Column("VARCHAR", "Rule, exact_duplicate, near_duplicate, not_measured, not_compared, or 'all' and 'kept' for the totals."),
    num_failing=Column(
        "BIGINT", "Documents that fail this rule, whatever other rules say; at 'all' and 'kept' the documents of the total."
    ),
    num_removed=Column("BIGINT", "Documents whose first failing rule is this one; with 'kept' these add up to 'all'."),
    num_removed_bytes=Column("BIGINT", "UTF-8 bytes of the documents removed by it, or of the total."),
    alarm=Column("VARCHAR", "removes_nothing, removes_everything, or not_measured: no document has the value; NULL if none of them."),
)

DUPLICATE_REMOVALS = table(
    "duplicate_removals",
    "Which near-duplicates a recipe removes: the first of similar documents stays, and only documents that pass its rules are compared.",
    recipe=Column("VARCHAR", "Name of the recipe."),
    id=ID,
    kept_id=Column("VARCHAR", "The most similar document that stays in its place."),
    jaccard=Column("FLOAT", "Their exact Jaccard similarity, 0 to 1."),
)

STATISTICS = table(
    "statistics",
    "Size of the data per recipe after each refresh that changed something; the history a refresh is compared with.",
    recipe=Column("VARCHAR", "Recipe; 'all' for every document."),
    num_captures=Column("BIGINT", "Captures in the lake."),
    num_documents=Column("BIGINT", "Distinct documents the recipe keeps."),
    num_bytes=Column("BIGINT", "UTF-8 bytes of their text."),
    num_tokens=Column("BIGINT", "Their tokens; NULL before they are tokenized."),
    num_hosts=Column("BIGINT", "Hosts they come from."),
    lake_snapshot=Column("BIGINT", "Snapshot that was counted.", volatile=True),
)

VARIANT_SIGNALS = table(
    "variant_signals",
    "Language and raw values of texts by another engine, where they differ and are not empty: what a recipe with such texts looks at.",
    id=ID,
    variant=Column("VARCHAR", "The engine."),
    **_LANGUAGE,
    **_SIGNALS,
)

SIGNALS_TABLE = table(
    "signals",
    "Raw values measured on each document, one column per signal; thresholds over them are recipes.",
    id=ID,
    **_SIGNALS,
)
