"""A disconnected client frees the engine's slot at once, in every phase, streamed or not.

Every test reads the engine's own running count. The bounds are two engine steps, and 250 ms where
a step takes under 100 ms.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.browser import browser
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Stack, stack
from tests.support.waiting import until

SIMULATOR = ("--engine", "simulator", "--model", "sim")
FREED_SECONDS = 0.25


async def _leaves_while_running(
    running: Stack, engine: EngineClient, content: str, stream: bool, wait_for_text: bool
) -> float:
    async with browser(running) as client:
        await client.chat("sim", content, stream)
        await until(engine.busy, 5, "the request runs")
        if wait_for_text:
            await asyncio.wait_for(client.reader.readuntil(b'"done":false'), 5)
        client.leave()
        return await until(engine.idle, 5, "the slot is free again")


@pytest.mark.parametrize("stream", [True, False])
async def test_during_decode(tmp_path: Path, stream: bool) -> None:
    with stack(
        tmp_path, (*SIMULATOR, "--sim-answer-tokens-min", "4000", "--sim-answer-tokens-max", "4000")
    ) as running:
        async with engine_client(running.worker.address) as engine:
            took = await _leaves_while_running(running, engine, "hello", stream, wait_for_text=stream)
    assert took < FREED_SECONDS


@pytest.mark.parametrize("stream", [True, False])
async def test_during_prefill(tmp_path: Path, stream: bool) -> None:
    slow = ("--sim-prefill-tokens-per-second", "200", "--sim-prefill-chunk-tokens", "4")
    with stack(tmp_path, (*SIMULATOR, *slow)) as running:
        async with engine_client(running.worker.address) as engine:
            took = await _leaves_while_running(running, engine, "word " * 1000, stream, wait_for_text=False)
    assert took < FREED_SECONDS


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
async def test_while_the_engine_stalls(tmp_path: Path, stream: bool, phase: str) -> None:
    """An engine that makes no progress must not keep us from leaving."""
    # More than the warm-up's own tokens, so that the worker becomes ready.
    with stack(tmp_path, (*SIMULATOR, f"--sim-stall-{phase}-after-tokens", "5")) as running:
        async with engine_client(running.worker.address) as engine:
            took = await _leaves_while_running(running, engine, "hello there", stream, wait_for_text=False)
    assert took < FREED_SECONDS


@pytest.mark.parametrize("stream", [True, False])
async def test_while_queued(tmp_path: Path, stream: bool) -> None:
    flags = ("--sim-running-limit", "1", "--sim-stall-decode-after-tokens", "1")
    with stack(tmp_path, (*SIMULATOR, *flags)) as running:
        async with engine_client(running.worker.address) as engine, browser(running) as first:
            await first.chat("sim", "the one that runs", stream=True)
            await until(engine.busy, 5, "the first request runs")
            async with browser(running) as second:
                await second.chat("sim", "the one that waits", stream)
                await until(lambda: _waiting(engine, 1), 5, "the second request waits")
                second.leave()
                took = await until(lambda: _waiting(engine, 0), 5, "no request waits")
            assert took < FREED_SECONDS
            assert (await engine.load()).running == 1


async def _waiting(engine: EngineClient, count: int) -> bool:
    return (await engine.load()).waiting == count


async def test_a_disconnect_does_not_disturb_other_requests(tmp_path: Path) -> None:
    with stack(
        tmp_path, (*SIMULATOR, "--sim-answer-tokens-min", "60", "--sim-answer-tokens-max", "60")
    ) as running:
        async with engine_client(running.worker.address) as engine, browser(running) as stays:
            await stays.chat("sim", "stay", stream=True)
            async with browser(running) as leaves:
                await leaves.chat("sim", "leave", stream=True)
                await until(lambda: _running(engine, 2), 5, "both run")
                leaves.leave()
            rest = await asyncio.wait_for(stays.reader.readuntil(b'"done":true'), 10)
            assert b'"error"' not in rest


async def _running(engine: EngineClient, count: int) -> bool:
    return (await engine.load()).running == count


async def test_a_dead_frontend_frees_its_requests(tmp_path: Path) -> None:
    with stack(tmp_path, (*SIMULATOR, "--sim-stall-decode-after-tokens", "1")) as running:
        async with engine_client(running.worker.address) as engine, browser(running) as client:
            await client.chat("sim", "hello", stream=True)
            await until(engine.busy, 5, "the request runs")
            running.frontend.popen.kill()
            assert await until(engine.idle, 5, "the slot is free again") < 2


@pytest.mark.real_model
@pytest.mark.parametrize("stream", [True, False])
async def test_llamacpp_during_the_prefill_of_2000_tokens(real: Stack, stream: bool) -> None:
    """Real prefill steps; each takes well under 500 ms here, and two of them are the bound."""
    async with engine_client(real.worker.address) as engine, browser(real) as client:
        salt = "streamed" if stream else "whole"  # another beginning, so that the prefix cache does not help
        await client.chat("smol", f"{salt} " + "word " * 1990, stream)
        await until(engine.busy, 5, "the request runs")
        client.leave()
        assert await until(engine.idle, 10, "the slot is free again") < 2.0


@pytest.mark.real_model
@pytest.mark.parametrize("stream", [True, False])
async def test_llamacpp_during_decode(real: Stack, stream: bool) -> None:
    async with engine_client(real.worker.address) as engine, browser(real) as client:
        await client.chat("smol", "Tell me a very long story about the sea.", stream)
        await until(engine.busy, 5, "the request runs")
        before = (await engine.load()).decode_tokens_done
        await until(lambda: _decoded_more(engine, before + 2), 5, "it decodes")
        client.leave()
        assert await until(engine.idle, 5, "the slot is free again") < FREED_SECONDS


async def _decoded_more(engine: EngineClient, tokens: int) -> bool:
    return (await engine.load()).decode_tokens_done > tokens
