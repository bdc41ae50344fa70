"""PEFT's files of an adapter as a GGUF file, for engines that read only those.

Only of architectures whose weights are the same in both forms, or in another order that is known: the rows of
llama's queries and keys are interleaved in GGUF (llama.cpp's convert_hf_to_gguf.py).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import orjson
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map
from numpy.typing import NDArray

from drover.adapters import CONFIG_FILE, GGUF_FILE, WEIGHTS_FILE
from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.adapters.matrices import shown

CONVERTIBLE = ("llama", "qwen2", "qwen3")
_INTERLEAVED = "llama"
_HEADS = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}
_LENGTH_BYTES = 8

Matrix = NDArray[numpy.float32]


def with_gguf(adapter: Adapter, model: pb.Model) -> Adapter:
    """The adapter with a GGUF file besides PEFT's, for a model in GGUF. Blocking: converts the weights.

    Raises InvalidRequest for weights that the model's architecture does not have.
    """
    if adapter.format == "gguf" or model.format != "gguf" or model.family not in CONVERTIBLE:
        return adapter
    info = orjson.loads(model.model_info_json)
    source = SafetensorsMatrices(adapter.folder / WEIGHTS_FILE)
    names = get_tensor_name_map(_architecture(model.family), int(info[f"{model.family}.block_count"]))
    writer = GGUFWriter(adapter.folder / GGUF_FILE, model.family, use_temp_file=True)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", _alpha(adapter.folder / CONFIG_FILE))
    for pair in adapter.pairs:
        module = pair.weight.removesuffix(".weight")
        name = names.get_name(module)
        if name is None:
            raise InvalidRequest(
                f"adapters: the adapter changes {shown(pair.weight)}, which models of the architecture "
                f"{model.family} do not have"
            )
        second = source.matrix(f"{module}.lora_B")
        kind = _HEADS.get(module.rpartition(".")[2])
        if model.family == _INTERLEAVED and kind is not None:
            second = interleaved(second, int(info[f"{model.family}.{kind}"]))
        writer.add_tensor(f"{name}.weight.lora_a", source.matrix(f"{module}.lora_A"))
        writer.add_tensor(f"{name}.weight.lora_b", second)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_adapter(adapter.digest, adapter.folder)


def interleaved(rows: Matrix, heads: int) -> Matrix:
    """The rows of each head with its second half between those of the first."""
    if len(rows) % (2 * heads):
        raise InvalidRequest(f"adapters: {len(rows)} rows do not belong to {heads} heads; another model's")
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return numpy.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def _architecture(name: str) -> MODEL_ARCH:
    return next(architecture for architecture, known in MODEL_ARCH_NAMES.items() if known == name)


def _alpha(config: Path) -> float:
    return float(orjson.loads(config.read_bytes())["lora_alpha"])


class SafetensorsMatrices:
    """The matrices of a safetensors file whose header has been checked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = orjson.loads(file.read(length))
        self._begin = _LENGTH_BYTES + length
        self._tensors = {
            name.removeprefix("base_model.model.").replace(".default.weight", ".weight"): tensor
            for name, tensor in header.items()
        }

    def matrix(self, name: str) -> Matrix:
        tensor = self._tensors[f"{name}.weight"]
        begin, end = tensor["data_offsets"]
        with self._path.open("rb") as file:
            file.seek(self._begin + begin)
            data = file.read(end - begin)
        values = _values(data, tensor["dtype"])
        assert values.size == math.prod(tensor["shape"])
        return values.reshape(tensor["shape"])


def _values(data: bytes, kind: str) -> Matrix:
    match kind:
        case "F32":
            return numpy.frombuffer(data, numpy.float32)
        case "F16":
            return numpy.frombuffer(data, numpy.float16).astype(numpy.float32)
        case _:
            # BF16 has the upper half of a 32-bit float.
            return (numpy.frombuffer(data, numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
