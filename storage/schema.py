"""Every table of the lake: its columns, types, units and keys, in one place.

The texts written here are stored as comments in the catalog, so that a person who attaches the lake with plain DuckDB
reads the same words as a person who reads this file. A column marked `volatile` holds a clock, a speed or a place (when,
how fast, where in a file); it is left out of the content digest, because two faithful runs may differ in it.

The choice: types are DuckDB's own, written as text. An ORM would add a second vocabulary for the same fact; the cost is that
a wrong type name shows only when the table is made, which the first test does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.signals import SIGNALS

SCHEMA_VERSION = 1
"""Raised when a table changes in a way that older code cannot read; a lake of a newer version is refused."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: DuckDB type, meaning with unit, and whether two faithful runs may differ in it."""

    type: str
    doc: str
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the lake: what a row is, and its columns in order."""

    name: str
    doc: str
    columns: Mapping[str, Column]


PRODUCED_BY = Column("VARCHAR", "Key of the stage output that holds this row; joins to stages.key.")
ID = Column("VARCHAR", "Document id: BLAKE2b-128 of the text in hex, so equal texts have equal ids.")


def _table(name: str, doc: str, /, **columns: Column) -> Table:
    return Table(name, doc, {"produced_by": PRODUCED_BY, **columns})


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

REJECTS = _table(
    "rejects",
    "What was set aside instead of becoming a row, counted under a reason; nothing is dropped silently.",
    stage=Column("VARCHAR", "Stage that set it aside."),
    source=Column("VARCHAR", "File, site or table it came from."),
    reason=Column("VARCHAR", "Why, as a fixed word such as truncated_record, empty_text, http_status."),
    num_rejects=Column("BIGINT", "How many records were set aside for this reason."),
    example=Column("VARCHAR", "One of them, as a place to look: a URL or file and offset.", volatile=True),
)

CRAWL_FILES = _table(
    "crawl_files",
    "Files a crawl brought or found: what the documents stage reads.",
    crawl=Column("VARCHAR", "Name of the crawl (one snapshot of one source)."),
    source=Column("VARCHAR", "The source as the user wrote it, e.g. site:https://... or warc:GLOB."),
    kind=Column("VARCHAR", "site, warc, wet, jsonl, parquet, text, wiki or cc."),
    file=Column("VARCHAR", "Path or URL of the file."),
    num_bytes=Column("BIGINT", "Size of the file in bytes.", volatile=True),
    file_digest=Column("VARCHAR", "Identity of the content: BLAKE2b-128, or etag and size for remote files.", volatile=True),
)

CAPTURES = _table(
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
    payload_digest=Column("VARCHAR", "BLAKE2b-128 of the payload bytes, in hex."),
    num_bytes=Column("BIGINT", "Payload size in bytes."),
    etag=Column("VARCHAR", "ETag header, for conditional requests on a later visit."),
    last_modified=Column("VARCHAR", "Last-Modified header, for conditional requests on a later visit."),
    fetched_at=Column("TIMESTAMPTZ", "When the resource was fetched (UTC); NULL if the source does not say.", volatile=True),
)

DOCUMENTS = _table(
    "documents",
    "Main text of a capture. Two captures with equal text give two rows with one id.",
    id=ID,
    capture_id=Column("VARCHAR", "Capture the text came from; joins to captures.capture_id."),
    crawl=Column("VARCHAR", "Name of the crawl."),
    url=Column("VARCHAR", "Address of the capture."),
    host=Column("VARCHAR", "Host of the address: the domain by which metrics are split."),
    title=Column("VARCHAR", "Title where the page gave one."),
    language=Column("VARCHAR", "ISO 639 code of the most likely language; 'und' if undetermined."),
    language_score=Column("FLOAT", "Confidence of the language, 0 to 1."),
    extractor=Column("VARCHAR", "Engine that took the text out of the page: blocks, resiliparse, trafilatura, wet, plain."),
    lang_attribute=Column("VARCHAR", "Language the page itself states, as in BCP 47; NULL if it states none."),
    published_at=Column("TIMESTAMPTZ", "When the page says it was published (UTC); NULL if it does not say, or not readably."),
    num_chars=Column("BIGINT", "Unicode code points of the text."),
    num_bytes=Column("BIGINT", "UTF-8 bytes of the text."),
    text=Column("VARCHAR", "The text, NFC, newline separated, never empty."),
)

NEAR_DUPLICATES = _table(
    "near_duplicates",
    "Pairs of documents found by MinHash and verified on their shingles. Policies over these pairs decide what goes.",
    id_a=Column("VARCHAR", "Smaller document id of the pair."),
    id_b=Column("VARCHAR", "Larger document id of the pair."),
    jaccard=Column("FLOAT", "Exact Jaccard similarity of the two shingle sets, 0 to 1."),
    containment=Column("FLOAT", "Shared shingles over those of the smaller set, 0 to 1."),
    method=Column("VARCHAR", "Preset that proposed and verified the pair, e.g. fineweb."),
)

SIGNATURES = _table(
    "signatures",
    "MinHash band keys per document, kept so that a later crawl is compared with earlier ones without reading their text.",
    id=ID,
    method=Column("VARCHAR", "Preset: shingles, permutations, bands."),
    bands=Column("UBIGINT[]", "One hash per band; equal hashes in one band make a candidate pair."),
)

DOCUMENT_KEYS = _table(
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

TEXT_VARIANTS = _table(
    "text_variants",
    "Edited text of a document, for the documents that an edit changes; all others are as they stand in documents.",
    id=ID,
    variant=Column("VARCHAR", "The edit: decontaminated, without_repeats, ... or a recipe's own."),
    text=Column("VARCHAR", "The text after the edit; empty if nothing is left."),
    num_removed_bytes=Column("BIGINT", "UTF-8 bytes that the edit took away."),
)

SCORES = _table(
    "scores",
    "Values of documents that depend on what a user brought: a trained classifier, a list of words or of addresses.",
    id=ID,
    name=Column("VARCHAR", "Name of the classifier; bad_words; blocked_url."),
    value=Column(
        "DOUBLE", "Probability of being like the positives, 0 to 1; how often a listed word occurs; addresses of the text that are listed."
    ),
)

QUALITY_MODELS = _table(
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

HOST_LINES = _table(
    "host_lines",
    "Lines that stand in many documents of one host: menus, notices and other boilerplate.",
    host=Column("VARCHAR", "Host."),
    line_key=Column("UBIGINT", "Hash of the line's folded words."),
    num_documents=Column("BIGINT", "Distinct texts of the host that hold the line."),
    num_host_documents=Column("BIGINT", "Distinct texts of the host."),
    line=Column("VARCHAR", "The line as one document writes it, its first 200 code points."),
)

EVALUATION_ITEMS = _table(
    "evaluation_items",
    "Items of the evaluation sets that documents are compared with.",
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set: its own id, or a digest of its text."),
    question=Column("VARCHAR", "What is asked, or the text to go on with; NULL if there is none."),
    answer=Column("VARCHAR", "What is to be answered; NULL if there is none."),
    context=Column("VARCHAR", "Text the question is about; NULL if there is none."),
)

CONTAMINATION_MATCHES = _table(
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

CONTAMINATION = _table(
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

CONTAMINATED_ITEMS = _table(
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

CONTAMINATION_CHECKS = _table(
    "contamination_checks",
    "What each scan found of items it planted itself, and of look-alikes that are none.",
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    kind=Column("VARCHAR", "verbatim, restyled, half, edited; look-alikes: shuffled, broken."),
    is_contaminated=Column("BOOLEAN", "Whether the planted text is a copy, or a look-alike."),
    num_planted=Column("BIGINT", "Documents planted."),
    num_found=Column("BIGINT", "Documents in which their own item was found: right for copies, wrong for look-alikes."),
)

SOURCE_LOSSES = _table(
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

PII_SPANS = _table(
    "pii_spans",
    "Personal data found in documents, as spans, so that text can be masked without being stored twice.",
    id=ID,
    kind=Column("VARCHAR", "email, public_ip, phone, payment_card, ..."),
    start_char=Column("BIGINT", "First code point of the span."),
    end_char=Column("BIGINT", "Code point after the span."),
)

RECIPES = _table(
    "recipes",
    "A recipe: thresholds over stored signals plus a duplicate policy. Each has a view recipe_<name>(id, kept, reason).",
    recipe=Column("VARCHAR", "Name."),
    definition=Column("VARCHAR", "The recipe as JSON."),
    recipe_digest=Column("VARCHAR", "BLAKE2b-128 of the definition, in hex."),
    variant=Column("VARCHAR", "The edited text that is trained on; joins to text_variants.variant. Empty for documents as they are."),
)

RECIPE_COUNTS = _table(
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

DUPLICATE_REMOVALS = _table(
    "duplicate_removals",
    "Which near-duplicates a recipe removes: the first of similar documents stays, and only documents that pass its rules are compared.",
    recipe=Column("VARCHAR", "Name of the recipe."),
    id=ID,
    kept_id=Column("VARCHAR", "The most similar document that stays in its place."),
    jaccard=Column("FLOAT", "Their exact Jaccard similarity, 0 to 1."),
)

STATISTICS = _table(
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

TOKENIZERS = _table(
    "tokenizers",
    "A byte-level BPE vocabulary.",
    tokenizer_id=Column("VARCHAR", "BLAKE2b-128 of the vocabulary file, in hex."),
    kind=Column("VARCHAR", "trained or gpt2."),
    vocab_size=Column("BIGINT", "Entries, the end-of-document token included."),
    end_of_document=Column("BIGINT", "Id of the token that closes a document."),
    file=Column("VARCHAR", "tokenizer.json in the lake, relative to the lake."),
    num_training_bytes=Column("BIGINT", "UTF-8 bytes the merges were learned on; 0 if loaded."),
)

TOKENS = _table(
    "tokens",
    "Token ids of each document, long ones in parts, in rank order inside each file. The trainer reads these same Parquet files.",
    tokenizer_id=Column("VARCHAR", "Vocabulary; joins to tokenizers.tokenizer_id."),
    rank=Column("UBIGINT", "Keyed hash of document id and part, uniform: the order in which data is used. A rung is a prefix of it."),
    id=Column("VARCHAR", "Document id; of an edited text <document id>~<variant>, at the rank of the document."),
    part=Column("INTEGER", "Part of the document, from 0; a short document has one."),
    host=Column("VARCHAR", "Host of the first capture with this text."),
    num_bytes=Column("BIGINT", "UTF-8 bytes the tokens stand for; over the parts of a document they add up to its bytes."),
    num_tokens=Column("BIGINT", "Tokens, the closing end-of-document token of the part included."),
    tokens=Column("UINTEGER[]", "Token ids, closed by an end-of-document token in every part."),
)

VALIDATION = _table(
    "validation",
    "Documents held out from training. Drawn once and then kept, so that losses stay comparable as data grows.",
    validation_id=Column("VARCHAR", "Digest of the document ids of the set, in hex."),
    id=ID,
)

RUNGS = _table(
    "rungs",
    "Nested amounts of training data: each rung is a prefix of the ladder's rank order.",
    ladder_id=Column("VARCHAR", "Ladder: recipe, tokenizer, validation set and data, as a digest in hex."),
    rung=Column("INTEGER", "Position in the ladder, 0 for the smallest."),
    recipe=Column("VARCHAR", "Recipe that chose the documents."),
    tokenizer_id=Column("VARCHAR", "Vocabulary."),
    validation_id=Column("VARCHAR", "Validation set whose near-duplicates are kept out."),
    num_tokens=Column("BIGINT", "Training tokens of the rung."),
    rank_limit=Column("UBIGINT", "Largest rank the rung reads."),
    num_documents=Column("BIGINT", "Documents the rung reads, the last perhaps in part."),
    num_available_tokens=Column("BIGINT", "Training tokens the recipe leaves in all."),
    selection_file=Column("VARCHAR", "Parquet file in the lake that names the ladder's documents in rank order, relative to the lake."),
)

RUNS = _table(
    "runs",
    "One training: one model, one seed, one ladder. A trunk at constant learning rate with a decayed branch per rung.",
    run_id=Column("VARCHAR", "Digest of everything that decides the weights, in hex; never reused."),
    ladder_id=Column("VARCHAR", "Ladder it trains on."),
    model=Column("VARCHAR", "Name of the size, for people."),
    num_params=Column("BIGINT", "Trainable parameters, embeddings included."),
    num_params_non_embedding=Column("BIGINT", "Trainable parameters without the token embedding and output head."),
    seed=Column("BIGINT", "Seed of the initial weights."),
    config=Column("VARCHAR", "Model, optimizer and schedule as JSON."),
    learning_rate=Column("DOUBLE", "Peak learning rate."),
    batch_tokens=Column("BIGINT", "Tokens per step."),
    context_tokens=Column("BIGINT", "Tokens per sequence."),
    num_threads=Column("BIGINT", "CPU threads, which decide the bits of a CPU run."),
    dtype=Column("VARCHAR", "float32 or bfloat16."),
    device=Column("VARCHAR", "Device it ran on.", volatile=True),
    torch_version=Column("VARCHAR", "Version of PyTorch."),
    num_tokens=Column("BIGINT", "Tokens of the largest rung reached."),
    train_tokens=Column("BIGINT", "Tokens processed by the trunk and all branches."),
    train_flops=Column(
        "DOUBLE",
        "Floating-point operations of the training steps: 6 N + 12 layers width context per token, N without embeddings plus head.",
    ),
    tokens_per_second=Column("DOUBLE", "Training tokens per second.", volatile=True),
    seconds=Column("DOUBLE", "Seconds of training.", volatile=True),
    lake_snapshot=Column("BIGINT", "Snapshot of the lake whose data it read.", volatile=True),
)

CHECKPOINTS = _table(
    "checkpoints",
    "The decayed weights of a run at each rung.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung at which the learning rate reached zero."),
    step=Column("BIGINT", "Optimizer steps on the path to these weights."),
    num_tokens=Column("BIGINT", "Training tokens on the path to these weights."),
    file=Column("VARCHAR", "safetensors file, relative to the lake or to its data.", volatile=True),
    weights_digest=Column("VARCHAR", "BLAKE2b-128 of the file, in hex."),
)

METRICS = _table(
    "metrics",
    "Every measured value of a run, long form: one row per run, rung or step, split, domain and name.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung, NULL for values along the trunk."),
    step=Column("BIGINT", "Optimizer steps so far."),
    num_tokens=Column("BIGINT", "Training tokens so far: the D of a scaling law."),
    split=Column("VARCHAR", "train or validation."),
    validation_id=Column("VARCHAR", "Validation set; NULL for train. Only equal ids are comparable."),
    domain=Column("VARCHAR", "'all', or the host."),
    name=Column("VARCHAR", "loss_nats_per_token, bits_per_byte, gradient_norm, learning_rate."),
    value=Column("DOUBLE", "The value."),
    stderr=Column("DOUBLE", "Standard error over documents; NULL where it has none."),
    num_items=Column("BIGINT", "Documents behind the value; NULL where it has none."),
)

LAWS = _table(
    "laws",
    "A fitted scaling law with its constants, intervals, residuals and what was left out.",
    law_id=Column("VARCHAR", "Digest of form, points and estimator, in hex."),
    ladder_id=Column("VARCHAR", "Ladder."),
    form=Column("VARCHAR", "data_only: E + B/D^b at fixed N; chinchilla: E + A/N^a + B/D^b."),
    metric=Column("VARCHAR", "Metric that was fitted, with its unit in the name."),
    num_params=Column("BIGINT", "Model size of a data_only law; NULL for a joint law."),
    max_num_tokens=Column("BIGINT", "Largest number of training tokens among the fitted points."),
    constants=Column("VARCHAR", "JSON {constant: value}."),
    intervals=Column("VARCHAR", "JSON {constant: [low, high]}, 90% bootstrap."),
    unidentified=Column("VARCHAR", "JSON {constant: reason} of constants that the data does not fix."),
    warnings=Column("VARCHAR", "JSON list of sentences, e.g. a loss that rises with data."),
    residuals=Column("VARCHAR", "JSON list of {run_id, num_params, num_tokens, observed, fitted}."),
    exclusions=Column("VARCHAR", "JSON list of {run_id, num_tokens, reason}."),
    curve=Column("VARCHAR", "JSON list of {num_params, num_tokens, fitted, low, high}: the law drawn, with the interval of a forecast."),
    estimator=Column("VARCHAR", "Objective, starts and bootstrap, as JSON."),
    objective=Column("DOUBLE", "Value of the objective at the fit."),
    num_points=Column("BIGINT", "Points fitted."),
)

FORECASTS = _table(
    "forecasts",
    "A prediction registered before its rung was trained, and what came out.",
    forecast_id=Column("VARCHAR", "Digest of law and target, in hex."),
    law_id=Column("VARCHAR", "Law it was made with."),
    ladder_id=Column("VARCHAR", "Ladder."),
    rung=Column("INTEGER", "Target rung."),
    num_params=Column("BIGINT", "Target model size."),
    num_tokens=Column("BIGINT", "Target training tokens."),
    metric=Column("VARCHAR", "Metric forecast."),
    predicted=Column("DOUBLE", "Point forecast: mean over seeds."),
    low=Column("DOUBLE", "Lower end of the interval."),
    high=Column("DOUBLE", "Upper end of the interval."),
    level=Column("DOUBLE", "Nominal coverage of the interval, e.g. 0.9."),
    low80=Column("DOUBLE", "Lower end of the 80% interval."),
    high80=Column("DOUBLE", "Upper end of the 80% interval."),
    quantiles=Column("VARCHAR", "JSON: by probability, the loss below which the outcome was expected with it."),
    form_weights=Column("VARCHAR", "JSON: what each candidate law counted, by how it had forecast hidden rungs."),
    num_seeds=Column("BIGINT", "Runs whose mean loss is forecast."),
    components=Column(
        "VARCHAR", "JSON: half-widths of the interval on the log loss by cause (sampling, seed noise, form error), and hidden misses used."
    ),
    registered_at=Column("TIMESTAMPTZ", "When it was written (UTC).", volatile=True),
    lake_snapshot=Column("BIGINT", "Snapshot of the lake it was made from.", volatile=True),
    outcome=Column("DOUBLE", "Measured value, mean over seeds; NULL until the rung is trained."),
    inside=Column("BOOLEAN", "Whether the outcome fell inside the interval; NULL until then."),
    inside80=Column("BOOLEAN", "Whether it fell inside the 80% interval."),
    crps=Column("DOUBLE", "Continuous ranked probability score of the forecast, in the unit of the metric; 0 is perfect."),
    scored_at=Column("TIMESTAMPTZ", "When the outcome was written (UTC).", volatile=True),
)

CONCLUSIONS = _table(
    "conclusions",
    "What was concluded from the runs of a ladder, and of those it can be compared with. Rows of earlier days stay, so that changes show.",
    ladder_id=Column("VARCHAR", "Ladder that is reported."),
    metric=Column("VARCHAR", "Metric behind it."),
    question=Column("VARCHAR", "amount, recipes, ranking, crawl, repetition, allocation or next_run."),
    subject=Column("VARCHAR", "Recipe or pair of recipes it is about; empty if it is about all."),
    status=Column("VARCHAR", "answered, assumed (on an assumption the answer names), or open."),
    verdict=Column("VARCHAR", "The answer in short; a conclusion has changed when this has."),
    answer=Column("VARCHAR", "The whole answer as JSON: estimates with their intervals, curves, or what is missing. null is unbounded."),
)

SIGNALS_TABLE = _table(
    "signals",
    "Raw values measured on each document, one column per signal; thresholds over them are recipes.",
    id=ID,
    **{name: Column(signal.type, signal.doc) for name, signal in SIGNALS.items()},
)

LAKE_INFO = Table(
    "lake_info",
    "One row about the lake itself.",
    {
        "schema_version": Column("INTEGER", "Version of these tables; code older than it refuses to open the lake."),
        "created_at": Column("TIMESTAMPTZ", "When the lake was made (UTC).", volatile=True),
    },
)

TABLES: Mapping[str, Table] = {table.name: table for table in list(globals().values()) if isinstance(table, Table)}
"""Every table of the lake by name."""
