"""Text variants: what an editing rule leaves of a text, as a named text of its own.

A recipe decides about documents; some recipes also change them: C4 and DCLM drop lines, personal data is masked. Each such edit is a
function from text to text with a name, and the name of a variant is the names of its edits in order, joined by `+`, behind the name of the
stored variant they start from, if they start from one. So two recipes with equal edits share one variant, and its name says how it came
about. The lake stores the text, not the places that changed, because a
person with DuckDB reads text; the cost is a second copy of the documents that an edit changes, and of those only.

The kernels of `lm.corpus.signals` measure the same edits without writing them; a test holds the two together.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pyarrow as pa

from lm.corpus import pii
from lm.corpus.signals import lines, refinedweb

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_ENDS = (".", "?", "!", '"', "'")
_COUNTER = re.compile(rf"[\W_]*\d[\d,.]*[kmb]?\s+(?:{'|'.join(refinedweb.COUNTED)})[\W_]*")


def c4_lines(text: str, *, open_ends: bool) -> str:
    """Lines that C4 keeps, without citation marks; with `open_ends` also those that end in no terminal mark, as FineWeb does.

    Rules that drop the whole document (lorem ipsum, curly brackets) drop the line here; a recipe has a rule of its own for them.
    Source: arXiv:1910.10683, huggingface/datatrove filters/c4_filters.py.
    """
    kept = (_c4_line(line.strip(), open_ends) for line in text.splitlines())
    return "\n".join(line for line in kept if line is not None).strip()


def _c4_line(line: str, open_ends: bool) -> str | None:
    words = line.split()
    if len(words) < lines.MIN_LINE_WORDS or max(map(len, words)) > lines.MAX_WORD_LENGTH:
        return None
    line = _CITATION.sub("", line) if "[" in line else line
    if not open_ends and (not line.endswith(_ENDS) or line.endswith("...")):
        return None
    lower = line.lower()
    return None if "{" in line or any(phrase in lower for phrase in lines.PHRASES) else line


def dclm_lines(text: str) -> str:
    """Lines that RefinedWeb's rules keep in DCLM's form. Source: arXiv:2306.01116, mlfoundations/dclm baselines/mappers/modifiers.py."""
    kept = (_dclm_line(line) for line in text.split("\n"))
    return "\n".join(line for line in kept if line is not None).strip()


def _dclm_line(line: str) -> str | None:
    if not line:
        return line
    capitals, digits, num_words = sum(map(str.isupper, line)), sum(map(str.isdecimal, line)), len(line.split())
    if 2 * capitals > len(line) or digits == len(line) or num_words < refinedweb.MIN_LINE_WORDS or _COUNTER.fullmatch(_lower(line)):
        return None
    if num_words > refinedweb.MAX_CUT_WORDS or not any(cut in _lower(line) for cut in refinedweb.CUTS):
        return line
    line = _without_phrases(line)
    return line if line.strip() else None


def _lower(text: str) -> str:
    """Lower case with as many code points as before."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _without_phrases(line: str) -> str:
    anywhere, suffix, prefix = refinedweb.CUTS
    cuts = [match.span() for match in re.finditer(rf"\s?{anywhere}", _lower(line))]
    for start, stop in reversed(cuts):
        line = line[:start] + line[stop:]
    size = len(suffix) + refinedweb.END_CHARS
    if len(line) >= size and _lower(line)[-size:].startswith(suffix):
        line = line[:-size]
        line = line[:-1] if line and line[-1] in " \t\n\x0b\x0c\r" else line
    if _lower(line).startswith(prefix):
        line = line[len(prefix) :]
        line = line[1:] if line and line[0] in " \t\n\x0b\x0c\r" else line
    return line


EDITS: Mapping[str, Callable[[str], str]] = {
    "c4_lines": partial(c4_lines, open_ends=False),
    "open_c4_lines": partial(c4_lines, open_ends=True),
    "dclm_lines": dclm_lines,
    "mask_email_and_ip": partial(pii.mask, kinds=("email", "public_ip")),
    "mask_pii": partial(pii.mask, kinds=pii.KINDS),
}
"""Every edit by name."""


def variant_name(edits: Sequence[str], start: str = "") -> str:
    """Name of the variant that these edits make, in their order, of the variant `start` or of documents; the empty text for neither."""
    return "+".join([start, *edits] if start else edits)


def edit(text: str, edits: Sequence[str]) -> str:
    """The text after all edits in order. Raises ValueError for an edit that does not exist."""
    for name in edits:
        if name not in EDITS:
            raise ValueError(f"an edit must be one of {', '.join(EDITS)}, not {name!r}")
        text = EDITS[name](text)
    return text


def variant_table(
    ids: Sequence[str], texts: Sequence[str], edits: Sequence[str], start: str = "", starts: Sequence[str] | None = None
) -> pa.Table:
    """Rows of the table `text_variants` for the documents whose text changes: id, variant, text, num_removed_bytes.

    `texts` are those of the documents; `starts` is what the edits start from where that is not they: texts of the variant `start`.
    """
    rows = [(id, text, edit(first, edits)) for id, text, first in zip(ids, texts, texts if starts is None else starts, strict=True)]
    changed = [(id, text, edited) for id, text, edited in rows if edited != text]
    return pa.table(
        {
            "id": pa.array([id for id, _, _ in changed], pa.string()),
            "variant": pa.array([variant_name(edits, start)] * len(changed), pa.string()),
            "text": pa.array([edited for _, _, edited in changed], pa.string()),
            "num_removed_bytes": pa.array([len(text.encode()) - len(edited.encode()) for _, text, edited in changed], pa.int64()),
        }
    )
