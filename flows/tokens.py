"""tokens: a vocabulary, the validation set, and the token ids of every text in rank order.

Where recipes train on edited texts, these are encoded beside the documents, under the id `<document id>~<variant>` and at the document's
rank. Texts that an edit leaves as they are come once.

Vocabulary and validation set are drawn once and then pinned: a nightly refresh adds tokens but changes neither, so that losses of
different nights stay comparable. Other settings make another vocabulary or set beside them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import (
    LOG,
    Plan,
    Planned,
    StageResult,
    code_of,
    column,
    markdown_table,
    open_lake,
    pinned,
    publish_markdown,
    recipe_key,
    require,
    settle,
    stage_keys,
)
from flows.progress import Progress
from flows.settings import TokensSettings
from lm.tokens import encode, rank, tokenizer, validation
from lm.tokens.tokenizer import TokenizerInfo
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import local_copy, output_dir, relative

RANK_KEY = "dataladder"
"""Key of the hash behind rank and validation draw. Another key would be another order of all data."""
DOCUMENTS_PER_BATCH = 2_000

TEXTS = """
    SELECT id, min(host) AS host, min(text) AS text FROM documents
    SEMI JOIN (SELECT id FROM signals WHERE produced_by = ?) USING (id) GROUP BY id ORDER BY id
"""
"""The distinct texts that one signals output brought first."""

EDITED_TEXTS = f"""
    SELECT v.id || '{rank.EDITED}' || variant AS id, d.host, v.text FROM text_variants v
    JOIN (SELECT id, min(host) AS host FROM documents GROUP BY id) d USING (id)
    WHERE v.produced_by = ? AND variant = ? AND v.text <> '' ORDER BY id
"""
"""The texts of one variant that one output holds."""
VARIANTS_IN_USE = """
    SELECT DISTINCT variant, slot, key FROM text_variants JOIN stages ON produced_by = key
    WHERE variant IN (SELECT variant FROM recipes) ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Texts:
    """What one unit encodes: a query with columns id, host and text, and its parameters."""

    query: str
    parameters: tuple[str, ...]


def tokenizer_name(settings: TokensSettings) -> str:
    """Slot of a vocabulary: trained-<size>, or the name of its file."""
    return f"trained-{settings.vocab_size}" if settings.tokenizer == "train" else Path(settings.tokenizer).name


def plan_tokenizer(lake: Lake, settings: TokensSettings) -> Plan[None]:
    """One unit: the vocabulary. A trained one is kept as data grows."""
    name, inputs = tokenizer_name(settings), {}
    parameters: dict[str, str | int] = {"kind": "file"}
    if settings.tokenizer == "train":
        parameters = {"kind": "trained", "vocab_size": settings.vocab_size, "training_bytes": settings.training_bytes}
        parameters["recipe"] = settings.validation_recipe
        inputs = {f"recipe/{settings.validation_recipe}": recipe_key(lake, settings.validation_recipe)}
    else:
        inputs = {name: file_digest(settings.tokenizer)}
    work = Work(stage="tokenizer", slot=name, parameters=parameters, code=code_of("lm.tokens.tokenizer"), inputs=inputs)
    return Plan("tokenizer", [Planned(pinned(lake, work) if settings.tokenizer == "train" else work, None)])


def plan_validation(lake: Lake, settings: TokensSettings) -> Plan[None]:
    """One unit: the validation set, kept as data grows."""
    work = Work(
        stage="validation",
        slot=f"{settings.validation_recipe}-{settings.validation_bytes}",
        parameters={"recipe": settings.validation_recipe, "bytes": settings.validation_bytes},
        code=code_of("lm.tokens.validation"),
        inputs={f"recipe/{settings.validation_recipe}": recipe_key(lake, settings.validation_recipe)},
    )
    return Plan("validation", [Planned(pinned(lake, work), None)])


def plan(lake: Lake, settings: TokensSettings) -> Plan[Texts]:
    """One unit per signals output, for the texts it brought first, and one per output that holds edited texts of a recipe in use."""
    name = tokenizer_name(settings)
    rows = lake.rows("SELECT tokenizer_id FROM tokenizers JOIN stages ON produced_by = key WHERE stage = 'tokenizer' AND slot = ?", [name])
    units = [(slot.partition("/")[2], {slot: key}, Texts(TEXTS, (key,))) for slot, key in stage_keys(lake, "signals").items()]
    units += [
        (f"{rank.EDITED}{variant}/{slot}", {f"{variant}/{slot}": key}, Texts(EDITED_TEXTS, (key, variant)))
        for variant, slot, key in lake.rows(VARIANTS_IN_USE)
    ]
    code = code_of("lm.tokens.encode")
    planned = [
        Planned(
            Work(
                stage="tokens",
                slot=f"{name}/{slot}",
                parameters={"rank_key": RANK_KEY},
                code=code,
                inputs={**inputs, "tokenizer": rows[0][0]},
            ),
            texts,
        )
        for slot, inputs, texts in units
        if rows
    ]
    return Plan("tokens", planned, owns=lambda slot: slot.startswith(f"{name}/"))


def kept_by_rank(lake: Lake, recipe: str) -> pa.Table:
    """Ids and sizes of the documents a recipe keeps, in rank order."""
    kept = lake.query(f'SELECT id, num_bytes FROM "recipe_{recipe}" WHERE kept ORDER BY id')
    ids = column(kept, "id")
    return kept.take(np.lexsort((np.array(ids, dtype=str), rank.rank(ids, RANK_KEY))))


@task(name="vocabulary", cache_policy=NO_CACHE, persist_result=False, task_run_name="vocabulary {work.slot}")
def make_tokenizer(work: Work, settings: TokensSettings) -> Output:
    """Train a vocabulary on the first texts by rank, or bring one from a file into the lake."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        target = out.path / "tokenizer.json"
        if settings.tokenizer == "train":
            info = tokenizer.train(_training_texts(lake, settings), settings.vocab_size, target)
        else:
            info = tokenizer.import_vocabulary(settings.tokenizer, target)
        file = relative(lake, out.publish("tokenizer.json"))
    LOG.info("  vocabulary of %s entries", f"{info.vocab_size:,}")
    return Output(work=work, tables={"tokenizers": _tokenizer_row(info, file)}, seconds=time.monotonic() - started)


def _training_texts(lake: Lake, settings: TokensSettings) -> Iterator[str]:
    kept = kept_by_rank(lake, settings.validation_recipe)
    within = int(np.searchsorted(np.cumsum(kept["num_bytes"].to_numpy()), settings.training_bytes, side="left")) + 1
    wanted = kept["id"].to_pylist()[:within]
    for start in range(0, len(wanted), DOCUMENTS_PER_BATCH):
        batch = wanted[start : start + DOCUMENTS_PER_BATCH]
        yield from (
            text for (text,) in lake.rows("SELECT min(text) FROM documents WHERE list_contains(?, id) GROUP BY id ORDER BY id", [batch])
        )


def _tokenizer_row(info: TokenizerInfo, file: str) -> pa.Table:
    row = {name: getattr(info, name) for name in ("tokenizer_id", "kind", "vocab_size", "end_of_document", "num_training_bytes")}
    return pa.Table.from_pylist([{**row, "file": file}])


@task(name="draw validation", cache_policy=NO_CACHE, persist_result=False)
def draw_validation(work: Work, settings: TokensSettings) -> Output:
    """Documents held out from training, drawn by a hash of their ids."""
    with open_lake(read_only=True) as lake:
        kept = kept_by_rank(lake, settings.validation_recipe)
    drawn = validation.draw(column(kept, "id"), column(kept, "num_bytes"), key=RANK_KEY, max_bytes=settings.validation_bytes)
    LOG.info("  validation set of %s documents, %.2f MB", f"{len(drawn.ids):,}", drawn.num_bytes / 1e6)
    rows = pa.table({"validation_id": [drawn.validation_id] * len(drawn.ids), "id": drawn.ids})
    return Output(work=work, tables={"validation": rows})


@task(name="encode", cache_policy=NO_CACHE, persist_result=False, task_run_name="encode {work.slot}")
def encode_texts(work: Work, texts: Texts, settings: TokensSettings) -> Output:
    """Token ids of the texts of one unit."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        row = lake.rows(
            "SELECT t.file FROM tokenizers t JOIN stages s ON t.produced_by = s.key WHERE s.slot = ?", [tokenizer_name(settings)]
        )
        loaded = tokenizer.load(local_copy(lake, row[0][0]))
        with lake.connection() as connection:
            batches = connection.execute(texts.query, list(texts.parameters)).to_arrow_reader(DOCUMENTS_PER_BATCH)
            result = encode.write_tokens(
                batches, loaded, rank_key=RANK_KEY, tokenizer_id=loaded.tokenizer_id, produced_by=work.key, out_dir=out.path, num_threads=2
            )
        files = {"tokens": [out.publish(Path(file).name) for file in result.files]}
    return Output(work=work, files=files, seconds=time.monotonic() - started)


@flow(name="tokens")
def tokens_flow(settings: TokensSettings = TokensSettings()) -> list[StageResult]:
    """Make the vocabulary and the validation set once, and encode every text that has not been encoded."""
    with open_lake() as lake:
        require(
            lake.rows("SELECT 1 FROM recipes WHERE recipe = ?", [settings.validation_recipe]),
            f"recipe {settings.validation_recipe}",
            "ladder recipe",
        )
        made = settle(lake, plan_tokenizer(lake, settings), lambda todo: [make_tokenizer(p.work, settings) for p in todo])
        drawn = settle(lake, plan_validation(lake, settings), lambda todo: [draw_validation(p.work, settings) for p in todo])

        def produce(todo: Sequence[Planned[Texts]]) -> list[Output]:
            return [encode_texts(p.work, p.unit, settings) for p in Progress("encode", "files").each(todo)]

        encoded = settle(lake, plan(lake, settings), produce)
        lake.create_view("fertility", FERTILITY, "Tokens per byte of text, by vocabulary, language and source (the crawl).")
        publish_markdown("tokens", markdown_table(lake.query("FROM fertility ORDER BY num_tokens DESC LIMIT 20")), "Fertility")
        return [made, drawn, encoded]


FERTILITY = """
    SELECT tokenizer_id, language, source, count(DISTINCT tokens.id) AS num_documents,
        sum(tokens.num_bytes)::BIGINT AS num_bytes, (sum(num_tokens) - count(*))::BIGINT AS num_tokens,
        (sum(num_tokens) - count(*)) / nullif(sum(tokens.num_bytes), 0) AS tokens_per_byte
    FROM tokens
    JOIN (SELECT id, min(crawl) AS source, arg_min(language, (crawl, capture_id)) AS language FROM documents GROUP BY id) USING (id)
    GROUP BY tokenizer_id, language, source
"""
"""Every text once, under the first crawl by name that holds it; end-of-document tokens, one per part, are not of the text."""
