"""A byte-level BPE vocabulary and its one file format.

Whatever a vocabulary came from (trained here, GPT-2's two files, a tiktoken ranks file) it is kept as one `tokenizer.json`
that Hugging Face tokenizers loads, written by this module alone. The id of a tokenizer is the digest of that file, so equal
vocabularies have equal ids whatever library version wrote them; the cost is that only GPT-2's pre-split is supported.

Why tiktoken may encode with merges that Hugging Face learned: tiktoken merges any neighbours whose bytes together are in the
vocabulary, lowest id first, while Hugging Face merges listed pairs only. Both agree when (1) ids rise in merge order, (2) every
merge makes a new token and (3) from parts with lower ids. For then, wherever a token's bytes stand alone between two borders,
the earlier merges act on them as on those bytes in isolation, so the only pair left to merge is the listed one.
`Vocabulary.check` holds every vocabulary to these three rules, and a test compares ids over all of Unicode.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_OF_DOCUMENT = "<|endoftext|>"
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""GPT-2's pre-split in tiktoken's faster, equal form. Source: tiktoken_ext/openai_public.py, r50k_base."""

Merge = tuple[bytes, bytes]


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free character from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


_TO_CHARACTER = _byte_characters()
_TO_BYTE = {character: byte for byte, character in _TO_CHARACTER.items()}


def _as_text(token: bytes) -> str:
    return "".join(_TO_CHARACTER[byte] for byte in token)


def _as_bytes(token: str) -> bytes:
    return bytes(_TO_BYTE[character] for character in token)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids of all byte strings (`ranks`), the merges in order, and the id that closes a document."""

    ranks: dict[bytes, int]
    merges: tuple[Merge, ...]
    end_of_document: int

    @property
    def size(self) -> int:
        """Entries, the end-of-document token included; ids are 0 to size - 1."""
        return len(self.ranks) + 1

    def check(self) -> None:
        """Raise ValueError unless both encoders must give the same ids (see the module's text)."""
        if sorted([*self.ranks.values(), self.end_of_document]) != list(range(self.size)):
            raise ValueError(f"token ids must be 0 to {self.size - 1}, each once")
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ranks]
        if missing:
            raise ValueError(f"a byte-level vocabulary must hold all 256 single bytes; {len(missing)} are missing, first {missing[0]}")
        if len(self.merges) != len(self.ranks) - 256:
            raise ValueError(f"every longer token needs one merge: {len(self.ranks) - 256} tokens, {len(self.merges)} merges")
        last = -1
        for left, right in self.merges:
            rank = self.ranks.get(left + right, -1)
            if rank <= last or max(self.ranks.get(left, rank), self.ranks.get(right, rank)) >= rank:
                raise ValueError(f"merge {left!r} + {right!r} breaks the order of ids; this vocabulary can't be encoded with tiktoken")
            last = rank

    def to_json(self) -> bytes:
        """The bytes of tokenizer.json."""
        vocab = {_as_text(token): rank for token, rank in sorted(self.ranks.items(), key=lambda item: item[1])}
        special = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab | {END_OF_DOCUMENT: self.end_of_document},
            "merges": [[_as_text(left), _as_text(right)] for left, right in self.merges],
        }
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": self.end_of_document, "content": END_OF_DOCUMENT} | special],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": model,
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def from_json(data: bytes, name: str) -> Vocabulary:
    """The vocabulary of a tokenizer.json. Raises ValueError, naming the file, if it is of another kind."""
    document: dict[str, Any] = json.loads(data)
    model, split = document["model"], document.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or split.get("type") != "ByteLevel" or split.get("add_prefix_space") or not split.get("use_regex", True):
        raise ValueError(f"{name}: need byte-level BPE with GPT-2's pre-split, got model {model.get('type')}, pre-split {split}")
    if document.get("normalizer"):
        raise ValueError(f"{name}: need no normalizer, for token bytes must be the text's bytes; got {document['normalizer']}")
    vocab = dict(model["vocab"])
    added = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
    if set(added) != {END_OF_DOCUMENT}:
        raise ValueError(f"{name}: need exactly one special token, {END_OF_DOCUMENT}; got {sorted(added)}")
    vocab.pop(END_OF_DOCUMENT, None)
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    return _build({_as_bytes(token): rank for token, rank in vocab.items()}, _merge_bytes(merges), added[END_OF_DOCUMENT], name)


def from_gpt2(merges_file: Path, encoder_file: Path) -> Vocabulary:
    """GPT-2's vocabulary from `vocab.bpe` and `encoder.json`."""
    vocab: dict[str, int] = json.loads(encoder_file.read_text(encoding="utf-8"))
    end = vocab.pop(END_OF_DOCUMENT)
    lines = merges_file.read_text(encoding="utf-8").split("\n")[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    return _build({_as_bytes(token): rank for token, rank in vocab.items()}, _merge_bytes(merges), end, str(merges_file))


def from_ranks(file: Path) -> Vocabulary:
    """A vocabulary from a tiktoken ranks file (base64 token, id per line) of GPT-2's family: r50k_base and alike.

    The merges, which such a file leaves out, are found again: a token's last merge joins the two parts that remain when it is
    encoded with the lower ids alone. Files for other pre-splits hold the same kind of lines; the known ones are refused by size.
    """
    pairs = (line.split() for line in file.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    if len(ranks) in (100_256, 199_998):
        raise ValueError(f"{file}: {len(ranks)} ranks belong to cl100k_base or o200k_base, whose pre-split is not supported; use r50k_base")
    free = sorted(set(range(len(ranks) + 1)) - set(ranks.values()))
    merges = [_last_merge(ranks, token) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
    return _build(ranks, merges, free[0], str(file))


def _last_merge(ranks: dict[bytes, int], token: bytes) -> Merge:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        candidates = [(ranks.get(parts[i] + parts[i + 1], len(ranks) + 1), i) for i in range(len(parts) - 1)]
        _, i = min(candidates)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def _merge_bytes(merges: Iterable[tuple[str, ...]]) -> list[Merge]:
    return [(_as_bytes(left), _as_bytes(right)) for left, right in merges]


def _build(ranks: dict[bytes, int], merges: Iterable[Merge], end_of_document: int, name: str) -> Vocabulary:
    vocabulary = Vocabulary(ranks, tuple(merges), end_of_document)
    try:
        vocabulary.check()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return vocabulary
