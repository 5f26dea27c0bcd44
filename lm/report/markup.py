"""HTML and Markdown from plain values. Whatever comes from a crawl passes through here, and is escaped here.

Every cell is text until `escape` has made it safe; the only markup a caller can add is the bold of its own sentences and the classes
of this module. Control characters and characters that reverse the direction of text are shown as a box, because a host name
may hold them to look like another.
"""

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_CELL = 160
_CODE = re.compile("`([^`]*)`")
_BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    kind: str = "text"
    """text, number, code, wide, flag (a warning), good, or open (a number that means little)."""
    bar: float | None = None
    """Length of a bar behind the text, 0 to 1."""
    title: str = ""
    """Shown when pointed at."""
    below: str = ""
    """A second, smaller line."""


Table = tuple[Sequence[Cell | str], Sequence[Sequence[Cell | str]]]
"""Heads and rows. Text stands for a plain cell."""


def visible(text: str) -> str:
    """The text on one line, with everything that cannot be seen, or that hides other text, made visible."""
    shown = "".join("\N{WHITE SQUARE}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else c for c in text)
    return shown if len(shown) <= LONGEST_CELL else shown[: LONGEST_CELL - 1] + "…"


def escape(text: str) -> str:
    """Text for HTML, in an element or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def sentence(text: str) -> str:
    """One of our own sentences for HTML: escaped, with ** as bold and ` as code. Not shortened."""
    return _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", html.escape(text, quote=True)))


def html_table(table: Table, *, class_: str = "") -> str:
    """A table that scrolls sideways on its own where it is too wide."""
    heads, rows = table
    head = "".join(_html_cell(cell, "th") for cell in heads)
    body = "".join(f"<tr>{''.join(_html_cell(cell, 'td') for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{class_}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _html_cell(cell: Cell | str, tag: str) -> str:
    made = Cell(cell) if isinstance(cell, str) else cell
    title = f' title="{escape(made.title)}"' if made.title else ""
    scope = ' scope="col"' if tag == "th" else ""
    bar = "" if made.bar is None else f'<i class="bar" style="width:{max(0.0, min(1.0, made.bar)) * 100:.1f}%"></i>'
    below = f"<small>{escape(made.below)}</small>" if made.below else ""
    return f'<{tag}{scope} class="{made.kind}"{title}>{bar}<span>{escape(made.text)}</span>{below}</{tag}>'


def markdown_table(table: Table) -> str:
    """The same table in Markdown, with everything that Markdown would read as markup escaped."""
    heads, rows = table

    def line(cells: Sequence[Cell | str]) -> str:
        return "| " + " | ".join(markdown_text(_plain(cell)) for cell in cells) + " |"

    rule = "|" + "|".join(" --: " if isinstance(cell, Cell) and cell.kind in ("number", "open") else " --- " for cell in heads) + "|"
    return "\n".join([line(heads), rule, *(line(row) for row in rows)])


def _plain(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell.text} {cell.below}".strip() + (" ?" if cell.kind == "open" else "")


def markdown_text(text: str) -> str:
    """Text for Markdown: no links, no HTML, no table cells of its own."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!~])", r"\\\1", visible(text))


def script_json(value: object) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
