"""Keys by which two documents are the same: the canonical form of an address, and a hash of the text's folded words.

Canonical means what sites serve alike: no scheme, no user, no `www.`, no default port, no fragment, host in lower case, percent-escapes
in one form, no `index.html`, no slash at the end, parameters sorted and those of trackers left out. The cost: a site that tells http from
https or gives its fragment a meaning loses that difference. Equal folded words are equal texts up to case, punctuation, diacritics and
white space.
"""

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lm.corpus import folded_words
from lm.corpus.folded_words import Words, code_points, cut, trial_text, workspace
from lm.corpus.signals import Texts, hashing, kernel, utf8_buffers
from lm.corpus.signals.hashing import uint64

Array = NDArray[Any]

_TRACKERS = (
    "utm_",
    "fbclid",
    "gclid",
    "dclid",
    "msclkid",
    "mc_cid",
    "mc_eid",
    "igshid",
    "sessionid",
    "phpsessid",
    "jsessionid",
    "sid",
    "ref_src",
)
_INDEX = ("index.html", "index.htm", "index.php", "default.aspx", "default.asp")
_SAFE = "/:@!$&'()*+,;=-._~"
_BASE = uint64(folded_words.BASE)


def canonical_url(url: str) -> str:
    """One text for addresses that are served alike; what is no address comes back as it is."""
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return url
    if parts.scheme not in ("http", "https") or not host:
        return url
    host = host.removeprefix("www.")
    if port and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    path = quote(unquote(parts.path, errors="surrogateescape"), safe=_SAFE, errors="surrogateescape")
    head, _, last = path.rpartition("/")
    if last.lower() in _INDEX:
        path = f"{head}/"
    pairs = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not name.lower().startswith(_TRACKERS)]
    query = f"?{urlencode(sorted(pairs))}" if pairs else ""
    return f"{host}{path.rstrip('/')}{query}"


@cache
def _content_kernel() -> Callable[..., Any]:
    version = kernel.sources_digest(__file__, str(folded_words.__file__), hashing.__file__, kernel.__file__)

    def run(data: Array, offsets: Array, table: Array, w: Words, out: Array) -> None:
        for document in range(len(out)):
            num = cut(data, offsets[document], offsets[document + 1], table, w) if version else 0
            value = uint64(num)
            for i in range(num):
                value = value * _BASE + w.hashes[i]
            out[document] = folded_words.spread(value)

    def trial(function: Callable[..., Any]) -> object:
        offsets = np.zeros(1, np.int64)
        offsets.setflags(write=False)
        return function(*trial_text(), offsets, code_points(), workspace(1), np.zeros(0, np.uint64))

    return kernel.compiled(run, trial)


def content_keys(texts: Texts) -> Array:
    """uint64 hash of the folded words of each text. All texts without words have one."""
    data, offsets = utf8_buffers(texts)
    out = np.zeros(len(offsets) - 1, np.uint64)
    if len(out):
        _content_kernel()(data, offsets, code_points(), workspace(int(np.diff(offsets).max())), out)
    return out


def document_keys(rows: pa.RecordBatch) -> pa.Table:
    """Rows of the table `document_keys` from columns id, crawl, host, url and text of documents."""
    columns = {name: rows[name] for name in ("id", "crawl", "host")}
    urls = pa.array([canonical_url(str(url or "")) for url in rows["url"].to_pylist()], pa.string())
    return pa.table({**columns, "canonical_url": urls, "content_key": pa.array(content_keys(rows["text"]))})
