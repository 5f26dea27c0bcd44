"""The same verdict as datatrove's filters? Rule by rule, on the pages of a crawl and on 2,000 articles of Wikipedia.

    python benchmarks/parity.py DATA_DIR [NUM_ARTICLES]

datatrove's filters count words, and ask for the language they are to count in. So each rule is compared in four ways, on the same texts:

own_language  datatrove cuts each document by the tokenizer that it assigns to the document's language, found by our detector
same_words    datatrove's English tokenizer, told that Han and Hiragana characters are words, as they are here
english       datatrove's default: its English tokenizer for every document, in whatever language
in_order      the default behind FineWeb's language filter, so that only English documents come to a rule

No document is left out of the first three; one whose tokenizer is not installed is cut as English in own_language, and counted. A rule is
not asked where datatrove cannot come to it: that is counted too. Prints the agreement of every rule in each way, and documents with
different verdicts; ends with a line of JSON. A rule counts as equal from 98% on. Needs the extra `parity`; takes several minutes, nearly
all of it inside datatrove.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from peers import inputs
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from lm.corpus import recipes, signals
from lm.corpus.language import detect
from lm.corpus.recipes import Rule

GOAL = 0.98
RECIPES = ("fineweb", "c4")
WAYS = ("own_language", "same_words", "english", "in_order")
NUM_EXAMPLES = 6
CONSOLE = Console(width=150)
ALL = "all rules"
LANGUAGE, BAD_WORDS = ("fineweb", "language"), ("c4", "bad_words")
Key = tuple[str, str]
"""Recipe and rule; a rule that begins with ALL is a filter or the recipe as a whole."""
Verdicts = dict[Key, tuple[bool | None, bool]]
"""Whether a document passes each rule, there (None if datatrove does not come to the rule) and here."""
_TESTS = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, "<": lambda a, b: a < b}


@cache
def our_rules() -> dict[Key, Rule]:
    """Every rule of the recipes."""
    return {(recipe, rule.name): rule for recipe in RECIPES for rule in recipes.load(recipe).rules}


@cache
def wholes(keys: tuple[Key, ...]) -> dict[Key, list[Key]]:
    """The rules of each filter, if a recipe has several, and of each recipe."""
    found: dict[Key, list[Key]] = {}
    for recipe in RECIPES:
        own = [key for key in keys if key[0] == recipe]
        groups = dict.fromkeys(our_rules()[key].group for key in own)
        for group in groups if len(groups) > 1 else ():
            found[recipe, f"{ALL} of {group}"] = [key for key in own if our_rules()[key].group == group]
        found[recipe, ALL] = own
    return found


def holds(rule: Rule, row: dict[str, Any]) -> bool:
    """Our verdict, from the stored signal or score; what has none passes or fails as the rule says."""
    if row[rule.signal] is None:
        return rule.missing == "pass"
    return bool(_TESTS[rule.op](row[rule.signal], rule.threshold))


@dataclass(slots=True)
class Agreement:
    """What became of one rule on one set, in one way."""

    num: int = 0
    num_not_asked: int = 0
    num_theirs: int = 0
    num_ours: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    """Language of each document with different verdicts."""
    examples: list[str] = field(default_factory=list)

    def add(self, verdicts: tuple[bool | None, bool], language: str, note: str) -> None:
        """Count a document's two verdicts: whether it passes there and here."""
        their, our = verdicts
        if their is None:
            self.num_not_asked += 1
            return
        self.num, self.num_theirs, self.num_ours = self.num + 1, self.num_theirs + (not their), self.num_ours + (not our)
        if their != our:
            self.languages[language] += 1
            if len(self.examples) < NUM_EXAMPLES:
                self.examples.append(f"{note} {language}, {'kept' if their else 'dropped'} there")

    @property
    def share(self) -> float:
        """Equal verdicts."""
        return 1 - self.languages.total() / self.num if self.num else 1.0


@dataclass(slots=True)
class Comparison:
    """Agreement of every rule, filter and recipe in every way on one set, and the languages that datatrove could not cut as such."""

    ways: dict[str, dict[Key, Agreement]]
    num_by_language: Counter[str] = field(default_factory=Counter)
    without_tokenizer: Counter[str] = field(default_factory=Counter)

    def add(self, way: str, verdicts: Verdicts, language: str, note: str, row: dict[str, Any]) -> None:
        """Count a document in one way: each rule, each filter and each recipe."""
        for key, pair in verdicts.items():
            self.ways[way][key].add(pair, language, f"{note} {row[our_rules()[key].signal] or 0:.4g}")
        for whole, parts in wholes(tuple(verdicts)).items():
            self.ways[way][whole].add(kept(parts, verdicts), language, note)


def kept(parts: Sequence[Key], verdicts: Verdicts) -> tuple[bool | None, bool]:
    """Whether a document passes all of these rules, there (None if it comes to none of them) and here."""
    theirs = [verdicts[key][0] for key in parts]
    return None if all(their is None for their in theirs) else False not in theirs, all(verdicts[key][1] for key in parts)


def judge(text: str, language: Any, row: dict[str, Any]) -> Verdicts:
    """What each rule says of a text, there with the words of a language, and here."""
    from peers import datatrove_rules

    return {key: (verdict(text), holds(our_rules()[key], row)) for key, verdict in datatrove_rules.rules(language).items()}


def compare(name: str, texts: Sequence[str], word_lists: Path) -> Comparison:
    """Ask datatrove and the signals about every text."""
    from peers import datatrove_bad_words, datatrove_rules, datatrove_words

    datatrove_rules.keep_words()
    their_language = datatrove_rules.language()
    rules = (*datatrove_rules.rules(), BAD_WORDS)
    keys = [*rules, *wholes(rules)]
    found = Comparison({way: {key: Agreement() for key in keys} for way in WAYS})
    found.ways["in_order"][LANGUAGE] = Agreement()
    languages, bad_words = [detect(text) for text in texts], datatrove_bad_words.BadWords(word_lists)
    counts = bad_words.here(texts, [code for code, _ in languages])
    rows = [row | {"score.bad_words": num} for row, num in zip(signals.compute(pa.array(texts)).to_pylist(), counts, strict=True)]
    for number, text in enumerate(track(texts, description=name, console=CONSOLE)):
        row, (code, score) = rows[number], languages[number]
        own, problem = datatrove_words.own_language(code)
        found.num_by_language[code] += 1
        found.without_tokenizer.update([problem] if problem else [])
        fixed = {BAD_WORDS: (bad_words.there(text, code), holds(our_rules()[BAD_WORDS], row))}
        cuts = {"own_language": own, "same_words": datatrove_words.same_words(text), "english": datatrove_words.ENGLISH}
        verdicts = {cut: judge(text, cut, row) | fixed for cut in set(cuts.values())}
        for way, cut in cuts.items():
            found.add(way, verdicts[cut], code, f"#{number}", row)
        in_order = verdicts[datatrove_words.ENGLISH]
        english = bool(their_language(text)), code == "en" and score > 0.65
        found.ways["in_order"][LANGUAGE].add(english, code, f"#{number} {score:.2f}")
        if all(english):
            found.add("in_order", in_order, code, f"#{number}", row)
        elif any(english):
            for recipe in RECIPES:
                there, here = kept([key for key in in_order if key[0] == recipe], in_order)
                found.ways["in_order"][recipe, ALL].add((english[0] and there is not False, english[1] and here), code, f"#{number}")
    return found


def show(name: str, found: Comparison) -> None:
    """Print the tables of one set."""
    languages = ", ".join(f"{code} {num}" for code, num in found.num_by_language.most_common())
    CONSOLE.print(f"[bold]{name}[/bold]: {found.num_by_language.total()} documents, languages by our detector: {languages}")
    for problem, num in found.without_tokenizer.items():
        CONSOLE.print(f"[bold]cut by the English tokenizer in own_language, too[/bold]: {num} documents in {problem}")
    table = Table(Column("rule", no_wrap=True), "asked", "not asked", "dropped there, here", *WAYS, "different in own")
    for key in found.ways["in_order"]:
        ways = [found.ways[way].get(key) for way in WAYS]
        first = ways[0] or found.ways["in_order"][key]
        differing = ", ".join(f"{code} {num}" for code, num in first.languages.most_common())
        numbers = f"{first.num:,}", f"{first.num_not_asked:,}", f"{first.num_theirs:,}, {first.num_ours:,}"
        table.add_row("/".join(key), *numbers, *(f"{way.share:.2%}" if way else "" for way in ways), differing)
    CONSOLE.print(table)
    for way in ("own_language", "same_words", "in_order"):
        for key, agreement in found.ways[way].items():
            if agreement.examples:
                limit = f", {our_rules()[key].signal} {our_rules()[key].op} {our_rules()[key].threshold}" if key in our_rules() else ""
                CONSOLE.print(f"{way}, {'/'.join(key)}{limit}: {'; '.join(agreement.examples)}")


def summary(name: str, found: Comparison) -> dict[str, Any]:
    """The set in numbers: lowest agreement of a rule in each way, and the rules below the goal."""
    num_in_order = found.ways["in_order"]["fineweb", ALL].num
    report: dict[str, Any] = {f"num_{name}": found.num_by_language.total(), f"num_{name}_in_order": num_in_order}
    report |= {f"num_without_tokenizer_{name}": found.without_tokenizer.total()}
    for way, agreement in found.ways.items():
        shares = {f"{recipe}/{rule}": one.share for (recipe, rule), one in agreement.items() if not rule.startswith(ALL)}
        below = sorted(rule for rule, share in shares.items() if share < GOAL)
        worst = min(shares, key=lambda rule: shares[rule])
        report |= {f"lowest_agreement_{name}_{way}": round(shares[worst], 4), f"lowest_rule_{name}_{way}": worst}
        report |= {f"num_rules_below_goal_{name}_{way}": len(below), f"rules_below_goal_{name}_{way}": below}
        filters = {rule: one.share for (_, rule), one in agreement.items() if rule.startswith(f"{ALL} of")}
        report[f"filters_below_goal_{name}_{way}"] = sorted(rule for rule, share in filters.items() if share < GOAL)
        report |= {f"{recipe}_agreement_{name}_{way}": round(agreement[recipe, ALL].share, 4) for recipe in RECIPES}
    return report


def main() -> None:
    """Compare on both sets and print the line of JSON."""
    data = inputs.data_dir("the pages and articles that both sides judge")
    try:
        import datatrove  # noqa: F401
    except ImportError:
        sys.exit("parity.py needs datatrove: pip install -c constraints.txt 'dataladder[parity]'")
    num_articles = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    report: dict[str, Any] = {"num_rules": 0}
    for name, texts in (
        ("pages", inputs.page_texts(data / inputs.PAGES)),
        ("articles", inputs.wiki_texts(data / inputs.ENWIKI, num_articles)),
    ):
        found = compare(name, texts, data / inputs.BAD_WORDS)
        show(name, found)
        report |= summary(name, found) | {"num_rules": sum(not rule.startswith(ALL) for _, rule in found.ways["english"])}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
