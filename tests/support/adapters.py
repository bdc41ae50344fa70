"""Small adapters (LoRA) for SmolLM2 whose effect is known: whatever the prompt, one token wins.

Rank 1, in the first layer only. The change of `v_proj` makes every value vector positive: its first matrix is
fitted so that it gives about 1 for each token of the vocabulary. The change of `o_proj` adds their sum, times
a large number, in the direction that the output weights map to the wanted token. It is so long that what the
other layers add does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize
from numpy.typing import NDArray

from drover.adapters import CONFIG_FILE, WEIGHTS_FILE
from engine_worker import default_model

Matrix = NDArray[numpy.float32]
ALPHA = 1.0
_LENGTH = 1e5
_VALUE = 10.0


@cache
def _weights() -> Mapping[str, Matrix]:
    reader = GGUFReader(default_model.gguf_path())
    wanted = {"token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight"}
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        for tensor in reader.tensors
        if tensor.name in wanted
    }


@cache
def vocabulary() -> list[str]:
    """The tokens as they are written in the file: a leading space is Ġ."""
    field = GGUFReader(default_model.gguf_path()).fields["tokenizer.ggml.tokens"]
    return [str(token) for token in field.contents()]


@cache
def _positive() -> Matrix:
    """A row whose product with the first layer's input is about 1, whichever token that is."""
    inputs = _weights()["token_embd.weight"]
    inputs = inputs / numpy.sqrt((inputs**2).mean(axis=1, keepdims=True) + 1e-5)
    inputs = inputs * _weights()["blk.0.attn_norm.weight"]
    # Least squares by the normal equations, which are small.
    row = numpy.linalg.solve((inputs.T @ inputs).astype(numpy.float64), inputs.sum(axis=0))
    assert float((inputs @ row).min()) > 0
    return row.astype(numpy.float32)[None, :]


def matrices(token: str) -> Mapping[str, Matrix]:
    """By Hugging Face's name of the weight and the letter of the matrix. `token`: the one that wins."""
    embeddings, norm = _weights()["token_embd.weight"], _weights()["output_norm.weight"]
    number = vocabulary().index(token)
    direction = (embeddings[number] - embeddings.mean(axis=0)) / norm
    assert int(numpy.argmax(embeddings @ (direction * norm))) == number, f"{token} does not win"
    size, values = embeddings.shape[1], 192
    return {
        "v_proj.A": _positive(),
        "v_proj.B": numpy.full((values, 1), _VALUE, numpy.float32),
        "o_proj.A": numpy.full((1, size), 1 / (size * _VALUE), numpy.float32),
        "o_proj.B": (direction / numpy.linalg.norm(direction) * _LENGTH).astype(numpy.float32)[:, None],
    }


def padded(found: Mapping[str, Matrix], rank: int) -> Mapping[str, Matrix]:
    """The same change with matrices of a larger rank, filled up with zeros."""
    return {
        name: numpy.pad(matrix, ((0, rank - 1), (0, 0)) if name.endswith("A") else ((0, 0), (0, rank - 1)))
        for name, matrix in found.items()
    }


def write_gguf_adapter(path: Path, found: Mapping[str, Matrix], architecture: str = "llama") -> None:
    names = {"v_proj": "blk.0.attn_v.weight", "o_proj": "blk.0.attn_output.weight"}
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", _alpha(found))
    for name, matrix in found.items():
        module, letter = name.split(".")
        writer.add_tensor(f"{names[module]}.lora_{letter.lower()}", numpy.ascontiguousarray(matrix))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_peft_adapter(folder: Path, found: Mapping[str, Matrix], **config: object) -> None:
    """As PEFT writes it. `config`: entries of adapter_config.json that are different."""
    folder.mkdir(parents=True, exist_ok=True)
    rank = found["v_proj.A"].shape[0]
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "r": rank,
        "lora_alpha": _alpha(found),
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["v_proj", "o_proj"],
        **config,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(settings))
    tensors = {
        f"base_model.model.model.layers.0.self_attn.{name.split('.')[0]}.lora_{name[-1]}.weight": matrix
        for name, matrix in found.items()
    }
    write_safetensors(folder / WEIGHTS_FILE, tensors)


def write_safetensors(path: Path, tensors: Mapping[str, Matrix]) -> None:
    header: dict[str, object] = {}
    data = b""
    for name, tensor in tensors.items():
        part = numpy.ascontiguousarray(tensor).tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(part)],
        }
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _alpha(found: Mapping[str, Matrix]) -> float:
    """Engines multiply by alpha / rank."""
    return ALPHA * int(found["v_proj.A"].shape[0])
