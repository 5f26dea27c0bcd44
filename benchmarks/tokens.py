"""Encoding: ours beside Hugging Face's `encode_batch` and tiktoken, in CPU time of one core, and whether all ids are the same.

    python benchmarks/tokens.py [DATA_DIR]

DATA_DIR is searched for wiki corpora (archives *wiki*.tar.xz of wikiextractor's files; a few megabytes of each are read) and for
GPT-2's vocabulary (*gpt2-bpe*.tar.xz, or vocab.bpe with encoder.json). Without it the text is Python's standard library and hostile
strings in many scripts, and the vocabulary is trained on them. Ends with one line of JSON: `ratio_hf` is the smallest ratio over the
corpora, of our speed to the faster of Hugging Face's two batch encoders; `identical` holds for every text and for the hostile ones.
"""

import json
import os
import re
import statistics
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer as HuggingFace

from lm.tokens import tokenizer

CORPUS_BYTES = 4_000_000
ROUNDS = 3
HOSTILE = [
    "",
    " \n\t\r\x0b\x0c\x85\xa0\u3000\u2028",
    "a<|endoftext|>b <|endoftext|>",
    "''s 'S 'll'LL don't I'd've ’t",
    "١٢٣ ½ Ⅷ ²³ 一二三 1a2b3c",
    "e\u0301\u200d👩‍👩‍👧‍👦🏳️‍🌈\U000e0001\U0010ffff\ufffe\x00",
    " " * 3000 + "x" + "\u3000" * 300 + "中" * 3000,
    "我们在北京的图书馆里读书。語言模型需要多少數據？\u3000数据越多，损失越低……「对」《吗》",
    "Große Straße, Ελληνικά, русский текст, हिन्दी, العربية, 日本語テキスト, 한국어, ไทย, ქართული",
    "a" * 5000 + "\n\n\n" + "=-" * 2000,
]


def corpora(folder: Path | None) -> dict[str, list[str]]:
    """Texts by corpus."""
    if folder is None:
        library = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        texts = [path.read_text(encoding="utf-8") for path in library]
        chinese = [text * 40 for text in HOSTILE[7:9]] * 50
        return {"python": texts, "scripts": chinese}
    found = {path.name.partition(".")[0]: list(_documents(path)) for path in sorted(folder.rglob("*wiki*.tar.xz"))}
    if not found:
        sys.exit(f"{folder} holds no archive *wiki*.tar.xz; leave the argument out to use Python's own files")
    return found


def _documents(path: Path) -> Iterator[str]:
    num_bytes = 0
    with tarfile.open(path, "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            for match in re.finditer(r"<doc [^>]*>\n(.*?)</doc>", file.read().decode("utf-8", "replace") if file else "", re.DOTALL):
                yield match[1]
                num_bytes += len(match[1].encode())
            if num_bytes > CORPUS_BYTES:
                return


def vocabulary(folder: Path | None, texts: list[str], out: Path) -> None:
    """Write tokenizer.json: GPT-2's where it is found, else one of 8,192 entries trained on the texts."""
    for archive in sorted(folder.rglob("*gpt2-bpe*.tar.xz")) if folder else []:
        with tarfile.open(archive, "r:xz") as opened:
            opened.extractall(out.parent, filter="data")
    places = [*out.parent.rglob("vocab.bpe"), *(folder.rglob("vocab.bpe") if folder else [])]
    if places:
        tokenizer.import_vocabulary(places[0], out)
    else:
        tokenizer.train(texts, 8192, out)


def speed(encode: Callable[[list[str]], Any], texts: list[str]) -> float:
    """MB per CPU second of this process, all its threads together: median over parts, each of which is encoded once.

    An encoder that remembers what it has seen gains nothing from a text that comes again; words recur as they do in any corpus.
    """
    found = []
    for part in range(ROUNDS):
        chosen = texts[part::ROUNDS]
        started = time.process_time()
        encode(chosen)
        found.append(sum(len(text.encode()) for text in chosen) / 1e6 / (time.process_time() - started))
    return statistics.median(found)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    by_corpus = corpora(folder)
    num_megabytes = {corpus: sum(len(text.encode()) for text in texts) / 1e6 for corpus, texts in by_corpus.items()}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "tokenizer.json"
        vocabulary(folder, [*by_corpus.get("python", []), *HOSTILE], file)
        ours, theirs = tokenizer.load(file), HuggingFace.from_file(str(file))
    theirs.encode_special_tokens = True
    encoders: dict[str, Callable[[list[str]], Any]] = {
        "ours": ours.encode_batch,
        "tiktoken": ours.encode_with_tiktoken,
        "encode_batch": theirs.encode_batch,
        "encode_batch_fast": theirs.encode_batch_fast,
    }
    ours.encode_batch(HOSTILE)  # compile, and fill what is made on first use
    speeds: dict[str, dict[str, float]] = {}
    identical = True
    print(f"vocabulary of {ours.vocab_size:,}; MB per CPU second of one core, median of {ROUNDS} parts")
    for corpus, texts in by_corpus.items():
        speeds[corpus] = {name: speed(encode, texts) for name, encode in encoders.items()}
        same = [ids.tolist() for ids in ours.encode_batch(texts + HOSTILE)] == [e.ids for e in theirs.encode_batch_fast(texts + HOSTILE)]
        identical &= same
        figures = "  ".join(f"{name} {found:.2f}" for name, found in speeds[corpus].items())
        print(f"{corpus:24} {num_megabytes[corpus]:6.1f} MB  {figures}  {'same ids' if same else 'IDS DIFFER'}")
    ratios = [found["ours"] / max(found["encode_batch"], found["encode_batch_fast"]) for found in speeds.values()]
    figures_found = {
        "ratio_hf": round(min(ratios), 2),
        "identical": identical,
        "mb_per_s": round(min(found["ours"] for found in speeds.values()), 2),
        "ratio_tiktoken": round(min(found["ours"] / found["tiktoken"] for found in speeds.values()), 2),
        "by_corpus": {corpus: {name: round(value, 2) for name, value in found.items()} for corpus, found in speeds.items()},
    }
    print(json.dumps(figures_found))


if __name__ == "__main__":
    main()
