"""Evaluation items are read from any shape, found under any dress, and told from look-alikes."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.corpus import folded_words
from lm.corpus.contamination import index, planting, scanning, verdict
from lm.corpus.contamination.item_files import ItemsError
from lm.corpus.contamination.items import EVALUATION_ITEMS, NO_OBJECT, NO_TEXT, REPEATED, Fields, read_items, read_set

WORDS = [a + b for a in ("ka", "lo", "mi", "ru", "sa", "te", "vo", "zi") for b in ("n", "rd", "st", "ple", "tch", "x", "w", "mo")]


def sentence(seed: object, num: int) -> str:
    return " ".join(random.Random(str(seed)).choices(WORDS, k=num))


def items(*rows: tuple[str, str | None, str | None, str | None], name: str = "set") -> pa.Table:
    columns = list(zip(*rows, strict=True))
    data = dict(zip(("item", "question", "answer", "context"), columns, strict=True))
    return pa.table({"evaluation_set": [name] * len(rows), **data}).cast(EVALUATION_ITEMS)


def find(rows: pa.Table, *texts: str) -> list[dict[str, object]]:
    ids = pa.array([str(i) for i in range(len(texts))])
    return scanning.scan(index.build(rows), ids, pa.array(texts, pa.string())).to_pylist()


def judge(rows: pa.Table, *texts: str, **options: float) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows of the tables `contamination` and `contaminated_items`."""
    ids = [f"{i:04}" for i in range(len(texts))]
    with duckdb.connect() as connection:
        connection.register("contamination_matches", scanning.scan(index.build(rows), pa.array(ids), pa.array(texts, pa.string())))
        connection.register("documents", pa.table({"id": ids}))
        connection.execute(f"CREATE TABLE contamination AS {verdict.contamination_sql(**options)}")  # type: ignore[arg-type]
        hits = connection.execute("FROM contamination ORDER BY ALL").to_arrow_table().to_pylist()
        return hits, connection.execute(verdict.contaminated_items_sql()).to_arrow_table().to_pylist()


QUESTION, ANSWER, CONTEXT = sentence("q", 30), sentence("a", 3), sentence("c", 60)
ONE = items(("i1", QUESTION, ANSWER, CONTEXT))


def test_words_are_folded_and_han_characters_stand_alone() -> None:
    dressed = "Ça VA—très “bien”, ＡＢ12 汉字かな\u00ad!"
    plain = "ca va tres bien ab12 汉 字 か な"
    one, other = folded_words.words_of(pa.array([dressed, plain]))
    assert one.hashes.tolist() == other.hashes.tolist()
    assert [dressed.encode()[b:e].decode() for b, e in zip(one.begins, one.ends, strict=True)][:4] == ["Ça", "VA", "très", "bien"]
    assert len(one.hashes) == 9


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_is_cut_into_stretches_of_itself(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    (words,) = folded_words.words_of(pa.array([text], pa.string()))
    ends = [0, *words.ends.tolist()]
    assert all(before <= begin < end <= len(text.encode()) for before, begin, end in zip(ends, words.begins, words.ends, strict=False))
    assert (folded_words.stretches(words.hashes, 1) == words.hashes).all()


@pytest.mark.parametrize("copy", [str.upper, str.title, lambda t: t.replace(" ", "\n"), lambda t: t.replace(" ", ", – “")])
def test_a_question_in_other_dress_is_found_whole(copy: object) -> None:
    text = f"{sentence(1, 50)}. {copy(QUESTION)}! {sentence(2, 50)}"  # type: ignore[operator]
    (hit,) = find(ONE, text, sentence(3, 100))
    assert (hit["id"], hit["item"], hit["part"]) == ("0", "i1", "question")
    assert len(hit["ngrams"]) == hit["num_ngrams"] == 18  # type: ignore[arg-type]
    assert hit["longest_run"] == 30
    spans: Any = hit["spans"]
    begin, end = spans
    assert text.encode()[begin:end].decode() == hit["matched_text"] == copy(QUESTION)  # type: ignore[operator]


def test_overlap_is_the_share_of_stretches() -> None:
    half = " ".join(QUESTION.split()[:20])
    (hit,), (item,) = judge(ONE, f"{sentence(1, 40)} {half} {sentence(2, 40)}")
    assert hit["overlap"] == pytest.approx(8 / 18)
    assert not hit["contaminated"]
    assert (item["contaminated"], item["overlap"], item["num_documents"]) == (False, pytest.approx(8 / 18), 0)
    (hit,), (item,) = judge(ONE, f"{sentence(1, 40)} {half} {sentence(2, 40)}", min_overlap=0.4)
    assert hit["contaminated"]
    assert (item["has_question"], item["has_answer"], item["closest_id"]) == (True, False, "0000")


def test_words_in_another_order_are_no_copy() -> None:
    words = QUESTION.split()
    assert find(ONE, " ".join(words[::-1]), " ".join(w if i % 12 else "other" for i, w in enumerate(words))) == []


def test_a_short_answer_is_told_only_with_its_question() -> None:
    assert find(ONE, f"{sentence(1, 40)} {ANSWER}") == []
    found = find(ONE, f"{sentence(1, 40)} {QUESTION} {sentence(2, 5)} {ANSWER}")
    assert {row["part"]: row["longest_run"] for row in found} == {"question": 30, "answer": 3}
    assert [row["part"] for row in find(ONE, f"{QUESTION} {sentence(2, 25)}")] == ["question"]


@pytest.mark.parametrize("answer", [sentence("name", 8), sentence("name", 12), "波士顿凯尔特人队篮球俱乐部"[:12]])
def test_an_answer_like_a_name_is_told_but_proves_nothing_by_itself(answer: str) -> None:
    rows = items(("i", QUESTION, answer, None))
    alone, both = (judge(rows, text) for text in (f"{sentence(1, 40)} {answer} {sentence(2, 9)}", f"{QUESTION}\n{answer}"))
    assert [(hit["part"], hit["overlap"], hit["contaminated"]) for hit in alone[0]] == [("answer", 1, False)]
    assert [(item["contaminated"], item["has_answer"]) for item in alone[1]] == [(False, False)]
    assert not judge(rows, f"{sentence(1, 40)}\n{answer}\n{answer}")[0][0]["contaminated"]  # twice in a row is no longer run
    assert [(hit["part"], hit["contaminated"]) for hit in both[0]] == [("answer", True), ("question", True)]
    long = items(("i", QUESTION, sentence("name", 13), None))
    assert [hit["contaminated"] for hit in judge(long, f"{sentence(1, 40)} {sentence('name', 13)}")[0]] == [True]


def test_short_questions_are_found_as_lines_and_with_their_answer() -> None:
    rows = items(
        ("short", sentence("s", 5), sentence("t", 6), None), ("whole", sentence("w", 9), None, None), ("two", "no two", None, None)
    )
    found = find(rows, f"x y z\n{sentence('s', 5)}\nmore", f"and {sentence('s', 5)} more", f"q {sentence('s', 5)}. {sentence('t', 6)} x")
    assert [(row["id"], row["item"], row["part"]) for row in found] == [("0", "short", "question"), ("2", "short", "item")]
    assert [row["item"] for row in find(rows, f"before {sentence('w', 9)} after", "no two")] == ["whole"]


def test_chinese_is_found_by_thirteen_characters() -> None:
    text = "北京是中华人民共和国的首都也是全国政治文化中心和国际交往中心"
    (hit,) = find(items(("zh", text, None, None)), f"据报道，{text[:8]}，{text[8:20]}。其余不同。")
    assert (hit["longest_run"], len(hit["ngrams"])) == (20, 8)  # type: ignore[arg-type]


def test_items_that_share_a_context_are_all_told() -> None:
    rows = items(("a", sentence("qa", 20), None, CONTEXT), ("b", sentence("qb", 20), None, CONTEXT))
    assert [(row["item"], row["part"]) for row in find(rows, CONTEXT)] == [("a", "context"), ("b", "context")]


def test_templates_of_a_set_and_numbers_betray_nothing() -> None:
    template = sentence("template", 20)
    rows = items(*((str(i), f"{template} {sentence(i, 20)}", None, None) for i in range(20)))
    assert find(rows, template) == []
    assert len(find(rows, sentence(3, 20))) == 1
    assert find(items(("n", " ".join(map(str, range(20))), None, None)), " ".join(map(str, range(20)))) == []


def test_what_many_documents_hold_proves_nothing() -> None:
    psalm = sentence("psalm", 30)
    rows = items(("known", psalm, None, None), ("mixed", f"{psalm} {sentence('own', 20)}", None, None))
    many = [f"{sentence(i, 10)} {psalm}" for i in range(60)]
    hits, found = judge(rows, *many)
    assert not any(hit["contaminated"] for hit in hits)
    assert [item["corpus_overlap"] for item in found] == [1.0, pytest.approx(18 / 38)]
    hits, _ = judge(rows, *many, f"{psalm} {sentence('own', 20)}")
    assert [(hit["item"], hit["overlap"], hit["num_frequent"]) for hit in hits if hit["contaminated"]] == [("mixed", 1.0, 18)]
    assert all(hit["contaminated"] for hit in judge(rows, *many, frequent=100)[0] if hit["item"] == "known")


def test_batches_order_and_threads_change_nothing() -> None:
    rows = items(*((f"i{i}", sentence(("q", i), 20), sentence(("a", i), 9), None) for i in range(30)))
    texts = [f"{sentence(i, 30)} {sentence(('q' if i % 2 else 'a', i % 40), 20 if i % 2 else 9)} {sentence(-i, 30)}" for i in range(90)]
    built, ids = index.build(rows), pa.array([f"{i:03}" for i in range(90)])
    whole = scanning.scan(built, ids, pa.array(texts))
    assert whole.num_rows > 60
    assert scanning.scan(built, ids, pa.array(texts), num_threads=4).equals(whole)
    parts = [scanning.scan(built, ids.slice(i, 7), pa.array(texts).slice(i, 7)) for i in range(0, 90, 7)]
    assert pa.concat_tables(parts).equals(whole)
    shuffled = rows.take(random.Random(0).sample(range(30), 30))
    key: Any = [("id", "ascending"), ("item", "ascending"), ("part", "ascending")]
    assert scanning.scan(index.build(shuffled), ids, pa.array(texts)).sort_by(key).equals(whole.sort_by(key))


def test_more_hits_than_expected_are_all_kept() -> None:
    rows = items(*((f"i{i}", f"{sentence('same', 40)} {sentence(i, 20)}", None, None) for i in range(5)))
    assert len(find(rows, *[sentence("same", 40)] * 200)) == 1000


def test_planted_copies_are_found_and_look_alikes_are_not() -> None:
    rows = items(*((f"i{i}", sentence(("q", i), 40), sentence(("a", i), (2, 10, 14)[i % 3]), None) for i in range(40)))
    checks = planting.check(index.build(rows), [sentence(9, 500)], verdict.MIN_OVERLAP).to_pylist()
    assert {row["kind"] for row in checks} == {kind for looked_for in ("long", "short", "answer") for kind in planting.KINDS[looked_for]}
    for row in checks:
        assert row["num_found"] == (row["num_planted"] if row["is_contaminated"] else 0), row
        assert row["num_planted"] >= 3


@pytest.mark.parametrize("num_words", [3, 7, 8, 12, 13, 19])
@pytest.mark.parametrize("chinese", [False, True])
def test_a_set_of_short_items_is_put_to_the_test_as_well(num_words: int, chinese: bool) -> None:
    texts = [sentence((num_words, i), num_words) for i in range(15)]
    if chinese:
        texts = ["".join(chr(0x4E00 + 61 * i + 7 * j) for j in range(num_words)) for i in range(15)]
    rows = items(*((f"i{i}", text, None, None) for i, text in enumerate(texts)))
    checks = planting.check(index.build(rows), [sentence(9, 500)], verdict.MIN_OVERLAP).to_pylist()
    assert {row["kind"] for row in checks} == set(planting.KINDS["line" if num_words < 8 else "short"])
    for row in checks:
        assert (row["num_planted"], row["num_found"]) == (12, 12 if row["is_contaminated"] else 0), row


def test_other_dress_keeps_the_words_and_other_order_does_not() -> None:
    text = 'Ruins: 220(.40)=88\nUnmanned:88/2=<<88/2=44>>44 castles, 北京是中华人民共和国 "so" no no'
    kinds = ("verbatim", "restyled", "shuffled", "edited", "broken")
    first, *others = (
        words.hashes.tolist() for words in folded_words.words_of(pa.array([text, *(planting.plant(text, k, "") for k in kinds)]))
    )
    assert [words == first for words in others] == [True, True, False, False, False]
    assert [len(words) for words in others] == [len(first)] * 5
    assert planting.plant("no no no", "shuffled", "") == "no no"


def test_a_blind_scan_is_exposed_by_its_own_check(monkeypatch: pytest.MonkeyPatch) -> None:
    built = index.build(items(*((f"i{i}", sentence(("q", i), 40), None, None) for i in range(20))))
    monkeypatch.setattr(planting, "scan", lambda *_: scanning.MATCHES.empty_table())
    assert sum(row["num_found"] for row in planting.check(built, ["words"], 0.5).to_pylist()) == 0


def test_paragraphs_with_a_match_go_and_the_others_stay() -> None:
    text = f"{sentence(1, 20)}\n{sentence(2, 5)} {QUESTION}\nätzend {sentence(3, 20)}\n"
    (hit,) = find(ONE, text)
    left = verdict.without_spans(text, [hit["spans"]])  # type: ignore[list-item]
    assert left == f"{sentence(1, 20)}\nätzend {sentence(3, 20)}"
    assert verdict.without_spans(QUESTION, [[0, 5]]) == ""


SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [{"context": "C one", "qas": [{"id": "x", "question": "Q?", "answers": [{"text": "A"}, {"text": "B"}]}]}],
        }
    ]
}


def test_every_format_gives_the_same_items(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SQUAD))
    nested = read_items("s", tmp_path / "a.json", Fields(rows="data.paragraphs.qas", answer="answers.text"))
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "x", "question": "Q?", "answer": ["A"], "context": "C one"}) + "\n\n")
    (tmp_path / "c.csv").write_text("id,goal,answer,context\nx,Q?,A,C one\n")
    (tmp_path / "d.tsv").write_text("id\tquestion\tanswer\tcontext\nx\tQ?\tA\tC one\n")
    expected = [{"evaluation_set": "s", "item": "x", "question": "Q?", "answer": "A", "context": "C one"}]
    assert nested.select(EVALUATION_ITEMS.names).to_pylist() == expected
    assert nested["kind"].to_pylist() == [None]
    assert read_items("s", tmp_path / "b.jsonl").select(EVALUATION_ITEMS.names).to_pylist() == expected
    assert read_items("s", tmp_path / "c.csv", Fields(question="goal")).select(EVALUATION_ITEMS.names).to_pylist() == expected
    assert read_items("s", tmp_path / "d.tsv").select(EVALUATION_ITEMS.names).to_pylist() == expected


def test_items_without_a_name_get_one_and_repeated_names_a_number(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"question": "one"}\n{"question": "two"}\n{"question": "one"}\n{"other": 1}\n')
    names = read_items("s", file)["item"].to_pylist()
    assert len(set(names)) == 3
    assert names[2] == f"{names[0]}#2"


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.jsonl", '{"q": "x"}', Fields(question="goal"), "has no text in the field 'goal' for --question; it has q"),
        ("a.jsonl", '{"q": "x"}', Fields(), "no item of .* has a question, answer or context"),
        ("a.jsonl", "{", Fields(), "is not valid JSONL"),
        ("a.txt", "x", Fields(), "must end in .jsonl, .json, .csv or .tsv"),
        ("a.csv", "question,answer\nWhy, then?,x\n", Fields(), "line 2 must have at most 2 cells, as the first line has, but has 3"),
        ("a.json", "[" * 100_000, Fields(), "is not valid JSON"),
        ("a.jsonl", '{"question": ' + "7" * 5000 + "}", Fields(), "a.jsonl is not valid JSONL"),
        ("a.jsonl.gz", "no gzip", Fields(), "cannot be unpacked as gzip"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: str, fields: Fields, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ItemsError, match=message):
        read_items("s", tmp_path / name, fields)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-12], lambda raw: raw[:20] + b"xx" + raw[22:]])
def test_a_damaged_archive_says_so(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(damage(gzip.compress(b'{"question": "abc def"}\n' * 100)))
    with pytest.raises(ItemsError, match="cannot be unpacked as gzip"):
        read_items("s", tmp_path / "a.jsonl.gz")


def test_what_is_no_item_is_counted_under_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('["no", "object"]\n"x"\n{"question": "one"}\n{"other": 1}\n{"question": " "}\n{"question": "one"}\n')
    found = read_set("s", tmp_path / "a.jsonl", Fields(distinct=True))
    assert found.items["question"].to_pylist() == ["one"]
    assert found.left_out == {NO_OBJECT: 3, NO_TEXT: 2, REPEATED: 1}
    (tmp_path / "b.json").write_text('{"data": [{"qas": [{"question": "one"}]}, {"none": 1}]}')
    assert read_set("s", tmp_path / "b.json", Fields(rows="data.qas")).left_out == {NO_OBJECT: 1}


def test_text_is_read_as_the_format_means_it(tmp_path: Path) -> None:
    strange = "one\u2028two\x85three"
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": strange, "answer": True}, ensure_ascii=False) + "\r\n", encoding="utf-8")
    (row,) = read_items("s", tmp_path / "a.jsonl").to_pylist()
    assert (row["question"], row["answer"]) == (strange, "true")
    (tmp_path / "b.jsonl").write_text('{"question": "half of a pair \\ud800, a whole one \\ud83d\\ude00"}\n')
    assert read_items("s", tmp_path / "b.jsonl")["question"].to_pylist() == ["half of a pair ?, a whole one \U0001f600"]
    (tmp_path / "c.json").write_text('{"question": ["one", "two"], "answer": ["x", "y"]}')
    assert read_items("s", tmp_path / "c.json")["answer"].to_pylist() == ["x", "y"]
    (tmp_path / "lines.json").write_text('{"question": "one"}\n{"question": "two"}\n')
    assert read_items("s", tmp_path / "lines.json")["question"].to_pylist() == ["one", "two"]
    (tmp_path / "d.csv").write_text('question,answer\n"two\nlines",x,\n')
    assert read_items("s", tmp_path / "d.csv")["question"].to_pylist() == ["two\nlines"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemsError, match="there is no file"):
        read_items("s", tmp_path / "none.jsonl")


def test_labels_in_a_file_of_their_own_may_be_packed_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"goal": "Open a jar.", "sol1": "Turn the lid.", "sol2": "Shake it."}\n' * 2)
    labels = tmp_path / "labels.lst.gz"
    fields = Fields(labels_file=str(labels))
    with pytest.raises(ItemsError, match=r"labels.lst.gz cannot be read"):
        read_items("set", tmp_path / "set.jsonl", fields)
    labels.write_bytes(gzip.compress(b"1\n0\n"))
    assert read_items("set", tmp_path / "set.jsonl", fields)["label"].to_pylist() == [1, 0]
    labels.write_bytes(gzip.compress(b"1\n"))
    with pytest.raises(ItemsError, match="1 labels for 2 rows"):
        read_items("set", tmp_path / "set.jsonl", fields)
