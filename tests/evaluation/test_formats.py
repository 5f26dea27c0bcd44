"""Published sets are known by their fields and become the prompts of the field; others are read as they are told to be."""

import gzip
import json
from pathlib import Path

import pytest

from lm.corpus.contamination.item_files import ItemsError
from lm.corpus.contamination.items import Fields, read_items
from lm.evaluation.formats import FormatError, Spec, Task, read

PIQA = {"goal": "How do I open a jar?", "sol1": "Twist the lid.", "sol2": "Sing to it.", "label": 0}
HELLASWAG = {
    "activity_label": "Cooking",
    "ctx_a": "A man cuts [step] onions.",
    "ctx_b": "he",
    "ctx": "A man cuts onions. he",
    "endings": ["cries [title] Then he stops.", "flies."],
    "label": "0",
}


def test_published_sets_get_the_prompts_of_the_field() -> None:
    assert read(PIQA) == Task(
        "multiple_choice", "Question: How do I open a jar?\nAnswer:", (" Twist the lid.", " Sing to it."), 0, PIQA["goal"]
    )
    hellaswag = read(HELLASWAG)
    assert hellaswag
    assert hellaswag.prompt == "Cooking: A man cuts onions. He"
    assert hellaswag.choices == (" cries. Then he stops.", " flies.")
    pair = read({"sentence_good": "Cats sleep.", "sentence_bad": "Cats sleeps.", "UID": "agreement"})
    assert pair == Task("minimal_pairs", "", ("Cats sleep.", "Cats sleeps."), 0, "Cats sleep.", "agreement")
    word = read({"context": "I looked at my", "continuation": "hands"})
    assert word == Task("cloze", "I looked at my", (" hands",), 0, "I looked at my")
    assert read({"query": "2 + 2 is", "choices": ["3", "4"], "gold": 1}) == Task("multiple_choice", "2 + 2 is", (" 3", " 4"), 1, "2 + 2 is")
    arc = read({"question": "Why?", "choices": {"text": ["so", "no"], "label": ["A", "B"]}, "answerKey": "B"})
    assert arc == Task("multiple_choice", "Question: Why?\nAnswer:", (" so", " no"), 1, "Why?")
    assert read({"question": {"stem": "Why?", "choices": [{"text": "so", "label": "1"}]}, "answerKey": "1"})


def test_lambada_as_text_is_named_and_ends_in_a_word() -> None:
    assert read({"text": "a b c"}) is None
    assert read({"text": "a b c"}, Spec(task="lambada")) == Task("cloze", "a b", (" c",), 0, "a b c")
    with pytest.raises(FormatError, match="at least two words"):
        read({"text": "alone"}, Spec(task="lambada"))


def test_own_sets_are_read_as_told() -> None:
    row = {"q": "Capital of France?", "A": "Rome", "B": "Paris", "key": "B", "topic": "maps", "passage": "P", "ans": ["Paris"]}
    chosen = read(row, Spec(prompt="Q: {q}\\nA:", choices="A,B", label="key", subset="topic"))
    assert chosen == Task("multiple_choice", "Q: Capital of France?\nA:", (" Rome", " Paris"), 1, "Q: Capital of France?\nA:", "maps")
    cloze = read(row, Spec(task="cloze", prompt="{passage}\n问题：{q}\n答案：", label="ans", delimiter=""))
    assert cloze == Task("cloze", "P\n问题：Capital of France?\n答案：", ("Paris",), 0, "P\n问题：Capital of France?\n答案：")
    assert read(PIQA, Spec(task="none")) is None
    assert read({"question": "Q?", "answer": "A", "context": "C"}) is None
    with pytest.raises(FormatError, match="no text in the field 'missing'"):
        read(row, Spec(prompt="{missing}", choices="A,B", label="key"))
    with pytest.raises(FormatError, match="must be one of minimal_pairs"):
        read(row, Spec(task="essay"))


@pytest.mark.parametrize(("label", "place"), [(1, 1), ("1", 1), ("b", 1), ("B", 1), ("Paris", 1), ("Rome", 0)])
def test_the_right_choice_by_number_letter_or_text(label: object, place: int) -> None:
    found = read({"question": "Q?", "choices": ["Rome", "Paris"], "label": label}, Spec(task="multiple_choice"))
    assert found
    assert found.label == place


def test_a_file_becomes_items_that_serve_both_uses(tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_text("".join(json.dumps({k: v for k, v in PIQA.items() if k != "label"}) + "\n" for _ in range(2)))
    (tmp_path / "labels.lst").write_text("1\n0\n")
    rows = read_items("piqa", tmp_path / "valid.jsonl", Fields(labels_file=str(tmp_path / "labels.lst"))).to_pylist()
    assert [(row["label"], row["answer"]) for row in rows] == [(1, "Sing to it."), (0, "Twist the lid.")]
    assert [row["question"] for row in rows] == [PIQA["goal"]] * 2
    assert {row["kind"] for row in rows} == {"multiple_choice"}
    (tmp_path / "one.jsonl").write_text(json.dumps(PIQA))
    with pytest.raises(ItemsError, match="2 labels for 1 rows"):
        read_items("piqa", tmp_path / "one.jsonl", Fields(labels_file=str(tmp_path / "labels.lst")))


def test_rows_without_a_label_are_items_without_a_task(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({**PIQA, "label": -1}) + "\n" + json.dumps(PIQA) + "\n")
    assert read_items("piqa", tmp_path / "test.jsonl")["kind"].to_pylist() == [None, "multiple_choice"]
    (tmp_path / "bad.jsonl").write_text(json.dumps({**PIQA, "label": 7}))
    with pytest.raises(ItemsError, match=r"row 1 is not the task .* got 7; name fields with --choices"):
        read_items("piqa", tmp_path / "bad.jsonl")


def test_files_of_a_folder_are_subsets_and_equal_items_may_count_once(tmp_path: Path) -> None:
    pair = {"sentence_good": "a b", "sentence_bad": "b a"}
    for name, word in (("ba", "x"), ("bei", "y")):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.write(2 * (json.dumps({**pair, "sentence_good": f"a {word}"}) + "\n"))
    rows = read_items("zh", f"{tmp_path}/*.jsonl.gz").to_pylist()
    assert [row["subset"] for row in rows] == ["ba", "ba", "bei", "bei"]
    assert len({row["item"] for row in rows}) == 4
    assert read_items("zh", tmp_path, Fields(distinct=True))["subset"].to_pylist() == ["ba", "bei"]
    with pytest.raises(ItemsError, match="there is no file"):
        read_items("zh", f"{tmp_path}/*.csv")
