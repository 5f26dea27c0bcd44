"""Train a byte-level BPE tokenizer, load one, and turn text into token ids.

Hugging Face tokenizers learns the merges. fastokens encodes with them, some ten times faster and more; where there is no build of
it, or it refuses a text, tiktoken does (why its ids are the same: `lm/tokens/vocabulary.py`). Tests compare all three over all of
Unicode. fastokens divides a batch among as many threads as RAYON_NUM_THREADS says, all cores if it says nothing; only tiktoken
heeds `num_threads`. Text is only ever text: a document that contains "<|endoftext|>" gets ordinary tokens for it, and the
end-of-document id is added by whoever stores tokens. The result does not depend on the order of the training texts or on threads.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

from lm.tokens import vocabulary
from lm.tokens.vocabulary import END_OF_DOCUMENT, Vocabulary
from storage.digest import file_digest

Tokens = np.ndarray[tuple[int], np.dtype[np.uint32]]

_LONG_SPACE = re.compile("[ \t\n\x0b\x0c\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{1000,}")
_LINE = re.compile(r"\n(?=[!-~])")
_PIECE_CHARS = 1000
_TEXTS_PER_TASK = 64


@dataclass(frozen=True, slots=True)
class TokenizerInfo:
    """A row of the table `tokenizers`; `file` is the path as given."""

    tokenizer_id: str
    kind: str
    vocab_size: int
    end_of_document: int
    file: str
    num_training_bytes: int


@dataclass(frozen=True)
class Tokenizer:
    """A loaded vocabulary. `tokenizer_id` is the digest of its tokenizer.json."""

    vocabulary: Vocabulary
    tokenizer_id: str

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def end_of_document(self) -> int:
        return self.vocabulary.end_of_document

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return tiktoken.Encoding("ladder", pat_str=vocabulary.PATTERN, mergeable_ranks=self.vocabulary.ranks, special_tokens={})

    @cached_property
    def _fast(self) -> Any:
        """fastokens with this vocabulary, or None on a machine that has no build of it."""
        try:
            from fastokens import Tokenizer as Fast
        except ImportError:
            return None
        return Fast.from_json_str(self.vocabulary.to_json().decode())

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of each token by id; empty for the end-of-document token."""
        table = [b""] * self.vocab_size
        for token, rank in self.vocabulary.ranks.items():
            table[rank] = token
        return table

    def encode(self, text: str) -> Tokens:
        """Token ids of one text, without an end-of-document token."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[Tokens]:
        """Token ids of each text, in order, without end-of-document tokens."""
        if self._fast is not None:
            try:
                ids, ends = self._fast.encode_batch_flat(list(texts), split_special_tokens=True)
            except (ValueError, RuntimeError):  # a limit of its pre-split, or what tiktoken will refuse as well
                return self.encode_with_tiktoken(texts, num_threads)
            flat, offsets = np.frombuffer(ids, dtype="<u4"), np.frombuffer(ends, dtype="<u8").astype(np.int64)
            return [flat[start:end] for start, end in pairwise(offsets.tolist())]
        return self.encode_with_tiktoken(texts, num_threads)

    def encode_with_tiktoken(self, texts: Sequence[str], num_threads: int = 1) -> list[Tokens]:
        """The same ids by another way."""
        if num_threads == 1:
            return [self._encode(text) for text in texts]
        chunks = [texts[i : i + _TEXTS_PER_TASK] for i in range(0, len(texts), _TEXTS_PER_TASK)]
        with ThreadPoolExecutor(num_threads) as pool:
            return [tokens for chunk in pool.map(lambda chunk: [self._encode(text) for text in chunk], chunks) for tokens in chunk]

    def _encode(self, text: str) -> Tokens:
        try:
            return np.asarray(self._encoding.encode_to_numpy(text), dtype=np.uint32)
        except ValueError:  # the pre-split gives up on a million spaces in a row
            pieces = [self._encoding.encode_to_numpy(piece) for piece in _cut_long_space(text)]
            return np.concatenate(pieces).astype(np.uint32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens; end-of-document tokens stand for nothing, bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes[token] for token in tokens).decode("utf-8", errors="replace")


def _cut_long_space(text: str) -> Iterator[str]:
    """Pieces of the text, cut where the pre-split cuts anyway: before the last character of a run of white space."""
    start = 0
    for run in _LONG_SPACE.finditer(text):
        yield text[start : run.end() - 1]
        start = run.end() - 1
    yield text[start:]


def train(texts: Iterable[str], vocab_size: int, out_path: str | Path) -> TokenizerInfo:
    """Learn a vocabulary of at most `vocab_size` entries (fewer if the text has no more pairs) and write it to `out_path`.

    Raises: ValueError if vocab_size cannot hold the 256 bytes and the end-of-document token, or if there is no text.
    """
    if vocab_size < 257:
        raise ValueError(f"vocab_size must be at least 257 (256 bytes and {END_OF_DOCUMENT}), got {vocab_size}")
    from tokenizers import Tokenizer as HuggingFace  # only training needs it
    from tokenizers import models, pre_tokenizers, trainers

    counter = _Counter()
    learner = HuggingFace(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(counter.watch(texts), trainer=trainer)
    if counter.num_bytes == 0:
        raise ValueError("a tokenizer needs text to be trained on, got none; is the recipe's selection empty?")
    learned = vocabulary.from_json(learner.to_str().encode(), "trained vocabulary")
    return _write(learned, "trained", out_path, counter.num_bytes)


class _Counter:
    """Counts the UTF-8 bytes of texts on their way to the trainer, and cuts them.

    The trainer's time grows with the square of a text's length where that is not all ASCII: 4 MB of encyclopedia took 20 seconds
    whole and a tenth of it cut. A cut before a line's newline that is followed by a visible character is one the pre-split makes too,
    so the counts, and the vocabulary, are those of the whole text.
    """

    def __init__(self) -> None:
        self.num_bytes = 0

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self.num_bytes += len(text.encode())
            start = 0
            for line in _LINE.finditer(text):
                if line.start() - start >= _PIECE_CHARS:
                    yield text[start : line.start()]
                    start = line.start()
            yield text[start:]


def import_vocabulary(path: str | Path, out_path: str | Path) -> TokenizerInfo:
    """Write a vocabulary of any supported form as tokenizer.json, so that the lake holds its own copy."""
    source = _read(Path(path))
    return _write(source, "gpt2", out_path, 0)


def load(path: str | Path) -> Tokenizer:
    """A tokenizer from tokenizer.json, from GPT-2's vocab.bpe (encoder.json beside it), or from a .tiktoken ranks file.

    Raises: FileNotFoundError, ValueError if the file holds another kind of vocabulary.
    """
    found = _read(Path(path))
    return Tokenizer(found, _id(found))


def _read(path: Path) -> Vocabulary:
    if not path.exists():
        raise FileNotFoundError(
            f'{path}: no such vocabulary; "ladder tokens" trains one, or give tokenizer.json, vocab.bpe or a .tiktoken file'
        )
    if path.suffix == ".bpe":
        encoder = path.with_name("encoder.json")
        if not encoder.exists():
            raise FileNotFoundError(f"{encoder}: GPT-2's vocab.bpe needs encoder.json beside it")
        return vocabulary.from_gpt2(path, encoder)
    if path.suffix == ".tiktoken":
        return vocabulary.from_ranks(path)
    return vocabulary.from_json(path.read_bytes(), str(path))


def _id(found: Vocabulary) -> str:
    import hashlib

    from storage.digest import DIGEST_BYTES

    return hashlib.blake2b(found.to_json(), digest_size=DIGEST_BYTES).hexdigest()


def _write(found: Vocabulary, kind: str, out_path: str | Path, num_training_bytes: int) -> TokenizerInfo:
    out = Path(out_path)
    beside = out.with_name(f"{out.name}.{os.getpid()}.part")
    beside.write_bytes(found.to_json())
    os.replace(beside, out)
    return TokenizerInfo(file_digest(out), kind, found.size, found.end_of_document, str(out), num_training_bytes)
