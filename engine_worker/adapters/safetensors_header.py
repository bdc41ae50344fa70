"""An adapter in PEFT's files: adapter_config.json, and the header of adapter_model.safetensors.

Only the header is read, and no more of it than is allowed: a file may claim any length. Pickled weights
(adapter_model.bin) are no part of it, since reading them runs what is in them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import orjson

from drover.errors import InvalidRequest
from engine_worker.adapters.matrices import Pair, pairs_of, shown

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 8 * 1024 * 1024
_MAX_CONFIG_BYTES = 256 * 1024
_MAX_DIMENSIONS = 4
_VALUE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight")
# Settings of PEFT that change what the matrices mean, and that engines ignore.
_UNUSED = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "lora_bias",
)


def read_config(path: Path) -> int:
    """The rank that adapter_config.json states. Raises InvalidRequest for a kind of adapter that cannot be
    used.
    """
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise InvalidRequest(f"adapters: {path.name} is longer than {_MAX_CONFIG_BYTES} bytes")
    try:
        config = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"adapters: {path.name} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InvalidRequest(f"adapters: {path.name} is not a JSON object")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise InvalidRequest(f"adapters: peft_type is {shown(str(kind))}, and only LORA can be used")
    for name in _UNUSED:
        if config.get(name):
            raise InvalidRequest(f"adapters: {path.name} sets {name}, which engines do not apply")
    if config.get("bias", "none") != "none":
        raise InvalidRequest(f"adapters: {path.name} sets bias, and biases cannot be added")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InvalidRequest(f"adapters: r in {path.name} must be a whole number, 1 or more")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise InvalidRequest(f"adapters: lora_alpha in {path.name} must be a number")
    _check_targets(config.get("target_modules"), path.name)
    return rank


def read_pairs(path: Path, rank: int) -> list[Pair]:
    """The matrices of adapter_model.safetensors, by Hugging Face's names of weights. Raises
    InvalidRequest.
    """
    matrices: dict[str, dict[str, list[int]]] = {"A": {}, "B": {}}
    foreign = []
    for name, shape in _shapes(path).items():
        match = _MATRIX.fullmatch(name)
        if match is None:
            foreign.append(name)
        else:
            matrices[match[2]][f"{match[1]}.weight"] = shape
    pairs = list(pairs_of(matrices["A"], matrices["B"], foreign))
    for pair in pairs:
        if pair.rank != rank:
            raise InvalidRequest(
                f"adapters: the matrices for {shown(pair.weight)} have rank {pair.rank}, the configuration "
                f"says {rank}"
            )
    return pairs


def _check_targets(targets: object, name: str) -> None:
    is_list = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    if not is_list and not isinstance(targets, str):
        raise InvalidRequest(f"adapters: target_modules in {name} must be a list of names")


def _shapes(path: Path) -> Mapping[str, list[int]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or not 2 <= length <= size - _LENGTH_BYTES:
            raise InvalidRequest(f"adapters: {path.name} is not a whole safetensors file")
        if length > _MAX_HEADER_BYTES:
            raise InvalidRequest(
                f"adapters: the header of {path.name} claims {length} bytes; at most {_MAX_HEADER_BYTES} are "
                "read"
            )
        header = file.read(length)
    try:
        tensors = orjson.loads(header)
    except orjson.JSONDecodeError:
        tensors = None
    if not isinstance(tensors, dict):
        raise InvalidRequest(f"adapters: the header of {path.name} is not a JSON object")
    data_bytes = size - _LENGTH_BYTES - length
    tensors.pop("__metadata__", None)
    shapes = {name: _shape(name, tensor, data_bytes) for name, tensor in tensors.items()}
    _check_whole([tensor["data_offsets"] for tensor in tensors.values()], data_bytes, path.name)
    return shapes


def _check_whole(places: list[tuple[int, int]], data_bytes: int, name: str) -> None:
    """Raises InvalidRequest unless the tensors fill the file, one after the other."""
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            break
        at = end
    if at != data_bytes:
        raise InvalidRequest(f"adapters: the tensors of {name} overlap, or leave bytes of it out")


def _shape(name: str, tensor: object, data_bytes: int) -> list[int]:
    """The shape of a tensor whose place in the file has room for it. Raises InvalidRequest."""
    match tensor:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise InvalidRequest(f"adapters: tensor {shown(name)} has no dtype, shape and data_offsets")
    if kind not in _VALUE_BYTES:
        raise InvalidRequest(f"adapters: tensor {shown(name)} is of type {shown(kind)}, not F32, F16 or BF16")
    sizes = [size for size in shape if isinstance(size, int) and not isinstance(size, bool) and size >= 0]
    if len(sizes) != len(shape) or len(shape) > _MAX_DIMENSIONS:
        raise InvalidRequest(f"adapters: tensor {shown(name)} has no valid shape")
    if not 0 <= begin <= end <= data_bytes or end - begin != math.prod(sizes) * _VALUE_BYTES[kind]:
        raise InvalidRequest(
            f"adapters: tensor {shown(name)} of shape {sizes} is not where the header says, or is cut off"
        )
    return sizes
