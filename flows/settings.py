"""Parameters of every flow. The text under a field is its help in the web form and on the command line.

All of them stand here, apart from the flows, so that the command line can build its options without importing Prefect.
"""

from pydantic import BaseModel, ConfigDict, Field


class StageSettings(BaseModel):
    """Base of all flow parameters: frozen, and a misspelt name fails before any work starts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CrawlSettings(StageSettings):
    """One source and how to read it."""

    source: str
    """What to crawl: site:https://..., warc:GLOB, wet:GLOB, jsonl:GLOB, parquet:GLOB, text:GLOB, wiki:GLOB or cc:CC-MAIN-YYYY-WW."""
    max_pages: int = Field(10_000, ge=1)
    """Sites: stop after this many pages."""
    max_depth: int = Field(20, ge=0)
    """Sites: links followed from the start page or a sitemap entry."""
    delay_seconds: float = Field(1.0, ge=0)
    """Sites: least time between two requests to one host; robots.txt may ask for more."""
    num_concurrent: int = Field(8, ge=1)
    """Sites: requests under way at once."""
    obey_robots: bool = True
    """Sites: follow robots.txt."""
    proxy: str | None = None
    """Sites: HTTP proxy for all requests."""
    num_files: int | None = Field(None, ge=1)
    """Common Crawl: number of files; a larger number contains a smaller one's files."""
    fraction: float | None = Field(None, gt=0, le=1)
    """Common Crawl: share of the files, instead of a number."""
    seed: int = 0
    """Sites and Common Crawl: seed of the hash that decides which pages or files come first."""
    base_url: str = "https://data.commoncrawl.org/"
    """Common Crawl: where its files are served."""
    revisit: bool = False
    """Ask a site that has been crawled for what is new since, with conditional requests."""


class DocumentsSettings(StageSettings):
    """How pages become text."""

    extractor: str = "blocks"
    """Engine that takes the main text out of HTML: blocks, resiliparse, trafilatura (an extra of its own), or wet for all visible text."""
    max_page_bytes: int = Field(20_000_000, ge=1)
    """Pages larger than this are set aside and counted."""


class SignalsSettings(StageSettings):
    """How documents are measured and compared."""

    minhash_presets: list[str] = ["ladder", "slimpajama"]
    """MinHash presets: ladder (18 bands x 6 rows, word 5-grams), fineweb (14 x 8 of the same), slimpajama (9 x 13, 13-character n-grams).
    Recipes ask for theirs."""
    min_jaccard: float = Field(0.5, gt=0, le=1)
    """Verified pairs below this similarity are not stored."""
    bad_words: list[str] = []
    """Files of words a text should not hold, one per line, each named after its language, such as en or zh.txt: score.bad_words."""
    blocked_urls: list[str] = []
    """Files of hosts, addresses or words of addresses that texts should not come from, one per line: score.blocked_url."""
    num_threads: int = Field(2, ge=1)
    """Threads of the kernels; the result does not depend on it."""


class QualitySettings(StageSettings):
    """What a quality classifier learns from."""

    positives: str
    """Texts you like: jsonl:GLOB, parquet:GLOB, text:GLOB, wiki:GLOB or wet:GLOB."""
    negatives: str
    """Texts you do not like, likewise."""
    name: str = Field(pattern="^[a-z][a-z0-9_]{0,62}$")
    """Name of the score: score.NAME in a recipe."""


class ParagraphsSettings(StageSettings):
    """Which repeated paragraphs and lines are taken out of texts."""

    min_line_documents: int = Field(10, ge=2)
    """A line is boilerplate of its host if at least so many of the host's texts hold it,"""
    min_line_share: float = Field(0.1, gt=0, le=1)
    """and at least this share of them."""


class ContaminationSettings(StageSettings):
    """How documents are compared with evaluation sets."""

    min_overlap: float = Field(0.5, gt=0, le=1)
    """Share of an item's 13-grams that makes a document contaminated; less is stored and does not count."""
    frequent_documents: int = Field(50, ge=1)
    """Stretches in more documents than this, and in more than one of 10,000, are ignored."""
    num_threads: int = Field(2, ge=1)
    """Threads of the kernels; the result does not depend on it."""


class RecipeSettings(StageSettings):
    """Which recipes to apply."""

    recipes: list[str] = ["raw", "gopher", "fineweb", "slimpajama"]
    """Names of recipes that come with dataladder, or paths of TOML files."""


class TokensSettings(StageSettings):
    """Vocabulary and validation set. Both are made once and then kept, so that results stay comparable as data grows."""

    tokenizer: str = "train"
    """'train' for a byte-level BPE learned on the lake's own text, or the path of a tokenizer.json or of GPT-2's vocab.bpe."""
    vocab_size: int = Field(4096, ge=257)
    """Entries of a trained vocabulary."""
    training_bytes: int = Field(20_000_000, ge=1)
    """UTF-8 bytes of text the vocabulary is learned on: the first by rank."""
    validation_bytes: int = Field(400_000, ge=1)
    """UTF-8 bytes of text held out for validation."""
    validation_recipe: str = "slimpajama"
    """Recipe the validation documents must pass; the same for all training recipes, so that they can be compared."""


class LadderSettings(StageSettings):
    """Nested amounts of training data for one recipe."""

    recipe: str = "slimpajama"
    """Recipe that chooses the documents."""
    tokenizer: str | None = None
    """Vocabulary by name, trained-SIZE or the name of its file; the newest if not said."""
    first_rung_tokens: int = Field(32_768, ge=1)
    """Training tokens of the smallest rung."""
    num_rungs: int = Field(6, ge=1)
    """Number of rungs."""
    factor: float = Field(2.0, gt=1)
    """Each rung has this many times the tokens of the one before."""
    shrink_to_fit: bool = False
    """Scale all rungs down together if the recipe leaves too few tokens, instead of stopping."""
    max_validation_jaccard: float = Field(0.5, ge=0, le=1)
    """Training documents at least this similar to a validation document are kept out."""


class TrainSettings(StageSettings):
    """One training: one size, one seed, up to one rung of one ladder."""

    model: str = "d2w64"
    """Size of the model: depth and width such as d2w64, gpt2, or a number of parameters such as 25M."""
    seed: int = 0
    """Seed of the initial weights."""
    ladder_id: str | None = None
    """Ladder to train on; the newest if not said."""
    max_rung: int | None = None
    """Largest rung to train; all if not said. A later run with a larger one goes on where this one ended."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; if not said the one that `ladder tune` found for the size, else the size's own default."""
    schedule: str = Field("wsd", pattern="^(wsd|cosine|linear)$")
    """'wsd' trains one trunk with a decayed branch per rung; 'cosine' and 'linear' train every rung from the start."""
    optimizer: str = Field("adamw", pattern="^(adamw|muon)$")
    """'muon' uses it for the matrices of the blocks and adamw for the rest."""
    unique_tokens: int | None = Field(None, ge=1)
    """Repeat the first so many tokens of the ladder; every token once if not said."""
    mix: list[str] = []
    """Sources by weight, such as en.wikipedia.org=3 *=1: a host, a domain with all its hosts, or * for the rest; rank order if empty."""
    min_rate: float = Field(0.0, ge=0, lt=1)
    """Learning rate at the end of a rung, as a part of its peak."""
    spike_deviations: float | None = Field(None, gt=0)
    """Skip updates whose loss or gradient norm is so many robust deviations above the recent ones, say 6; none if not said."""
    dtype: str = Field("float32", pattern="^(float32|bfloat16)$")
    """'bfloat16' multiplies matrices in it; weights and optimizer stay float32."""
    batch_tokens: int = Field(512, ge=1)
    """Tokens per step."""
    context_tokens: int = Field(128, ge=2)
    """Tokens per sequence."""
    num_threads: int = Field(1, ge=1)
    """CPU threads; they decide the bits of a CPU run."""
    compile: bool = False
    """Compile the model with torch.compile: faster steps after a minute of compiling; where it fails the run goes on without."""
    num_processes: int | None = Field(None, ge=1)
    """Processes that share the run; one per accelerator of the machine if not said, one on a machine without."""
    parallel: str = Field("ddp", pattern="^(none|ddp|fsdp)$")
    """How they share it: 'ddp' keeps a copy of the model on each, 'fsdp' a part."""
    micro_batch_tokens: int | None = Field(None, ge=1)
    """Tokens that go through the model at once on each process, for memory; the whole of its part of a batch if not said."""
    recompute_blocks: bool = False
    """Keep less for the backward pass and compute it again: activation checkpointing."""
    writers: list[str] = []
    """Tools that get the run's curves too: tensorboard, wandb (extra `writers`). wandb stays offline unless WANDB_MODE says otherwise."""


class PackSettings(StageSettings):
    """Several trainings that share one device."""

    trainings: list[TrainSettings] = Field(min_length=1)
    """Trainings, each up to its own rung."""
    num_parallel: int = Field(4, ge=1)
    """Most at once; fewer where an accelerator's memory, or the number of cores, does not hold so many."""


class TuneSettings(StageSettings):
    """A small grid of learning rates per size, each trained to one small rung; runs of that size then take the best."""

    models: list[str] = ["d2w64", "d4w128"]
    """Sizes to tune."""
    batch_tokens: list[int] = [512]
    """Tokens per step; each has a grid of its own."""
    rung: int = Field(1, ge=0)
    """Rung every rate is trained to: large enough to tell rates apart, small enough to be cheap."""
    learning_rates: list[float] = []
    """Rates to try; a grid around what the rule says if empty. A grid whose best rate is at its end is extended."""
    rule: str = Field("demo", pattern="^(demo|olmo|step)$")
    """Rule for the centre of the grid; see docs/sweeps.md."""
    num_rates: int = Field(4, ge=3)
    """Rates the grid begins with."""
    factor: float = Field(2.0, gt=1)
    """Each rate is this many times the one before."""
    max_extensions: int = Field(4, ge=0)
    """Most rates to add at the ends."""
    seeds: list[int] = Field([1000], min_length=1)
    """Seeds of the first weights, such as no run uses. Losses are averaged: two rates often differ by less than two seeds of one."""
    schedule: str = Field("wsd", pattern="^(wsd|cosine|linear)$")
    """Schedule to tune for."""
    optimizer: str = Field("adamw", pattern="^(adamw|muon)$")
    """Optimizer to tune for."""
    ladder_id: str | None = None
    """Ladder to train on; the newest if not said."""
    context_tokens: int = Field(128, ge=2)
    """Tokens per sequence."""
    price_per_hour: float | None = Field(None, ge=0)
    """Price of a device, or of a core without one, for an hour; the cost is then shown in money too."""
    launch: str = Field("deployment", pattern="^(deployment|here)$")
    """'deployment' tunes each size as a run on the gpu work pool; 'here' trains in child processes of this flow."""
    num_parallel: int = Field(2, ge=1)
    """'here' only: rates side by side, one thread each."""


class SweepSettings(StageSettings):
    """A table of trainings: sizes x recipes x unique tokens x schedules x optimizers x seeds, each along the rungs of its ladder."""

    models: list[str] = ["d2w64", "d4w128"]
    """Sizes to train."""
    seeds: list[int] = [0, 1]
    """Seeds to train; two or more show the noise."""
    ladder_id: str | None = None
    """Ladder to train on; the newest if not said."""
    recipes: list[str] = []
    """Recipes whose newest ladders are trained on, instead of one ladder."""
    max_rung: int | None = None
    """Largest rung to train; all if not said."""
    unique_tokens: list[int] = []
    """Limited amounts of data to repeat, a run of its own each; 0 stands for no repetition. Every token once if empty."""
    max_epochs: float | None = Field(None, gt=0)
    """Runs that repeat data end at the largest rung that passes over it at most so often."""
    schedules: list[str] = ["wsd"]
    """wsd, cosine, linear."""
    optimizers: list[str] = ["adamw"]
    """adamw, muon."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of all runs; if not said each size takes what `ladder tune` found for it, else its own default."""
    dtype: str = Field("float32", pattern="^(float32|bfloat16)$")
    """'bfloat16' multiplies matrices in it; weights and optimizer stay float32."""
    batch_tokens: int = Field(512, ge=1)
    """Tokens per step."""
    max_flops: float | None = Field(None, gt=0)
    """Budget in floating-point operations; what does not fit is listed and not trained."""
    max_hours: float | None = Field(None, gt=0)
    """Budget in hours of one device or, without one, of one thread."""
    max_money: float | None = Field(None, gt=0)
    """Budget in money; needs price_per_hour."""
    price_per_hour: float | None = Field(None, ge=0)
    """Price of a device, or of a core without one, for an hour."""
    order: str = Field("cheapest", pattern="^(cheapest|spread)$")
    """Who gets a budget first: 'cheapest' runs, or 'spread': a first seed of everything before any second."""
    stop_early: bool = False
    """Train rung by rung and leave out the further rungs of a recipe that is surely worse than another; see docs/sweeps.md."""
    per_device: int = Field(1, ge=1)
    """Trainings that share a device at once, where memory allows; small models leave most of a GPU idle."""
    launch: str = Field("deployment", pattern="^(deployment|here)$")
    """'deployment' runs each training on the gpu work pool; 'here' runs them in child processes of this flow."""
    num_parallel: int = Field(2, ge=1)
    """'here' only: trainings side by side, one thread each."""


class EvaluateSettings(StageSettings):
    """Which checkpoints to measure."""

    ladder_id: str | None = None
    """Ladder whose checkpoints are measured; the newest if not said."""
    runs: list[str] = []
    """Runs to measure, each by its id, the beginning of it, or a size such as d2w64; all if empty."""
    rung: int | None = None
    """Rung whose checkpoints are measured; all if not said."""
    sets: list[str] = []
    """Evaluation sets to score by likelihood; all that are registered and can be scored if empty."""
    tasks: bool = True
    """Score evaluation sets."""
    validation: bool = True
    """Measure loss and bits per byte on the validation set."""
    max_items: int | None = Field(None, ge=1)
    """Score so many items of each set, drawn by a hash, for a quick look; stored apart as SET[:N]."""
    dtype: str = Field("float32", pattern="^(float32|bfloat16)$")
    """Type in which tasks are scored; bfloat16 is for a GPU and costs the last digits. Validation is always float32."""
    device: str | None = None
    """Device such as cpu or cuda; a GPU if there is one, if not said."""
    harness: bool = False
    """Score with lm-evaluation-harness instead (an extra of its own), the same sets or --harness-tasks."""
    harness_tasks: list[str] = []
    """Files of harness tasks, YAML or JSON, whose data are local files."""
    num_parallel: int = Field(2, ge=1)
    """Runs measured side by side, one thread each."""


class LawSettings(StageSettings):
    """What to fit and what to forecast."""

    ladder_id: str | None = None
    """Ladder whose runs are fitted; the newest if not said."""
    metric: str = "loss_nats_per_token"
    """Validation metric to fit."""
    max_rung: int | None = None
    """Largest rung the fit may see; all that are measured if not said."""
    level: float = Field(0.9, gt=0, lt=1)
    """Nominal coverage of intervals."""
    num_bootstrap: int = Field(400, ge=10)
    """Bootstrap samples."""
    seed: int = 0
    """Seed of the bootstrap."""


class ReportSettings(StageSettings):
    """What the report is about."""

    ladder_id: str | None = None
    """Ladder to report on; the newest if not said."""
    metric: str = "loss_nats_per_token"
    """Metric of the curve."""


class PipelineSettings(StageSettings):
    """All stages for one source. Each stage's own settings have their own defaults."""

    crawl: CrawlSettings
    """What to crawl."""
    documents: DocumentsSettings = DocumentsSettings()
    """How pages become text."""
    signals: SignalsSettings = SignalsSettings()
    """How documents are measured and compared."""
    contamination: ContaminationSettings = ContaminationSettings()
    """How documents are compared with evaluation sets."""
    recipe: RecipeSettings = RecipeSettings()
    """Which recipes to apply."""
    tokens: TokensSettings = TokensSettings()
    """Vocabulary and validation set."""
    ladder: LadderSettings = LadderSettings()
    """Nested amounts of training data."""
    sweep: SweepSettings = SweepSettings()
    """Sizes and seeds."""
    law: LawSettings = LawSettings()
    """What to fit."""


class RefreshSettings(StageSettings):
    """Nightly: bring what is new from every source, process only that, and say what changed."""

    sources: list[str] = []
    """Sources to ask; all that were ever crawled into the lake if empty."""
    delay_seconds: float = Field(1.0, ge=0)
    """Sites: least time between two requests to one host; robots.txt may ask for more."""
    documents: DocumentsSettings = DocumentsSettings()
    """How pages become text."""
    signals: SignalsSettings = SignalsSettings()
    """How documents are measured and compared."""
    contamination: ContaminationSettings = ContaminationSettings()
    """How documents are compared with evaluation sets."""
    recipe: RecipeSettings = RecipeSettings()
    """Which recipes to apply."""
    tokens: TokensSettings = TokensSettings()
    """Vocabulary and validation set."""
    ladder: LadderSettings | None = None
    """Nested amounts of training data; as the newest ladder was laid out if not said, and none if there is no ladder yet."""
