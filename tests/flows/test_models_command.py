"""`ladder export` and `ladder generate` on a lake with two small runs."""

from pathlib import Path

import pyarrow as pa
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.models import _decoded, find
from lm.models.build import build
from lm.models.config import from_depth
from lm.models.export import load_exported
from lm.tokens import tokenizer
from lm.training.config import TrainConfig
from storage import ledger
from storage.digest import file_digest
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.schema import TABLES
from storage.settings import LakeSettings


def typed(table: str, **values: object) -> pa.Table:
    """One row; columns that are not given are empty."""
    return pa.Table.from_pylist([{name: values.get(name) for name in TABLES[table].columns if name != "produced_by"}])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models") / "lake"
    with Lake.open(LakeSettings(lake=str(root))) as lake:
        info = tokenizer.train(["data model token loss ladder law " * 20], 270, root / "tokenizer.json")
        model = from_depth(1, vocab_size=info.vocab_size, context_tokens=16)
        tables = {
            "tokenizers": typed("tokenizers", tokenizer_id=info.tokenizer_id, kind="trained", vocab_size=270, file="tokenizer.json"),
            "rungs": typed("rungs", ladder_id="ladder", rung=0, tokenizer_id=info.tokenizer_id),
        }
        ledger.commit(lake, [Output(work=Work(stage="ladder", slot="l", parameters={}, code={}, inputs={}), tables=tables)])
        for seed in (0, 1):
            config = TrainConfig(model=model, seed=seed, learning_rate=0.01, batch_tokens=16, warmup_tokens=0)
            save_file(dict(build(model, seed).named_parameters()), root / f"{seed}.safetensors")
            runs = typed("runs", run_id=f"{seed}abc", ladder_id="ladder", model=model.name, seed=seed, config=config.to_json())
            checkpoints = pa.concat_tables(
                typed("checkpoints", run_id=f"{seed}abc", rung=rung, num_tokens=2**rung, file=f"{seed}.safetensors") for rung in (4, 5)
            )
            work = Work(stage="runs", slot=f"{seed}abc", parameters={}, code={}, inputs={})
            ledger.commit(lake, [Output(work=work, tables={"runs": runs, "checkpoints": checkpoints})])
    return root


def ladder(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["--lake", str(root), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_run_is_found_by_id_or_size(root: Path) -> None:
    with Lake.open(LakeSettings(lake=str(root)), read_only=True) as lake:
        assert (find(lake, "1a", None).run_id, find(lake, "1a", None).rung) == ("1abc", 5)
        assert (find(lake, "d1w32", None).seed, find(lake, "d1w32", 4).num_tokens) == (0, 16)
        with pytest.raises(LookupError, match=r"No run 'x'.* d1w32 \(0abc\)"):
            find(lake, "x", None)
        with pytest.raises(LookupError, match="with rung 9"):
            find(lake, "d1w32", 9)


def test_export_writes_what_loads_again(root: Path, tmp_path: Path) -> None:
    names = ladder(root, "export", "1abc", str(tmp_path / "out")).split()
    assert {Path(name).name for name in names} == {path.name for path in (tmp_path / "out").iterdir()}
    config, weights = load_exported(tmp_path / "out")
    assert all((weights[name] == parameter).all() for name, parameter in build(config, 1).named_parameters())
    assert file_digest(tmp_path / "out" / "tokenizer.json") == file_digest(root / "tokenizer.json")


def test_generate_goes_on_from_a_prompt_and_repeats_itself(root: Path) -> None:
    texts = [ladder(root, "generate", "d1w32", "the law", "--num-tokens", "40", "--seed", seed) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the law")


def test_characters_spelled_by_several_tokens_come_whole() -> None:
    table = [bytes([value]) for value in range(256)]
    assert list(filter(None, _decoded(iter("a数".encode()), table))) == ["a", "数"]
    assert "".join(_decoded(iter("数".encode()[:2]), table)) == "\ufffd"
