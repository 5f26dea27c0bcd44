"""The texts of stored documents by another engine: their file is read once more, and what changes is written.

A document is found again by its capture_id, so it stays what it is, and only its text is another, with signals and language of its own.
Pages that nobody asked for are unpacked and digested, but not extracted. Where the engine finds nothing, or does not take the page, the
text is empty and the reason counted. The cost: the file must still be there, as it was.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lm.corpus import signals
from lm.corpus.documents import identify, read_shard, text_of
from lm.corpus.extraction import NoText
from lm.corpus.language import detect
from lm.corpus.records import Capture, ExtractionOptions, Problem, Progress, RejectCounter, SourceFile
from lm.corpus.shard_files import Rows, table_file
from storage.digest import digest
from storage.records import Reject
from storage.schema.corpus import TEXT_VARIANTS

STAGE = "engine_texts"
"""Stage name under which pages without a text are counted."""


@dataclass(frozen=True, slots=True)
class EngineTexts:
    """What an engine made of the documents of one file."""

    num_changed: int
    rejects: list[Reject]
    seconds: float


def write_texts(
    file: SourceFile,
    wanted: pa.Table,
    path: str,
    *,
    crawl: str,
    kind: str,
    name: str,
    options: ExtractionOptions,
    produced_by: str,
    on_progress: Progress | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> EngineTexts:
    """Write rows of `text_variants` to `path`, for the documents whose text differs by the engine `options.extractor`.

    `wanted` has the columns capture_id, id and num_bytes: a document, its size, and the capture to take its text from. `name` stands in
    the lake for the file's address.
    Raises: FileNotFoundError if the file is gone; ValueError if it does not hold these captures any more; otherwise as `read_shard`;
    ImportError without the engine.
    """
    started = time.monotonic()
    counter = RejectCounter(name, STAGE)
    missing = {row["capture_id"]: row for row in wanted.to_pylist()}
    num_changed = 0
    captures = read_shard(file, kind, options, name=name, on_progress=on_progress, storage_options=storage_options)
    with table_file(Path(path), TEXT_VARIANTS, produced_by) as rows:
        for found in _still_there(captures, name):
            if isinstance(found, Problem):  # counted when the documents were made
                continue
            identity = identify(found, crawl, name)
            if document := missing.pop(identity.capture_id, None):
                result = text_of(found, options)
                if isinstance(result, NoText):
                    counter.add(result.reason, identity.url)
                num_changed += _add(rows, document, "" if isinstance(result, NoText) else result.text, options.extractor)
        if missing:
            raise ValueError(
                f"{name} must hold the captures that its documents came from, but {len(missing)} are gone, such as {min(missing)}; "
                "crawl it again, then run `ladder documents` and `ladder signals`"
            )
    return EngineTexts(num_changed, counter.rejects(), time.monotonic() - started)


def measured(texts: pa.Table) -> pa.Table:
    """Rows of `variant_signals` for rows of `text_variants`: language and signals of the texts that are not empty."""
    texts = texts.filter(pc.greater(pc.binary_length(texts["text"]), pa.scalar(0)))
    languages = [detect(str(text)) for text in texts["text"]]
    named = {
        "id": texts["id"],
        "variant": texts["variant"],
        "language": pa.array([code for code, _ in languages], pa.string()),
        "language_score": pa.array([score for _, score in languages], pa.float32()),
    }
    values = signals.compute(texts["text"])
    return pa.table({**named, **{name: values[name] for name in values.column_names}})


def _still_there(captures: Iterator[Capture | Problem], name: str) -> Iterator[Capture | Problem]:
    """The same captures; says what the file is needed for if it is gone."""
    try:
        yield from captures
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name} must still be there, for a recipe wants its texts by another engine; bring it back or take `texts` out of the recipe"
        ) from error


def _add(rows: Rows, document: Mapping[str, Any], text: str, variant: str) -> bool:
    """Write the row of a document whose text is another; whether it is."""
    data = text.encode()
    is_changed: bool = digest(data) != document["id"]
    if is_changed:
        removed = document["num_bytes"] - len(data)
        rows.add({"id": document["id"], "variant": variant, "text": text, "num_removed_bytes": removed}, 128 + len(data))
    return is_changed
