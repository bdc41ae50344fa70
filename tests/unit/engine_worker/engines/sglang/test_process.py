"""How answers of SGLang are read, with a generator in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import cast

import pytest

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream.process import Call, Chunk, EngineProcess
from tests.unit.engine_worker.engines.sglang.test_output import chunk


class _Engine:
    """Says three chunks, then what is wrong; `closed`: its generator has ended."""

    def __init__(self, error: Exception | None = None, chunks: int = 3) -> None:
        self._error = error
        self._chunks = chunks
        self.closed = asyncio.Event()

    async def async_generate(self, **call: object) -> AsyncGenerator[Chunk, None]:
        return self._answer()

    async def _answer(self) -> AsyncGenerator[Chunk, None]:
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


async def test_chunks_come_in_order_until_the_reader_has_enough() -> None:
    engine = _Engine()
    taken: list[list[int]] = []

    def take(each: Chunk) -> bool:
        taken.append(each["output_ids"])
        return len(taken) == 2

    await _process(engine).generate(Call(), take)

    assert taken == [[0], [1]]
    assert engine.closed.is_set()


@pytest.mark.parametrize(
    ("error", "call", "leaf"),
    [
        (ValueError("the input exceeds the context length"), Call(), ContextExceeded),
        (ValueError("top_k must be positive"), Call(), InvalidRequest),
        (TypeError("not a number"), Call(), InvalidRequest),
        (RuntimeError("broken"), Call(), EngineFailed),
        (RuntimeError("cannot read the image"), Call(image_data=[b""]), InvalidRequest),
    ],
)
@pytest.mark.parametrize("chunks", [0, 1])
async def test_what_sglang_raises_is_an_error_of_ours(
    error: Exception, call: Call, leaf: type[DroverError], chunks: int
) -> None:
    with pytest.raises(leaf, match=str(error)):
        await _process(_Engine(error, chunks)).generate(call, lambda each: False)


@pytest.mark.parametrize("defect", [ValueError("ours"), TypeError("ours"), RuntimeError("ours")])
async def test_what_the_reader_raises_is_not_taken_for_sglangs(defect: Exception) -> None:
    engine = _Engine()

    def take(each: Chunk) -> bool:
        raise defect

    with pytest.raises(type(defect), match=r"^ours$") as raised:
        await _process(engine).generate(Call(), take)
    assert raised.value is defect
    assert engine.closed.is_set()
