"""A docstring as HTML: paragraphs, headings, lists, definitions and code.

Docstrings follow no one markup (reST, NumPy, Google, Markdown, none), so only what the eye sees is read: blank lines, indentation,
underlines, bullets and prompts. What is not recognised becomes a paragraph; every character is kept.
"""

import re
from html import escape

_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)]|:\w+[^:\n]*:)\s+")
_UNDERLINE = re.compile(r"^\s*([-=~^*\"'`#+.])\1{2,}\s*$")
_CODE = re.compile(r"``(.+?)``")
_ROLE = re.compile(r":[\w:]+:`([^`]+)`")


def to_html(text: str) -> str:
    """HTML of a docstring."""
    blocks = [block.split("\n") for block in re.split(r"\n\s*\n", text.strip("\n"))]
    parts: list[str] = []
    code_below: int | None = None
    for lines in blocks:
        indent = _indent(lines[0])
        if code_below is not None and indent > code_below:
            parts.append(_pre(lines))
            continue
        code_below = indent if lines[-1].rstrip().endswith("::") else None
        parts.append(_block(lines))
    return "\n".join(parts).replace("</code></pre>\n<pre><code>", "\n\n")


def _block(lines: list[str]) -> str:
    if len(lines) > 1 and _UNDERLINE.match(lines[1]) and not _UNDERLINE.match(lines[0]):
        rest = lines[2:]
        return f"<h4>{_inline(lines[0].strip())}</h4>" + ("\n" + _block(rest) if rest else "")
    if lines[0].lstrip().startswith((">>>", "...", "$ ")):
        return _pre(lines)
    if _BULLET.match(lines[0]):
        return _items(lines)
    if len(lines) > 1 and _indent(lines[1]) > _indent(lines[0]):
        return _definitions(lines)
    for number, line in enumerate(lines):
        if number and (line.lstrip().startswith(">>>") or _BULLET.match(line)):
            return _paragraph(lines[:number]) + "\n" + _block(lines[number:])
    return _paragraph(lines)


def _items(lines: list[str]) -> str:
    items: list[list[str]] = []
    margin = _indent(lines[0])
    for line in lines:
        if not items or (_BULLET.match(line) and _indent(line) <= margin):
            items.append([_BULLET.sub("", line, count=1) if not line.lstrip().startswith(":") else line])
        else:
            items[-1].append(line)
    return "<ul>\n" + "\n".join(f"<li>{_text(item)}</li>" for item in items) + "\n</ul>"


def _definitions(lines: list[str]) -> str:
    margin, parts, body = _indent(lines[0]), list[str](), list[str]()
    for line in lines:
        if _indent(line) > margin:
            body.append(line)
            continue
        if body:
            parts.append(f"<dd>{_text(body)}</dd>")
        parts.append(f"<dt>{_inline(line.strip())}</dt>")
        body = []
    if body:
        parts.append(f"<dd>{_text(body)}</dd>")
    return "<dl>\n" + "\n".join(parts) + "\n</dl>"


def _paragraph(lines: list[str]) -> str:
    return f"<p>{_text(lines)}</p>"


def _pre(lines: list[str]) -> str:
    margin = min(_indent(line) for line in lines)
    return "<pre><code>" + escape("\n".join(line[margin:] for line in lines), quote=False) + "</code></pre>"


def _text(lines: list[str]) -> str:
    return _inline("\n".join(line.strip() for line in lines))


def _inline(text: str) -> str:
    text = _ROLE.sub(r"``\1``", text) if ":`" in text else text
    text = escape(text, quote=False)
    return _CODE.sub(r"<code>\1</code>", text) if "``" in text else text


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
