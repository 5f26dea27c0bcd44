"""One HTML page per recipe: what each rule drops, with samples, and samples of what stays.

Crawled text is hostile. So the page has no script at all and nothing that loads: its policy allows one style sheet, by its hash, and
nothing else; every text is escaped, addresses are words and not links, control characters are shown as what they are, and each text is
isolated, so that marks for writing direction in it do not reach the page around it. Sections open and close by themselves.
"""

import base64
import hashlib
import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm.corpus.recipes import Recipe
from lm.corpus.verdicts import Verdict

STYLE = """
:root {
  color-scheme: light dark;
  --ink: light-dark(#1d2129, #e6e8ec); --dim: light-dark(#5c6470, #a3abb8);
  --page: light-dark(#fbfbfa, #16181c); --card: light-dark(#fff, #1f2228); --line: light-dark(#dfe2e6, #363b44);
  --bad: light-dark(#b3261e, #ff8a80); --good: light-dark(#1b6e3c, #7fd6a0); --focus: light-dark(#2f6fd0, #8ab4f8);
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere; unicode-bidi: isolate; }
p { margin: .3rem 0; }
details { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0; }
summary { padding: .5rem .75rem; cursor: pointer; overflow-wrap: anywhere; }
summary:focus-visible, pre:focus-visible { outline: 2px solid var(--focus); }
details > div { padding: 0 .75rem .75rem; }
.rule {
  display: inline-grid; grid-template-columns: minmax(9rem, 16rem) 1fr 9rem; gap: .2rem 1rem; width: calc(100% - 1.5rem);
  vertical-align: top;
}
.rule span { text-align: right; }
meter { width: 100%; height: .8rem; align-self: center; }
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; max-height: 24rem; overflow: auto; padding: .6rem;
  background: var(--page); border: 1px solid var(--line); border-radius: .3rem; font: 14px/1.45 ui-monospace, monospace;
}
.source { overflow-wrap: anywhere; unicode-bidi: isolate; }
.dim { color: var(--dim); } .bad { color: var(--bad); } .good { color: var(--good); }
table { border-collapse: collapse; font-size: .9rem; }
td, th { text-align: left; padding: .1rem .8rem .1rem 0; vertical-align: top; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .rule { grid-template-columns: 1fr auto; }
  meter { grid-column: 1 / -1; order: 3; }
  td, th { padding-right: .4rem; }
}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A document as the page shows it; `reason` is None if it stays."""

    id: str
    url: str
    title: str | None
    num_bytes: int
    reason: str | None
    verdicts: Sequence[Verdict]
    text: str


def policy() -> str:
    """The page's Content-Security-Policy."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def shown(text: str) -> str:
    """Text for HTML: escaped, control characters and marks of writing direction as visible signs."""
    return html.escape("".join(_visible(char) for char in text))


def _visible(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co"):
        return char
    return (
        chr(0x2400 + ord(char)) if ord(char) < 0x20 else f"\N{LEFT-POINTING ANGLE BRACKET}U+{ord(char):04X}\N{RIGHT-POINTING ANGLE BRACKET}"
    )


def page(recipe: Recipe, counts: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> str:
    """The whole page. `counts` are rows of `recipe_counts`, in order; `samples` may hold any number per reason."""
    sections = [_section(recipe, row, counts, [s for s in samples if (s.reason or "kept") == row["rule"]]) for row in counts]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_policy_in_page())}">'
        f'<meta name="referrer" content="no-referrer"><title>Recipe {shown(recipe.name)}</title><style>{STYLE}</style>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>Recipe {shown(recipe.name)}</h1>'
        f'<p>{shown(recipe.doc)}</p><p class="dim">Documents go for the first rule they fail. Open a rule to see some that went for it, '
        f"drawn at random, with the value of every rule.</p>{''.join(sections)}</main></body></html>\n"
    )


def _policy_in_page() -> str:
    """The policy without what only a header can say."""
    return policy().replace("; frame-ancestors 'none'", "")


def _section(recipe: Recipe, row: dict[str, Any], counts: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> str:
    name, total = row["rule"], max(1, counts[0]["num_removed"])
    rule = next((r for r in recipe.rules if r.name == name), None)
    what = f"{rule.signal} {rule.op} {rule.threshold:g}" if rule else _MEANING.get(name, "")
    num = row["num_removed"]
    share = f'<meter min="0" max="1" value="{num / total:.4f}">{num / total:.1%}</meter>'
    alarm = f' <span class="bad">{shown(row["alarm"].replace("_", " "))}</span>' if row["alarm"] else ""
    line = f'<span class="rule"><b>{shown(name)}</b>{share}<span>{num:,} ({num / total:.1%})</span></span>'
    about = f'<p class="dim">{shown(what)}{alarm}</p>' + (f'<p class="dim">{shown(rule.source)}</p>' if rule and rule.source else "")
    if rule:
        about += f'<p class="dim">{row["num_failing"]:,} documents fail this rule, {num:,} of them fail none before it.</p>'
    body = about + ("".join(map(_sample, samples)) or '<p class="dim">No samples.</p>')
    return f"<details><summary>{line}</summary><div>{body}</div></details>"


_MEANING = {
    "all": "All documents.",
    "kept": "Documents that stay.",
    "exact_duplicate": "Texts that were there already.",
    "near_duplicate": "Documents too similar to one that stays.",
    "not_measured": "Texts without signals: run ladder signals.",
    "not_compared": "Texts without the signatures the policy needs.",
    "language": "Documents in another language, or in an uncertain one.",
    "contaminated": "Documents with text of evaluation sets.",
}


def _sample(sample: Sample) -> str:
    rows = "".join(
        f'<tr><td class="{"good" if v.holds else "bad"}">{"passes" if v.holds else "fails"}</td><td>{shown(v.rule)}</td>'
        f"<td>{shown(_number(v.value))}</td><td>{shown(v.needs)}</td></tr>"
        for v in sample.verdicts
    )
    verdicts = f"<table><thead><tr><th>verdict</th><th>rule</th><th>value</th><th>needs</th></tr></thead><tbody>{rows}</tbody></table>"
    failed = ", ".join(v.rule for v in sample.verdicts if not v.holds)
    heading = f"<h2>{shown(sample.title or sample.url)}</h2>"
    place = f'<p class="source dim">{shown(sample.url)} · {sample.num_bytes:,} bytes · {shown(sample.id)}</p>'
    summary = f'<p class="bad">fails {shown(failed)}</p>' if failed else '<p class="good">passes every rule</p>'
    every = f"<details><summary>every rule</summary><div>{verdicts}</div></details>" if sample.verdicts else ""
    return f'{heading}{place}{summary}{every}<pre dir="auto" tabindex="0">{shown(sample.text)}</pre>'


def _number(value: float | str | None) -> str:
    if value is None:
        return "not measured"
    return value if isinstance(value, str) else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
