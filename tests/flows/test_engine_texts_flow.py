"""Recipes that start from texts by another engine: each file is read once more, once, and the ladder trains on what came of it."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from flows import documents, engine_texts, ladder, recipe, signals, tokens, variants
from flows.common import Planned, open_lake, settle, stage_keys
from flows.documents import Shard
from flows.recipe_browse import browse
from flows.recipe_inspect import compare, explain_document
from flows.settings import DocumentsSettings, LadderSettings, RecipeSettings, SignalsSettings, TokensSettings
from lm.corpus import recipes
from lm.corpus.documents import extract_shard
from lm.corpus.records import ExtractionOptions
from lm.corpus.signals import compute
from lm.corpus.sources import list_files, parse
from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir
from storage.signals import SIGNALS

PROSE = "The {n} harbour was quiet in the morning, and {n} boats lay at the quay. Nobody spoke of the storm that had passed in the night. "
LISTED = f"<article><h1>{{n}}</h1><p>{PROSE * 3} Mail {{n}}@boats.example.net</p><ul><li>{{n}} boats, which is many</li></ul></article>"
"""Our engine keeps the list, resiliparse does not."""
SHARED = LISTED.replace("{n}", "shared")
MENU = "<nav><ul><li><a href=/a>Home</a></li><li><a href=/b>Prices</a></li></ul></nav>"
"""Our engine takes it where there is nothing else, resiliparse does not."""
BARE = f"<article><p>{PROSE * 3}</p></article>".replace("{n}", "bare")
TRAINED = TokensSettings(vocab_size=300, validation_recipe="own")


pytestmark = pytest.mark.slow


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """An empty lake that LADDER_LAKE names."""
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    with open_lake() as opened:
        yield opened


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Slots of the files that were read once more. Tasks run without a server."""
    found: list[str] = []

    def extract_all(todo: Sequence[Planned[engine_texts.Asked]]) -> list[Output]:
        found.extend(planned.work.slot.rpartition("/")[2] for planned in todo)
        return [engine_texts.extract_again.fn(planned.work, planned.unit) for planned in todo]

    monkeypatch.setattr(engine_texts, "extract_all", extract_all)
    for module, name in ((recipe, "apply"), (variants, "edit")):
        monkeypatch.setattr(module, name, getattr(module, name).fn)
    return found


def archive(path: Path, pages: Mapping[str, str]) -> None:
    records = []
    for url, body in pages.items():
        block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>{body}</body></html>".encode()
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://{url}\r\nContent-Length: {len(block)}\r\n\r\n"
        records.append(gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0))
    path.write_bytes(b"".join(records))


def add(lake: Lake, crawl: str, source: str) -> None:
    """Crawl files, then extract and measure what is new, as the stages do, in this process."""
    kind = source.partition(":")[0]
    files = [
        {"crawl": crawl, "source": source, "kind": kind, "file": f.url, "num_bytes": f.num_bytes, "file_digest": f.digest}
        for f in list_files(parse(source))
    ]
    work = Work(stage="crawl", slot=crawl, parameters={}, code={}, inputs={})
    ledger.commit(lake, [Output(work=work, tables={"crawl_files": pa.Table.from_pylist(files)})])
    settle(lake, documents.plan(lake, DocumentsSettings()), lambda todo: [extract(lake, planned) for planned in todo])
    asked = SignalsSettings(minhash_presets=["ladder"], num_threads=1)

    def measure(todo: Sequence[Planned[str]]) -> list[Output]:
        taken: set[str] = set()
        staying = list(stage_keys(lake, "signals").values())
        return [signals.measure.fn(planned.work, planned.unit, staying, taken, asked) for planned in todo]

    settle(lake, signals.plan(lake, asked), measure)


def extract(lake: Lake, planned: Planned[Shard]) -> Output:
    shard, options = planned.unit, ExtractionOptions(**DocumentsSettings().model_dump())
    with output_dir(lake, planned.work) as out:
        result = extract_shard(
            shard.source(lake), crawl=shard.crawl, kind=shard.kind, options=options, out_dir=str(out.path), produced_by=planned.work.key
        )
        files = {name: [out.publish(f"{name}.parquet")] for name in ("captures", "documents")}
    return Output(work=planned.work, files=files, rejects=result.rejects)


def apply(folder: Path, **fields: object) -> recipes.Recipe:
    """Apply a recipe `own`."""
    path = folder / "own.toml"
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in {"name": "own", **fields}.items()))
    recipe.recipe_flow.fn(RecipeSettings(recipes=[str(path)]))
    return recipes.load(path)


def count(lake: Lake, rule: str) -> int:
    return int(lake.value("SELECT num_removed FROM recipe_counts WHERE recipe = 'own' AND rule = ?", [rule]))


def trained(lake: Lake) -> set[str]:
    """Ids that a ladder of the recipe selects for training, with the note held out."""
    made = settle(lake, tokens.plan_tokenizer(lake, TRAINED), lambda todo: [tokens.make_tokenizer.fn(p.work, TRAINED) for p in todo])
    assert made.num_new + made.num_done == 1
    settle(lake, tokens.plan(lake, TRAINED), lambda todo: [tokens.encode_texts.fn(p.work, p.unit, TRAINED) for p in todo])
    note = [id for (id,) in lake.rows("SELECT id FROM documents WHERE crawl = 'notes'")]
    held = Work(stage="validation", slot="notes", parameters={}, code={}, inputs={})
    ledger.commit(lake, [Output(work=held, tables={"validation": pa.table({"validation_id": ["v"], "id": note})})])
    rows = ladder._select(lake, LadderSettings(recipe="own"), ladder.current_tokenizer(lake, None)[0], "v").to_pylist()
    assert [row["id"] for row in rows if row["split"] == "validation"] == note
    return {row["id"] for row in rows if row["split"] == "train"}


def test_a_recipe_starts_from_texts_by_another_engine(lake: Lake, tmp_path: Path, read: list[str]) -> None:
    pages = {"a.org/1": LISTED.replace("{n}", "first"), "a.org/shared": SHARED, "a.org/menu": MENU, "a.org/bare": BARE}
    archive(tmp_path / "a.warc.gz", pages)
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "A note that came as text.", "url": "http://n.org/"}))
    add(lake, "one", f"warc:{tmp_path}/a.warc.gz")
    add(lake, "notes", f"jsonl:{tmp_path}/notes.jsonl")
    before = lake.rows("SELECT * FROM documents ORDER BY ALL")

    asked = apply(tmp_path, texts="resiliparse")
    assert asked.variant == "resiliparse"
    assert read == ["a.warc.gz"]
    changed = dict(lake.rows("SELECT url, v.text FROM text_variants v JOIN documents USING (id)"))
    assert changed.keys() == {"http://a.org/1", "http://a.org/shared", "http://a.org/menu"}
    assert changed["http://a.org/menu"] == ""
    assert "boats, which is many" not in changed["http://a.org/1"]
    assert lake.rows("SELECT reason, num_rejects, example FROM rejects WHERE stage = 'engine_texts'") == [
        ("no_main_content", 1, "http://a.org/menu")
    ]
    assert (count(lake, "nothing_left"), count(lake, "kept")) == (1, 4)
    with_values = lake.query("SELECT s.*, text FROM variant_signals s JOIN text_variants v USING (id, variant) ORDER BY id")
    assert sorted(with_values["text"].to_pylist()) == sorted(text for text in changed.values() if text)
    values = with_values.select(list(SIGNALS)).combine_chunks()
    assert values.equals(compute(with_values["text"]))
    assert {row["language"] for row in with_values.to_pylist()} == {"en"}
    snapshot = lake.snapshot_id()
    stored = "text_variants v JOIN (SELECT DISTINCT id, num_bytes FROM documents) d USING (id)"
    assert lake.value(f"SELECT bool_and(d.num_bytes - strlen(v.text) = num_removed_bytes) FROM {stored}")

    apply(tmp_path, texts="resiliparse")
    assert len(read) == 1
    assert lake.snapshot_id() == snapshot
    ids = dict(lake.rows("SELECT id, min(url) FROM documents GROUP BY id"))
    ladder_ids = trained(lake)
    assert {ids[id.removesuffix("~resiliparse")]: "~" in id for id in ladder_ids} == {
        "http://a.org/1": True,
        "http://a.org/shared": True,
        "http://a.org/bare": False,
    }
    encoded = lake.rows("SELECT num_bytes = strlen(v.text) FROM tokens t JOIN text_variants v ON t.id = v.id || '~resiliparse'")
    assert encoded == [(True,)] * 2

    explained = explain_document(lake, asked, "http://a.org/1")
    assert (explained.variant, explained.reason) == ("resiliparse", None)
    assert explained.num_removed_bytes is not None
    assert explain_document(lake, asked, "http://a.org/menu").reason == "nothing_left"
    shown = {sample.url: sample.text for sample in browse(lake, asked, 9, 10_000).samples}
    assert shown["http://a.org/1"] == changed["http://a.org/1"]
    assert shown["http://a.org/bare"] == lake.value("SELECT text FROM documents WHERE url = 'http://a.org/bare'")
    both = compare(lake, recipes.load("raw"), asked)[0].to_pylist()[0]
    assert both["bytes_a"] - both["bytes_b"] == lake.value("SELECT sum(num_removed_bytes) FROM text_variants WHERE text <> ''")

    kept = lake.rows("SELECT produced_by, id FROM text_variants ORDER BY ALL")
    archive(tmp_path / "c.warc.gz", {"c.org/3": LISTED.replace("{n}", "third"), "c.org/shared": SHARED})
    add(lake, "two", f"warc:{tmp_path}/c.warc.gz")
    assert variants.num_unedited(lake, "resiliparse") == 1
    edited = apply(tmp_path, texts="resiliparse", edits=["mask_pii"])
    assert read == ["a.warc.gz", "c.warc.gz"]
    assert variants.num_unedited(lake, edited.variant) == 0
    by_engine = lake.rows("SELECT produced_by, id FROM text_variants WHERE variant = 'resiliparse'")
    assert set(by_engine) > set(kept)
    assert len(by_engine) == len({id for _, id in by_engine}) == len(kept) + 1
    assert count(lake, "exact_duplicate") == 1
    masked = dict(lake.rows("SELECT url, v.text FROM text_variants v JOIN documents USING (id) WHERE variant = ?", [edited.variant]))
    assert masked["http://c.org/3"] == changed["http://a.org/1"].replace("first", "third").replace(
        "third@boats.example.net", "name@example.org"
    )
    its_own = lake.rows("SELECT slot, json_keys(inputs) FROM stages WHERE stage = 'variants' ORDER BY slot")
    assert [len([name for name in inputs if "engine_texts/" in name]) for _, inputs in its_own] == [0, 1, 1]

    apply(tmp_path)
    assert len(read) == 2
    assert lake.rows("FROM text_variants") == lake.rows("FROM variant_signals") == []
    assert stage_keys(lake, "engine_texts") == {}
    assert count(lake, "kept") == 6
    assert lake.rows("SELECT * FROM documents WHERE crawl <> 'two' ORDER BY ALL") == before
