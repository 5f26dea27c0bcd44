"""documents: crawled files become captures and documents, one file at a time, in parallel processes.

Captures are indexed in the same pass that extracts their text, because reading a WARC twice would cost its decompression twice.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.common import Plan, Planned, StageResult, code_of, every_slot, markdown_table, open_lake, publish_markdown, require, settle
from flows.processes import in_child
from flows.progress import Progress
from flows.settings import DocumentsSettings, StageSettings
from lm.corpus import documents
from lm.corpus.extraction.forest import model_digest
from lm.corpus.language import language_model_digest
from lm.corpus.records import ExtractionOptions, SourceFile
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import absolute, output_dir
from storage.settings import is_remote


class Shard(StageSettings):
    """One crawled file."""

    crawl: str
    kind: str
    file: str
    num_bytes: int
    file_digest: str

    @property
    def slot(self) -> str:
        """The slot of its documents."""
        return f"{self.crawl}/{self.file}"

    def source(self, lake: Lake) -> SourceFile:
        """The file, and what it held when it was listed."""
        return SourceFile(absolute(lake, self.file), self.num_bytes, self.file_digest)

    def storage_options(self, lake: Lake) -> dict[str, Any] | None:
        """How its store is reached; None for a local file."""
        return dict(lake.settings.s3fs_options()) if is_remote(self.file) else None


def plan(lake: Lake, settings: DocumentsSettings) -> Plan[Shard]:
    """One unit per crawled file."""
    code = {
        **code_of("lm.corpus.documents"),
        "model:lm.corpus.extraction": model_digest(),
        "model:lm.corpus.language": language_model_digest(),
    }
    return Plan("documents", [_planned(shard, settings, code) for shard in shards(lake)], owns=every_slot)


def shards(lake: Lake) -> list[Shard]:
    """Every crawled file."""
    rows = lake.rows("SELECT DISTINCT crawl, kind, file, num_bytes, file_digest FROM crawl_files ORDER BY crawl, file")
    return [Shard(crawl=c, kind=k, file=f, num_bytes=n, file_digest=d) for c, k, f, n, d in rows]


def _planned(shard: Shard, settings: DocumentsSettings, code: Mapping[str, str]) -> Planned[Shard]:
    work = Work(
        stage="documents",
        slot=shard.slot,
        parameters={**settings.model_dump(), "kind": shard.kind},
        code=code,
        inputs={shard.file: shard.file_digest},
    )
    return Planned(work, shard)


@task(name="extract", cache_policy=NO_CACHE, persist_result=False, task_run_name="extract {shard.file}")
def extract(shard: Shard, work: Work, settings: DocumentsSettings) -> Output:
    """Text of one crawled file."""
    with open_lake(read_only=True) as lake, output_dir(lake, work) as out:
        result = in_child(
            documents.extract_shard,
            shard.source(lake),
            name=shard.file,
            storage_options=shard.storage_options(lake),
            crawl=shard.crawl,
            kind=shard.kind,
            options=ExtractionOptions(**settings.model_dump()),
            out_dir=str(out.path),
            produced_by=work.key,
            on_progress=Progress(f"extract {shard.file.rsplit('/', 1)[-1]}", "MB", 1e6),
        )
        files = {name: [out.publish(f"{name}.parquet")] for name in ("captures", "documents")}
        return Output(work=work, files=files, rejects=result.rejects, seconds=result.seconds)


SHARDS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=os.cpu_count() or 1)


@flow(name="documents", task_runner=SHARDS)
def documents_flow(settings: DocumentsSettings = DocumentsSettings()) -> StageResult:
    """Extract the text of every crawled file that has not been extracted yet."""
    with open_lake() as lake:
        planned = plan(lake, settings)
        require(planned.units, "crawled files", "ladder crawl SOURCE")

        def produce(todo: Sequence[Planned[Shard]]) -> list[Output]:
            futures = [extract.submit(p.unit, p.work, settings) for p in todo]
            wait(futures)
            return [future.result() for future in futures]

        result = settle(lake, planned, produce)
        publish_markdown("documents", summary(lake, result), "Documents by language")
        return result


LANGUAGES = """
    SELECT language, count(*) AS documents, count(DISTINCT id) AS distinct_texts, round(sum(num_bytes) / 1e6, 1) AS megabytes
    FROM documents GROUP BY language ORDER BY documents DESC LIMIT 20
"""
SET_ASIDE = (
    "SELECT reason, sum(num_rejects)::BIGINT AS records FROM rejects WHERE stage = 'documents' GROUP BY reason ORDER BY records DESC"
)


def summary(lake: Lake, result: StageResult) -> str:
    """Documents by language and what was set aside, as Markdown."""
    return f"{result}\n\n{markdown_table(lake.query(LANGUAGES))}\n\nSet aside:\n\n{markdown_table(lake.query(SET_ASIDE))}"
