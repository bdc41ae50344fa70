"""Uploads of adapters to a worker, without the frontend."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from drover.adapters import GGUF_FILE, MAX_PART_BYTES, SAFETENSORS_FILES, digest_of_header
from drover.v1 import engine_pb2 as pb


def files_of(path: Path) -> Mapping[str, bytes]:
    """The files of an adapter by the names that a worker knows: of one GGUF file, or of PEFT's folder."""
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in SAFETENSORS_FILES}
    return {GGUF_FILE: path.read_bytes()}


def header_of(files: Mapping[str, bytes]) -> pb.AdapterHeader:
    header = pb.AdapterHeader(
        files=[
            pb.AdapterFile(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for name, data in files.items()
        ]
    )
    header.digest = digest_of_header(header)
    return header


async def parts_of(header: pb.AdapterHeader, files: Mapping[str, bytes]) -> AsyncIterator[pb.AdapterPart]:
    yield pb.AdapterPart(header=header)
    for data in files.values():
        for at in range(0, len(data), MAX_PART_BYTES):
            yield pb.AdapterPart(data=data[at : at + MAX_PART_BYTES])
