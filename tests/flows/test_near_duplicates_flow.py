"""Pairs, keys and variants in a lake: crawl by crawl as all at once, also where buckets are too large for an increment."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from flows import near_duplicates, paragraphs, variants
from flows.common import Planned, open_lake, settle, stage_keys
from flows.settings import ParagraphsSettings, SignalsSettings
from lm.corpus import minhash, recipes
from lm.corpus.near_duplicates import proposing
from storage import files, ledger
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir
from storage.schema import TABLES

SETTINGS = SignalsSettings(minhash_presets=["fineweb"], num_threads=1)


def family(seed: int, size: int) -> list[str]:
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijkl", k=5)) for _ in range(500)]
    base = rng.choices(vocabulary, k=120)
    return [" ".join(w if i != at else rng.choice(vocabulary) for i, w in enumerate(base)) for at in range(size)]


CRAWLS = [[text for seed in range(4) for text in family(seed, 9)[part::3]] for part in range(3)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """An empty lake that LADDER_LAKE names."""
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    with open_lake() as opened:
        yield opened


def add(lake: Lake, crawl: str, texts: Sequence[str], in_files: bool = False) -> None:
    """Documents and band keys of one crawl, as rows in the catalog or in files."""
    ids = [digest(text) for text in texts]
    same = {"crawl": crawl, "title": "", "language": "en", "extractor": "plain", "language_score": 1.0}
    rows = pa.table(
        {
            **{name: pa.nulls(len(texts)) for name in TABLES["documents"].columns if name != "produced_by"},
            **{name: [value] * len(texts) for name, value in same.items()},
            "capture_id": [f"{crawl}{i}" for i in range(len(texts))],
            "url": [f"http://{crawl}.org/{i}?utm_source=x" for i in range(len(texts))],
            "host": [f"{crawl}.org"] * len(texts),
            "num_chars": [len(text) for text in texts],
            "num_bytes": [len(text) for text in texts],
            "id": ids,
            "text": list(texts),
        }
    )
    bands = minhash.band_table(pa.array(ids), pa.array(texts), "fineweb")
    works = [Work(stage=stage, slot=crawl, parameters={}, code={}, inputs={crawl: digest(*texts)}) for stage in ("documents", "signals")]
    tables = [{"documents": rows}, {"signatures": bands}]
    ledger.commit(lake, [_output(lake, work, table, in_files) for work, table in zip(works, tables, strict=True)])


def _output(lake: Lake, work: Work, tables: dict[str, pa.Table], in_files: bool) -> Output:
    if not in_files:
        return Output(work=work, tables=tables)
    with output_dir(lake, work) as out:
        paths = {}
        for name, rows in tables.items():
            files.write_parquet(str(out.path / name), rows, work.key, schema=TABLES[name])
            paths[name] = [out.publish(name)]
    return Output(work=work, files=paths)


def compare(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bring pairs up to date without a server; how many comparisons were made."""
    monkeypatch.setattr(
        near_duplicates, "compare", near_duplicates.compare.fn if hasattr(near_duplicates.compare, "fn") else near_duplicates.compare
    )
    return near_duplicates.compare_all(lake, SETTINGS).num_new


def pairs(lake: Lake) -> list[tuple[object, ...]]:
    return lake.rows("SELECT id_a, id_b, jaccard, containment, method FROM near_duplicates ORDER BY ALL")


@pytest.mark.parametrize(
    ("order", "max_bucket", "in_files"),
    [((0, 1, 2), 1000, False), ((0, 1, 2), 1000, True), ((2, 0, 1), 1000, True), ((0, 1, 2), 4, True)],
)
def test_crawl_by_crawl_gives_what_one_comparison_gives(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Sequence[int], max_bucket: int, in_files: bool
) -> None:
    monkeypatch.setattr(proposing.propose, "__defaults__", (max_bucket,))
    for number in order:
        add(lake, f"c{number}", CRAWLS[number], in_files)
        assert compare(lake, monkeypatch) == 1
        assert compare(lake, monkeypatch) == 0
    assert (near_duplicates._files(lake, "documents") is not None) == in_files
    found = pairs(lake)
    assert len(found) > 50
    assert len(set(found)) == len(found)
    assert len(stage_keys(lake, "near_duplicates")) == (3 if max_bucket == 1000 else 1)
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "other"))
    with open_lake() as other:
        for number in (2, 0, 1):
            add(other, f"c{number}", CRAWLS[number])
        assert compare(other, monkeypatch) == 1
        assert pairs(other) == found


def test_keys_name_addresses_in_one_form(lake: Lake) -> None:
    add(lake, "one", ["Same words", "other words"])
    add(lake, "two", ["same, WORDS!"])
    settle(lake, near_duplicates.plan_keys(lake, SETTINGS), lambda todo: [near_duplicates.key.fn(p.work, p.unit) for p in todo])
    assert lake.rows("SELECT canonical_url FROM document_keys ORDER BY ALL") == [("one.org/0",), ("one.org/1",), ("two.org/0",)]
    assert lake.value("SELECT count(DISTINCT content_key) FROM document_keys") == 2


def test_repeats_and_boilerplate_become_variants(lake: Lake) -> None:
    (shared,), own = family(50, 1), [family(60 + i, 1)[0] for i in range(10)]
    add(lake, "one", [f"Menu\n{text}\n{shared}" for text in own[:9]])
    add(lake, "two", [own[9]])

    def produce(todo: Sequence[Planned[str]]) -> list[Output]:
        settings = ParagraphsSettings(min_line_documents=5)
        return [
            paragraphs.find_repeats.fn(p.work) if p.unit == "repeats" else paragraphs.find_host_lines.fn(p.work, settings) for p in todo
        ]

    settle(lake, paragraphs.plan(lake, ParagraphsSettings(min_line_documents=5)), produce)
    counts = dict(lake.rows("SELECT variant, count(*) FROM text_variants GROUP BY ALL"))
    assert counts == {"without_repeats": 8, "without_boilerplate": 9}
    first = min(digest(f"Menu\n{text}\n{shared}") for text in own[:9])
    assert lake.rows("SELECT id FROM text_variants WHERE variant = 'without_repeats' AND id = ?", [first]) == []
    assert lake.value("SELECT bool_and(NOT contains(text, ?)) FROM text_variants WHERE variant = 'without_repeats'", [shared])
    assert set(lake.rows("SELECT line, num_documents FROM host_lines")) == {("Menu", 9), (shared[:200], 9)}
    assert lake.value("SELECT count(*) FROM text_variants WHERE starts_with(text, 'Menu')") == 8


def test_edits_start_from_texts_without_boilerplate(lake: Lake, tmp_path: Path) -> None:
    texts = [f"Menu\n{text} a@b.example.net" for text in family(70, 6)]
    add(lake, "one", texts)
    (tmp_path / "own.toml").write_text('name = "own"\ntexts = "without_boilerplate"\nedits = ["mask_pii"]\n')
    recipe = recipes.load(tmp_path / "own.toml")
    assert (recipe.start, recipe.variant) == ("without_boilerplate", "without_boilerplate+mask_pii")
    lines = ParagraphsSettings(min_line_documents=5)
    settle(
        lake, paragraphs.plan(lake, lines), lambda todo: [paragraphs.find_host_lines.fn(p.work, lines) for p in todo if p.unit != "repeats"]
    )
    columns = {name: pa.nulls(len(texts)) for name in TABLES["signals"].columns if name != "produced_by"}
    measured = pa.table({**columns, "id": [digest(text) for text in texts]})
    asked = pa.table({"recipe": ["own"], "definition": [recipe.definition], "recipe_digest": [recipe.digest], "variant": [recipe.variant]})
    outputs = [
        Output(work=Work(stage=stage, slot="own", parameters={}, code={}, inputs={}), tables={table: rows})
        for stage, table, rows in (("signals", "signals", measured), ("recipe", "recipes", asked))
    ]
    ledger.commit(lake, outputs)
    settle(lake, variants.plan_variants(lake), lambda todo: [variants.edit.fn(p.work, p.unit) for p in todo])
    made = lake.rows("SELECT text, num_removed_bytes FROM text_variants WHERE variant = ? ORDER BY ALL", [recipe.variant])
    masked = [(text.removeprefix("Menu\n").replace("a@b.example.net", "name@example.org"), len("Menu\n") - 1) for text in texts]
    assert made == sorted(masked)
    assert variants.num_unedited(lake, recipe.variant) == 1  # repeats were not looked for
