"""Lists that a user brings: words a text should not hold, and addresses it should not come from.

A word list is a file named after its language (`en`, `zh.txt`), one word or phrase per line; it judges documents of that language. Words
count whole, between characters that are no letters and digits; in Chinese, Japanese and Thai, which do not separate words, anywhere.
Lower and upper case are the same. The pass is compiled: where the first three characters open no listed word, nothing more is looked at.

A list of addresses holds a host per line, which stands for its subdomains too, or a host with a path, which stands for all below it; a line
without a dot is a word that blocks every address that holds it between marks. Lines that start with # are comments. No list comes with the
package: what is bad is for the user to say.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus.signals import characters as ch
from lm.corpus.signals import hashing, kernel, utf8_buffers
from lm.corpus.signals.hashing import inner, int64

Array = NDArray[Any]

UNSEPARATED = frozenset({"ja", "th", "zh"})
_OPENERS = 1 << 16
_OPENING_CHARS = 3
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")
_MARKS = re.compile(r"[^a-z0-9]+")


class ListError(ValueError):
    """A list that cannot be used; the message says what must hold."""


@dataclass(frozen=True, slots=True)
class WordList:
    """Words of one language: their hashes, their lengths, and which three characters open one."""

    language: str
    hashes: Array
    lengths: Array
    openers: Array


def read_lines(path: str | Path) -> list[str]:
    """Lines of a list without comments and empty ones. Raises ListError if there is no such file or nothing in it."""
    file = Path(path)
    if not file.is_file():
        raise ListError(f"a list must be a file with one entry per line; {path} is none")
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    entries = sorted({line.lower() for line in lines if line and not line.startswith("#")})
    if not entries:
        raise ListError(f"{path} must hold at least one entry; all its lines are empty or comments")
    return entries


def language_of(path: str | Path) -> str:
    """The language a word list is for: its file's name up to the first dot."""
    return Path(path).name.partition(".")[0].lower()


def word_list(path: str | Path) -> WordList:
    """Read a list of words."""
    words = ["".join(c.lower() if len(c.lower()) == 1 else c for c in word) for word in read_lines(path)]
    openers = np.zeros(2 * _OPENERS, dtype=np.bool_)
    for word in words:
        openers[_opening([ord(c) for c in word])] = True
    hashes = np.unique(np.array([hashing.text_hash(word) for word in words], dtype=np.uint64))
    return WordList(language_of(path), hashes, np.unique(np.array([len(word) for word in words], dtype=np.int64)), openers)


def _opening(chars: Sequence[int]) -> int:
    """Place in the table of openers: in its first half by three characters, for shorter words in its second by one."""
    if len(chars) < _OPENING_CHARS:
        return _OPENERS + chars[0] % _OPENERS
    return (chars[0] * 31 * 31 + chars[1] * 31 + chars[2]) % _OPENERS


@inner
def count_words(
    chars: Array, num_chars: int, flags: Array, prefix: Array, powers: Array, hashes: Array, lengths: Array, openers: Array, whole: bool
) -> int:
    """How often listed words occur; at one place only the longest counts. `chars` are in lower case."""
    num, word_marks = 0, ch.ALPHA | ch.DIGIT
    for i in range(num_chars):
        if whole and i > 0 and flags[chars[i - 1]] & word_marks:
            continue
        opens = openers[_OPENERS + int64(chars[i]) % _OPENERS]
        if not opens and i + _OPENING_CHARS <= num_chars:
            opens = openers[(int64(chars[i]) * 961 + int64(chars[i + 1]) * 31 + int64(chars[i + 2])) % _OPENERS]
        if not opens:
            continue
        found = False
        for n in range(len(lengths) - 1, -1, -1):
            stop = i + lengths[n]
            if found or stop > num_chars or (whole and stop < num_chars and flags[chars[stop]] & word_marks):
                continue
            key = hashing.stretch(prefix, powers, i, stop)
            low, high = 0, len(hashes)
            while low < high:
                middle = (low + high) // 2
                if hashes[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            found = low < len(hashes) and hashes[low] == key
        num += found
    return num


@cache
def _count_kernel() -> Callable[..., Any]:
    """count(data, offsets, flags, lower, powers, hashes, lengths, openers, whole, chars, prefix, out)."""
    version = kernel.sources_digest(__file__, ch.__file__, hashing.__file__, kernel.__file__)

    def count(
        data: Array, offsets: Array, flags: Array, lower: Array, powers: Array, hashes: Array, lengths: Array, openers: Array,
        whole: bool, chars: Array, prefix: Array, out: Array,
    ) -> int:  # fmt: skip
        for document in range(len(out)):
            num_chars = kernel.decode(data, offsets[document], offsets[document + 1], chars)
            for i in range(num_chars):
                chars[i] = lower[chars[i]]
            hashing.prefix_hashes(chars, num_chars, prefix)
            out[document] = count_words(chars, num_chars, flags, prefix, powers, hashes, lengths, openers, whole)
        return version

    def trial(run: Callable[..., Any]) -> object:
        data, offsets = np.zeros(1, dtype=np.uint8), np.zeros(1, dtype=np.int64)
        data.setflags(write=False)
        offsets.setflags(write=False)
        key, length, openers = np.zeros(1, dtype=np.uint64), np.ones(1, dtype=np.int64), np.zeros(2 * _OPENERS, dtype=np.bool_)
        chars, prefix = np.zeros(1, dtype=np.int32), np.zeros(2, dtype=np.uint64)
        return run(data, offsets, ch.flags(), ch.lower(), prefix, key, length, openers, True, chars, prefix, np.zeros(0, dtype=np.int64))

    return kernel.compiled(count, trial)


def count_bad_words(texts: Sequence[str], languages: Sequence[str | None], word_lists: Mapping[str, WordList]) -> list[int | None]:
    """How often words of its language's list occur in each text; None where there is no list for its language."""
    out: list[int | None] = [None] * len(texts)
    for language, words in word_lists.items():
        rows = [i for i, found in enumerate(languages) if found == language]
        if not rows:
            continue
        data, offsets = utf8_buffers(pa.array([texts[i] for i in rows], pa.string()))
        size = int(np.diff(offsets).max()) + 2
        counts = np.zeros(len(rows), dtype=np.int64)
        _count_kernel()(
            data, offsets, ch.flags(), ch.lower(), hashing.powers_of_base(size), words.hashes, words.lengths, words.openers,
            language not in UNSEPARATED, np.zeros(size, dtype=np.int32), np.zeros(size, dtype=np.uint64), counts,
        )  # fmt: skip
        for i, number in zip(rows, counts.tolist(), strict=True):
            out[i] = number
    return out


@dataclass(frozen=True, slots=True)
class Blocklist:
    """Hosts, hosts with paths, and words of addresses."""

    hosts: frozenset[str]
    paths: frozenset[str]
    words: frozenset[str]

    def blocks(self, url: str) -> bool:
        """Whether an address is listed."""
        address = _plain(url)
        host, _, rest = address.partition("/")
        labels = host.split(".")
        if any(".".join(labels[i:]) in self.hosts for i in range(len(labels))):
            return True
        if self.paths and any(f"{host}/{rest}"[:end] in self.paths for end in _cuts(f"{host}/{rest}")):
            return True
        return bool(self.words) and not self.words.isdisjoint(_MARKS.split(url.lower()))


def _plain(url: str) -> str:
    """Host and path of an address, lower case, without scheme, user, port and www."""
    rest = _SCHEME.sub("", url.strip().lower())
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2].partition(":")[0].removeprefix("www.").rstrip(".")
    return host + slash + path.rstrip("/")


def _cuts(address: str) -> Iterable[int]:
    yield from (i for i, c in enumerate(address) if c in "/?" and i)
    yield len(address)


def blocklist(paths: Sequence[str | Path]) -> Blocklist:
    """Read lists of addresses."""
    entries = {entry for path in paths for entry in read_lines(path)}
    plain = {_plain(entry) for entry in entries if "." in entry}
    return Blocklist(
        frozenset(entry for entry in plain if "/" not in entry),
        frozenset(entry for entry in plain if "/" in entry),
        frozenset(entry for entry in entries if "." not in entry),
    )
