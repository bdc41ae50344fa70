"""Adapters as SGLang (0.5.23) reads them without failing.

It stacks the matrices for q_proj, k_proj and v_proj of a layer, and those for gate_proj and up_proj, and
fails where one that it counts on is not there. PEFT writes those that were trained, and no others. So an
adapter is copied, with zeros for what is missing of a stack: they change nothing.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from drover.adapters import CONFIG_FILE, WEIGHTS_FILE
from drover.errors import InvalidRequest
from engine_worker.adapters.contents import Adapter
from engine_worker.adapters.matrices import shown

_LENGTH_BYTES = 8
_VALUE_BYTES = 4
_STACKS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# Weights of attention and MLP that adapters may change. Embeddings and the head have other shapes of LoRA.
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_EXPERTS = ".experts."

Shapes = Mapping[str, Sequence[int]]


def check_adapted(adapter: Adapter) -> None:
    """Raises InvalidRequest for changes of other weights than SGLang keeps memory for."""
    for pair in adapter.pairs:
        if _module(pair.weight) not in ADAPTED or _EXPERTS in pair.weight:
            raise InvalidRequest(
                f"adapters: the adapter changes {shown(pair.weight)}; workers with SGLang take changes of "
                f"{', '.join(ADAPTED)}, and none of experts"
            )


def write_completed(adapter: Adapter, weights: Shapes, folder: Path) -> None:
    """Write the adapter with all matrices of its stacks into `folder`. `weights`: the model's, by name.
    Blocking: copies the file.
    """
    names = {pair.weight for pair in adapter.pairs}
    missing = _missing(names, weights)
    config = json.loads((adapter.folder / CONFIG_FILE).read_bytes())
    config["target_modules"] = sorted({_module(name) for name in names | missing.keys()})
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with (adapter.folder / WEIGHTS_FILE).open("rb") as source, (folder / WEIGHTS_FILE).open("wb") as copy:
        header = json.loads(source.read(int.from_bytes(source.read(_LENGTH_BYTES), "little")))
        end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
        zeros = 0
        for name, (outputs, inputs) in missing.items():
            module = f"base_model.model.{name.removesuffix('.weight')}"
            for letter, shape in (("A", [adapter.rank, inputs]), ("B", [outputs, adapter.rank])):
                length = math.prod(shape) * _VALUE_BYTES
                begin = end + zeros
                header[f"{module}.lora_{letter}.weight"] = {
                    "dtype": "F32",
                    "shape": shape,
                    "data_offsets": [begin, begin + length],
                }
                zeros += length
        text = json.dumps(header).encode()
        copy.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        shutil.copyfileobj(source, copy)
        copy.truncate(copy.tell() + zeros)


def _missing(names: set[str], weights: Shapes) -> Shapes:
    """The weights of the model that are stacked with one of `names`, and are not among them."""
    missing: dict[str, Sequence[int]] = {}
    for name in sorted(names):
        module = _module(name)
        for stack in _STACKS:
            for other in stack if module in stack else ():
                sibling = f"{name.removesuffix(f'{module}.weight')}{other}.weight"
                if sibling not in names and sibling in weights:
                    missing[sibling] = weights[sibling]
    return missing


def _module(weight: str) -> str:
    return weight.removesuffix(".weight").rpartition(".")[2]
