"""Small records that pass between reading a file and writing its documents.

A reader yields `Capture`s and `Problem`s in the order of the file. A problem is a record that never became a capture (its bytes
are broken); a capture that holds no usable text carries the reason in itself, because it is still a row of the table `captures`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from storage.records import Reject

STAGE = "documents"
"""Stage name under which what is set aside is counted, unless another stage asks."""

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes in all."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file and the identity of its content, so that changed bytes behind an unchanged path are noticed."""

    url: str
    num_bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionOptions:
    """How captures become text. Raises ValueError on a value that cannot work."""

    extractor: str = "blocks"
    """Engine that takes the main text out of HTML; one of `extraction.ENGINES`."""
    min_chars: int = 1
    """Shorter texts are set aside as empty_text."""
    max_page_bytes: int = 4 << 20
    """Pages, rows and records that are larger once decoded are set aside as too_large. Common Crawl itself cuts at 1 MiB, lately 5 MiB."""
    max_line_bytes: int = 64 << 20
    """A longer line of JSON is skipped unread."""
    text_field: str = "text"
    """JSONL and Parquet: field that holds the text."""
    url_field: str = "url"
    """JSONL and Parquet: field that holds the address, where there is one."""
    title_field: str = "title"
    """JSONL and Parquet: field that holds the title, where there is one."""
    date_field: str = "date"
    """JSONL and Parquet: field that holds the time of fetching (ISO 8601), where there is one."""

    def __post_init__(self) -> None:
        for name in ("min_chars", "max_page_bytes", "max_line_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.text_field:
            raise ValueError("text_field must name the field that holds the text, got an empty name")


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not be read."""

    reason: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One fetched resource, with the payload its digest is taken of."""

    url: str
    """Empty for sources without addresses."""
    file_offset: int
    """Byte offset of the record, or row number."""
    body: bytes
    extractor: str | None = None
    """Who made the text, if body is text in UTF-8 already: wet or plain. None if it is still to be extracted."""
    title: str | None = None
    status: int | None = 200
    content_type: str | None = None
    """As sent, parameters included."""
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: datetime | None = None
    reason: str | None = None
    """Why no document can come of it; None if one may."""


@dataclass(slots=True)
class RejectCounter:
    """Counts what is set aside per reason and keeps the first example of each."""

    source: str
    stage: str = STAGE
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: str, num_rejects: int = 1) -> None:
        """Count records under a reason."""
        self.counts[reason] += num_rejects
        self.examples.setdefault(reason, example[:500].encode("utf-8", "replace").decode())

    def rejects(self) -> list[Reject]:
        """One row per reason, sorted by reason."""
        return [Reject(self.stage, self.source, reason, self.counts[reason], self.examples[reason]) for reason in sorted(self.counts)]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one input file became."""

    captures_path: str
    documents_path: str
    num_captures: int
    num_documents: int
    rejects: list[Reject]
    seconds: float
