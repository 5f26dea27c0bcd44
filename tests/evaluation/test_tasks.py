"""Scores of evaluation sets against sums made one token at a time, whatever the batch, the way or the interruption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from lm.evaluation import likelihood, tasks
from lm.evaluation.likelihood import Scored, score
from lm.evaluation.requests import REQUESTS_SCHEMA, Request, encode, encode_items, requests_of
from lm.models.build import Model, build
from lm.models.config import ModelConfig, from_depth, gpt2
from storage.schema.training import ITEM_METRICS

CONFIG = from_depth(2, vocab_size=60, context_tokens=48)
MODELS = {"transformer": CONFIG, "gpt2": gpt2(2, 32, vocab_size=60, context_tokens=48)}


def drawn(config: ModelConfig) -> Model:
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.25, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def requests(num_items: int = 40, longest: int = 30) -> list[Request]:
    """Items with one to four choices whose shared beginnings are short and long, some cut by the context."""
    draw = np.random.default_rng(5)
    found = []
    for _ in range(num_items):
        shared = draw.integers(0, 60, draw.integers(1, longest))
        rests = tuple(draw.integers(0, 60, draw.integers(1, longest)) for _ in range(draw.integers(1, 5)))
        found.append(Request(shared, rests))
    return found


def by_hand(model: Model, request: Request) -> Scored:
    """Each token of each choice predicted from the context's worth of tokens before it, in a pass of its own."""
    whole = Scored()
    for rest in request.rests:
        tokens = np.concatenate([request.shared, rest])
        first = max(0, len(tokens) - model.config.context_tokens - 1)
        nats, greedy = 0.0, True
        for place in range(len(request.shared), len(tokens)):
            logs = model(torch.from_numpy(tokens[first:place][None]))[0, -1].log_softmax(-1)
            nats, greedy = nats + logs[tokens[place]].item(), greedy and int(logs.argmax()) == tokens[place]
        whole.log_likelihood.append(nats)
        whole.greedy.append(greedy)
        whole.truncated |= first > 0
    return whole


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "MIN_ITEMS", 1)
    model, asked = drawn(MODELS[name]), requests()
    found = score(model, asked)
    with torch.inference_mode():
        expected = [by_hand(model, request) for request in asked]
    for one, other in zip(found, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
        assert (one.greedy, one.truncated) == (other.greedy, other.truncated)
    assert any(one.truncated for one in found)
    assert not all(one.truncated for one in found)


def test_neither_batches_nor_the_cache_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "MIN_ITEMS", 1)
    model, asked = drawn(CONFIG), requests()
    together = score(model, asked)
    alone = [score(model, [request])[0] for request in asked]
    monkeypatch.setattr(likelihood, "MIN_SHARED", 1000)
    uncached = score(model, asked, batch_tokens=100)
    for one, other, third in zip(together, alone, uncached, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-6, abs=1e-5)
        assert one.log_likelihood == pytest.approx(third.log_likelihood, rel=1e-6, abs=1e-5)


def test_a_greedy_continuation_is_known_as_such() -> None:
    model, prompt = drawn(CONFIG), np.array([0, 5, 9])
    tokens = prompt.tolist()
    with torch.inference_mode():
        for _ in range(4):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    other = [*tokens[3:6], (tokens[6] + 1) % 60]
    found = score(model, [Request(prompt, (np.array(tokens[3:]), np.array(other)))])[0]
    assert found.greedy == [True, False]


def test_every_token_of_a_choice_beyond_the_context_counts_once() -> None:
    model, draw = drawn(CONFIG), np.random.default_rng(0)
    long = Request(np.array([0]), (draw.integers(0, 60, 200),))
    found = score(model, [long])[0]
    half, whole, expected = 24, np.concatenate([long.shared, long.rests[0]]), 0.0
    with torch.inference_mode():
        for start in range(1, 201, half):
            piece = whole[max(0, start + half - 49) : min(201, start + half)] if start + half <= 201 else whole[201 - 49 :]
            logs = model(torch.from_numpy(piece[None, :-1]))[0].log_softmax(-1)
            scored = range(len(piece) - 1 - (min(201, start + half) - start), len(piece) - 1)
            expected += sum(logs[i, piece[i + 1]].item() for i in scored)
    assert found.truncated
    assert found.log_likelihood[0] == pytest.approx(expected, abs=1e-3)


def test_bfloat16_stays_near() -> None:
    model, asked = drawn(CONFIG), requests(10, 14)
    for one, other in zip(score(model, asked), score(model, asked, dtype="bfloat16"), strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=0.05, abs=1.0)
        assert one.log_likelihood != other.log_likelihood


def test_tokens_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="token 60, the model knows 60"):
        score(drawn(CONFIG), [Request(np.array([0]), (np.array([60]),))])


def words(texts: Sequence[str]) -> list[np.ndarray]:
    """A toy vocabulary: pairs of characters are one token where the second is a digit, as merges reach across a boundary."""
    found = []
    for text in texts:
        tokens, i = [], 0
        while i < len(text):
            step = 2 if text[i + 1 : i + 2].isdigit() else 1
            tokens.append(sum(map(ord, text[i : i + step])) % 59 + 1)
            i += step
        found.append(np.array(tokens, dtype=np.uint32))
    return found


def test_the_cut_is_where_the_context_ends() -> None:
    found = encode(["ab "], [["cd", "ce"]], words, 0)[0]
    assert found.shared.tolist() == [0, *words(["ab"])[0]]  # white space goes to the choices
    assert [rest.tolist() for rest in found.rests] == [words([" cd"])[0].tolist(), words([" ce"])[0].tolist()]
    assert encode([""], [["ab"]], words, 0)[0].shared.tolist() == [0]


def test_a_token_across_the_cut_moves_it_back_for_all_choices() -> None:
    found = encode(["xyz"], [["1", "w"]], words, 0)[0]  # z1 is one token
    assert found.shared.tolist() == [0, *words(["xy"])[0]]
    assert [rest.tolist() for rest in found.rests] == [words(["z1"])[0].tolist(), words(["zw"])[0].tolist()]
    with pytest.raises(ValueError, match="none may be empty"):
        encode(["a"], [["b", ""]], words, 0)


def test_metrics_of_items() -> None:
    def values(kind: str, nats: list[float], label: int, sizes: list[int], greedy: bool = False) -> dict[str, float]:
        found = tasks.item_values(kind, Scored(nats, [greedy] * len(nats)), label, sizes)
        return {name: value for name, value, _ in found}

    pair = values("minimal_pairs", [-10.0, -9.0], 0, [10, 5])
    assert (pair["accuracy"], pair["accuracy_normalized"], pair["margin_nats"]) == (0.0, 1.0, -1.0)
    assert values("minimal_pairs", [-9.0, -9.0], 0, [5, 5])["accuracy"] == 0.5
    chosen = values("multiple_choice", [-9.0, -8.0, -8.0], 2, [9, 4, 9])
    assert (chosen["accuracy"], chosen["accuracy_normalized"]) == (0.5, 1.0)
    assert chosen["answer_bits_per_byte"] == pytest.approx(8 / np.log(2) / 9)
    cloze = values("cloze", [-3.0], 0, [6], greedy=True)
    assert (cloze["accuracy"], cloze["answer_nats"]) == (1.0, 3.0)
    with pytest.raises(ValueError, match="kind must be one of"):
        values("essay", [-1.0], 0, [1])


@pytest.fixture
def written(tmp_path: Path) -> tuple[str, str]:
    """Weights, and a file of requests."""
    save_file(dict(drawn(CONFIG).named_parameters()), tmp_path / "weights.safetensors")
    rows = [
        {
            "item": f"i{i}",
            "subset": f"s{i % 2}",
            "kind": "multiple_choice",
            "label": i % 2,
            "prompt": "ab" * (i % 9),
            "choices": [" cd", f" e{i}"],
        }
        for i in range(30)
    ]
    table = encode_items(pa.Table.from_pylist(rows), words, 0)
    assert table.schema == REQUESTS_SCHEMA
    assert [len(request.rests) for request in requests_of(table)] == [2] * 30
    pq.write_table(table, tmp_path / "requests.parquet")
    return str(tmp_path / "weights.safetensors"), str(tmp_path / "requests.parquet")


def test_an_interrupted_scoring_goes_on_where_it_was(written: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CHUNK_ITEMS", 8)
    place = {"run_id": "r", "rung": 1, "evaluation_set": "s"}
    whole = tasks.score_set(written[0], CONFIG, written[1], str(tmp_path / "whole"), **place)
    assert whole.column_names == [name for name in ITEM_METRICS.columns if name != "produced_by"]

    def stop(done: int, total: int) -> None:
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tasks.score_set(written[0], CONFIG, written[1], str(tmp_path / "cut"), **place, on_progress=stop)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cut").iterdir()}
    assert len(kept) == 2
    again = tasks.score_set(written[0], CONFIG, written[1], str(tmp_path / "cut"), **place)
    assert again.equals(whole)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    (tmp_path / "weights.safetensors").unlink()  # all chunks are there: no model is needed
    assert tasks.score_set(written[0], CONFIG, written[1], str(tmp_path / "cut"), **place).equals(whole)
