import io
import random
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from rich.console import Console

from storage import files, ledger
from storage.catalog import INLINE_ROWS
from storage.lake import Lake
from storage.ledger import Output, Work, commit
from storage.records import Reject
from storage.schema import TABLES


def validation(name: str, num_rows: int = 1) -> pa.Table:
    return pa.table({"validation_id": [name] * num_rows, "id": [str(row) for row in range(num_rows)]})


def work(slot: str = "slot", **parameters: object) -> Work:
    return Work(stage="tokens", slot=slot, parameters=parameters, code={"lm.tokens": "1"}, inputs={"a": "1", "b": "2"})


def test_the_key_covers_all_of_it_and_nothing_else() -> None:
    same = Work(stage="s", slot="t", parameters={"a": 1, "b": [1, 2]}, code={"m": "1"}, inputs={})
    assert same.key == Work(stage="s", slot="t", parameters={"b": (1, 2), "a": 1}, code={"m": "1"}, inputs={}).key
    changes: list[dict[str, object]] = [
        {"stage": "x"},
        {"slot": "x"},
        {"parameters": {"a": 1.0, "b": [1, 2]}},
        {"code": {}},
        {"inputs": {"m": "1"}},
    ]
    given: dict[str, object] = {"stage": "s", "slot": "t", "parameters": {"a": 1, "b": [1, 2]}, "code": {"m": "1"}, "inputs": {}}
    assert len({same.key, *(Work(**(given | change)).key for change in changes)}) == len(changes) + 1  # type: ignore[arg-type]


def test_parameters_must_be_plain_values() -> None:
    with pytest.raises(TypeError, match="parameters of tokens slot must be plain JSON"):
        _ = work(path=Path("x")).key
    with pytest.raises(ValueError, match="must be plain JSON"):
        _ = work(rate=float("nan")).key


def test_a_commit_holds_files_rows_and_rejects_once(lake: Lake, committer: ModuleType) -> None:
    of = committer.work(1)
    assert ledger.pending(lake, [of, of]) == [of]
    done = commit(lake, [committer.output(lake, of)])
    assert (done.num_rows, done.num_skipped) == (7, 0)
    assert ledger.is_done(lake, of)
    before = lake.digest()
    again = commit(lake, [committer.output(lake, of)])
    assert (again.snapshot, again.num_rows, again.num_skipped) == (done.snapshot, 0, 1)
    assert lake.digest() == before
    assert lake.rows("SELECT stage, source, reason, num_rejects FROM rejects") == [("tokens", "slot-1", "empty_text", 2)]
    assert lake.rows("SELECT num_rows, tables FROM stages") == [(7, '["rejects", "tokenizers", "tokens"]')]
    assert files.list_files(lake.settings.data_path) == lake.list_data_files("tokens")


def test_new_work_for_a_slot_replaces_the_old_output(lake: Lake, committer: ModuleType) -> None:
    commit(lake, [committer.output(lake, committer.work(number)) for number in (1, 2)])
    commit(lake, [committer.output(lake, committer.work(1, version=2), num_rows=3)])
    assert lake.rows("SELECT count(*), count(DISTINCT produced_by) FROM tokens") == [(8, 2)]
    assert lake.rows("SELECT count(*) FROM tokenizers") == [(4,)]
    assert sorted(file.num_rows for file in lake.data_files("tokens")) == [3, 5]
    assert [file.key for file in lake.data_files("tokens", [committer.work(2).key])] == [committer.work(2).key]
    commit(lake, [committer.output(lake, committer.work(1))])  # back to the first: its files are new ones, the snapshot's stay
    assert lake.rows("SELECT count(*) FROM tokens") == [(10,)]
    commit(lake, [], also_remove=[("tokens", "slot-1"), ("tokens", "never-there")])
    assert lake.rows("SELECT slot FROM stages") == [("slot-2",)]
    assert lake.rows("SELECT count(*) FROM tokens") == [(5,)]


def test_an_older_snapshot_survives_the_same_work_being_done_again(lake: Lake, committer: ModuleType) -> None:
    first = commit(lake, [committer.output(lake, committer.work(1), num_rows=4)])
    commit(lake, [], also_remove=[("tokens", "slot-1")])
    commit(lake, [committer.output(lake, committer.work(1), num_rows=2)])  # the same work, a different file: must not overwrite
    with lake.at(first.snapshot) as then:
        assert then.rows("SELECT count(*), max(len(tokens)) FROM tokens") == [(4, 2)]


@pytest.mark.parametrize("num_rows", [1, INLINE_ROWS, INLINE_ROWS + 1])
def test_rows_few_or_many_come_and_go_alike(lake: Lake, num_rows: int) -> None:
    for version in (1, 2):
        outputs = [Output(work=work(slot, version=version), tables={"validation": validation(slot, num_rows)}) for slot in "ab"]
        commit(lake, outputs)
        assert lake.rows("SELECT validation_id, count(*) FROM validation GROUP BY ALL ORDER BY 1") == [("a", num_rows), ("b", num_rows)]
    assert (len(files.list_files(lake.settings.data_path)) > 0) == (num_rows > INLINE_ROWS)


def test_any_history_leaves_what_a_plain_dictionary_would(lake: Lake, committer: ModuleType) -> None:
    chance = random.Random(3)
    model: dict[int, tuple[int, int]] = {}
    for _ in range(12):
        slots = chance.sample(range(4), chance.randint(1, 2))
        wanted = {slot: (chance.randint(1, 2), chance.choice([1, 5])) for slot in slots}
        gone = chance.randrange(4)
        model |= {slot: new for slot, new in wanted.items() if model.get(slot, (0, 0))[0] != new[0]}
        removed = [("tokens", f"slot-{gone}")] if gone not in wanted else []
        if removed:
            model.pop(gone, None)
        commit(lake, [committer.output(lake, committer.work(slot, new[0]), new[1]) for slot, new in wanted.items()], also_remove=removed)
        with Lake.open(lake.settings, read_only=True) as reader:
            found = reader.rows("SELECT slot, count(id) FROM stages JOIN tokens ON produced_by = key GROUP BY ALL ORDER BY 1")
            assert found == [(f"slot-{slot}", num_rows) for slot, (_, num_rows) in sorted(model.items())]
            keys = {committer.work(slot, version).key: num_rows for slot, (version, num_rows) in model.items()}
            assert {file.key: file.num_rows for file in reader.data_files("tokens")} == keys
            assert reader.rows("SELECT count(*), sum(num_rejects) FROM rejects") == [(len(model), 2 * len(model) or None)]


def test_writing_may_be_nested(lake: Lake) -> None:
    with lake.writing():
        commit(lake, [Output(work=work())])
    assert ledger.is_done(lake, work())


def test_an_output_may_be_empty(lake: Lake) -> None:
    of = work()
    path = files.join(lake.staging_dir(of), "validation.parquet")
    files.write_parquet(path, validation("v", 0), of.key, schema=TABLES["validation"])
    assert commit(
        lake,
        [
            Output(
                work=of,
                files={"validation": [path]},
                tables={"recipes": pa.table({"recipe": [], "definition": [], "recipe_digest": [], "variant": []})},
            )
        ],
    )
    assert ledger.is_done(lake, of)
    assert lake.data_files("validation") == []


def test_an_update_arrives_with_its_output(lake: Lake) -> None:
    commit(lake, [Output(work=work("forecast"), tables={"validation": validation("open")})])
    update = ("UPDATE validation SET validation_id = ? WHERE validation_id = ?", ["scored", "open"])
    commit(lake, [Output(work=work("score"), updates=[update])])
    assert lake.rows("SELECT validation_id FROM validation") == [("scored",)]
    with pytest.raises(ValueError, match="must be UPDATE statements"):
        commit(lake, [Output(work=work("other"), updates=[("DELETE FROM validation", [])])])


def test_a_failing_output_takes_the_whole_commit_with_it(lake: Lake, committer: ModuleType) -> None:
    before = lake.digest(), lake.snapshot_id()
    good = committer.output(lake, committer.work(1))
    with pytest.raises(Exception, match="no_such_column"):
        commit(lake, [good, Output(work=work("bad"), updates=[("UPDATE tokens SET no_such_column = 1", [])])])
    assert (lake.digest(), lake.snapshot_id()) == before
    assert files.list_files(lake.settings.data_path) == []
    commit(lake, [committer.output(lake, committer.work(1))])
    assert lake.rows("SELECT count(*) FROM tokens") == [(5,)]


def test_what_does_not_belong_is_refused_before_anything_is_written(lake: Lake, tmp_path: Path) -> None:
    of = work()
    inside, outside = files.join(lake.staging_dir(of), "x.parquet"), str(tmp_path / "x.parquet")
    for path in (inside, outside):
        files.write_parquet(path, validation("v"), "other-key", schema=TABLES["validation"])
    wrong = [
        (Output(work=of, tables={"nonsense": validation("v")}), "unknown tables"),
        (Output(work=of, tables={"stages": validation("v")}), "tables the ledger writes itself"),
        (Output(work=of, tables={"validation": validation("v").drop_columns("id")}), r"missing: \['id'\]"),
        (Output(work=of, files={"validation": [outside]}), "must be under"),
        (Output(work=of, files={"validation": [inside]}), "must hold produced_by"),
        (Output(work=of, files={"tokens": [inside]}), "must have the columns of table tokens"),
    ]
    for output, says in wrong:
        with pytest.raises(ValueError, match=says):
            commit(lake, [output])
    with pytest.raises(ValueError, match="one output per stage and slot"):
        commit(lake, [Output(work=of), Output(work=work(other=1))])
    assert lake.rows("SELECT * FROM stages") == []


def test_why_names_every_difference(lake: Lake) -> None:
    first = work(size=1, gone="x")
    assert ledger.why(lake, first).state == "new"
    commit(lake, [Output(work=first, rejects=[Reject("tokens", "s", "r", 1, "e")])])
    assert str(ledger.why(lake, first)) == "tokens slot: done: nothing changed"
    second = Work(stage="tokens", slot="slot", parameters={"size": 2, "here": [1]}, code={"lm.tokens": "2"}, inputs={"a": "9", "c": "3"})
    why = ledger.why(lake, second)
    assert why.state == "changed"
    assert str(why).splitlines()[1:] == [
        "  parameters gone: removed, was x",
        "  parameters here: added, [1]",
        "  parameters size: 1 -> 2",
        "  code lm.tokens: 1 -> 2",
        "  inputs a: 1 -> 9",
        "  inputs b: removed, was 2",
        "  inputs c: added, 3",
    ]
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(why)
    assert "lm.tokens" in console.export_text()
