"""Tables from tokens to runs, laws and conclusions."""

from storage.schema.table import ID, Column, table

TOKENIZERS = table(
    "tokenizers",
    "A byte-level BPE vocabulary.",
    tokenizer_id=Column("VARCHAR", "BLAKE2b-128 of the vocabulary file, in hex."),
    kind=Column("VARCHAR", "trained or gpt2."),
    vocab_size=Column("BIGINT", "Entries, the end-of-document token included."),
    end_of_document=Column("BIGINT", "Id of the token that closes a document."),
    file=Column("VARCHAR", "tokenizer.json in the lake, relative to the lake."),
    num_training_bytes=Column("BIGINT", "UTF-8 bytes the merges were learned on; 0 if loaded."),
)

TOKENS = table(
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

VALIDATION = table(
    "validation",
    "Documents held out from training. Drawn once and then kept, so that losses stay comparable as data grows.",
    validation_id=Column("VARCHAR", "Digest of the document ids of the set, in hex."),
    id=ID,
)

RUNGS = table(
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

RUNS = table(
    "runs",
    "One training: one model, one seed, one ladder. A trunk at constant learning rate with a decayed branch per rung.",
    run_id=Column("VARCHAR", "Digest of everything that decides the weights, in hex; never reused."),
    ladder_id=Column("VARCHAR", "Ladder it trains on."),
    model=Column("VARCHAR", "Name of the size, for people."),
    num_params=Column("BIGINT", "Trainable parameters, embeddings included."),
    num_params_non_embedding=Column("BIGINT", "Trainable parameters without the token embedding and output head."),
    seed=Column("BIGINT", "Seed of the initial weights."),
    config=Column("VARCHAR", "Model, optimizer and schedule as JSON."),
    schedule=Column("VARCHAR", "wsd: a trunk with a decayed branch per rung; cosine, linear: every rung from the start."),
    optimizer=Column("VARCHAR", "adamw, or muon for the matrices of the blocks; never to be fitted as one."),
    learning_rate=Column("DOUBLE", "Peak learning rate."),
    batch_tokens=Column("BIGINT", "Tokens per step."),
    context_tokens=Column("BIGINT", "Tokens per sequence."),
    unique_tokens=Column("BIGINT", "Tokens of the limited set that it repeats; NULL where every token comes once."),
    epochs=Column("DOUBLE", "Passes over its unique tokens at the largest rung reached; 1 where nothing repeats."),
    num_threads=Column("BIGINT", "CPU threads, which decide the bits of a CPU run."),
    dtype=Column("VARCHAR", "float32 or bfloat16."),
    device=Column("VARCHAR", "Device it ran on.", volatile=True),
    torch_version=Column("VARCHAR", "Version of PyTorch."),
    state=Column("VARCHAR", "complete, or diverged; the rungs that a diverged run finished before are results like any other."),
    diverged_step=Column("BIGINT", "Step at which it diverged; NULL if it did not."),
    num_skipped=Column("BIGINT", "Updates that were skipped as spikes, over trunk and branches."),
    num_tokens=Column("BIGINT", "Tokens of the largest rung reached."),
    train_tokens=Column("BIGINT", "Tokens processed by the trunk and all branches."),
    train_flops=Column(
        "DOUBLE",
        "Floating-point operations of the training steps: 6 N + 12 layers width context per token, N without embeddings plus head.",
    ),
    tokens_per_second=Column("DOUBLE", "Training tokens per second.", volatile=True),
    seconds=Column("DOUBLE", "Seconds of training.", volatile=True),
    mfu=Column("DOUBLE", "Training FLOPs per second over the measured peak of matrix products; NULL if not measured.", volatile=True),
    waiting_share=Column("DOUBLE", "Share of seconds that went into waiting for data.", volatile=True),
    memory_bytes=Column("BIGINT", "Most memory: resident in the process on a CPU, allocated on an accelerator.", volatile=True),
    lake_snapshot=Column("BIGINT", "Snapshot of the lake whose data it read.", volatile=True),
)

TUNINGS = table(
    "tunings",
    "Grids of learning rates, a row per rate that was tried: what it scored at one rung, and the rate that its grid says is best.",
    model=Column("VARCHAR", "Name of the size, for people."),
    num_params=Column("BIGINT", "Trainable parameters, embeddings included."),
    num_params_non_embedding=Column("BIGINT", "Trainable parameters without the token embedding and output head."),
    context_tokens=Column("BIGINT", "Tokens per sequence."),
    batch_tokens=Column("BIGINT", "Tokens per step."),
    optimizer=Column("VARCHAR", "adamw or muon."),
    schedule=Column("VARCHAR", "wsd, cosine or linear."),
    ladder_id=Column("VARCHAR", "Ladder it was tuned on."),
    num_tokens=Column("BIGINT", "Training tokens of each point."),
    seed=Column("BIGINT", "Seed of the initial weights."),
    learning_rate=Column("DOUBLE", "Peak learning rate of this point."),
    loss_nats_per_token=Column("DOUBLE", "Loss on validation; NULL if the training diverged."),
    stderr=Column("DOUBLE", "Its standard error over documents."),
    tokens_per_second=Column("DOUBLE", "Training tokens per second.", volatile=True),
    device=Column("VARCHAR", "Device it ran on.", volatile=True),
    best_rate=Column("DOUBLE", "Rate with the lowest loss by the grid: the one that runs take. The same in every row of a grid."),
    best_low=Column("DOUBLE", "Lower end of one standard error around it, by the noise between seeds."),
    best_high=Column("DOUBLE", "Upper end."),
    at_edge=Column("BOOLEAN", "The lowest loss stands at the end of the grid, so a better rate may lie beyond."),
)

CHECKPOINTS = table(
    "checkpoints",
    "The decayed weights of a run at each rung.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung at which the learning rate reached zero."),
    step=Column("BIGINT", "Optimizer steps on the path to these weights."),
    num_tokens=Column("BIGINT", "Training tokens on the path to these weights."),
    file=Column("VARCHAR", "safetensors file, relative to the lake or to its data.", volatile=True),
    weights_digest=Column("VARCHAR", "BLAKE2b-128 of the file, in hex."),
)

METRICS = table(
    "metrics",
    "Every measured value of a run, long form: one row per run, rung or step, split, domain and name.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung, NULL for values along the trunk."),
    step=Column("BIGINT", "Optimizer steps so far."),
    num_tokens=Column("BIGINT", "Training tokens so far: the D of a scaling law."),
    split=Column("VARCHAR", "train, validation, task, or harness: an evaluation set scored by lm-evaluation-harness."),
    validation_id=Column("VARCHAR", "Validation set, or digest of the evaluation set; NULL for train. Only equal ids are comparable."),
    domain=Column(
        "VARCHAR",
        "'all', the host, language:CODE or source:NAME. Of tasks: the evaluation set, SET/SUBSET, SET~clean without the items that the "
        "training data holds, SET~known those items alone, SET[:N] its first N items.",
    ),
    name=Column(
        "VARCHAR",
        "loss_nats_per_token, bits_per_byte, perplexity, gradient_norm, learning_rate; of tasks accuracy, accuracy_normalized, "
        "answer_bits_per_byte, answer_nats, margin_nats, truncated; of the harness as it names them.",
    ),
    value=Column("DOUBLE", "The value."),
    stderr=Column("DOUBLE", "Standard error over documents or items; NULL where it has none."),
    num_items=Column("BIGINT", "Documents or items behind the value; NULL where it has none."),
)

ITEM_METRICS = table(
    "item_metrics",
    "Every measured value of a checkpoint per item, so that runs can be compared on the same items. A metric is the sum of value * weight "
    "over the sum of weight.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung."),
    split=Column("VARCHAR", "validation, task or harness."),
    evaluation_set=Column("VARCHAR", "Evaluation set, SET[:N] for its first N items; of validation its id."),
    subset=Column("VARCHAR", "Group of items within the set; NULL if there is none."),
    item=Column("VARCHAR", "Item of the set; joins to evaluation_items and known_items. Of validation the document id."),
    name=Column("VARCHAR", "Metric, as in metrics.name."),
    value=Column("DOUBLE", "The value."),
    weight=Column("DOUBLE", "Bytes for bits per byte, tokens for a loss per token, 1 elsewhere."),
)

KNOWN_ITEMS = table(
    "known_items",
    "Items of evaluation sets that the training data of a ladder holds, by the verdict over its documents up to the largest rung.",
    ladder_id=Column("VARCHAR", "Ladder."),
    evaluation_set=Column("VARCHAR", "Name of the evaluation set."),
    item=Column("VARCHAR", "Item of the set."),
    num_documents=Column("BIGINT", "Training documents contaminated by it."),
)

RUN_SPEED = table(
    "run_speed",
    "How fast a run went: a row per window of steps, as metrics has them with split train. What a machine did, not what was learned.",
    run_id=Column("VARCHAR", "Run."),
    rung=Column("INTEGER", "Rung, NULL along the trunk."),
    step=Column("BIGINT", "Optimizer steps so far: where the window ends."),
    num_tokens=Column("BIGINT", "Training tokens so far."),
    seconds=Column("DOUBLE", "Seconds of the window, those of a killed attempt since its last kept state aside.", volatile=True),
    tokens_per_second=Column("DOUBLE", "Training tokens per second.", volatile=True),
    mfu=Column(
        "DOUBLE",
        "Model FLOPs utilization: FLOPs as in runs.train_flops per second, over the measured peak of matrix products of all devices.",
        volatile=True,
    ),
    waiting_share=Column("DOUBLE", "Share of the seconds in which the first process waited for data.", volatile=True),
    saving_share=Column("DOUBLE", "Share of the seconds in which states were kept.", volatile=True),
    memory_bytes=Column("BIGINT", "Most memory so far: resident in the process on a CPU, allocated on an accelerator.", volatile=True),
)

LAWS = table(
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

FORECASTS = table(
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

CONCLUSIONS = table(
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
