"""A client that goes away frees SGLang's slot, in every phase, streamed or not: read from its in-flight
table.

The bounds are two engine steps: on this CPU a decode step takes some 50 ms, and a prefill step of
--prefill-chunk-tokens some 300 ms; a busy machine is several times slower.
"""

from __future__ import annotations

import asyncio

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.answers import rest_of
from tests.support.browser import browser
from tests.support.engine_client import EngineClient
from tests.support.processes import Stack
from tests.support.waiting import until

FREED_SECONDS = 1.0


@pytest.mark.parametrize("stream", [True, False])
async def test_during_decode(smol: Stack, engine: EngineClient, stream: bool) -> None:
    async with browser(smol) as client:
        await client.chat("smol", "Tell me a very long story about the sea.", stream)
        before = (await engine.load()).decode_tokens_done
        await until(lambda: _decoded(engine, before + 2), 20, "it decodes")
        client.leave()
        assert await until(engine.idle, 10, "the slot is free again") < FREED_SECONDS


@pytest.mark.parametrize("stream", [True, False])
async def test_during_the_prefill_of_2000_tokens(smol: Stack, engine: EngineClient, stream: bool) -> None:
    async with browser(smol) as client:
        salt = "streamed" if stream else "whole"  # another beginning, so that the prefix cache does not help
        done = (await engine.load()).prefill_tokens_done
        await client.chat("smol", f"{salt} " + "word " * 1900, stream)
        await until(lambda: _prefilled(engine, done + 1), 20, "it prefills")
        client.leave()
        assert await until(engine.idle, 10, "the slot is free again") < 2 * FREED_SECONDS
        assert (await engine.load()).prefill_tokens_done < done + 1900, "it was done before the client left"


@pytest.mark.parametrize("stream", [True, False])
async def test_while_queued(smol: Stack, engine: EngineClient, stream: bool) -> None:
    limit = (await engine.load()).running_limit
    story = pb.GenerateRequest(sampling=pb.Sampling(max_tokens=1500, ignore_eos=True), raw="Once upon a time")
    running = [
        engine.generate(pb.GenerateRequest.FromString(story.SerializeToString())) for _ in range(limit)
    ]
    await asyncio.gather(*(call.read() for call in running))
    async with browser(smol) as client:
        await client.chat("smol", "the one that waits", stream)
        await until(lambda: _waiting(engine, 1), 20, "the request waits")
        client.leave()
        assert await until(lambda: _waiting(engine, 0), 10, "no request waits") < FREED_SECONDS
    assert (await engine.load()).running == limit
    for call in running:
        call.cancel()
    await until(engine.idle, 10, "all slots are free")


async def test_while_its_prompt_is_being_made(engine: EngineClient) -> None:
    call = engine.generate(pb.GenerateRequest(raw="word " * 300_000, sampling=pb.Sampling(max_tokens=5)))
    await until(lambda: _waiting(engine, 1), 10, "it is in flight")
    call.cancel()
    assert await until(engine.idle, 10, "nothing is in flight") < FREED_SECONDS


async def test_abort_of_one_id_spares_another_with_the_same_prefix(engine: EngineClient) -> None:
    """SGLang aborts every id that begins with the one that is aborted."""
    calls = []
    for request_id in ("c0ffee", "c0ffee00", "c0ffee" * 5, "HEALTH_CHECK_1"):
        request = pb.GenerateRequest(
            request_id=request_id, raw="Once", sampling=pb.Sampling(max_tokens=25, ignore_eos=True)
        )
        calls.append(engine.stub.GenerateStream(request))
    await asyncio.gather(*(call.read() for call in calls))
    assert (await engine.stub.Abort(pb.AbortRequest(request_id="c0ffee"))).found
    assert not (await engine.stub.Abort(pb.AbortRequest(request_id="c0ff"))).found
    for call in calls[1:]:
        assert (await rest_of(call))[-1].done.completion_tokens == 25


async def _decoded(engine: EngineClient, tokens: int) -> bool:
    return (await engine.load()).decode_tokens_done >= tokens


async def _prefilled(engine: EngineClient, tokens: int) -> bool:
    return (await engine.load()).prefill_tokens_done >= tokens


async def _waiting(engine: EngineClient, count: int) -> bool:
    return (await engine.load()).waiting == count
