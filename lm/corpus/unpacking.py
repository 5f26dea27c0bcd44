"""Files of text through the codec that their name asks for, and whose fault it is if one cannot be read.

Each codec raises errors of its own for broken data, and which library stands behind a codec depends on what is installed. So whatever is
raised while it reads means a broken file, unless the file below raised it: that is a store that cannot be reached, and nobody's text. An
archive of several files is none of these codecs; of a .zip only the first file would be read.
"""

from collections.abc import Callable
from typing import Any, BinaryIO, cast

from fsspec.compression import compr
from fsspec.utils import infer_compression

CODECS = ("gzip", "bz2", "xz", "lzma", "zstd")


def is_readable(name: str) -> bool:
    """Whether a file's name asks for no codec, or for one of CODECS."""
    return infer_compression(name) in (None, *CODECS)


class Watched:
    """An open file that keeps the error it raised."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._raw, name)
        return self._watched(value) if callable(value) else value

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:
                self._error = error
                raise

        return call

    def raise_own(self) -> None:
        """Raise the error of the file itself, if it was one."""
        if self._error:
            raise self._error

    def unpacked(self, name: str) -> BinaryIO:
        """The file, through the codec that this name asks for. Raises whatever the codec raises for broken data."""
        codec = infer_compression(name)
        return cast(BinaryIO, compr[codec](self, mode="rb") if codec else self)
