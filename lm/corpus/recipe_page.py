"""One HTML page per recipe: what each rule drops, with samples, and what stays, with what came closest to each limit.

Crawled text is hostile. So the page has no script at all and nothing that loads: its policy allows one style sheet, by its hash, and
nothing else; every text is escaped, addresses are words and not links, control characters are shown as what they are, and each text is
isolated, so that marks for writing direction in it do not reach the page around it. Sections open and close by themselves.
"""

import base64
import hashlib
import html
import re
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
.rule .count { text-align: right; }
.bar { display: block; width: 100%; height: .6rem; align-self: center; background: var(--line); border-radius: .3rem; overflow: hidden; }
.goes { fill: var(--bad); } .stays { fill: var(--good); } .whole { fill: var(--dim); }
.nothing b, .nothing span { color: var(--dim); font-weight: 400; }
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; max-height: 24rem; overflow: auto; padding: .6rem;
  background: var(--page); border: 1px solid var(--line); border-radius: .3rem; font: 14px/1.5 ui-monospace, monospace;
}
.source { overflow-wrap: anywhere; unicode-bidi: isolate; }
.evidence { border-left: 3px solid var(--bad); padding-left: .6rem; overflow-wrap: anywhere; unicode-bidi: isolate; }
.dim { color: var(--dim); } .bad { color: var(--bad); } .good { color: var(--good); }
table { border-collapse: collapse; font-size: .9rem; }
td, th { text-align: left; padding: .1rem .8rem .1rem 0; vertical-align: top; white-space: nowrap; }
td:nth-child(2) { white-space: normal; overflow-wrap: anywhere; }
td:nth-child(3), th:nth-child(3) { text-align: right; font-variant-numeric: tabular-nums; }
tr.failed td { background: light-dark(#fdeceb, #3a2321); }
@media (max-width: 40rem) {
  .rule { grid-template-columns: 1fr auto; }
  .bar { grid-column: 1 / -1; order: 3; }
  table { font-size: .8rem; }
  td, th { padding-right: .5rem; }
  td:first-child, th:first-child { display: none; }
  tr.failed td:nth-child(2)::before { content: "fails "; color: var(--bad); }
}
"""


GOES, FAILS, CLOSEST = "goes", "fails", "closest"
"""Why a document is shown: it is decided by this rule; it fails it, but goes for one before it; it stays, close to the limit."""
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A document as the page shows it, in the section of a rule, or of those that stay."""

    id: str
    url: str
    title: str | None
    num_bytes: int
    language: str | None
    section: str
    role: str
    verdicts: Sequence[Verdict]
    evidence: Sequence[str] = ()
    """What it is similar to, and items of evaluation sets that it holds."""
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
    """The whole page. `counts` are rows of `recipe_counts`, in order; `samples` may hold any number per section and role."""
    sections = [_section(recipe, row, counts, [s for s in samples if s.section == row["rule"]]) for row in counts]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_policy_in_page())}">'
        f'<meta name="referrer" content="no-referrer"><title>Recipe {shown(recipe.name)}</title><style>{STYLE}</style>'
    )
    about = (
        "Documents go for the first rule they fail. Open a rule to see some that went for it, drawn at random, with the value of every "
        "rule, and the kept ones that came closest to its limit."
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>Recipe {shown(recipe.name)}</h1>'
        f'<p>{shown(recipe.doc)}</p><p class="dim">{about}</p>{"".join(sections)}</main></body></html>\n'
    )


def _policy_in_page() -> str:
    """The policy without what only a header can say."""
    return policy().replace("; frame-ancestors 'none'", "")


def _section(recipe: Recipe, row: dict[str, Any], counts: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> str:
    name, total, num = row["rule"], max(1, counts[0]["num_removed"]), row["num_removed"]
    rule = next((r for r in recipe.rules if r.name == name), None)
    what = f"{rule.signal} {rule.op} {rule.threshold:,g}" if rule else _MEANING.get(name, "")
    colour = {"all": "whole", "kept": "stays"}.get(name, "goes")
    share = f'<svg class="bar" aria-hidden="true"><rect class="{colour}" width="{num / total:.2%}" height="100%"></rect></svg>'
    loud = row["alarm"] and row["alarm"] != "removes_nothing"
    alarm = f' <span class="bad">{shown(row["alarm"].replace("_", " "))}</span>' if loud else ""
    line = f'<b>{shown(name)}{alarm}</b>{share}<span class="count">{num:,} ({num / total:.1%})</span>'
    about = [what] + ([rule.source] if rule and rule.source else [])
    if rule:
        failing = row["num_failing"]
        about.append(
            f"{failing:,} {'document fails' if failing == 1 else 'documents fail'} this rule, {num:,} of them fail none before it."
        )
    body = "".join(f'<p class="dim">{shown(text)}</p>' for text in about) + _samples(samples)
    return f'<details><summary><span class="rule{"" if num else " nothing"}">{line}</span></summary><div>{body}</div></details>'


def _samples(samples: Sequence[Sample]) -> str:
    by_role = {role: "".join(_sample(s) for s in samples if s.role == role) for role in (GOES, FAILS, CLOSEST)}
    found = by_role[GOES] or '<p class="dim">No samples.</p>'
    if by_role[FAILS] and not by_role[GOES]:
        found = f'<p class="dim">No document goes for this rule. Some that fail it, and go for a rule before it:</p>{by_role[FAILS]}'
    if by_role[CLOSEST]:
        found += f"<details><summary>kept, and closest to the limit</summary><div>{by_role[CLOSEST]}</div></details>"
    return found


_MEANING = {
    "all": "All documents.",
    "kept": "Documents that stay.",
    "exact_duplicate": "Texts that were there already.",
    "near_duplicate": "Documents too similar to one that stays.",
    "not_measured": "Texts without signals: run ladder signals.",
    "not_compared": "Texts without the signatures the policy needs.",
    "language": "Documents in another language, or in an uncertain one.",
    "contaminated": "Documents with text of evaluation sets.",
    "not_duplicated": "Documents that have no duplicate.",
    "nothing_left": "Documents of which the texts to start from leave nothing.",
}


def _sample(sample: Sample) -> str:
    rows = "".join(
        f'<tr{"" if v.holds else " class=failed"}><td class="{"good" if v.holds else "bad"}">{"passes" if v.holds else "fails"}</td>'
        f"<td>{shown(v.rule)}</td><td>{shown(_number(v.value))}</td><td>{shown(v.needs)}</td></tr>"
        for v in sample.verdicts
    )
    verdicts = f"<table><thead><tr><th>verdict</th><th>rule</th><th>value</th><th>needs</th></tr></thead><tbody>{rows}</tbody></table>"
    failed = ", ".join(v.rule for v in sample.verdicts if not v.holds)
    language = f' lang="{sample.language}"' if sample.language and _LANGUAGE.fullmatch(sample.language) else ""
    heading = f"<h2{language}>{shown(sample.title or sample.url)}</h2>"
    place = f'<p class="source dim">{shown(sample.url)} · {sample.num_bytes:,} bytes · {shown(sample.id)}</p>'
    summary = f'<p class="bad">fails {shown(failed)}</p>' if failed else '<p class="good">passes every rule</p>'
    evidence = "".join(f'<p class="evidence">{shown(text)}</p>' for text in sample.evidence)
    value = next((v for v in sample.verdicts if v.rule == sample.section), None)
    here = f'<p class="dim">{shown(value.looks_at)}: {shown(_number(value.value))}, needs {shown(value.needs)}</p>' if value else ""
    every = f"<details><summary>every rule</summary><div>{verdicts}</div></details>" if sample.verdicts else ""
    return f'{heading}{place}{here}{summary}{evidence}{every}<pre{language} dir="auto" tabindex="0">{shown(sample.text)}</pre>'


def _number(value: float | str | None) -> str:
    if value is None:
        return "not measured"
    return value if isinstance(value, str) else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
