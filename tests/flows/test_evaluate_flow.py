"""Evaluation sets under checkpoints of a small lake: scores per item, metrics with and without known items, comparison, restart.

The stages are asked through their plans and tasks' functions, without a Prefect server.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from flows import comparing, contamination, evaluate, evaluation_sets
from flows.cli import app
from flows.common import MissingInputError, Planned, open_lake, settle
from flows.settings import EvaluateSettings
from lm.corpus.contamination.items import Fields
from lm.evaluation.tasks import score_set
from lm.models.build import build
from lm.models.config import from_depth
from lm.tokens import tokenizer
from lm.tokens.selection import write_selection
from lm.training.config import TrainConfig
from storage import ledger
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES

SETTINGS = EvaluateSettings(ladder_id="ladder", num_parallel=1)
WORDS = "data model token loss ladder law rung seed crawl page"


def typed(table: str, *rows: dict[str, object]) -> pa.Table:
    """Rows; columns that are not given are empty."""
    return pa.Table.from_pylist([{name: row.get(name) for name in TABLES[table].columns if name != "produced_by"} for row in rows])


def commit(lake: Lake, stage: str, slot: str, tables: dict[str, pa.Table]) -> None:
    ledger.commit(lake, [Output(work=Work(stage=stage, slot=slot, parameters={}, code={}, inputs={}), tables=tables)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with a ladder of two rungs, three runs, two evaluation sets, and one item known to the training data."""
    folder = tmp_path_factory.mktemp("evaluate")
    root = folder / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADDER_LAKE", str(root))
        with open_lake() as lake:
            _fill(lake, root)
            pairs = [
                {"sentence_good": f"the {a} {b}", "sentence_bad": f"{b} the {a}", "UID": a} for a in WORDS.split() for b in WORDS.split()
            ]
            choices = [{"query": f"{a} {a} {a} {a} {a}", "choices": [a, "zz zz"], "gold": i % 2} for i, a in enumerate(WORDS.split())]
            for name, rows in (("pairs", pairs), ("quiz", choices), ("talk", [{"question": "Who are you?", "answer": "Nobody"}])):
                (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                contamination.add_set(lake, name, str(folder / f"{name}.jsonl"), Fields())
            settle_tasks(lake, SETTINGS)
        yield root


def _fill(lake: Lake, root: Path) -> None:
    info = tokenizer.train([WORDS * 20], 300, root / "tokenizer.json")
    selection = pa.table(
        {"rank": [1, 2, 9], "id": ["a", "b~edited", "c"], "num_tokens": [5] * 3, "split": ["train"] * 3, "host": ["h"] * 3}
    )
    write_selection(selection, root / "selection.parquet")
    rung = {"ladder_id": "ladder", "recipe": "raw", "tokenizer_id": info.tokenizer_id, "selection_file": "selection.parquet"}
    rungs = typed("rungs", *({**rung, "rung": i, "num_tokens": 10 * i + 10, "rank_limit": 4} for i in range(2)))
    vocabulary = typed("tokenizers", {"tokenizer_id": info.tokenizer_id, "file": "tokenizer.json", "vocab_size": info.vocab_size})
    commit(lake, "ladder", "raw/l", {"rungs": rungs, "tokenizers": vocabulary})
    for width, seed in ((32, 0), (32, 1), (64, 0)):
        model = from_depth(width // 32, vocab_size=info.vocab_size, context_tokens=32)
        config = TrainConfig(model=model, seed=seed, learning_rate=0.01, batch_tokens=32, warmup_tokens=0)
        run_id, weights = f"run{width}{seed}", root / f"{width}{seed}.safetensors"
        built = build(model, seed)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.normal_(std=0.1 + seed / 10, generator=torch.Generator().manual_seed(parameter.numel() + seed))
        save_file(dict(built.named_parameters()), weights)
        run = {"run_id": run_id, "ladder_id": "ladder", "model": model.name, "seed": seed, "num_params": model.num_params}
        at = {"run_id": run_id, "file": weights.name, "weights_digest": file_digest(weights)}
        rows = [{**at, "rung": rung, "step": rung, "num_tokens": 10 * rung + 10} for rung in range(2 if width == 32 else 1)]
        tables = {"runs": typed("runs", {**run, "config": config.to_json()}), "checkpoints": typed("checkpoints", *rows)}
        commit(lake, "runs", run_id, tables)


def settle_tasks(lake: Lake, settings: EvaluateSettings) -> list[int]:
    """The flow's two stages of tasks, in this process; how many units each had to compute."""

    def produce(todo: Sequence[Planned[evaluate.Scoring]]) -> list[Output]:
        outputs = []
        for planned in todo:
            call = evaluate._scoring_call(lake, planned, "ladder")
            outputs.append(Output(work=planned.work, tables={"item_metrics": score_set(**call)}))
        return outputs

    scored = settle(lake, evaluate.plan_tasks(lake, settings), produce)
    made = settle(lake, evaluate.plan_task_metrics(lake, settings), lambda todo: [evaluate.summarize.fn(p.work, p.unit) for p in todo])
    return [scored.num_new, made.num_new]


@pytest.fixture
def lake(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("LADDER_LAKE", str(root))
    with open_lake() as opened:
        yield opened


def values(lake: Lake, where: str) -> dict[tuple[str, str], tuple[float, int]]:
    rows = lake.rows(f"SELECT domain, name, value, num_items FROM metrics WHERE split = 'task' AND {where}")
    return {(domain, name): (value, num) for domain, name, value, num in rows}


def test_every_checkpoint_is_scored_on_every_set_that_can_be(lake: Lake) -> None:
    assert lake.rows("SELECT count(DISTINCT (run_id, rung)), count(DISTINCT evaluation_set) FROM item_metrics") == [(5, 2)]
    assert evaluation_sets.not_scored(lake, []) == [("talk", "none of its items has choices and a label; see `ladder evals add --help`")]
    found = values(lake, "run_id = 'run640'")
    assert found["pairs", "accuracy"][1] == 100
    assert found["quiz", "accuracy"][1] == 10
    subsets = [value for (domain, name), (value, _) in found.items() if domain.startswith("pairs/") and name == "accuracy"]
    assert len(subsets) == 10
    assert found["pairs", "accuracy"][0] == pytest.approx(sum(subsets) / 10)
    assert not any("~" in domain for domain, _ in found)  # nothing was compared with documents yet


def test_nothing_is_scored_twice_and_a_few_items_stand_apart(lake: Lake) -> None:
    assert settle_tasks(lake, SETTINGS) == [0, 0]
    some = EvaluateSettings(ladder_id="ladder", sets=["pairs"], max_items=20, runs=["run64"])
    assert settle_tasks(lake, some) == [1, 1]
    assert values(lake, "run_id = 'run640'")["pairs[:20]", "accuracy"][1] == 20
    inside = (
        "SELECT count(*) FROM (SELECT item FROM item_metrics WHERE evaluation_set = 'pairs[:20]' EXCEPT SELECT item FROM evaluation_items)"
    )
    assert lake.value(inside) == 0
    with pytest.raises(MissingInputError, match="no evaluation set nothing"):
        evaluate.plan_tasks(lake, EvaluateSettings(ladder_id="ladder", sets=["nothing"]))


def test_runs_and_checkpoints_are_chosen_by_name(lake: Lake) -> None:
    def asked(**settings: object) -> list[tuple[str, int]]:
        return [(one.run_id, one.rung) for one in evaluate.checkpoints(lake, EvaluateSettings(ladder_id="ladder", **settings))]  # type: ignore[arg-type]

    assert asked() == [("run640", 0), ("run320", 0), ("run320", 1), ("run321", 0), ("run321", 1)]
    assert asked(runs=["d1w32"], rung=1) == [("run320", 1), ("run321", 1)]
    assert asked(runs=["run64", "run321"]) == [("run640", 0), ("run321", 0), ("run321", 1)]


def test_known_items_are_told_apart(lake: Lake) -> None:
    item, other = (row[0] for row in lake.rows("SELECT item FROM evaluation_items WHERE evaluation_set = 'quiz' ORDER BY item LIMIT 2"))
    hits = [("b", item, True), ("a", other, False), ("c", other, True), ("elsewhere", other, True)]  # c lies beyond the largest rung
    rows = [{"id": id, "evaluation_set": "quiz", "item": name, "contaminated": is_known} for id, name, is_known in hits]
    commit(lake, "contamination", "verdict", {"contamination": typed("contamination", *rows)})
    assert evaluation_sets.known(lake, "ladder", "quiz") == {item}
    evaluation_sets.settle_known(lake, "ladder")
    assert lake.rows("SELECT evaluation_set, item, num_documents FROM known_items") == [("quiz", item, 1)]
    assert settle_tasks(lake, SETTINGS) == [0, 6]  # new metrics, no new scores
    found = values(lake, "run_id = 'run640'")
    sizes = {domain: num for (domain, name), (_, num) in found.items() if name == "accuracy" and domain.startswith("quiz")}
    assert sizes == {"quiz": 10, "quiz~clean": 9, "quiz~known": 1}
    assert 10 * found["quiz", "accuracy"][0] == pytest.approx(9 * found["quiz~clean", "accuracy"][0] + found["quiz~known", "accuracy"][0])
    assert found["pairs~clean", "accuracy"] == found["pairs", "accuracy"]


def test_a_set_that_is_gone_takes_its_scores_along(lake: Lake) -> None:
    contamination.remove_set(lake, "pairs")
    settle_tasks(lake, SETTINGS)
    assert lake.rows("SELECT DISTINCT evaluation_set FROM item_metrics") == [("quiz",)]
    assert {domain.partition("~")[0] for domain, _ in values(lake, "true")} == {"quiz"}


def test_two_runs_are_compared_on_the_same_items(lake: Lake, root: Path) -> None:
    a, b = comparing.chosen(lake, "d2w64"), comparing.chosen(lake, "run320@1")
    assert (a[0].run_id, b[0].run_id, b[0].rung) == ("run640", "run320", 1)
    found = {one.name: one.difference for one in comparing.compare(lake, a, b, num_samples=200, level=0.9, seed=1)}
    one = found["answer_bits_per_byte"]
    of = "SELECT sum(value * weight) / sum(weight) FROM item_metrics WHERE run_id = ? AND rung = ? AND name = 'answer_bits_per_byte'"
    assert one.difference == pytest.approx(lake.value(of, ["run320", 1]) - lake.value(of, ["run640", 0]))
    assert one.low <= one.difference <= one.high
    assert [run.run_id for run in comparing.chosen(lake, "d1w32", over_seeds=True)] == ["run320", "run321"]
    assert [run.run_id for run in comparing.chosen(lake, "recipe:raw/d1w32@0")] == ["run320", "run321"]
    assert [run.run_id for run in comparing.chosen(lake, "recipe:raw")] == ["run640"]
    for name, said in (("nobody", "there are d1w32 "), ("recipe:c4", "no recipe 'c4'"), ("run320@top", "number of a rung")):
        with pytest.raises(LookupError, match=said):
            comparing.chosen(lake, name)
    shown = CliRunner().invoke(app, ["--lake", str(root), "eval", "compare", "d2w64@0", "d1w32@0", "--over-seeds", "--num-samples", "200"])
    assert shown.exit_code == 0, shown.output
    assert "answer_bits_per_byte" in shown.output


def test_scores_are_shown(lake: Lake, root: Path) -> None:
    shown = CliRunner().invoke(app, ["--lake", str(root), "eval", "show", "--ladder-id", "ladder"])
    assert shown.exit_code == 0, shown.output
    assert "answer_bits_per_byte" in shown.output
    assert "quiz" in shown.output
