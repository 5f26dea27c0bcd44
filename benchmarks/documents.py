"""From a WARC to signals and signatures: datatrove's blocks of FineWeb, and ours, on the same archive in one run, one core each.

    python benchmarks/documents.py [WARC]

datatrove reads, extracts (trafilatura), filters by language, Gopher, C4 and FineWeb, writes the documents and signs what is left. We read,
extract, detect the language, measure every signal and personal data of every text, sign all, and write documents, signals and signatures.
CPU time counts, so that other work on the machine does not. Both sides start warm, with models loaded and a document behind them; compiling
our kernels, done once per machine, is shown apart. Then the archive is taken 16 times over: memory and cost per document must
stay what they are. Ends with a line of JSON. Needs the extra `benchmarks`; WARC is looked for in DATALADDER_DATA if it is not given.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from peers import inputs, memory
from rich.console import Console
from rich.table import Table

from lm.corpus import documents, minhash, pii, signals
from lm.corpus.extraction import Extracted, extract
from lm.corpus.language import detect
from lm.corpus.records import Capture, ExtractionOptions, SourceFile
from storage.digest import file_digest

PRESET = "fineweb"
BATCH_ROWS = 256
"""Few enough that the archive taken once fills a batch, as taken 16 times it fills many: else memory would seem to grow with the input."""
REPEATS = 3
PROCESSES = 5
"""Fresh processes of ours, of which the middle one counts: in a virtual machine the first touch of memory costs now more, now less."""
CONSOLE = Console(width=120)


def cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and what it gave."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


def ours(file: SourceFile, folder: str) -> int:
    """Our whole way: documents to Parquet, then signals, personal data and signatures batch by batch. Returns the documents."""
    result = documents.extract_shard(file, crawl="bench", kind="warc", options=ExtractionOptions(), out_dir=folder, produced_by="bench")
    for number, batch in enumerate(
        pq.ParquetFile(result.documents_path, pre_buffer=False).iter_batches(BATCH_ROWS, columns=["id", "text"])
    ):
        for name, rows in measure(batch.column("id"), batch.column("text")).items():
            pq.write_table(rows, f"{folder}/{name}-{number:05d}.parquet")
    return result.num_documents


def listed(warc: Path) -> SourceFile:
    """The archive as the crawl stage lists it, which reads it once for its digest."""
    return SourceFile(str(warc), warc.stat().st_size, file_digest(warc))


def measure(ids: Any, texts: Any) -> dict[str, pa.Table]:
    """Signals, personal data and signatures of texts."""
    return {
        "signals": signals.compute(texts),
        "pii": pii.span_table(ids.to_pylist(), texts),
        "signatures": minhash.band_table(ids, texts, PRESET),
    }


def in_child(warc: Path) -> dict[str, float]:
    """Our whole way in a fresh process: CPU seconds without compiling, documents, peak memory in bytes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_child, (listed(warc),))


def _child(file: SourceFile) -> dict[str, float]:
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        seconds, num = cpu(lambda: ours(file, folder))
    return {"seconds": seconds, "documents": num, "bytes": memory.peak_bytes()}


def warm_up() -> float:
    """One page the whole way, which compiles or loads all kernels; CPU seconds."""
    html = b"<html><body><main><p>A sentence that is long enough to be main text, and one more.</p></main></body></html>"
    page = Capture(url="https://one.example/", file_offset=0, body=html, content_type="text/html")
    with tempfile.TemporaryDirectory() as folder:
        warc = Path(folder) / "one.warc.gz"
        inputs.write_warc([page], warc, 1)
        return cpu(lambda: ours(listed(warc), folder))[0]


def best(call: Callable[[], Any]) -> float:
    """Least CPU seconds of a few calls."""
    return min(cpu(call)[0] for _ in range(REPEATS))


def threads_speedup(texts: pa.Array) -> float:
    """Wall time of one thread over that of two, for signals; says little on a busy machine."""

    def wall(num_threads: int) -> float:
        started = time.perf_counter()
        signals.compute(texts, num_threads=num_threads)
        return time.perf_counter() - started

    return min(wall(1) for _ in range(REPEATS)) / min(wall(2) for _ in range(REPEATS))


def stages(warc: Path) -> tuple[dict[str, float], pa.Array]:
    """CPU seconds of our stages one by one, and the texts."""
    options = ExtractionOptions()
    seconds: dict[str, float] = {}
    seconds["reading"], pages = cpu(lambda: inputs.captures(warc))
    seconds["extraction"], found = cpu(lambda: [extract(page.body, page.content_type, options) for page in pages])
    kept = [result.text for result in found if isinstance(result, Extracted)]
    seconds["language"], _ = cpu(lambda: [detect(text) for text in kept])
    texts = pa.array(kept, pa.large_string())
    seconds["signals"] = best(lambda: signals.compute(texts))
    seconds["personal data"] = best(lambda: pii.find(texts))
    seconds["MinHash"] = best(lambda: minhash.signatures(texts, PRESET))
    return seconds, texts


def theirs(warc: Path, texts: list[str]) -> tuple[dict[str, float], dict[str, float], dict[str, float], int]:
    """CPU seconds of datatrove's blocks: from the archive; on our texts; on our texts with nothing dropped; and pages read."""
    from peers.datatrove_fineweb import FineWeb, pages

    with tempfile.TemporaryDirectory() as folder:
        FineWeb(folder).judge("A first sentence, so that models and tokenizers are loaded. " * 20, drop=False)
        whole = FineWeb(folder)
        whole.judge("warm " * 50, drop=False)
        whole.seconds.clear()
        reading, html = cpu(lambda: list(pages(warc)))
        for page in html:
            if text := whole.extract(page):
                whole.write(text, kept=whole.judge(text))
        whole.close()
        on_texts, on_all = FineWeb(folder), FineWeb(folder)
        for filter, drop in ((on_texts, True), (on_all, False)):
            filter.judge("warm " * 50, drop=False)
            filter.seconds.clear()
            for text in texts:
                filter.judge(text, drop)
    return {"reading": reading, **whole.seconds}, on_texts.seconds, on_all.seconds, len(html)


def main() -> None:
    """Measure both, show tables, print the line of JSON."""
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else inputs.data_dir("a WARC") / inputs.PAGES
    try:
        import datatrove  # noqa: F401
    except ImportError:
        sys.exit("documents.py needs datatrove: pip install -c constraints.txt 'dataladder[benchmarks]'")
    compiling = warm_up()
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder) / "once.warc.gz", Path(folder) / "often.warc.gz"
        pages = inputs.captures(given)
        inputs.write_warc(pages, one, 1)
        inputs.write_warc(pages, many, 16)
        CONSOLE.print(f"{len(pages)} pages, {sum(len(page.body) for page in pages) / 1e6:.1f} MB of HTML; ours, once and 16 times over")
        small = sorted((in_child(one) for _ in range(PROCESSES)), key=lambda found: found["seconds"])[PROCESSES // 2]
        large = in_child(many)
        by_stage, texts = stages(one)
        CONSOLE.print(f"datatrove, on the same pages and then on the same {len(texts)} texts")
        whole, on_texts, on_all, num_pages = theirs(one, texts.to_pylist())
    num_bytes = texts.nbytes
    text_stages = ("language", "signals", "personal data", "MinHash")
    our_text = sum(by_stage[name] for name in text_stages)
    table = Table("stage", "ours, CPU s", "datatrove, CPU s", "on our texts", "nothing dropped", title_justify="left")
    for name in dict.fromkeys([*by_stage, *whole]):
        cells = (f"{found[name]:.2f}" if name in found else "" for found in (by_stage, whole, on_texts, on_all))
        table.add_row(name, *cells)
    totals = [sum(found.values()) for found in (by_stage, whole, on_texts, on_all)]
    table.add_row("all", *(f"{total:.2f}" for total in totals), style="bold")
    CONSOLE.print(table)
    report = {
        "ratio_datatrove": totals[1] / small["seconds"],
        "ratio_datatrove_without_extraction": totals[2] / our_text,
        "ratio_datatrove_nothing_dropped": totals[3] / our_text,
        "signals_mb_per_s": num_bytes / 1e6 / (by_stage["signals"] + by_stage["MinHash"]),
        "signals_alone_mb_per_s": num_bytes / 1e6 / by_stage["signals"],
        "minhash_mb_per_s": num_bytes / 1e6 / by_stage["MinHash"],
        "pages_per_s": small["documents"] / small["seconds"],
        "peak_memory_ratio_16x": large["bytes"] / small["bytes"],
        "peak_memory_mb": small["bytes"] / 1e6,
        "cost_ratio_16x": large["seconds"] / large["documents"] / (small["seconds"] / small["documents"]),
        "two_threads_speedup": threads_speedup(texts),
        "compile_seconds": compiling,
        "num_pages": num_pages,
        "num_texts": len(texts),
    }
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in report.items()}))


if __name__ == "__main__":
    main()
