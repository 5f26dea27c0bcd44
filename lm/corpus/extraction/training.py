"""Train the model of extraction, and measure it on pages it has not seen: `python -m lm.corpus.extraction.training GOLD_DIR...`.

Gold pages are few and mostly English news, and a model trained on them alone kept nothing of forums, manuals and short pages. So pages
of an archive are added whose text nobody knows: where resiliparse and trafilatura agree about a block, that is its target, with less
weight; other blocks do not count. Both agree about much that is wrong on Chinese pages, the editor's line, the list of other news. So
blocks of some eighty pages in Chinese, Japanese and Korean were chosen by hand, after reading (`labelled.json`: numbers of blocks by
digest of the page, and no text). With `--dense` these count nearly as gold pages do, and the model for such scripts comes out; their score
in cross-validation is by our own labels, so no benchmark.

Targets of the second forest come from first forests that did not see the page. Cross-validation leaves out whole hosts, with `--dense`
also whole sites of the archive, and trains all of it anew each time; only its figures say anything about other pages. It costs some two
minutes of CPU for 181 gold and 302 other pages.
"""

import argparse
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
from lm.corpus.entities import unescape
from lm.corpus.extraction import engines, gold, labels
from lm.corpus.extraction.boosting import Boosting, grow, predict
from lm.corpus.extraction.features import FEATURES, NUM_FEATURES
from lm.corpus.extraction.forest import CONTEXT, DENSE_MODEL_FILE, MODEL_FILE, Forest, Model
from lm.corpus.extraction.kernels import Page, main_text, read_page, text_of_blocks, with_context
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
LABELS_FILE = Path(__file__).with_name("labelled.json")
_LABELLED_WEIGHT = 0.7
_MIN_AGREEMENT, _MAX_DISAGREEMENT = 0.3, 0.4
_MAX_SHARE, _MIN_SHARE, _MIN_TOKENS = 0.5, 0.002, 20.0
"""A block weighs its share of the page's text: one paragraph at most half, a menu's entry at least this."""


@dataclass(frozen=True, slots=True)
class Example:
    """A page with a target and a weight per block."""

    name: str
    host: str
    """Site: what is left out together."""
    payload: Array
    page: Page
    targets: Array
    weights: Array
    text: str | None
    """The known text of a gold or labelled page."""
    is_labelled: bool = False

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


def labelled_example(name: str, site: str, markup: str, labels_of_page: Mapping[str, Any]) -> Example:
    """A page whose blocks were chosen by hand; those that are neither main text nor not, such as a photographer's name, do not count.

    Raises: ValueError if the page is cut into other blocks than when it was labelled.
    """
    payload = markup.encode("utf-8", "replace")
    data = np.frombuffer(payload, np.uint8)
    found = read_page(data)
    num = len(found.blocks.first)
    if num != labels_of_page["blocks"]:
        raise ValueError(
            f"{name} must have the {labels_of_page['blocks']} blocks it had when it was labelled, but has {num}; label it again"
        )
    chosen, unsure = (_marked(labels_of_page.get(what, []), num) for what in ("main", "unsure"))
    targets = chosen.astype(np.float32)
    sizes = np.array([len(labels.tokens(text)) for text in labels.block_texts(payload, found)], np.float32)
    text = unescape(text_of_blocks(data, found, chosen).decode("utf-8", "replace"))
    return Example(name, site, data, found, targets, _LABELLED_WEIGHT * _weights(targets, sizes) * ~unsure, text, is_labelled=True)


def _marked(spans: Iterable[Sequence[int]], num: int) -> Array:
    """bool (block,) from first and last blocks."""
    marked = np.zeros(num, np.bool_)
    for first, last in spans:
        marked[first : last + 1] = True
    return marked


def site_of(url: str) -> str:
    """What pages of one site share: the host and the first folder, for an archive may hold several sites under one name."""
    parts = urlsplit(url)
    return f"{parts.hostname}/{parts.path.strip('/').partition('/')[0]}"


def agreed_example(name: str, site: str, markup: str) -> Example | None:
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
    return Example(name, site, data, found, targets, weight * _weights(targets, sizes) * (np.abs(one - two) < _MAX_DISAGREEMENT), None)


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


def cross_validate(examples: Sequence[Example], report: Callable[[str], object]) -> tuple[gold.Score, gold.Score]:
    """The score on gold pages, and on labelled ones, of models that saw no page of their sites."""
    overlaps: dict[bool, list[gold.Overlap]] = {False: [], True: []}
    for fold in range(NUM_FOLDS):
        apart = [e for e in examples if e.text is not None and _part_of(e.host, NUM_FOLDS, "fold") == fold]
        model = train([e for e in examples if _part_of(e.host, NUM_FOLDS, "fold") != fold])
        for e in apart:
            overlaps[e.is_labelled].append(gold.overlap(e.text or "", _text(e, model)))
        report(f"fold {fold + 1} of {NUM_FOLDS}; so far {gold.score(overlaps[False])}, labelled {gold.score(overlaps[True])}")
    return gold.score(overlaps[False]), gold.score(overlaps[True])


def _text(example: Example, model: Model) -> str:
    return unescape(main_text(example.payload, example.page, model).decode("utf-8", "replace"))


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


def read_examples(gold_dirs: Iterable[Path], archives: Iterable[Path], *, dense: bool) -> tuple[list[Example], int]:
    """All pages there are to learn from, and how many there were besides. Labels are used for the model of dense scripts only."""
    num_left_out = 0
    labelled = json.loads(LABELS_FILE.read_text()) if dense else {}
    examples = [gold_example(page) for folder in gold_dirs for page in gold.read_gold(folder)]
    for path in archives:
        with path.open("rb") as raw:
            for found in read_captures(raw, 20 << 20):
                if not isinstance(found, Capture) or found.reason:
                    num_left_out += 1
                    continue
                markup = decode(found.body, found.content_type) or ""
                name = f"{found.url} {found.file_offset}"
                site = site_of(found.url) if dense else name
                chosen = labelled.get(digest(markup.encode("utf-8", "replace")))
                example = labelled_example(name, site, markup, chosen) if chosen else agreed_example(name, site, markup) if markup else None
                examples += [example] if example else []
                num_left_out += example is None
    useful = [e for e in examples if len(e.targets)]
    return useful, num_left_out + len(examples) - len(useful)


def main(arguments: Sequence[str] | None = None) -> int:
    """Cross-validate, train on all pages, write the model."""
    parser = argparse.ArgumentParser(description="Train the model of extraction on pages with known text.")
    parser.add_argument("gold", nargs="+", type=Path, help="folders with ground-truth.json and html/")
    parser.add_argument("--archive", action="append", default=[], type=Path, help="WARC files of further pages")
    parser.add_argument("--dense", action="store_true", help="the model for Chinese, Japanese and Korean, with the labelled pages")
    parser.add_argument("--out", type=Path, help="the model's file, if not the one that is used")
    parser.add_argument("--no-cross-validation", action="store_true")
    given = parser.parse_args(arguments)
    examples, num_left_out = read_examples(given.gold, given.archive, dense=given.dense)
    num_labelled = sum(e.is_labelled for e in examples)
    num_gold = sum(e.text is not None for e in examples) - num_labelled
    sets = [gold.set_digest(gold.read_gold(folder)) for folder in given.gold]
    notes: dict[str, Any] = {
        "gold_digests": sets,
        "num_gold_pages": num_gold,
        "num_labelled_pages": num_labelled,
        "num_agreed_pages": len(examples) - num_gold - num_labelled,
        "num_left_out": num_left_out,
    }
    print(notes, file=sys.stderr, flush=True)
    if not given.no_cross_validation:
        found, labelled = cross_validate(examples, lambda line: print(line, file=sys.stderr, flush=True))
        notes |= {"cross_validated_f1": round(found.f1, 4), "precision": round(found.precision, 4), "recall": round(found.recall, 4)}
        if given.dense:
            notes |= {f"labelled_{name}": round(getattr(labelled, name), 4) for name in ("f1", "precision", "recall")}
    (given.out or (DENSE_MODEL_FILE if given.dense else MODEL_FILE)).write_text(as_json(train(examples), notes))
    print(json.dumps(notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
