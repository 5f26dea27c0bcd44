"""Training: the same bits however it was stopped, extended or damaged, and clear errors."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from training_data import CONFIG, RUNGS, make_data

from lm.models.transformer import Transformer, mean_loss
from lm.tokens.loader import MissingTokensError, TokenStream
from lm.tokens.selection import TokenData
from lm.training.config import plan_rungs, run_id
from lm.training.errors import ConfigError, RunMismatch, TrainingDiverged
from lm.training.machine import Machine
from lm.training.result import Progress, TrunkResult
from lm.training.schedule import learning_rate
from lm.training.trainer import train_trunk
from storage.digest import file_digest
from storage.schema.training import CHECKPOINTS, METRICS, RUNS


@pytest.fixture(scope="module")
def unbroken(data: TokenData, tmp_path_factory: pytest.TempPathFactory) -> TrunkResult:
    return train_trunk(CONFIG, data, RUNGS, tmp_path_factory.mktemp("unbroken"), ladder_id="ladder")


def same(one: TrunkResult, two: TrunkResult) -> bool:
    """Same weights, byte for byte, and same curve."""
    weights = [[Path(found.file).read_bytes() for found in result.checkpoints] for result in (one, two)]
    return weights[0] == weights[1] and pq.read_table(one.metrics_file).equals(pq.read_table(two.metrics_file))


def test_the_record_of_a_run(unbroken: TrunkResult) -> None:
    assert unbroken.run_id == run_id(CONFIG, "ladder")
    assert unbroken.num_tokens == 5120
    assert unbroken.train_tokens == 4096 + 256 + 512 + 1024
    assert unbroken.train_flops == unbroken.train_tokens * CONFIG.model.flops_per_token
    assert (unbroken.device, unbroken.torch_version) == ("cpu", torch.__version__)
    assert set(unbroken.run_row()) == set(RUNS.columns) - {"produced_by", "lake_snapshot"}
    assert all(set(row) == set(CHECKPOINTS.columns) - {"produced_by"} for row in unbroken.checkpoint_rows())
    assert [(c.rung, c.step, c.num_tokens) for c in unbroken.checkpoints] == [(0, 20, 1280), (1, 40, 2560), (2, 80, 5120)]
    assert all(file_digest(c.file) == c.weights_digest for c in unbroken.checkpoints)


def test_the_curve_holds_trunk_and_branches(unbroken: TrunkResult) -> None:
    table = pq.read_table(unbroken.metrics_file)
    assert table.column_names == [name for name in METRICS.columns if name != "produced_by"]
    rows = [row for row in table.to_pylist() if row["name"] == "loss_nats_per_token"]
    trunk = [row for row in rows if row["rung"] is None]
    assert [row["step"] for row in trunk] == list(range(5, 65, 5))
    assert trunk[-1]["value"] < trunk[0]["value"]
    assert trunk[0]["value"] < np.log(64)
    assert [row["step"] for row in rows if row["rung"] == 0] == [20]
    assert [row["step"] for row in rows if row["rung"] == 2] == [65, 70, 75, 80]
    assert all(row["num_tokens"] == 64 * row["step"] and row["split"] == "train" for row in rows)


def test_weights_are_those_of_a_plain_loop(unbroken: TrunkResult, data: TokenData) -> None:
    torch.set_num_threads(1)
    (plan,) = plan_rungs(CONFIG, RUNGS[:1])
    stream, model = TokenStream.open(data, RUNGS[0]), Transformer(CONFIG.model, CONFIG.seed)
    inside = [p for n, p in model.named_parameters() if n.startswith("blocks") and p.dim() == 2]
    gains = [p for n, p in model.named_parameters() if p.dim() == 1]
    groups = [{"params": inside, "weight_decay": 0.1}, {"params": gains}, {"params": [model.embedding.weight, model.head.weight]}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(20):
        inputs, targets = (torch.from_numpy(part) for part in stream.batch(step, 64, 16))
        mean_loss(model(inputs), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group, factor in zip(optimizer.param_groups, (1, 1, CONFIG.embedding_rate), strict=True):
            group["lr"] = factor * learning_rate(CONFIG, step, plan if step >= plan.branch_step else None)
        optimizer.step()
        optimizer.zero_grad()
    trained = load_file(unbroken.checkpoints[0].file)
    assert all(torch.equal(parameter, trained[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_a_branch_equals_a_run_of_its_own(data: TokenData, tmp_path: Path, schedule: str) -> None:
    config = dataclasses.replace(CONFIG, schedule=schedule)
    together = train_trunk(config, data, RUNGS[:2], tmp_path / "together")
    alone = train_trunk(config, data, RUNGS[1:2], tmp_path / "alone")
    assert Path(alone.checkpoints[0].file).read_bytes() == Path(together.checkpoints[1].file).read_bytes()
    assert alone.run_id == together.run_id


def test_extending_a_ladder_equals_doing_it_at_once(unbroken: TrunkResult, data: TokenData, tmp_path: Path) -> None:
    for count in (1, 2):
        train_trunk(CONFIG, data, RUNGS[:count], tmp_path, ladder_id="ladder")
    before = (tmp_path / "rung-1280.safetensors").stat().st_mtime_ns
    seen: list[Progress] = []
    extended = train_trunk(CONFIG, data, RUNGS, tmp_path, ladder_id="ladder", on_progress=seen.append)
    assert same(unbroken, extended)
    assert (tmp_path / "rung-1280.safetensors").stat().st_mtime_ns == before
    assert seen[-1].num_tokens_done == seen[-1].num_tokens_total == (80 - 32) * 64


def test_a_finished_run_is_not_touched_and_needs_no_data(unbroken: TrunkResult, data: TokenData) -> None:
    nowhere = TokenData(files=("gone",), selection="gone")
    again = train_trunk(CONFIG, nowhere, RUNGS, Path(unbroken.metrics_file).parent, ladder_id="ladder")
    assert again == unbroken


def test_a_rung_in_between_is_trained_from_the_start(unbroken: TrunkResult, data: TokenData, tmp_path: Path) -> None:
    train_trunk(CONFIG, data, [RUNGS[0], RUNGS[2]], tmp_path, ladder_id="ladder")
    assert same(unbroken, train_trunk(CONFIG, data, RUNGS, tmp_path, ladder_id="ladder"))


def stop_at(path: str, step: int) -> object:
    def stop(progress: Progress) -> None:
        if (progress.path, progress.step) == (path, step):
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(("path", "step"), [("trunk", 10), ("rung-2560", 35), ("trunk", 55), ("rung-5120", 75)])
def test_an_interrupted_run_equals_an_unbroken_one(unbroken: TrunkResult, data: TokenData, tmp_path: Path, path: str, step: int) -> None:
    options = {"ladder_id": "ladder", "machine": Machine(checkpoint_seconds=0.05)}
    with pytest.raises(KeyboardInterrupt):
        train_trunk(CONFIG, data, RUNGS, tmp_path, on_progress=stop_at(path, step), **options)
    assert same(unbroken, train_trunk(CONFIG, data, RUNGS, tmp_path, **options))
    assert len(list((tmp_path / "trunk").iterdir())) == 2
    assert not list(tmp_path.glob("rung-*/"))


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["tensors-*.safetensors", "state.json"])
@pytest.mark.parametrize("harm", [damage, Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:100])])
def test_a_damaged_state_is_passed_over(
    unbroken: TrunkResult, data: TokenData, tmp_path: Path, name: str, harm: object, caplog: pytest.LogCaptureFixture
) -> None:
    train_trunk(CONFIG, data, RUNGS[:2], tmp_path, ladder_id="ladder")
    newest = sorted((tmp_path / "trunk").iterdir())[-1]
    (file,) = newest.glob(name)
    harm(file)  # type: ignore[operator]
    assert same(unbroken, train_trunk(CONFIG, data, RUNGS, tmp_path, ladder_id="ladder"))
    assert f"{newest} is damaged" in caplog.text


def test_damaged_weights_are_trained_again(unbroken: TrunkResult, data: TokenData, tmp_path: Path) -> None:
    shutil.copytree(Path(unbroken.metrics_file).parent, tmp_path / "copy")
    damage(tmp_path / "copy" / "rung-2560.safetensors")
    assert same(unbroken, train_trunk(CONFIG, data, RUNGS, tmp_path / "copy", ladder_id="ladder"))


def test_other_tokens_are_noticed(data: TokenData, tmp_path: Path) -> None:
    train_trunk(CONFIG, data, RUNGS[:1], tmp_path / "run")
    with pytest.raises(RunMismatch, match="other tokens than the first 1024"):
        train_trunk(CONFIG, make_data(tmp_path / "other", seed=1), RUNGS[:2], tmp_path / "run")


def test_another_run_in_the_directory_is_noticed(data: TokenData, tmp_path: Path) -> None:
    train_trunk(CONFIG, data, RUNGS[:1], tmp_path)
    with pytest.raises(RunMismatch, match="directory of its own"):
        train_trunk(dataclasses.replace(CONFIG, seed=9), data, RUNGS[:1], tmp_path)


def test_too_few_tokens_say_how_many_are_missing(data: TokenData, tmp_path: Path) -> None:
    assert len(TokenStream.open(data, 5120).raw(0, 5120)) == 4 * 5120
    with pytest.raises(MissingTokensError, match=r"needs 64000 training tokens, the selection has \d+: \d+ are missing"):
        train_trunk(CONFIG, data, [64000], tmp_path)


def test_a_vocabulary_that_is_too_small_is_explained(data: TokenData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, vocab_size=60))
    with pytest.raises(ConfigError, match="vocab_size 60 is too small for token 63"):
        train_trunk(config, data, RUNGS, tmp_path)


def test_divergence_names_the_step(data: TokenData, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, learning_rate=0.999, epsilon=1e-38, clip_norm=float("inf"), weight_decay=1e30)
    with pytest.raises(TrainingDiverged, match=r"diverged at step \d+: loss nan") as caught:
        train_trunk(config, data, RUNGS, tmp_path)
    assert 0 < caught.value.step < 20


def test_weights_file_describes_itself(unbroken: TrunkResult) -> None:
    import safetensors

    with safetensors.safe_open(unbroken.checkpoints[0].file, "pt") as file:
        assert json.loads(file.metadata()["dataladder"]) == json.loads(CONFIG.to_json())
