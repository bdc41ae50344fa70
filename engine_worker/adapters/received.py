"""Receives an adapter's files: bounded, into a folder of their own, with their digests checked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from drover.adapters import (
    GGUF_FILES,
    MAX_PART_BYTES,
    SAFETENSORS_FILES,
    digest_of_header,
    is_hex_digest,
)
from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb

_MIB = 1 << 20


def check_header(header: pb.AdapterHeader, max_bytes: int) -> None:
    """Raises InvalidRequest for files that are no adapter, or are larger than `max_bytes` together."""
    names = tuple(file.name for file in header.files)
    if names not in (GGUF_FILES, SAFETENSORS_FILES):
        raise InvalidRequest(
            f"adapters: an adapter is {' and '.join(GGUF_FILES)}, or {' and '.join(SAFETENSORS_FILES)}"
        )
    if not all(is_hex_digest(file.sha256) for file in header.files):
        raise InvalidRequest("adapters: the digest of a file is not 64 hex digits")
    if header.digest != digest_of_header(header):
        raise InvalidRequest("adapters: the adapter's digest is not that of its files")
    check_size(sum(file.size_bytes for file in header.files), max_bytes)


def check_size(size: int, max_bytes: int) -> None:
    """Raises InvalidRequest for an adapter for which there is never room."""
    if size > max_bytes:
        raise InvalidRequest(
            f"adapters: the adapter has {size} bytes, and the worker keeps at most {max_bytes // _MIB} MiB "
            "of adapters (--adapters-mib of the worker)"
        )


@dataclass(slots=True)
class _Rest:
    """Bytes of a part that belong to the next file."""

    data: bytes = b""


async def receive_files(header: pb.AdapterHeader, parts: AsyncIterator[pb.AdapterPart], folder: Path) -> None:
    """Write the files into `folder`. Raises InvalidRequest if the parts are not the files of the header."""
    rest = _Rest()
    for file in header.files:
        with (folder / file.name).open("wb") as written:
            await _receive(file, parts, rest, written)
    if rest.data or await anext(parts, None) is not None:
        raise InvalidRequest("adapters: more bytes were sent than the header says")


async def _receive(
    file: pb.AdapterFile, parts: AsyncIterator[pb.AdapterPart], rest: _Rest, written: BinaryIO
) -> None:
    digest, missing = hashlib.sha256(), file.size_bytes
    while missing:
        data = rest.data or await _next_data(parts)
        taken, rest.data = data[:missing], data[missing:]
        missing -= len(taken)
        await asyncio.to_thread(_add, taken, digest, written)
    if digest.hexdigest() != file.sha256:
        raise InvalidRequest(f"adapters: {file.name} arrived with other bytes than its digest says")


def _add(data: bytes, digest: hashlib._Hash, written: BinaryIO) -> None:
    digest.update(data)
    written.write(data)


async def _next_data(parts: AsyncIterator[pb.AdapterPart]) -> bytes:
    part = await anext(parts, None)
    if part is None:
        raise InvalidRequest("adapters: the files ended before the length that the header says")
    if part.WhichOneof("part") != "data" or not 0 < len(part.data) <= MAX_PART_BYTES:
        raise InvalidRequest(f"adapters: a part must have 1 to {MAX_PART_BYTES} bytes of a file")
    return part.data
