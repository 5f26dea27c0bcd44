"""Loss and bits per byte against values computed by hand, whole and by host."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from lm.evaluation import loss
from lm.models.config import from_depth
from lm.models.transformer import Transformer
from lm.tokens.encode import SCHEMA
from lm.tokens.loader import MissingTokensError
from lm.tokens.selection import TokenData, write_selection
from lm.training.config import TrainConfig
from storage.schema.training import ITEM_METRICS, METRICS

MODEL = from_depth(1, vocab_size=50, context_tokens=8)
CONFIG = TrainConfig(model=MODEL, seed=0, learning_rate=0.01, batch_tokens=64, warmup_tokens=0)
PLACE = {"run_id": "run", "rung": 2, "step": 10, "num_tokens": 640, "validation_id": "held"}


def write_data(directory: Path, hosts: list[str], parts: int = 1, longest: int = 20) -> tuple[TokenData, list[dict[str, object]]]:
    draw = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for i, host in enumerate(hosts):
        document_id = hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest()
        for part in range(parts):
            tokens = [*draw.integers(1, 50, draw.integers(1, longest)).tolist(), 0]
            rank = 1000 * part + 7 * i % 1000
            rows.append(
                {"produced_by": "s", "tokenizer_id": "t", "rank": rank, "id": document_id, "part": part, "host": host}
                | {"num_bytes": 3 * len(tokens) + part, "num_tokens": len(tokens), "tokens": tokens}
            )
    rows.sort(key=lambda row: (row["rank"], row["id"]))  # type: ignore[return-value]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, directory / "tokens.parquet")
    train = pa.Table.from_pylist([rows[0] | {"id": "other", "rank": 10**6, "split": "train"}])
    held = table.append_column("split", pa.array(["validation"] * len(table)))
    names = ["rank", "id", "num_tokens", "split", "host"]
    selected = pa.concat_tables([held.select(names), train.select(names).cast(held.select(names).schema)])
    return TokenData(files=(str(directory / "tokens.parquet"),), selection=write_selection(selected, directory / "s.parquet")), rows


@pytest.fixture
def weights(tmp_path: Path) -> str:
    model = Transformer(MODEL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    save_file(dict(model.named_parameters()), tmp_path / "weights.safetensors")
    return str(tmp_path / "weights.safetensors")


def nats_by_hand(weights: str, tokens: list[int]) -> list[float]:
    """Each token's loss, one row of at most 8 at a time, each row alone."""
    from safetensors.torch import load_file

    model = Transformer(MODEL)
    model.load_state_dict(load_file(weights))
    nats, before = [], [0, *tokens]
    for start in range(0, len(tokens), 8):
        piece = torch.tensor([before[start : start + 9]])
        logs = model(piece[:, :-1])[0].log_softmax(-1)
        nats += [-logs[i, token].item() for i, token in enumerate(piece[0, 1:])]
    return nats


@pytest.mark.parametrize("parts", [1, 3])
def test_values_are_those_by_hand(tmp_path: Path, weights: str, parts: int) -> None:
    data, rows = write_data(tmp_path, ["a.org"] * 7 + ["b.org"] * 3, parts)
    table = loss.evaluate(weights, CONFIG, data, **PLACE)
    assert table.column_names == [name for name in METRICS.columns if name != "produced_by"]
    found = {(row["domain"], row["name"]): row for row in table.to_pylist()}
    names = ("loss_nats_per_token", "bits_per_byte", "perplexity")
    assert set(found) == {(domain, name) for domain in ("all", "a.org", "b.org") for name in names}
    for domain in ("all", "a.org", "b.org"):
        chosen = [row for row in rows if domain in ("all", row["host"])]
        nats = {id(row): nats_by_hand(weights, row["tokens"]) for row in chosen}  # type: ignore[arg-type]
        ids = sorted({str(row["id"]) for row in chosen})
        whole = [sum(sum(nats[id(row)]) for row in chosen if row["id"] == one) for one in ids]
        text = [sum(sum(nats[id(row)][:-1]) for row in chosen if row["id"] == one) for one in ids]
        sizes = [sum(row["num_tokens"] for row in chosen if row["id"] == one) for one in ids]  # type: ignore[misc]
        num_bytes = [sum(row["num_bytes"] for row in chosen if row["id"] == one) for one in ids]  # type: ignore[misc]
        row = found[domain, "bits_per_byte"]
        value = sum(text) / math.log(2) / sum(num_bytes)
        assert row["value"] == pytest.approx(value, rel=1e-5)
        spread = sum((a / math.log(2) - value * b) ** 2 for a, b in zip(text, num_bytes, strict=True))
        assert row["stderr"] == pytest.approx(math.sqrt(len(ids) / (len(ids) - 1) * spread) / sum(num_bytes), rel=1e-4)
        assert row["num_items"] == len(ids)
        nats_per_token = sum(whole) / sum(sizes)
        assert found[domain, "loss_nats_per_token"]["value"] == pytest.approx(nats_per_token, rel=1e-5)
        assert found[domain, "perplexity"]["value"] == pytest.approx(math.exp(nats_per_token), rel=1e-4)
        assert {name: row[name] for name in PLACE} == PLACE


def test_batching_does_not_change_values(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = write_data(tmp_path, ["a.org"] * 40, longest=60)
    together = loss.evaluate(weights, CONFIG, data, **PLACE).column("value").to_numpy()
    monkeypatch.setattr(loss, "BATCH_TOKENS", 8)
    alone = loss.evaluate(weights, CONFIG, data, **PLACE).column("value").to_numpy()
    assert together == pytest.approx(alone, rel=1e-6)


def test_small_hosts_are_reported_together(tmp_path: Path, weights: str) -> None:
    hosts = [f"host{i}.org" for i in range(loss.MAX_HOSTS + 5) for _ in range(1 if i >= loss.MAX_HOSTS else 4)]
    data, _ = write_data(tmp_path, hosts)
    found = loss.evaluate(weights, CONFIG, data, **PLACE).to_pylist()
    items = {row["domain"]: row["num_items"] for row in found}
    assert len(items) == loss.MAX_HOSTS + 2
    assert items["other"] == items["all"] - sum(count for domain, count in items.items() if domain not in ("all", "other")) > 0
    alone = [row for row in found if row["num_items"] == 1]
    assert all(row["stderr"] is None for row in alone)


def test_labels_make_domains_and_items_add_up_to_metrics(tmp_path: Path, weights: str) -> None:
    data, rows = write_data(tmp_path, ["a.org"] * 6)
    ids = sorted({str(row["id"]) for row in rows})
    labels = pa.table({"id": ids[:4], "language": ["zh", "zh", "en", None]})
    metrics, items = loss.metrics_and_items(weights, CONFIG, data, PLACE, labels=labels)
    found = {(row["domain"], row["name"]): row for row in metrics.to_pylist()}
    sizes = {domain: row["num_items"] for (domain, name), row in found.items() if name == "bits_per_byte"}
    assert sizes == {"all": 6, "a.org": 6, "language:zh": 2, "language:en": 1, "language:und": 3}
    assert items.column_names == [name for name in ITEM_METRICS.columns if name != "produced_by"]
    of_zh = [row for row in items.to_pylist() if row["name"] == "bits_per_byte" and row["item"] in ids[:2]]
    value = sum(row["value"] * row["weight"] for row in of_zh) / sum(row["weight"] for row in of_zh)
    assert found["language:zh", "bits_per_byte"]["value"] == pytest.approx(value, rel=1e-9)
    assert {(row["split"], row["evaluation_set"]) for row in items.to_pylist()} == {("validation", PLACE["validation_id"])}


def test_missing_weights_and_other_vocabularies_are_explained(tmp_path: Path, weights: str) -> None:
    data, _ = write_data(tmp_path, ["a.org"] * 4)
    with pytest.raises(FileNotFoundError, match="ladder train"):
        loss.evaluate(str(tmp_path / "gone"), CONFIG, data, **PLACE)
    model = from_depth(1, vocab_size=20, context_tokens=8)
    with pytest.raises(MissingTokensError, match="different tokenizers"):
        loss.document_losses(weights, model, data)
