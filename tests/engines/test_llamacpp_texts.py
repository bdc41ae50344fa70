"""Tokenising texts of clients that have disconnected, during a stream: the real model."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.waiting import until

pytestmark = pytest.mark.real_model

_TEXT = "The quick brown fox jumps over the lazy dog. " * 20_000
_FLOOD = 24
_MB = 1e6


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    with worker(tmp_path / "worker.log", "--engine", "llamacpp", "--slots", "2") as running:
        yield running


def _memory_mb(process: Process) -> float:
    """Of llama.cpp, which is the worker's child."""
    children = psutil.Process(process.pid).children(recursive=True)
    return float(sum(child.memory_info().rss for child in children)) / _MB


async def test_abandoned_texts_do_not_delay_other_requests(process: Process) -> None:
    async with engine_client(process.address) as engine:
        gaps: list[float] = []
        streaming = asyncio.create_task(_stream(engine, gaps))
        await until(lambda: len(gaps) > 3, 30, "it streams")
        before_mb = _memory_mb(process)
        gaps.clear()
        for kind in ("tokenize", "render", "generate"):
            left = [asyncio.create_task(_send(engine, kind)) for _ in range(_FLOOD)]
            # Long enough for the first ones to begin.
            await asyncio.wait(left, timeout=1)
            for task in left:
                task.cancel()
            await asyncio.wait(left)

        began = time.monotonic()
        short = await engine.stub.Tokenize(pb.TokenizeRequest(text="hello"), timeout=30)
        short_seconds = time.monotonic() - began
        long = await engine.stub.Tokenize(pb.TokenizeRequest(text=_TEXT), timeout=60)
        long_seconds = time.monotonic() - began
        streaming.cancel()
        await asyncio.wait({streaming})

    assert len(short.ids) == 1
    assert len(long.ids) > 100_000
    # All texts one after the other would take half a minute.
    assert max(gaps) < 3.0
    assert short_seconds < 3.0
    # What had begun ends first: one text of each kind, not all of them.
    assert long_seconds < 15.0
    assert _memory_mb(process) - before_mb < 300


async def _stream(engine: EngineClient, gaps: list[float]) -> None:
    request = chat("Tell a story.", ignore_eos=True, max_tokens=3000)
    last = time.monotonic()
    async for _ in engine.generate(request):
        gaps.append(time.monotonic() - last)
        last = time.monotonic()


async def _send(engine: EngineClient, kind: str) -> None:
    if kind == "tokenize":
        await engine.stub.Tokenize(pb.TokenizeRequest(text=_TEXT))
        return
    request = pb.GenerateRequest(request_id=secrets.token_hex(16), raw=_TEXT)
    if kind == "render":
        await engine.stub.Render(pb.RenderRequest(request=request))
    else:
        await engine.generate(request).read()


async def test_a_text_beyond_the_bound_is_refused(process: Process) -> None:
    too_long = "a " * (5 * 1024 * 1024)
    async with engine_client(process.address) as engine:
        for kind in ("tokenize", "generate", "render"):
            with pytest.raises(grpc.aio.AioRpcError, match="too long"):
                await _refused(engine, kind, too_long)
        assert (await engine.stub.Tokenize(pb.TokenizeRequest(text="hello"))).ids


async def _refused(engine: EngineClient, kind: str, text: str) -> None:
    if kind == "tokenize":
        await engine.stub.Tokenize(pb.TokenizeRequest(text=text))
        return
    request = pb.GenerateRequest(request_id=secrets.token_hex(16), prompt=pb.PromptInput(text=text))
    if kind == "render":
        await engine.stub.Render(pb.RenderRequest(request=request))
    else:
        await engine.generate(request).read()
