"""Whether an adapter fits a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.adapters.matrices import Pair, shown

_FORMATS = {
    "gguf": "one GGUF file",
    "safetensors": "PEFT's files adapter_config.json and adapter_model.safetensors",
}


_GGUF = "gguf"


def read_fitting(digest: str, folder: Path, model: pb.Model, max_rank: int) -> Adapter:
    """An adapter in the form that the model's engine reads, which may add a file to the folder. Blocking.

    Raises InvalidRequest as check_fits does, and for files that are no adapter; OSError.
    """
    adapter = read_adapter(digest, folder)
    if model.format == _GGUF:
        # Only workers that serve GGUF files have its packages.
        from engine_worker.adapters.gguf_conversion import with_gguf

        adapter = with_gguf(adapter, model)
    check_fits(adapter, model, max_rank)
    return adapter


def check_fits(adapter: Adapter, model: pb.Model, max_rank: int) -> None:
    """Raises InvalidRequest for an adapter of another format, another model or a larger rank."""
    _check_format(adapter, model)
    _check_architecture(adapter, model)
    if adapter.rank > max_rank:
        raise InvalidRequest(
            f"adapters: the adapter has rank {adapter.rank}, and workers of {model.names[0]} take at most "
            f"{max_rank} (--max-adapter-rank of the worker)"
        )
    weights = {tensor.name: tensor.shape for tensor in model.tensors}
    if weights:
        for pair in adapter.pairs:
            _check_weight(pair, weights, model.format == _GGUF, model.names[0])


def _check_format(adapter: Adapter, model: pb.Model) -> None:
    can = model.capabilities
    taken = [
        _FORMATS[name]
        for name, is_taken in (("gguf", can.gguf_adapters), ("safetensors", can.safetensors_adapters))
        if is_taken
    ]
    if _FORMATS[adapter.format] not in taken:
        raise InvalidRequest(
            f"adapters: workers of {model.names[0]} ({model.engine_kind}) take an adapter as "
            f"{' or '.join(taken) or 'nothing'}, and this one is {_FORMATS[adapter.format]}"
        )


def _check_architecture(adapter: Adapter, model: pb.Model) -> None:
    # Only GGUF files name it alike on both sides.
    if model.format == _GGUF and adapter.architecture != model.family:
        raise InvalidRequest(
            f"adapters: the adapter was made for the architecture {shown(adapter.architecture)}, and "
            f"{model.names[0]} is {model.family}"
        )


def _check_weight(pair: Pair, weights: Mapping[str, Sequence[int]], is_gguf: bool, name: str) -> None:
    shape = weights.get(pair.weight)
    if shape is None:
        raise InvalidRequest(
            f"adapters: the adapter changes {shown(pair.weight)}, which {name} does not have; it was "
            "made for another model"
        )
    # GGUF lists the inputs first.
    wanted = [pair.inputs, pair.outputs] if is_gguf else [pair.outputs, pair.inputs]
    if list(shape) != wanted:
        raise InvalidRequest(
            f"adapters: the adapter changes {shown(pair.weight)} of the shape {wanted}, and {name} has it "
            f"with {list(shape)}; it was made for another model"
        )
