"""Export: transformers computes the same logits, everything comes back, what does not fit is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm.models.build import build
from lm.models.export import export, load_exported
from tests.models.model_maker import SHAPES, random_model, random_tokens

shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.mark.slow  # importing transformers takes seconds
@shapes
def test_transformers_computes_the_same_logits(shape: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = random_model(SHAPES[shape])
    export(model.state_dict(), model.config, tmp_path, end_of_document=0)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True, local_files_only=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens = random_tokens(3, 32)
    with torch.inference_mode():
        ours, other = model(tokens), theirs.eval()(tokens).logits
    assert other.dtype == torch.float32
    assert ours.std() > 0.1
    assert (ours - other).abs().max() < 1e-4
    assert theirs.num_parameters() == model.config.num_params
    assert theirs.config.eos_token_id == 0


@pytest.mark.slow
def test_transformers_reads_the_vocabulary(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from lm.tokens import tokenizer

    text = "Models learn from text; 数据越多，损失越低。 naïve  café\n\n" * 3
    info = tokenizer.train([text], 300, tmp_path / "v.json")
    model = random_model(SHAPES["transformer"])
    export(model.state_dict(), model.config, tmp_path, tokenizer_json=(tmp_path / "v.json").read_bytes())
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    ids = tokenizer.load(tmp_path / "tokenizer.json").encode(text).tolist()
    assert theirs.encode(text, add_special_tokens=False) == ids
    assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text
    assert (theirs.eos_token_id, theirs.vocab_size) == (info.end_of_document, info.vocab_size)


@shapes
def test_what_was_exported_comes_back(shape: str, tmp_path: Path) -> None:
    model = random_model(SHAPES[shape])
    names = export(model.state_dict(), model.config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    config, weights = load_exported(tmp_path)
    assert config == model.config
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    build(config).load_state_dict(weights)


def test_weights_without_the_usual_prefix_are_read(tmp_path: Path) -> None:
    """GPT-2 as first published names its weights so."""
    model = random_model(SHAPES["gpt2"])
    export(model.state_dict(), model.config, tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}, file)
    _, weights = load_exported(tmp_path)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    model = random_model(SHAPES["transformer"])
    with pytest.raises(FileNotFoundError, match="ladder export"):
        load_exported(tmp_path)
    with pytest.raises(ValueError, match=r"these differ: final_norm.gain"):
        export({name: tensor for name, tensor in model.state_dict().items() if name != "final_norm.gain"}, model.config, tmp_path)
    export(model.state_dict(), model.config, tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "layers.1.self_attn.k_proj" not in name}, file)
    with pytest.raises(ValueError, match=r"lack model.layers.1.self_attn.k_proj.weight"):
        load_exported(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change, says in (({"model_type": "bert"}, "got 'bert'"), ({"rope_parameters": {"rope_type": "yarn"}}, "plain rotation")):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=says):
            load_exported(tmp_path)
