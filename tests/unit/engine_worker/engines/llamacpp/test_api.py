"""llama-server's streams, which arrive in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine_worker.engines.llamacpp.api import JsonObject, chunks_of
from tests.support.cpu_time import within_cpu

_STREAM = b'data: {"a": 1}\n\ndata: {"b": "\\n"}\n\n: comment\n\ndata: {"c": 3}\n\ndata: [DONE]\n\n'


async def _read(stream: bytes, piece: int) -> list[JsonObject]:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(stream), piece):
            yield stream[at : at + piece]

    return [chunk async for chunks in chunks_of(pieces()) for chunk in chunks]


@pytest.mark.parametrize("piece", range(1, len(_STREAM) + 1))
async def test_chunks_are_the_same_however_they_are_cut(piece: int) -> None:
    assert await _read(_STREAM, piece) == [{"a": 1}, {"b": "\n"}, {"c": 3}]


async def test_a_chunk_of_megabytes_is_read_in_linear_time() -> None:
    stream = b'data: {"a": "' + b"x" * (4 << 20) + b'"}\n\n'
    with within_cpu(0.3):
        (chunk,) = await _read(stream, 4096)
    assert len(str(chunk["a"])) == 4 << 20
