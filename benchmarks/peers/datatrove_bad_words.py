"""C4's rule on bad words, there and here, with the same lists from a folder: datatrove would download them.

datatrove takes a few words out of its Chinese and Japanese lists, which are common as parts of others; both sides are given the lists
without them. What it does with a language that has no list is not compared.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import C4BadWordsFilter, c4_filters

from lm.corpus import lists


class BadWords:
    """The lists of a folder, one file per language, in both forms."""

    def __init__(self, folder: Path) -> None:
        names = [name for name in c4_filters._BADWORDS_LANGS if (folder / name).is_file()]
        c4_filters.cached_asset_path_or_download = lambda url, **_: str(folder / url.rpartition("/")[2])
        self._filter = C4BadWordsFilter(fail_on_missing_language=False)
        allowed = set().union(*c4_filters._BADWORDS_ALLOWLIST.values())
        self._lists = {name: _word_list(folder / name, allowed) for name in names}

    def there(self, text: str, language: str) -> bool | None:
        """Whether a text passes datatrove's filter; None without a list for its language."""
        if language not in self._lists:
            return None
        return self._filter.filter(Document(text=text, id="", metadata={"language": language})) is True

    def here(self, texts: Sequence[str], languages: Sequence[str]) -> list[int | None]:
        """Our `score.bad_words` of each text."""
        return lists.count_bad_words(texts, languages, self._lists)


def _word_list(path: Path, allowed: set[str]) -> lists.WordList:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        words = [word for word in path.read_text(encoding="utf-8").splitlines() if word.strip() not in allowed]
        copy.write_text("\n".join(words), encoding="utf-8")
        return lists.word_list(copy)
