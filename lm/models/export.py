"""Weights in the layout that Hugging Face transformers loads, and back.

The Transformer here is Qwen3's architecture (RMSNorm, rotary positions on half-split pairs, QK-norm, SwiGLU, shared key heads), so it
is written as `qwen3`; GPT-2 as `gpt2`, whose matrices lie the other way round. Only names and shapes change, no number does: logits
agree to rounding. Matrices that are one here (query, key, value; gate, up) are cut on the way out and joined on the way back.
A directory holds model.safetensors, config.json, generation_config.json and, where a vocabulary is given, tokenizer.json with its
settings. It appears whole or not at all; the files of an earlier export are replaced one by one.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm.models.config import ModelConfig

Weights = dict[str, Tensor]

_QWEN3_BLOCK = {
    "attention_norm.gain": "input_layernorm.weight",
    "query_norm.gain": "self_attn.q_norm.weight",
    "key_norm.gain": "self_attn.k_norm.weight",
    "attention_out.weight": "self_attn.o_proj.weight",
    "mlp_norm.gain": "post_attention_layernorm.weight",
    "mlp_out.weight": "mlp.down_proj.weight",
}
_GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}


def export(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    out_dir: str | Path,
    *,
    end_of_document: int | None = None,
    tokenizer_json: bytes | None = None,
    end_of_document_text: str = "<|endoftext|>",
) -> list[str]:
    """Write weights, configuration and vocabulary into `out_dir`. Returns the names of the files.

    `end_of_document`: the id that begins and ends a document; generation stops at it.
    Raises: ValueError if names or shapes are not those of the configuration.
    """
    _check(weights, config)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, bytes] = {
        "config.json": _json(hugging_face_config(config, end_of_document)),
        "generation_config.json": _json({"bos_token_id": end_of_document, "eos_token_id": end_of_document, "do_sample": True}),
    }
    if tokenizer_json is not None:
        settings["tokenizer.json"] = tokenizer_json
        settings["tokenizer_config.json"] = _json(_tokenizer_config(config, end_of_document_text))
    beside = out / f"model.safetensors.{os.getpid()}.part"
    try:
        save_file({name: tensor.contiguous() for name, tensor in _renamed(weights, config)}, beside, {"format": "pt"})
        for name, data in settings.items():
            part = out / f"{name}.{os.getpid()}.part"
            part.write_bytes(data)
            os.replace(part, out / name)
        os.replace(beside, out / "model.safetensors")
    finally:
        beside.unlink(missing_ok=True)
    return sorted([*settings, "model.safetensors"])


def load_exported(directory: str | Path) -> tuple[ModelConfig, Weights]:
    """Configuration and weights of a directory that `export`, or transformers, wrote for one of the two architectures.

    Raises: FileNotFoundError; ValueError if it holds another architecture, or a setting that ours does not have.
    """
    folder = Path(directory)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            raise FileNotFoundError(f'{folder / name}: no such file; "ladder export" writes it')
    found: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    readers = {"qwen3": _read_qwen3_config, "gpt2": _read_gpt2_config}
    if found.get("model_type") not in readers:
        raise ValueError(f"{folder}: model_type must be one of {', '.join(readers)}, got {found.get('model_type')!r}")
    config = readers[found["model_type"]](found)
    weights = dict(_joined(load_file(folder / "model.safetensors"), config))
    _check(weights, config)
    return config, weights


def hugging_face_config(config: ModelConfig, end_of_document: int | None = None) -> dict[str, Any]:
    """What config.json says."""
    common = {
        "bos_token_id": end_of_document,
        "eos_token_id": end_of_document,
        "tie_word_embeddings": config.tied_embeddings,
        "dtype": "float32",
        "vocab_size": config.vocab_size,
        "initializer_range": 0.02,
    }
    if config.architecture == "gpt2":
        return common | {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": config.depth,
            "n_embd": config.width,
            "n_head": config.num_heads,
            "n_inner": config.mlp_width,
            "n_positions": config.context_tokens,
            "layer_norm_epsilon": config.norm_epsilon,
            "activation_function": "gelu_new",
            **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
        }
    return common | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": config.depth,
        "hidden_size": config.width,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
    }


def _read_qwen3_config(found: dict[str, Any]) -> ModelConfig:
    rope = found.get("rope_parameters") or {}
    scaling = found.get("rope_scaling") or {}
    kinds = {rope.get("rope_type", "default"), scaling.get("rope_type", scaling.get("type", "default"))}
    heads, kv_heads = found["num_attention_heads"], found.get("num_key_value_heads", found["num_attention_heads"])
    head_width = found.get("head_dim", found["hidden_size"] // heads)
    if kinds != {"default"} or found.get("use_sliding_window") or found.get("attention_bias") or head_width * heads != found["hidden_size"]:
        raise ValueError(
            f"need plain rotation, full attention, no biases and heads as wide together as the model, got {kinds}, "
            f"sliding window {found.get('use_sliding_window')}, bias {found.get('attention_bias')}, {heads} heads of {head_width}"
        )
    return ModelConfig(
        depth=found["num_hidden_layers"],
        width=found["hidden_size"],
        num_heads=heads,
        num_kv_heads=None if kv_heads == heads else kv_heads,
        mlp_width=found["intermediate_size"],
        context_tokens=found["max_position_embeddings"],
        vocab_size=found["vocab_size"],
        tied_embeddings=found.get("tie_word_embeddings", False),
        rope_base=float(rope.get("rope_theta") or found.get("rope_theta") or 10000.0),
        norm_epsilon=found["rms_norm_eps"],
    )


def _read_gpt2_config(found: dict[str, Any]) -> ModelConfig:
    if (activation := found.get("activation_function", "gelu_new")) != "gelu_new":
        raise ValueError(f"GPT-2 as published has the activation gelu_new, got {activation}")
    return ModelConfig(
        depth=found["n_layer"],
        width=found["n_embd"],
        num_heads=found["n_head"],
        mlp_width=found.get("n_inner") or 4 * found["n_embd"],
        context_tokens=found["n_positions"],
        vocab_size=found["vocab_size"],
        tied_embeddings=True,
        norm_epsilon=found.get("layer_norm_epsilon", 1e-5),
        architecture="gpt2",
    )


def _tokenizer_config(config: ModelConfig, end_of_document: str) -> dict[str, Any]:
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end_of_document)
    inputs = ["input_ids", "attention_mask"]
    return special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs, "model_max_length": config.context_tokens}


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _renamed(weights: Mapping[str, Tensor], config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as transformers has them."""
    for name, tensor in weights.items():
        if config.architecture == "gpt2":
            yield _gpt2_name(name), tensor.T if _is_matrix_of_block(name, tensor) else tensor
        else:
            yield from _qwen3(name, tensor, config)


def _qwen3(name: str, tensor: Tensor, config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    outside = {"embedding.weight": "model.embed_tokens.weight", "final_norm.gain": "model.norm.weight", "head.weight": "lm_head.weight"}
    if name in outside:
        yield outside[name], tensor
        return
    _, layer, rest = name.split(".", 2)
    prefix = f"model.layers.{layer}."
    if rest == "qkv.weight":
        for part, piece in zip("qkv", torch.split(tensor, [config.width, config.kv_width, config.kv_width]), strict=True):
            yield f"{prefix}self_attn.{part}_proj.weight", piece
    elif rest == "gate_up.weight":
        for part, piece in zip(("gate", "up"), torch.chunk(tensor, 2), strict=True):
            yield f"{prefix}mlp.{part}_proj.weight", piece
    else:
        yield prefix + _QWEN3_BLOCK[rest], tensor


def _gpt2_name(name: str) -> str:
    outside = {"embedding.weight": "wte.weight", "positions.weight": "wpe.weight"}
    if name in outside:
        return f"transformer.{outside[name]}"
    if name.startswith("final_norm"):
        return f"transformer.{name.replace('final_norm', 'ln_f')}"
    _, layer, part, kind = name.split(".")
    return f"transformer.h.{layer}.{_GPT2_BLOCK[part]}.{kind}"


def _is_matrix_of_block(name: str, tensor: Tensor) -> bool:
    return name.startswith("blocks") and tensor.dim() == 2


def _joined(found: Mapping[str, Tensor], config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """The inverse of `_renamed`: every weight of ours from one or several of theirs. Raises: ValueError naming what is missing."""
    prefix = "transformer." if config.architecture == "gpt2" and "wte.weight" in found else ""
    for name, shape in _shapes(config).items():
        places = [theirs for theirs, _ in _renamed({name: torch.empty(shape, device="meta")}, config)]
        if missing := [place for place in places if place.removeprefix(prefix) not in found]:
            raise ValueError(f"the weights lack {', '.join(missing)}, which config.json asks for")
        parts = [found[place.removeprefix(prefix)] for place in places]
        turned = config.architecture == "gpt2" and name.startswith("blocks") and len(shape) == 2
        yield name, parts[0].T.contiguous() if turned else torch.cat(parts) if len(parts) > 1 else parts[0]


def _shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Names and shapes of a model's weights, without making it."""
    from lm.models.build import build

    with torch.device("meta"):
        return {name: parameter.shape for name, parameter in build(config).named_parameters()}


def _check(weights: Mapping[str, Tensor], config: ModelConfig) -> None:
    expected, found = _shapes(config), {name: tensor.shape for name, tensor in weights.items()}
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ValueError(f"weights must be those of {config.name}, but these differ: {', '.join(wrong[:5])}")
