"""datatrove's blocks of FineWeb (examples/fineweb.py), run one after the other in this process.

A document that a filter drops goes no further, as in the published pipeline, and like there every document is written as JSON, the dropped
ones apart. The extractor runs without its sandbox, which would hide its time in another process; language uses the small form of the
model, which needs no download; signatures are computed and not written.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

from peers.datatrove_rules import language_filter


def pages(warc: Path) -> Iterator[str]:
    """HTML of the pages of an archive, read and decoded by datatrove."""
    from datatrove.pipeline.readers.warc import process_record
    from warcio.archiveiterator import ArchiveIterator

    with warc.open("rb") as raw:
        for record in ArchiveIterator(raw):
            if found := process_record(record):
                yield found["text"]


class FineWeb:
    """The blocks, and CPU seconds spent in each."""

    def __init__(self, folder: str) -> None:
        self._extractor = Trafilatura(favour_precision=True, timeout=60)
        minhash = MinhashDedupSignature(
            folder, MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(hash_fc="sha1", precision=64))
        )
        self._minhash = minhash
        self._filters = {
            "language": language_filter(),
            "Gopher repetition": GopherRepetitionFilter(),
            "Gopher quality": GopherQualityFilter(),
            "C4": C4QualityFilter(filter_no_terminal_punct=False),
            "FineWeb": FineWebQualityFilter(),
        }
        self._writers = {kept: JsonlWriter(f"{folder}/{'kept' if kept else 'dropped'}") for kept in (True, False)}
        self.seconds: dict[str, float] = {}

    def _timed(self, name: str, call: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = call()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started
        return result

    def extract(self, html: str) -> str | None:
        """Main text of a page."""
        try:
            text: str | None = self._timed("extraction", lambda: self._extractor.extract(html))
        except ImportError:
            raise  # its own loop would take a missing library for 344 broken pages
        except Exception:  # as datatrove's own loop does: a page that breaks the extractor is left out
            return None
        return text

    def judge(self, text: str, drop: bool = True) -> bool:
        """Filters and, for what they keep, the signature; all of it for every text if `drop` is false."""
        document = Document(text=text, id="")
        kept = self._filter(document, drop)
        if kept or not drop:
            self._timed("MinHash", lambda: self._sign(document.text))
        return kept

    def write(self, text: str, kept: bool) -> None:
        """Write a document where its verdict sends it."""
        self._timed("writing", lambda: self._writers[kept].write(Document(text=text, id="")))

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            self._timed("writing", writer.close)

    def _filter(self, document: Document, drop: bool) -> bool:
        kept = True
        for name, filter in self._filters.items():
            found = self._timed(name, lambda filter=filter: filter.filter(document))
            kept = kept and (found is True or (isinstance(found, tuple) and bool(found[0])))
            if drop and not kept:
                break
        return kept

    def _sign(self, text: str) -> None:
        shingles = self._minhash.get_shingles(text)
        if shingles.size:
            self._minhash.get_signature(shingles)
