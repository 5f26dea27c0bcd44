"""The same verdict as datatrove's filters? Rule by rule, on the pages of a crawl and on 2,000 articles of Wikipedia.

    python benchmarks/parity.py DATA_DIR [NUM_ARTICLES]

Prints how many documents each rule drops here and there, the share on which both agree, and documents on which they do not, with our
value; ends with a line of JSON. Agreement is given four times: on documents in any language, each rule alone; on those of them with and
without Han and kana, for words are another thing there; and in FineWeb's order, where the language filter stands in front, so that a rule
judges English documents only. A rule counts as equal from 98% on.
Needs the extra `benchmarks`; takes several minutes, nearly all of it inside datatrove.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from peers import inputs
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lm.corpus import recipes, signals
from lm.corpus.language import detect
from lm.corpus.recipes import Rule

GOAL = 0.98
DENSE_SHARE = 0.1
"""Share of Han and kana among a document's characters from which on it counts as Chinese or Japanese."""
CONSOLE = Console(width=150)
_TESTS = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, "<": lambda a, b: a < b}


def holds(rule: Rule, row: dict[str, Any]) -> bool:
    """Our verdict, from the stored signal."""
    return bool(_TESTS[rule.op](row[rule.signal], rule.threshold))


@dataclass
class Agreement:
    """What became of one rule on one set."""

    num: int = 0
    num_theirs: int = 0
    num_ours: int = 0
    num_equal: int = 0
    num_english: int = 0
    num_equal_english: int = 0
    num_dense: int = 0
    num_equal_dense: int = 0
    differing: list[str] = field(default_factory=list)

    def add(self, their: bool, our: bool, english: bool, note: str, dense: bool = False) -> None:
        """Count a document's two verdicts."""
        self.num_dense, self.num_equal_dense = self.num_dense + dense, self.num_equal_dense + (dense and their == our)
        self.num, self.num_english = self.num + 1, self.num_english + english
        self.num_theirs, self.num_ours = self.num_theirs + (not their), self.num_ours + (not our)
        self.num_equal, self.num_equal_english = self.num_equal + (their == our), self.num_equal_english + (english and their == our)
        if their != our and english and len(self.differing) < 3:
            self.differing.append(note)

    @property
    def share(self) -> float:
        """Equal verdicts in any language."""
        return self.num_equal / max(1, self.num)

    @property
    def share_dense(self) -> float:
        """Equal verdicts on Chinese and Japanese."""
        return self.num_equal_dense / self.num_dense if self.num_dense else 1.0

    @property
    def share_plain(self) -> float:
        """Equal verdicts on all others."""
        others = self.num - self.num_dense
        return (self.num_equal - self.num_equal_dense) / others if others else 1.0

    @property
    def share_in_order(self) -> float:
        """Equal verdicts on what is English, behind the language filter."""
        return self.num_equal_english / self.num_english if self.num_english else 1.0


def compare(name: str, texts: Sequence[str]) -> dict[str, Agreement]:
    """Agreement per rule, of the language filter, and of each recipe as a whole behind it."""
    from peers import datatrove_rules

    datatrove_rules.keep_words()
    theirs, their_language = datatrove_rules.rules(), datatrove_rules.language()
    ours = {(recipe, rule.name): rule for recipe in ("fineweb", "c4") for rule in recipes.load(recipe).rules}
    rows = signals.compute(pa.array(texts)).to_pylist()
    found = {key: Agreement() for key in (*theirs, ("all", "language"), ("fineweb", "verdict"), ("c4", "verdict"))}
    for number, (text, row) in enumerate(track(list(zip(texts, rows, strict=True)), description=name, console=CONSOLE)):
        code, score = detect(text)
        dense = sum("\u3040" <= char <= "\u9fff" for char in text) > DENSE_SHARE * len(text)
        english, their_english = code == "en" and score > 0.65, bool(their_language(text))
        found["all", "language"].add(their_english, english, True, f"#{number}: {code} {score:.2f}")
        verdicts = {key: (verdict(text), holds(ours[key], row)) for key, verdict in theirs.items()}
        for key, (their, our) in verdicts.items():
            if their is not None:
                value = f"#{number}: {ours[key].signal} = {row[ours[key].signal]:.4g}, limit {ours[key].threshold}"
                found[key].add(their, our, english, value, dense)
        for recipe in ("fineweb", "c4"):
            own = [pair for (owner, _), pair in verdicts.items() if owner == recipe]
            kept = their_english and all(their is not False for their, _ in own), english and all(our for _, our in own)
            found[recipe, "verdict"].add(*kept, True, f"#{number}")
    _show(name, found)
    return {f"{recipe}/{rule}": agreement for (recipe, rule), agreement in found.items()}


def _show(name: str, found: dict[tuple[str, str], Agreement]) -> None:
    columns = (
        "recipe",
        "rule",
        "documents",
        "datatrove drops",
        "we drop",
        "equal",
        "no Han",
        "Han",
        "English",
        "equal in order",
        "where not",
    )
    table = Table(*columns, title=name, title_justify="left")
    for (recipe, rule), a in found.items():
        numbers = (f"{number:,}" for number in (a.num, a.num_theirs, a.num_ours))
        table.add_row(
            recipe,
            rule,
            *numbers,
            f"{a.share:.2%}",
            f"{a.share_plain:.2%}",
            f"{a.share_dense:.2%}",
            f"{a.num_english:,}",
            f"{a.share_in_order:.2%}",
            "; ".join(a.differing),
        )
    CONSOLE.print(table)


def main() -> None:
    """Compare on both sets and print the line of JSON."""
    data = inputs.data_dir("the pages and articles that both sides judge")
    try:
        import datatrove  # noqa: F401
    except ImportError:
        sys.exit("parity.py needs datatrove: pip install -c constraints.txt 'dataladder[benchmarks]'")
    num_articles = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    sets = {"pages": inputs.page_texts(data / inputs.PAGES), "articles": inputs.wiki_texts(data / inputs.ENWIKI, num_articles)}
    found = {name: compare(name, texts) for name, texts in sets.items()}
    report: dict[str, Any] = {"num_pages": len(sets["pages"]), "num_articles": len(sets["articles"])}
    for name, rules in found.items():
        worst = min(rules, key=lambda rule: rules[rule].share_in_order)
        report |= {f"lowest_agreement_{name}": round(rules[worst].share_in_order, 4), f"lowest_rule_{name}": worst}
        report |= {f"{recipe}_verdict_agreement_{name}": round(rules[f"{recipe}/verdict"].share, 4) for recipe in ("fineweb", "c4")}
        report[f"rules_below_goal_{name}"] = sorted(rule for rule, a in rules.items() if a.share_in_order < GOAL)
        report[f"rules_below_goal_without_han_{name}"] = sorted(rule for rule, a in rules.items() if a.share_plain < GOAL)
        report[f"rules_below_goal_in_any_language_{name}"] = sorted(rule for rule, a in rules.items() if a.share < GOAL)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
