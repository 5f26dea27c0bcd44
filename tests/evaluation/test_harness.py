"""The harness gives our numbers on the same items and weights, with its own way to define tasks; nothing is fetched.

What needs no harness (tasks from files) is tested always, the rest where the extra is installed.
"""

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from lm.corpus.contamination.items import read_items
from lm.evaluation.aggregate import metrics_of
from lm.evaluation.requests import encode_items
from lm.evaluation.tasks import score_set
from lm.harness.run import OFFLINE, evaluate
from lm.harness.tasks import HarnessTaskError, from_file, of_items
from lm.models.build import build
from lm.models.config import from_depth
from lm.tokens import tokenizer

needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs the extra harness")
TEXT = "the model reads a page of data and the ladder tells what a token of the page is worth to the law of loss "
WORDS = TEXT.split()
PLACE = {"run_id": "r", "rung": 1, "step": 1, "num_tokens": 1, "validation_id": "v"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Weights, vocabulary and a folder."""
    folder = tmp_path_factory.mktemp("harness")
    info = tokenizer.train([TEXT * 20], 290, folder / "tokenizer.json")
    model = build(from_depth(1, vocab_size=info.vocab_size, context_tokens=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    save_file(dict(model.named_parameters()), folder / "weights.safetensors")
    return str(folder / "weights.safetensors"), info.file, folder


def rows_of(kind: str) -> list[dict[str, object]]:
    """Sets as they are published."""
    if kind == "piqa":
        return [
            {"goal": f"get {a} {i}?", "sol1": f"use {a}.", "sol2": f"take the {b} of 数据.", "label": i % 2}
            for i, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))
        ]
    if kind == "blimp":
        return [{"sentence_good": f"the {a} reads {i}", "sentence_bad": f"reads the {a} {i}", "UID": "u"} for i, a in enumerate(WORDS)]
    if kind == "hellaswag":
        endings = [[f"{a} {b}s.", f"of {b} [step] it.", "no [title] more.", "a" * (i % 5 + 1)] for i, (a, b) in enumerate(pairwise(WORDS))]
        context = [
            {"activity_label": "Reading", "ctx_a": f"A {a} is {b}.", "ctx_b": "the page", "ctx": ""}
            for a, b in zip(WORDS, WORDS[2:], strict=False)
        ]
        return [{**one, "endings": end, "label": str(i % 4)} for i, (one, end) in enumerate(zip(context, endings, strict=False))]
    return [{"context": " ".join(WORDS[i : i + 8]), "continuation": WORDS[(i + 8) % len(WORDS)]} for i in range(12)]


TASKS = {
    "piqa": {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{goal}}\nAnswer:",
        "doc_to_target": "label",
        "doc_to_choice": "{{[sol1, sol2]}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_bytes"}],
    },
    "blimp": {
        "output_type": "multiple_choice",
        "doc_to_text": "",
        "target_delimiter": "",  # the harness's own has a space before the sentence; in training documents begin without
        "doc_to_target": 0,
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_bytes"}],
    },
    "lambada": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{' ' + continuation}}",
        "metric_list": [{"metric": "acc"}, {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
    },
}
"""Definitions as the harness has them for the published sets, over local files."""
NAMES = {"acc": "accuracy", "acc_bytes": "accuracy_normalized", "perplexity": "perplexity"}


def ours(trained: tuple[str, str, Path], name: str) -> tuple[dict[str, tuple[float, float | None]], pa.Table]:
    """Our metrics of a set and its items."""
    weights, vocabulary, folder = trained
    loaded = tokenizer.load(vocabulary)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(name)))
    items = read_items(name, folder / f"{name}.jsonl")
    pq.write_table(encode_items(items, loaded.encode_batch, loaded.end_of_document), folder / f"{name}.parquet")
    config = from_depth(1, vocab_size=loaded.vocab_size, context_tokens=32)
    scores = score_set(weights, config, str(folder / f"{name}.parquet"), str(folder / name), run_id="r", rung=1, evaluation_set=name)
    found = metrics_of(scores, PLACE, None).to_pylist()
    return {row["name"]: (row["value"], row["stderr"]) for row in found if row["domain"] == name}, items


@needs_harness
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*TASKS, "hellaswag"])
def test_the_harness_gives_our_numbers(trained: tuple[str, str, Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*OFFLINE, "HF_HOME", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, "")  # put back after the test
    weights, vocabulary, folder = trained
    found, items = ours(trained, name)
    tasks = of_items(name, items.to_pylist(), folder / "registered")
    if name in TASKS:
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}}, "test_split": "test"}
        (folder / f"{name}.json").write_text(json.dumps({"task": f"{name}_own", **data, **TASKS[name]}))
        tasks.append(from_file(folder / f"{name}.json"))
    config = from_depth(1, vocab_size=tokenizer.load(vocabulary).vocab_size, context_tokens=32)
    metrics, samples = evaluate(weights, config, vocabulary, tasks, str(folder / "cache"), PLACE)
    compared = [row for row in metrics.to_pylist() if row["name"] in NAMES]
    assert {row["domain"] for row in compared} == {task["task"] for task in tasks}
    for row in compared:
        value, stderr = found[NAMES[row["name"]]]
        assert row["value"] == pytest.approx(value, rel=1e-5), row
        assert row["stderr"] == pytest.approx(stderr, rel=1e-4), row
        assert row["num_items"] == items.num_rows
    of_registered = {row["item"] for row in samples.to_pylist() if row["evaluation_set"] == name}
    assert of_registered == set(items["item"].to_pylist())


@needs_harness
@pytest.mark.filterwarnings("ignore")
def test_whole_texts_and_greedy_text(trained: tuple[str, str, Path]) -> None:
    from lm_eval.api.instance import Instance

    from lm.evaluation.tasks import load_model
    from lm.harness.adapter import LadderLM

    weights, vocabulary, _ = trained
    loaded = tokenizer.load(vocabulary)
    model = LadderLM(load_model(weights, from_depth(1, vocab_size=loaded.vocab_size, context_tokens=32)), loaded)
    asked = [Instance("loglikelihood_rolling", {}, (TEXT,), 0), Instance("loglikelihood_rolling", {}, (TEXT * 3,), 1)]
    short, long = model.loglikelihood_rolling(asked)
    assert long < short < 0
    continued = model.generate_until([Instance("generate_until", {}, ("the model", {"until": ["e"], "max_gen_toks": 20}), 0)])[0]
    assert "e" not in continued


def test_tasks_that_want_more_than_local_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("{}")
    good = {"task": "t", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "d.jsonl"}}}
    for change, said in (
        ({"dataset_path": "nyu-mll/blimp"}, "dataset_path must be one of json"),
        ({"dataset_kwargs": {"data_files": {"test": "https://example.org/d.jsonl"}}}, "files on this machine"),
        ({"dataset_kwargs": {"data_files": "gone.jsonl"}}, "there is no"),
        ({"include": "other.yaml"}, "includes no other"),
    ):
        (tmp_path / "t.json").write_text(json.dumps(good | change))
        with pytest.raises(HarnessTaskError, match=said):
            from_file(tmp_path / "t.json")
    (tmp_path / "t.json").write_text(json.dumps(good))
    assert from_file(tmp_path / "t.json")["dataset_kwargs"] == {"data_files": {"test": [str(tmp_path / "d.jsonl")]}}
    (tmp_path / "t.yaml").write_text("task: t\nprocess_docs: !function utils.go\n")
    with pytest.raises(HarnessTaskError, match="no !function"):
        from_file(tmp_path / "t.yaml")
    with pytest.raises(HarnessTaskError, match="no such task file"):
        from_file(tmp_path / "none.yaml")


def test_what_choices_begin_with_becomes_the_delimiter(tmp_path: Path) -> None:
    row = {"item": "i", "kind": "multiple_choice", "prompt": "P", "choices": [" a", "  b"], "label": 1}
    config = of_items("a[:3]", [row], tmp_path)[0]
    assert config["target_delimiter"] == " "
    assert "[" not in Path(config["dataset_kwargs"]["data_files"]["test"]).name
    assert json.loads(Path(config["dataset_kwargs"]["data_files"]["test"]).read_text())["choices"] == ["a", " b"]
