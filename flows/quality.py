"""quality: train a classifier on texts of one's own choice; every text of the lake then has a score that recipes can use.

The classifier is a file of weights in the lake and a row that says how it did on held-out texts. Training again under the same name
takes the place of the earlier one, and the signals stage scores anew.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
import pyarrow as pa
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import LOG, Plan, Planned, StageResult, code_of, open_lake, publish_markdown, settle
from flows.scores import BAD_WORDS, BLOCKED_URL
from flows.settings import QualitySettings
from lm.corpus import quality
from lm.corpus.documents import READERS
from lm.corpus.records import Capture, ExtractionOptions, SourceFile
from lm.corpus.sources import list_files, parse
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir, relative
from storage.settings import is_remote


class Sides(tuple[list[SourceFile], list[SourceFile]]):
    """Files of the positives and of the negatives."""


def plan(lake: Lake, settings: QualitySettings) -> Plan[Sides]:
    """One unit: the classifier of this name."""
    if settings.name in (BAD_WORDS, BLOCKED_URL):
        raise ValueError(f"a classifier cannot be named {settings.name}, which is a score of its own; choose another name")
    sides = Sides((list_files(parse(settings.positives)), list_files(parse(settings.negatives))))
    inputs = {f"{kind} {file.url}": file.digest for kind, files in zip(("positive", "negative"), sides, strict=True) for file in files}
    work = Work(stage="quality", slot=settings.name, parameters={"name": settings.name}, code=code_of("lm.corpus.quality"), inputs=inputs)
    return Plan("quality", [Planned(work, sides)])


def texts_of(source: str, files: Sequence[SourceFile], storage_options: Mapping[str, Any]) -> list[str]:
    """Texts of a source that holds text: rows, plain files, articles. What is none is counted in the log."""
    kind = parse(source).kind
    if kind not in ("jsonl", "parquet", "text", "wiki", "wet"):
        raise ValueError(f"texts to learn from must come as jsonl:, parquet:, text:, wiki: or wet:, not {source!r}")
    found, left_out = list[str](), Counter[str]()
    for file in files:
        with fsspec.open(file.url, "rb", **(storage_options if is_remote(file.url) else {})) as raw:
            for item in READERS[kind](raw, file.url, ExtractionOptions()):
                reason = item.reason or ("" if isinstance(item, Capture) and item.body.strip() else "empty_text")
                if isinstance(item, Capture) and not reason:
                    found.append(item.body.decode("utf-8", "replace"))
                else:
                    left_out[reason] += 1
    for reason, num in sorted(left_out.items()):
        LOG.warning("  %s: %s records are left out: %s", source, f"{num:,}", reason)
    return found


@task(name="train quality", cache_policy=NO_CACHE, persist_result=False, task_run_name="train quality {work.slot}")
def train(work: Work, sides: Sides, settings: QualitySettings) -> Output:
    """Weights, and how they do on held-out texts."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        options = lake.settings.s3fs_options()
        kinds = [texts_of(source, files, options) for source, files in zip((settings.positives, settings.negatives), sides, strict=True)]
        trained = quality.train(*kinds)
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        quality.save(trained.model, out.path / "weights.safetensors")
        digest = file_digest(out.path / "weights.safetensors")
        file = relative(lake, out.publish("weights.safetensors"))
    LOG.info(
        "  quality %s: AUC %.3f, accuracy %.3f on %d held-out texts", settings.name, trained.auc, trained.accuracy, trained.num_held_out
    )
    row = {
        "model": settings.name,
        "file": file,
        "weights_digest": digest,
        "num_positives": trained.num_positives,
        "num_negatives": trained.num_negatives,
        "num_held_out": trained.num_held_out,
        "held_out_auc": trained.auc,
        "held_out_accuracy": trained.accuracy,
    }
    return Output(work=work, tables={"quality_models": pa.Table.from_pylist([row])}, seconds=time.monotonic() - started)


@flow(name="quality", flow_run_name="quality {settings.name}")
def quality_flow(settings: QualitySettings) -> StageResult:
    """Train a classifier unless these texts have made it already."""
    with open_lake() as lake:
        result = settle(lake, plan(lake, settings), lambda todo: [train(p.work, p.unit, settings) for p in todo])
        publish_markdown("quality", str(result), "Quality classifier")
        return result
