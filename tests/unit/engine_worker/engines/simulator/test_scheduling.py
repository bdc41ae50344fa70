"""Queue, batch, KV cache, cancelling and stopping, seen through load reports."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from drover.errors import EngineFailed, QueueFull, WorkerDraining
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from engine_worker.engines.simulator.output import SimulatedOutput
from tests.support.events import events_of
from tests.unit.engine_worker.engines.simulator.harness import (
    DEADLINE_SECONDS,
    FAST,
    STILL,
    Client,
    answer,
    before_deadline,
    prompt_request,
    raw_request,
    running,
    until,
)

LONG = "sheep and lamb " * 50


def places(engine: SimulatorEngine) -> tuple[int, int]:
    report = engine.load_report()
    return report.running, report.waiting


async def test_a_request_beyond_the_queue_limit_is_refused() -> None:
    async with running(replace(STILL, running_limit=2, queue_limit=1)) as engine:
        clients = [Client(engine, prompt_request()) for _ in range(4)]
        error = await clients[3].outcome()
        assert isinstance(error, QueueFull)
        assert error.message == "server busy, please try again.  maximum pending requests exceeded"
        assert places(engine) == (2, 1)
        for client in clients[:3]:
            await client.cancel()
        assert places(engine) == (0, 0)


async def test_without_a_queue_an_idle_engine_admits_requests() -> None:
    async with running(replace(FAST, running_limit=8, queue_limit=0)) as engine:
        answers = await asyncio.gather(*(answer(engine, prompt_request(str(number))) for number in range(8)))
    assert all(result.text for result in answers)


async def test_waiting_requests_are_counted_with_their_prompts() -> None:
    async with running(replace(STILL, running_limit=1)) as engine:
        clients = [Client(engine, raw_request(text)) for text in ("a", "a b c", "a b")]
        await until(lambda: places(engine) == (1, 2))
        assert engine.load_report().waiting_prompt_tokens == 3 + 2
        await clients[1].cancel()
        assert engine.load_report().waiting_prompt_tokens == 2
        for client in (clients[0], clients[2]):
            await client.cancel()
        assert engine.load_report().waiting_prompt_tokens == 0


async def test_requests_run_in_order_of_arrival() -> None:
    async with running(replace(FAST, running_limit=1)) as engine:
        order: list[int] = []

        async def ask(number: int) -> None:
            await answer(engine, prompt_request(str(number)))
            order.append(number)

        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*map(ask, range(6)))
    assert order == list(range(6))


KV = replace(STILL, context_length=100, kv_tokens=150)


async def test_requests_wait_until_their_tokens_fit_the_cache() -> None:
    async with running(KV) as engine:
        large = Client(engine, prompt_request(ignore_eos=True))
        await until(lambda: places(engine) == (1, 0))
        assert engine.load_report().kv_tokens_used == 100
        second = Client(engine, prompt_request(ignore_eos=True, max_tokens=80))
        small = Client(engine, prompt_request("a", max_tokens=20))
        await until(lambda: places(engine) == (1, 2))
        await large.cancel()
        assert places(engine) == (2, 0), "what waited moves up at once"
        assert 100 < engine.load_report().kv_tokens_used <= 150
        await second.cancel()
        await small.cancel()
        assert engine.load_report().kv_tokens_used == 0


async def test_an_answer_holds_no_more_cache_than_it_can_need() -> None:
    async with running(STILL) as engine:
        client = Client(engine, prompt_request(ignore_eos=True, max_tokens=7))
        await until(lambda: places(engine) == (1, 0))
        prompt = len((await engine.render(prompt_request())).ids)
        assert engine.load_report().kv_tokens_used == prompt + 7
        await client.cancel()


async def test_a_repeated_prompt_is_cached_except_for_its_last_block() -> None:
    async with running(FAST) as engine:
        first = await answer(engine, raw_request(LONG))
        second = await answer(engine, raw_request(LONG))
        report = engine.load_report()
        other_salt = raw_request(LONG)
        other_salt.cache_salt = "mine"
        third = await answer(engine, other_salt)
    prompt = first.done.prompt_tokens
    assert first.done.cached_tokens == third.done.cached_tokens == 0
    assert second.done.cached_tokens == (prompt - 1) // 16 * 16
    assert second.started.cached_tokens == second.done.cached_tokens
    assert second.text == first.text
    assert report.cached_tokens_done == second.done.cached_tokens
    assert report.prefill_tokens_done == 2 * prompt - second.done.cached_tokens
    assert report.cache_hit_rate == pytest.approx(second.done.cached_tokens / (2 * prompt))


async def test_the_next_turn_of_a_conversation_finds_the_answer_cached() -> None:
    turn = [pb.Message(role="user", content=LONG)]
    async with running(FAST) as engine:
        first = await answer(engine, pb.GenerateRequest(chat=pb.ChatInput(messages=turn)))
        turn += [pb.Message(role="assistant", content=first.text), pb.Message(role="user", content="And?")]
        second = await answer(engine, pb.GenerateRequest(chat=pb.ChatInput(messages=turn)))
    assert second.done.cached_tokens == (first.done.prompt_tokens + len(first.token_ids)) // 16 * 16


async def test_counters_count_every_token() -> None:
    async with running(FAST) as engine:
        results = [await answer(engine, prompt_request(str(number))) for number in range(3)]
        report = engine.load_report()
    assert report.decode_tokens_done == sum(result.done.completion_tokens for result in results)
    assert report.prefill_tokens_done == sum(
        result.done.prompt_tokens - result.done.cached_tokens for result in results
    )
    assert (report.running, report.waiting, report.kv_tokens_used) == (0, 0, 0)
    assert (report.running_limit, report.kv_tokens_total) == (FAST.running_limit, FAST.kv_tokens)
    assert report.expires_unix_ns == 0


PHASES = {
    "prefill": (STILL, 0, 0),
    "stalled prefill": (replace(FAST, prefill_chunk_tokens=16, stall_prefill_after_tokens=48), 48, 0),
    "decode": (replace(FAST, decode_step_base_ms=1), None, 3),
    "stalled decode": (replace(FAST, stall_decode_after_tokens=5), None, 5),
}


@pytest.mark.parametrize("how", ["cancel", "aclose"])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_request_frees_everything_at_once(phase: str, how: str) -> None:
    config, prefilled, decoded = PHASES[phase]
    async with running(replace(config, running_limit=1)) as engine:
        client = Client(engine, pb.GenerateRequest(raw=LONG, sampling=pb.Sampling(ignore_eos=True)))
        waiting = Client(engine, prompt_request())
        await until(lambda: places(engine) == (1, 1) and engine.load_report().decode_tokens_done >= decoded)
        if prefilled is not None:
            await until(lambda: engine.load_report().prefill_tokens_done == prefilled)
        await client.cancel()
        if how == "aclose":
            await before_deadline(client.stream.aclose())
        assert places(engine) == (1, 0), "the next one has its place"
        await waiting.cancel()
        report = engine.load_report()
        assert (report.running, report.waiting, report.kv_tokens_used) == (0, 0, 0)


async def test_closing_a_stream_between_its_events_frees_everything() -> None:
    async with running(FAST) as engine:
        stream = events_of(engine, prompt_request(ignore_eos=True))
        await before_deadline(anext(stream))
        assert engine.load_report().running == 1
        await before_deadline(stream.aclose())
        assert engine.load_report().running == 0
        assert engine.load_report().kv_tokens_used == 0


async def test_a_stalled_request_moves_no_counter_and_does_not_hold_up_others() -> None:
    async with running(replace(FAST, stall_prefill_after_tokens=100)) as engine:
        stalled = Client(engine, raw_request(LONG))
        await until(lambda: engine.load_report().prefill_tokens_done == 100)
        assert (await answer(engine, raw_request("short"))).text
        before = engine.load_report()
        assert stalled.events == []
        assert engine.load_report() == before
        assert before.running == 1
        await stalled.cancel()


async def test_cancelling_stalled_requests_frees_the_engine() -> None:
    async with running(replace(FAST, running_limit=2, stall_decode_after_tokens=4)) as engine:
        stalled = [Client(engine, prompt_request(ignore_eos=True)) for _ in range(2)]
        await until(lambda: engine.load_report().decode_tokens_done == 8)
        waiting = Client(engine, prompt_request(max_tokens=4))
        await until(lambda: places(engine) == (2, 1))
        await stalled[0].cancel()
        await until(lambda: engine.load_report().decode_tokens_done == 12)
        assert await waiting.outcome() is None
        await stalled[1].cancel()


async def test_stopping_ends_all_requests_and_refuses_new_ones() -> None:
    engine = SimulatorEngine(["sim"], replace(STILL, running_limit=1))
    await engine.start()
    clients = [Client(engine, prompt_request()) for _ in range(3)]
    await until(lambda: places(engine) == (1, 2))
    await before_deadline(engine.stop())
    await before_deadline(engine.stop())
    for client in clients:
        assert isinstance(await client.outcome(), WorkerDraining)
    with pytest.raises(WorkerDraining):
        await answer(engine, prompt_request())
    assert places(engine) == (0, 0)


async def test_an_engine_that_was_never_started_refuses_and_can_be_stopped() -> None:
    engine = SimulatorEngine(["sim"], SimulatorConfig())
    with pytest.raises(WorkerDraining):
        await answer(engine, prompt_request())
    await before_deadline(engine.stop())


async def test_a_failed_loop_fails_every_request_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: SimulatedOutput) -> None:
        raise RuntimeError("sparks")

    monkeypatch.setattr(SimulatedOutput, "advance", explode)
    async with running(replace(FAST, running_limit=1)) as engine:
        failed = asyncio.create_task(engine.wait_failed())
        clients = [Client(engine, prompt_request()) for _ in range(2)]
        for client in clients:
            assert isinstance(await client.outcome(), EngineFailed)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert "RuntimeError('sparks')" in await failed
        with pytest.raises(EngineFailed, match="sparks"):
            await answer(engine, prompt_request())


async def test_a_healthy_engine_never_reports_a_failure() -> None:
    engine = SimulatorEngine(["sim"], FAST)
    await engine.start()
    failed = asyncio.create_task(engine.wait_failed())
    await answer(engine, prompt_request())
    await before_deadline(engine.stop())
    assert not failed.done()
    failed.cancel()


async def test_a_slow_reader_gets_missed_events_in_one_message() -> None:
    async with running(FAST) as engine:
        stream = events_of(engine, prompt_request(ignore_eos=True, max_tokens=300))
        first = await before_deadline(anext(stream))
        await until(lambda: engine.load_report().running == 0)
        last = await before_deadline(anext(stream))
        assert last.HasField("done")
        assert sum(len(delta.token_ids) for event in (first, last) for delta in event.deltas) == 300
        await before_deadline(stream.aclose())
