"""EngineProcess.generate over a fake engine: chunks, errors, aborts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import cast

import pytest

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream.calls import Chunk, SglangRequest
from engine_worker.engines.sglang.upstream.process import EngineProcess
from tests.unit.engine_worker.engines.sglang.test_output import chunk


class _Engine:
    """Yields chunks, then raises `error`. `closed` is set when its generator has ended."""

    def __init__(self, error: Exception | None = None, chunks: int = 3) -> None:
        self._error = error
        self._chunks = chunks
        self.closed = asyncio.Event()

    async def async_generate(self, **request: object) -> AsyncGenerator[Chunk, None]:
        return self._stream()

    async def _stream(self) -> AsyncGenerator[Chunk, None]:
        try:
            for number in range(self._chunks):
                yield chunk("x", [number], number + 1)
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


def _process(engine: _Engine) -> EngineProcess:
    process = EngineProcess(cast(SglangOptions, SimpleNamespace()))
    process.engine = engine
    return process


async def test_chunks_arrive_in_order_until_the_callback_returns_true() -> None:
    engine = _Engine()
    taken: list[list[int]] = []

    def on_chunk(each: Chunk) -> bool:
        taken.append(each["output_ids"])
        return len(taken) == 2

    await _process(engine).generate(SglangRequest(), on_chunk)

    assert taken == [[0], [1]]
    assert engine.closed.is_set()


@pytest.mark.parametrize(
    ("error", "request_", "error_type"),
    [
        (ValueError("the input exceeds the context length"), SglangRequest(), ContextExceeded),
        (ValueError("top_k must be positive"), SglangRequest(), InvalidRequest),
        (TypeError("not a number"), SglangRequest(), InvalidRequest),
        (RuntimeError("broken"), SglangRequest(), EngineFailed),
        (RuntimeError("cannot read the image"), SglangRequest(image_data=[b""]), InvalidRequest),
    ],
)
@pytest.mark.parametrize("chunks", [0, 1])
async def test_an_error_of_sglang_becomes_a_drover_error(
    error: Exception, request_: SglangRequest, error_type: type[DroverError], chunks: int
) -> None:
    with pytest.raises(error_type, match=str(error)):
        await _process(_Engine(error, chunks)).generate(request_, lambda each: False)


@pytest.mark.parametrize("defect", [ValueError("ours"), TypeError("ours"), RuntimeError("ours")])
async def test_an_error_of_the_callback_passes_unchanged(defect: Exception) -> None:
    engine = _Engine()

    def on_chunk(each: Chunk) -> bool:
        raise defect

    with pytest.raises(type(defect), match=r"^ours$") as raised:
        await _process(engine).generate(SglangRequest(), on_chunk)
    assert raised.value is defect
    assert engine.closed.is_set()
