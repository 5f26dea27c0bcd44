"""Recipes: which documents stay, as thresholds over stored signals plus a policy for duplicates.

A recipe is data, a TOML file beside this module or anywhere else. It is compiled to SQL over the lake, so trying other thresholds costs a
query and no pass over the text. A rule states what must hold for a document to stay, and the first rule that fails is the reason why it
goes; what was never measured or compared does not pass unseen but goes as `not_measured` or `not_compared`.

FineWeb's own rules run on text that C4's line rules have shortened. The signals named `open_c4_*` were measured on it, so the recipe judges
a page as FineWeb does without its text. A recipe may also name the `texts` to start from, those by another engine, without repeats or
without boilerplate, and `edits`: then what it keeps is what the edits leave of these texts, a variant of its own (`lm.corpus.variants`),
stored for the documents that change. Rules look at the texts of the engine that a recipe names, as they would in a lake by that engine;
everything else, and duplicates always, is decided on the documents as they are.

A rule may also look at a score that is somebody's own, `score.NAME`: of a trained classifier, of a word list, of a list of addresses. Where
no such score was measured the document fails the rule, unless the rule says `missing = "pass"`; then the count of the rule says so.

Duplicates are removed among the documents that pass the rules: equal texts share one id and count once, similar ones go by
`near_duplicates.policy`. Its outcome is a table (`duplicate_removals`), because going through documents in order is no SQL.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm.corpus import boilerplate, paragraphs, recipe_sql, variants
from lm.corpus.extraction.engines import ENGINES
from lm.corpus.minhash import PRESETS
from lm.corpus.near_duplicates import policy
from storage.digest import digest
from storage.signals import SIGNALS

OPERATORS = (">=", ">", "<=", "<")
METHODS = ("none", "exact", "near")
CONTAMINATION = ("", "flag", "paragraph", "document")
"""What happens to documents with text of evaluation sets: they are not looked at, only flagged, lose these paragraphs, or go."""
DECONTAMINATED = "decontaminated"
"""Variant without these paragraphs."""
WITHOUT_REPEATED = (paragraphs.VARIANT, boilerplate.VARIANT)
"""Texts without repeated paragraphs, and without the lines that texts of a host share."""
BY_ENGINE = tuple(ENGINES)
"""Texts as an engine takes them out of their pages, whichever the lake's documents are by."""
TEXTS = ("", *WITHOUT_REPEATED, *BY_ENGINE)
"""Texts a recipe may start from; the first for documents as they are."""
MIN_JACCARD = 0.5
"""Least similarity of stored pairs."""
RESERVED = (
    "all",
    "kept",
    "exact_duplicate",
    "near_duplicate",
    "not_duplicated",
    "not_measured",
    "not_compared",
    "language",
    "contaminated",
    "nothing_left",
)
"""Reasons and totals that stand beside the rules of a recipe."""

MISSING = ("fail", "pass")
SCORE = "score."
"""In front of the name of a score where a rule names a signal."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FOLDER = "recipe_data"


class RecipeError(ValueError):
    """A recipe that does not exist or cannot be used; the message says what must hold and what there is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A document stays if `signal op threshold`; otherwise `name` is a reason for it to go."""

    name: str
    signal: str
    op: str
    threshold: float
    source: str
    group: str
    missing: str = "fail"
    """What an unmeasured value does: fail, or pass."""

    @property
    def score(self) -> str:
        """Name of the score it looks at; empty for a signal."""
        return self.signal.removeprefix(SCORE) if self.signal.startswith(SCORE) else ""


@dataclass(frozen=True, slots=True)
class Language:
    """A document stays if it is in one of these languages with a score above `min_score`."""

    codes: tuple[str, ...]
    min_score: float
    source: str


@dataclass(frozen=True, slots=True)
class Dedup:
    """Policy for duplicates: equal texts count once whatever it says; `near` also removes similar ones."""

    method: str = "exact"
    preset: str = ""
    threshold: float = 1.0
    keep: str = "first"
    """first: the first id of similar ones stays; best: the highest `signal`; duplicated: only what has a duplicate, a negative control."""
    signal: str = ""
    """A signal, or score.NAME; what has no value comes last."""
    max_kept: int = 1
    """Similar documents that stay."""
    scope: str = "all"
    """Duplicates are looked for in all documents, or in each crawl or host."""
    also: tuple[str, ...] = ()
    """Further ways to be the same: url, the canonical address; content, the folded words."""
    alarm_share: float = 0.5
    """A crawl or host that loses more of its documents than this raises an alarm."""
    source: str = ""

    @property
    def score(self) -> str:
        """Name of the score that says which one is best; empty for a signal."""
        return self.signal.removeprefix(SCORE) if self.signal.startswith(SCORE) else ""

    @property
    def has_pairs(self) -> bool:
        """Whether the policy decides on pairs of documents."""
        return self.method == "near" or bool(self.also)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rules in the order in which they are reasons, and what happens to duplicates."""

    name: str
    doc: str
    source: str
    rules: tuple[Rule, ...]
    language: Language | None
    dedup: Dedup
    contamination: str = ""
    edits: tuple[str, ...] = ()
    texts: str = ""
    """Variant that the edits start from, one of `TEXTS`."""

    @property
    def start(self) -> str:
        """The stored variant that the edits start from; empty for the documents as they are."""
        return DECONTAMINATED if self.contamination == "paragraph" else self.texts

    @property
    def judged(self) -> str:
        """The engine at whose texts rules and language look; empty for the documents as they are."""
        return self.texts if self.texts in BY_ENGINE else ""

    @property
    def variant(self) -> str:
        """Name of the text that is trained on; empty for the documents as they are."""
        return variants.variant_name(self.edits, self.start)

    @property
    def definition(self) -> str:
        """The recipe as JSON; equal recipes have equal text."""
        fields = asdict(self)
        if not self.texts:  # a recipe keeps the digest it had before there was a choice
            del fields["texts"]
        return json.dumps(fields, sort_keys=True, ensure_ascii=False)

    @property
    def digest(self) -> str:
        """BLAKE2b-128 of the definition, in hex."""
        return digest(self.definition)

    @property
    def presets(self) -> tuple[str, ...]:
        """MinHash presets whose pairs must be in the lake."""
        return (self.dedup.preset,) if self.dedup.method == "near" else ()

    def values_sql(self) -> str:
        """SELECT id, language, language_score, measured, then a column per rule: what the rule looks at."""
        return recipe_sql.values_sql(self)

    def rules_sql(self) -> str:
        """SELECT id, num_bytes, host, reason: one row per distinct text, reason NULL if all rules hold."""
        return recipe_sql.rules_sql(self)

    def pairs_sql(self) -> str:
        """SELECT id_a, id_b, jaccard, score_a, score_b: similar documents that the policy decides on, of those that pass the rules."""
        return recipe_sql.pairs_sql(self)

    def keyed_sql(self) -> str:
        """SELECT id, key, score: documents that share an address or a content, of those that pass the rules."""
        return recipe_sql.keyed_sql(self)

    def view_sql(self, removals: str = "duplicate_removals") -> str:
        """SELECT id, kept, reason, num_bytes, host: one row per distinct text. `removals` is the table of `removals`."""
        return recipe_sql.view_sql(self, removals)

    def counts_sql(self, removals: str = "duplicate_removals") -> str:
        """SELECT of the columns of `recipe_counts`, one row per rule and total."""
        return recipe_sql.counts_sql(self, removals)

    def losses_sql(self, removals: str = "duplicate_removals") -> str:
        """SELECT of the columns of `source_losses`, one row per crawl and host."""
        return recipe_sql.losses_sql(self, removals)

    def removals(self, pairs: pa.Table, keyed: pa.Table) -> pa.Table:
        """Rows of the table `duplicate_removals`, from what `pairs_sql` and `keyed_sql` give."""
        if self.dedup.keep == "duplicated" or not self.dedup.has_pairs:
            pairs, keyed = pairs.slice(0, 0), keyed.slice(0, 0)
        removed = policy.resolve(pairs, self.dedup.threshold, max_kept=self.dedup.max_kept, keyed=keyed)
        return removed.add_column(0, "recipe", pa.array([self.name] * removed.num_rows, pa.string()))


def names() -> list[str]:
    """Recipes that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load(name_or_path: str | Path, *, languages: Sequence[str] | None = None) -> Recipe:
    """A recipe by name, or from a file whose name ends in .toml.

    `languages` replaces the codes of the recipe's language rule; an empty sequence removes the rule. Raises RecipeError if there is no
    such recipe or it cannot be used.
    """
    text, place = _read(str(name_or_path))
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {place} is not valid TOML: {error}") from error
    recipe = _parse(data, place)
    if languages is None:
        return recipe
    return with_languages(recipe, languages)


def with_languages(recipe: Recipe, codes: Sequence[str]) -> Recipe:
    """The recipe for other languages; for none of them without its language rule."""
    if not codes:
        return replace(recipe, language=None)
    old = recipe.language or Language((), 0.0, "")
    return replace(recipe, language=replace(old, codes=tuple(_word(code, "language code", recipe.name) for code in codes)))


def _folder() -> Any:
    return resources.files("lm.corpus") / _FOLDER


def _read(name: str) -> tuple[str, str]:
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"recipe file {name} does not exist; recipes by name are {', '.join(names())}")
        return path.read_text(encoding="utf-8"), name
    if name not in names():
        raise RecipeError(f"recipe {name!r} does not exist; there are {', '.join(names())}, or a path that ends in .toml")
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8"), name


def _word(value: Any, what: str, place: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RecipeError(f"recipe {place}: a {what} must be lower-case letters, digits and _, at most 63, not {value!r}")
    return value


def _only(data: Mapping[str, Any], fields: Sequence[str], what: str, place: str) -> None:
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise RecipeError(f"recipe {place}: {what} has unknown fields {', '.join(unknown)}; known are {', '.join(fields)}")


def _number(value: Any, what: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise RecipeError(f"recipe {place}: {what} must be a number, not {value!r}")
    return value


def _one_of(value: Any, allowed: Sequence[str], what: str, place: str) -> str:
    if value not in allowed:
        raise RecipeError(f"recipe {place}: {what} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _rule(data: Mapping[str, Any], place: str) -> Rule:
    _only(data, ("name", "signal", "op", "threshold", "source", "group", "missing"), f"rule {data.get('name')!r}", place)
    name = _word(data.get("name"), "rule name", place)
    if name in RESERVED:
        raise RecipeError(f"recipe {place}: a rule cannot be named {name}; {', '.join(RESERVED)} have a meaning of their own")
    return Rule(
        name,
        _signal(data.get("signal"), f"signal of rule {name}", place),
        _one_of(data.get("op"), OPERATORS, f"op of rule {name}", place),
        _number(data.get("threshold"), f"threshold of rule {name}", place),
        str(data.get("source", "")),
        str(data.get("group", "")),
        _one_of(data.get("missing", "fail"), MISSING, f"missing of rule {name}", place),
    )


def _signal(value: Any, what: str, place: str) -> str:
    if isinstance(value, str) and value.startswith(SCORE):
        return SCORE + _word(value.removeprefix(SCORE), what.replace("signal", "score"), place)
    if value not in SIGNALS:
        raise RecipeError(f"recipe {place}: {what} must be one of {', '.join(SIGNALS)}, or {SCORE}NAME, not {value!r}")
    return str(value)


def _language(data: Mapping[str, Any], place: str) -> Language:
    _only(data, ("codes", "min_score", "source"), "language", place)
    codes = data.get("codes")
    if not isinstance(codes, list) or not codes:
        raise RecipeError(f"recipe {place}: codes of language must be a list with at least one code, not {codes!r}")
    score = _number(data.get("min_score", 0), "min_score of language", place)
    return Language(tuple(_word(code, "language code", place) for code in codes), score, str(data.get("source", "")))


_DEDUP = ("method", "preset", "threshold", "keep", "signal", "max_kept", "scope", "also", "alarm_share", "source")


def _dedup(data: Mapping[str, Any], place: str) -> Dedup:
    _only(data, _DEDUP, "dedup", place)
    method = _one_of(data.get("method", "exact"), METHODS, "method of dedup", place)
    keep = _one_of(data.get("keep", "first"), policy.KEEPS, "keep of dedup", place)
    signal = _signal(data.get("signal"), "signal of dedup", place) if keep == "best" else ""
    share = _number(data.get("alarm_share", 0.5), "alarm_share of dedup", place)
    found = Dedup(
        method,
        keep=keep,
        signal=signal,
        max_kept=_count(data.get("max_kept", 1), "max_kept of dedup", place),
        scope=_one_of(data.get("scope", "all"), policy.SCOPES, "scope of dedup", place),
        also=tuple(_one_of(way, ("url", "content"), "also of dedup", place) for way in data.get("also", [])),
        alarm_share=share,
        source=str(data.get("source", "")),
    )
    if method != "near":
        return found
    preset = _one_of(data.get("preset"), tuple(PRESETS), "preset of dedup", place)
    threshold = _number(data.get("threshold"), "threshold of dedup", place)
    if not MIN_JACCARD <= threshold <= 1:
        raise RecipeError(
            f"recipe {place}: threshold of dedup must lie from {MIN_JACCARD}, below which no pair is stored, to 1, not {threshold}"
        )
    return replace(found, preset=preset, threshold=threshold)


def _count(value: Any, what: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RecipeError(f"recipe {place}: {what} must be a whole number of at least 1, not {value!r}")
    return value


def _parse(data: Mapping[str, Any], place: str) -> Recipe:
    _only(data, ("name", "doc", "source", "rules", "language", "dedup", "contamination", "edits", "texts"), "the recipe", place)
    rules = tuple(_rule(rule, place) for rule in data.get("rules", []))
    twice = sorted({rule.name for rule in rules if [r.name for r in rules].count(rule.name) > 1})
    if twice:
        raise RecipeError(f"recipe {place}: rule names must differ, but {', '.join(twice)} come twice")
    language = _language(data["language"], place) if "language" in data else None
    name = _word(data.get("name"), "recipe name", place)
    contamination = _one_of(data.get("contamination", ""), CONTAMINATION, "contamination", place)
    dedup = _dedup(data.get("dedup", {}), place)
    edits = tuple(_one_of(edit, tuple(variants.EDITS), "edit", place) for edit in data.get("edits", []))
    texts = _one_of(data.get("texts", ""), TEXTS, "texts", place)
    if texts and contamination == "paragraph":
        raise RecipeError(
            f"recipe {place}: it must name texts to start from, or contamination by paragraph, not both; each is made of whole texts"
        )
    return Recipe(name, str(data.get("doc", "")), str(data.get("source", "")), rules, language, dedup, contamination, edits, texts)
