"""Train the model of extraction, and measure it on pages it has not seen: `python -m lm.corpus.extraction.training GOLD_DIR...`.

Gold pages are few and mostly English news, and a model trained on them alone kept nothing of forums, manuals and short pages. So pages
of an archive are added whose text nobody knows: where resiliparse and trafilatura agree about a block, that is its target, with less
weight; other blocks do not count. Targets of the second forest come from first forests that did not see the page. Cross-validation
leaves out whole hosts, and trains all of it anew each time; only its figures say anything about other pages. It costs some two minutes
for 181 gold and 302 other pages.
"""

import argparse
import html
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lm.corpus.charset import decode
from lm.corpus.extraction import engines, gold, labels
from lm.corpus.extraction.boosting import Boosting, grow, predict
from lm.corpus.extraction.features import FEATURES, NUM_FEATURES
from lm.corpus.extraction.forest import CONTEXT, MODEL_FILE, Forest, Model
from lm.corpus.extraction.kernels import Page, main_text, read_page, with_context
from lm.corpus.records import Capture
from lm.corpus.warc import read_captures
from storage.digest import digest

Array = NDArray[Any]

THRESHOLD = -0.2
"""Log odds from which on a block is kept. In cross-validation F1 is flat around it; lower keeps more of pages that are no articles."""
NUM_FOLDS = 5
FIRST = Boosting(num_trees=120)
SECOND = Boosting(num_trees=80, seed=1)
_AGREED_WEIGHT = 0.3
_AGREED_WEIGHT_CJK = 0.45
"""A page whose text two engines agree about, beside a gold page; the second for Chinese and Japanese, of which there are fewer."""
_MIN_AGREEMENT, _MAX_DISAGREEMENT = 0.3, 0.4
_MAX_SHARE, _MIN_SHARE, _MIN_TOKENS = 0.5, 0.002, 20.0
"""A block weighs its share of the page's text: one paragraph at most half, a menu's entry at least this."""


@dataclass(frozen=True, slots=True)
class Example:
    """A page with a target and a weight per block."""

    name: str
    host: str
    payload: Array
    page: Page
    targets: Array
    weights: Array
    text: str | None
    """The known text of a gold page."""

    @property
    def features(self) -> Array:
        """float32 (block, feature), without context."""
        return np.ascontiguousarray(self.page.features[:, :NUM_FEATURES])


def gold_example(page: gold.GoldPage) -> Example:
    """A page whose text is known."""
    payload = (decode(page.payload) or "").encode()
    data = np.frombuffer(payload, np.uint8)
    found = read_page(data)
    targets, sizes = labels.targets(labels.block_texts(payload, found), page.text)
    return Example(page.id, urlsplit(page.url).hostname or page.id, data, found, targets, _weights(targets, sizes), page.text)


def agreed_example(name: str, markup: str) -> Example | None:
    """A page with targets where two engines agree; None if they agree too little, or the page is too large to be aligned."""
    first, second = (engines.ENGINES[engine].run(markup) for engine in ("resiliparse", "trafilatura"))
    shared, extra, missed = gold.overlap(first, second, by_character=True)
    if 2 * shared < _MIN_AGREEMENT * (2 * shared + extra + missed) or not shared:
        return None
    payload = markup.encode("utf-8", "replace")
    data = np.frombuffer(payload, np.uint8)
    found = read_page(data)
    texts = labels.block_texts(payload, found)
    try:
        (one, sizes), (two, _) = labels.targets(texts, first), labels.targets(texts, second)
    except ValueError:
        return None
    targets = (one + two) / 2
    weight = _AGREED_WEIGHT_CJK if _is_cjk(first) else _AGREED_WEIGHT
    return Example(name, name, data, found, targets, weight * _weights(targets, sizes) * (np.abs(one - two) < _MAX_DISAGREEMENT), None)


def _is_cjk(text: str) -> bool:
    return sum("\u3040" <= char <= "\u9fff" for char in text) * 4 > len(text)


def _weights(targets: Array, sizes: Array) -> Array:
    return np.minimum(sizes / max(_MIN_TOKENS, float((targets * sizes).sum())), _MAX_SHARE) + _MIN_SHARE


def _part_of(name: str, num: int, salt: str) -> int:
    return int(digest(salt, name)[:8], 16) % num


def _grow(examples: Sequence[Example], features: Sequence[Array], how: Boosting) -> Forest:
    pages = np.repeat(np.arange(len(examples)), [len(e.targets) for e in examples])
    joined = [np.concatenate([getattr(e, name) for e in examples]) for name in ("targets", "weights")]
    return grow(np.vstack(features), joined[0], joined[1], pages, how)


def _contexts(forest: Forest, examples: Iterable[Example]) -> dict[str, Array]:
    return {e.name: with_context(e.page, predict(forest, e.features).astype(np.float32)) for e in examples}


def train(examples: Sequence[Example]) -> Model:
    """Both forests; the second learns from scores of first forests that did not see the page."""
    contexts: dict[str, Array] = {}
    for part in range(NUM_FOLDS - 1):
        apart = [e for e in examples if _part_of(e.host, NUM_FOLDS - 1, "inner") == part]
        rest = [e for e in examples if _part_of(e.host, NUM_FOLDS - 1, "inner") != part]
        contexts |= _contexts(_grow(rest, [e.features for e in rest], FIRST), apart)
    first = _grow(examples, [e.features for e in examples], FIRST)
    return Model(first, _grow(examples, [contexts[e.name] for e in examples], SECOND), THRESHOLD)


def cross_validate(examples: Sequence[Example], report: Callable[[str], object]) -> gold.Score:
    """The score on gold pages of models that saw no page of their hosts."""
    overlaps = []
    for fold in range(NUM_FOLDS):
        apart = [e for e in examples if e.text is not None and _part_of(e.host, NUM_FOLDS, "fold") == fold]
        model = train([e for e in examples if _part_of(e.host, NUM_FOLDS, "fold") != fold])
        overlaps += [gold.overlap(e.text or "", _text(e, model)) for e in apart]
        report(f"fold {fold + 1} of {NUM_FOLDS}: {gold.score(overlaps[-len(apart) :])}")
    return gold.score(overlaps)


def _text(example: Example, model: Model) -> str:
    return html.unescape(main_text(example.payload, example.page, model).decode("utf-8", "replace"))


def as_json(model: Model, notes: Mapping[str, Any]) -> str:
    """The model as text: one tree per line, names instead of numbers of columns."""
    names = [*FEATURES, *CONTEXT]
    forests = []
    for forest in (model.first, model.second):
        trees = [
            json.dumps({"features": [names[at] for at in tree], "thresholds": _rounded(thresholds), "leaves": _rounded(leaves)})
            for tree, thresholds, leaves in zip(forest.features, forest.thresholds, forest.leaves, strict=True)
        ]
        forests.append(f'{{"base": {forest.base:.5f}, "trees": [\n' + ",\n".join(trees) + "\n]}")
    return f'{{"notes": {json.dumps(notes)},\n"threshold": {model.threshold},\n"forests": [{", ".join(forests)}]}}\n'


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def read_examples(gold_dirs: Iterable[Path], archives: Iterable[Path]) -> tuple[list[Example], int]:
    """All pages there are to learn from, and how many there were besides."""
    num_left_out = 0
    examples = [gold_example(page) for folder in gold_dirs for page in gold.read_gold(folder)]
    for path in archives:
        with path.open("rb") as raw:
            for found in read_captures(raw, 20 << 20):
                markup = decode(found.body, found.content_type) if isinstance(found, Capture) and not found.reason else None
                example = agreed_example(f"{found.url} {found.file_offset}", markup) if markup and isinstance(found, Capture) else None
                examples += [example] if example else []
                num_left_out += example is None
    useful = [e for e in examples if len(e.targets)]
    return useful, num_left_out + len(examples) - len(useful)


def main(arguments: Sequence[str] | None = None) -> int:
    """Cross-validate, train on all pages, write the model."""
    parser = argparse.ArgumentParser(description="Train the model of extraction on pages with known text.")
    parser.add_argument("gold", nargs="+", type=Path, help="folders with ground-truth.json and html/")
    parser.add_argument("--archive", action="append", default=[], type=Path, help="WARC files of further pages")
    parser.add_argument("--out", type=Path, default=MODEL_FILE, help="the model's file")
    parser.add_argument("--no-cross-validation", action="store_true")
    given = parser.parse_args(arguments)
    examples, num_left_out = read_examples(given.gold, given.archive)
    num_gold = sum(e.text is not None for e in examples)
    sets = [gold.set_digest(gold.read_gold(folder)) for folder in given.gold]
    notes: dict[str, Any] = {
        "gold_digests": sets,
        "num_gold_pages": num_gold,
        "num_agreed_pages": len(examples) - num_gold,
        "num_left_out": num_left_out,
    }
    print(notes, file=sys.stderr, flush=True)
    if not given.no_cross_validation:
        found = cross_validate(examples, lambda line: print(line, file=sys.stderr, flush=True))
        notes |= {"cross_validated_f1": round(found.f1, 4), "precision": round(found.precision, 4), "recall": round(found.recall, 4)}
    given.out.write_text(as_json(train(examples), notes))
    print(json.dumps(notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
