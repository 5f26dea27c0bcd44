"""What a new evaluation set and a new crawl make the lake scan, and what the verdict leaves in its tables."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from flows import contamination
from flows.common import MissingInputError, Planned, open_lake, settle
from flows.settings import ContaminationSettings
from lm.corpus.contamination.items import Fields
from storage import ledger
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES

SETTINGS = ContaminationSettings(num_threads=1)


def sentence(seed: object, num: int) -> str:
    rng = random.Random(str(seed))
    return " ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(num))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """An empty lake that LADDER_LAKE names."""
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path / "lake"))
    with open_lake() as opened:
        yield opened


def add_documents(lake: Lake, crawl: str, texts: Sequence[str]) -> None:
    """One output of the documents stage."""
    columns = {
        **{name: pa.nulls(len(texts)) for name in TABLES["documents"].columns if name != "produced_by"},
        **{name: [f"{crawl}{i}" for i in range(len(texts))] for name in ("capture_id", "url")},
        **{
            name: [value] * len(texts)
            for name, value in {"crawl": crawl, "host": "h", "title": "", "language": "en", "extractor": "plain"}.items()
        },
        "language_score": [1.0] * len(texts),
        "num_chars": [len(text) for text in texts],
        "num_bytes": [len(text) for text in texts],
        "id": [digest(text) for text in texts],
        "text": list(texts),
    }
    work = Work(stage="documents", slot=crawl, parameters={}, code={}, inputs={crawl: digest(*texts)})
    ledger.commit(lake, [Output(work=work, tables={"documents": pa.table(columns)})])


def add_set(lake: Lake, folder: Path, name: str, *questions: str) -> None:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps({"id": str(i), "question": text}) + "\n" for i, text in enumerate(questions)))
    contamination.add_set(lake, name, str(file), Fields())


def run(lake: Lake) -> list[str]:
    """Scan and judge what is open; the slots that were scanned."""
    done: list[str] = []

    def produce(todo: Sequence[Planned[contamination.Scan]]) -> list[Output]:
        done.extend(planned.work.slot for planned in todo)
        by_shard = {p.unit.documents_key: [q for q in todo if q.unit.documents_key == p.unit.documents_key] for p in todo}
        return [output for key, units in by_shard.items() for output in contamination.scan.fn(key, units, SETTINGS)]

    settle(lake, contamination.plan(lake, SETTINGS), produce)
    settle(lake, contamination.plan_verdict(lake, SETTINGS), lambda todo: [contamination.judge.fn(p.work, SETTINGS) for p in todo])
    return done


def known(lake: Lake) -> set[tuple[str, str]]:
    return set(lake.rows("SELECT evaluation_set, item FROM contaminated_items WHERE contaminated"))


def test_a_new_set_scans_all_texts_and_a_new_crawl_only_its_own(lake: Lake, tmp_path: Path) -> None:
    leaked, other = sentence("leaked", 30), sentence("other", 30)
    add_documents(lake, "one", [sentence(1, 50), f"{sentence(2, 20)}\n{leaked}\n{sentence(3, 20)}"])
    assert run(lake) == []
    add_set(lake, tmp_path, "first", leaked, other)
    assert run(lake) == ["first/one"]
    assert known(lake) == {("first", "0")}
    assert run(lake) == []
    add_documents(lake, "two", [sentence(4, 50), f"{sentence(5, 20)} {other}"])
    assert run(lake) == ["first/two"]
    assert known(lake) == {("first", "0"), ("first", "1")}
    add_set(lake, tmp_path, "second", sentence(4, 50))
    assert run(lake) == ["second/one", "second/two"]
    assert known(lake) == {("first", "0"), ("first", "1"), ("second", "0")}
    checks = lake.query(contamination.SUMMARY).to_pylist()
    assert [(row["evaluation_set"], row["items"], row["contaminated"], row["own_precision"]) for row in checks] == [
        ("first", 2, 2, 1.0),
        ("second", 1, 1, 1.0),
    ]
    assert all(row["own_recall"] == 1 for row in checks)
    by_parts = lake.digest()
    with open_lake() as again:
        slots = again.rows("SELECT stage, slot FROM stages WHERE stage LIKE 'contamination%'")
        ledger.commit(again, [], also_remove=[(str(stage), str(slot)) for stage, slot in slots])
        assert len(run(again)) == 4
        assert again.digest().total == by_parts.total


def test_the_paragraph_goes_and_the_text_stays(lake: Lake, tmp_path: Path) -> None:
    text = f"{sentence(2, 20)}\nBefore {sentence('leaked', 30)}\n{sentence(3, 20)}"
    add_documents(lake, "one", [text, sentence(1, 40)])
    add_documents(lake, "two", [text])
    add_set(lake, tmp_path, "set", sentence("leaked", 30))
    run(lake)
    rows = lake.rows("SELECT id, variant, text, num_removed_bytes FROM text_variants")
    assert rows == [(digest(text), "decontaminated", f"{sentence(2, 20)}\n{sentence(3, 20)}", len(sentence("leaked", 30)) + 8)]
    assert len(lake.rows("FROM contamination")) == 1


def test_a_set_that_goes_takes_its_findings_along(lake: Lake, tmp_path: Path) -> None:
    add_documents(lake, "one", [sentence("leaked", 30)])
    add_set(lake, tmp_path, "set", sentence("leaked", 30))
    run(lake)
    assert known(lake)
    with pytest.raises(MissingInputError, match="no evaluation set 'sett'; it has set"):
        contamination.remove_set(lake, "sett")
    contamination.remove_set(lake, "set")
    run(lake)
    assert [lake.value(f"SELECT count(*) FROM {name}") for name in ("contamination", "contamination_matches", "contaminated_items")] == [
        0,
        0,
        0,
    ]
    assert lake.rows("FROM text_variants") == []
