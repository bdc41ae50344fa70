"""Steps take the configured time: exactly in virtual time, and at least that in real time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from tests.support.events import events_of
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.engines.simulator.harness import (
    FAST,
    answer,
    prompt_request,
    raw_request,
    running,
)

MS = 1_000_000


async def event_times(engine: SimulatorEngine, request: pb.GenerateRequest) -> list[float]:
    """When events came, in ms since the request."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.timeout(600):
        return [(loop.time() - begin) * 1000 async for _ in events_of(engine, request)]


async def times_of(config: SimulatorConfig, *requests: pb.GenerateRequest) -> list[list[float]]:
    """All requests come at once."""
    async with running(config) as engine:
        return await asyncio.gather(*(event_times(engine, request) for request in requests))


def tokens(number: int) -> pb.GenerateRequest:
    return prompt_request(ignore_eos=True, max_tokens=number)


def prompt_of(prompt_tokens: int, answer_tokens: int = 1) -> pb.GenerateRequest:
    sampling = pb.Sampling(ignore_eos=True, max_tokens=answer_tokens)
    return pb.GenerateRequest(raw="\n" * prompt_tokens, sampling=sampling)


@pytest.mark.parametrize("requests", [1, 8, 200])
def test_a_step_has_a_base_and_a_share_for_each_request(requests: int) -> None:
    config = replace(FAST, decode_step_base_ms=10, decode_step_per_running_ms=0.5)
    all_times = virtual_time.run(times_of(config, *[prompt_of(1, answer_tokens=5)] * requests))
    step = 10 + 0.5 * requests
    for times in all_times:
        assert times == pytest.approx([step * number for number in range(1, 6)], abs=0.01)


def test_late_timers_do_not_add_up() -> None:
    config = replace(FAST, decode_step_base_ms=2.5)
    (times,) = virtual_time.run(times_of(config, tokens(400)), late_by_seconds=0.0009)
    assert times[-1] == pytest.approx(400 * 2.5, abs=1)


def test_after_a_hang_one_step_is_short_and_there_is_no_burst() -> None:
    async def interrupted() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualLoop)
        times: list[float] = []
        async with running(replace(FAST, decode_step_base_ms=10)) as engine:
            async for _ in events_of(engine, tokens(8)):
                times.append(loop.time() * 1000)
                if len(times) == 3:
                    loop.hang(seconds=1)
        return times

    waits = [later - earlier for earlier, later in pairwise(virtual_time.run(interrupted()))]
    assert waits == pytest.approx([10, 10, 1000, 0, 10, 10, 10], abs=0.01)


def test_prefill_takes_the_time_of_its_tokens_and_of_its_steps() -> None:
    config = replace(FAST, prefill_tokens_per_second=5000, prefill_chunk_tokens=100, decode_step_base_ms=3)
    (times,) = virtual_time.run(times_of(config, prompt_of(1000)))
    assert times == pytest.approx([1000 / 5 + 10 * 3], abs=0.01)


def test_a_chunk_is_shared_in_order_of_arrival() -> None:
    config = replace(FAST, prefill_chunk_tokens=100, decode_step_base_ms=10)
    times = virtual_time.run(times_of(config, prompt_of(150), prompt_of(150), prompt_of(90)))
    assert times == [pytest.approx([step * 10], abs=0.01) for step in (2, 3, 4)]


def test_cached_tokens_take_no_time() -> None:
    async def twice() -> list[list[float]]:
        async with running(replace(FAST, prefill_tokens_per_second=1000)) as engine:
            return [await event_times(engine, prompt_of(1601)) for _ in range(2)]

    assert virtual_time.run(twice()) == [pytest.approx([1601], abs=0.01), pytest.approx([1], abs=0.01)]


def test_a_request_to_an_idle_engine_begins_at_once() -> None:
    """The step of a request that comes to an idle engine is not counted from the last one's end."""

    async def after_a_rest() -> list[float]:
        async with running(replace(FAST, decode_step_base_ms=10)) as engine:
            await event_times(engine, tokens(2))
            await asyncio.sleep(5)
            return await event_times(engine, tokens(2))

    assert virtual_time.run(after_a_rest()) == pytest.approx([10, 20], abs=0.01)


async def test_timings_are_the_durations_of_the_phases() -> None:
    config = replace(FAST, prefill_tokens_per_second=5000, decode_step_base_ms=4, running_limit=1)
    request = raw_request("sheep and lamb " * 100)
    request.sampling.ignore_eos, request.sampling.max_tokens = True, 11
    async with running(config) as engine:
        first, second = await asyncio.gather(answer(engine, request), answer(engine, request))
    prefill_ns = first.done.prompt_tokens / 5000 * 1000 * MS + 4 * MS
    decode_ns = 10 * 4 * MS
    one, other = first.done.timings, second.done.timings
    # A step counts from when it should have begun: what one phase is late, the next one has less.
    assert one.queue_ns + one.prefill_ns + one.decode_ns >= prefill_ns + decode_ns
    assert one.prefill_ns >= prefill_ns / 2
    assert one.decode_ns >= decode_ns / 2
    assert other.queue_ns >= (prefill_ns + decode_ns) / 2
    assert other.prefill_ns < one.prefill_ns, "its prompt was cached"
