"""Exchange: the reading loop delivers rows, and each request fails alone."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from contextlib import suppress

import grpc
import pytest

from drover.errors import (
    ERROR_TYPES,
    ClientLeft,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InternalError,
    ProtocolBroken,
    WorkerUnreachable,
)
from drover.rpc import ROWS_OF_CREDIT
from drover.v1 import engine_pb2 as pb
from tests.fakes.scripted_exchange import failed, row
from tests.fakes.stalling_worker import content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.exchange_pair import SECONDS, Delivered, Pair

_MIB = 1024 * 1024


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_rows_are_delivered_without_a_task_switch(pair: Pair) -> None:
    stream, (one, two) = await pair.deliver(2)
    await stream.send(row(1, started()), row(2, content("b")), row(1, content("a")), row(1, done()))
    await one.ends()

    assert one.events == [started(), content("a"), done()]
    assert two.events == [content("b")]
    (taker,) = {*one.takers, *two.takers}
    assert taker is not None
    assert taker not in (one.task, two.task)
    assert stream.submissions[1].client_request_id == "from-client"
    assert stream.submissions[1].request.raw == "p"


async def test_rows_that_come_before_the_delivery_are_kept(pair: Pair) -> None:
    handle = pair.submit()
    stream = await pair.scripted.stream()
    await stream.has(1)
    other = Delivered(pair.submit())
    await stream.has(2)
    await stream.send(row(1, content("a")), row(1, content("b")), row(1, done()), row(2, done()))
    await other.ends()

    late = Delivered(handle)
    await late.ends()
    assert late.text == "ab"


async def test_a_busy_sink_delays_no_other_and_loses_nothing(pair: Pair) -> None:
    stream, (slow, quick) = await pair.deliver(2)
    slow.busy = busy = _future()
    for text in "abc":
        await stream.send(row(1, content(text)), row(2, content(text)))
    await stream.send(row(1, done()), row(2, done()))
    await quick.ends()
    assert (quick.text, slow.text) == ("abc", "a")

    slow.busy = again = _future()
    busy.set_result(None)
    await slow.has("ab")
    again.set_result(None)
    await slow.ends()
    assert slow.events == [content("a"), content("b"), content("c"), done()]


async def test_credit_is_granted_for_what_was_taken(pair: Pair) -> None:
    half = ROWS_OF_CREDIT // 2
    stream, (quick, slow) = await pair.deliver(2)
    slow.busy = _future()
    for _ in range(half - 1):
        await stream.send(row(1, content("x")), row(2, content("x")))
    await quick.has("x" * (half - 1))
    assert not stream.credits
    await stream.send(row(1, content("x")), row(2, content("x")))
    await until(lambda: bool(stream.credits), SECONDS, "credit is granted")

    assert stream.credits == [pb.Credit(number=1, rows=half)]


async def test_more_rows_than_credit_end_their_request_as_a_flood(pair: Pair) -> None:
    stream, (slow, other) = await pair.deliver(2)
    slow.busy = busy = _future()
    for _ in range(2 * ROWS_OF_CREDIT + 2):
        await stream.send(row(1, content("x")))
    await stream.has_aborted(1)
    busy.set_result(None)
    error = await slow.fails(ProtocolBroken)
    assert isinstance(error, ProtocolBroken)
    assert error.is_flood

    await stream.send(row(1, content("late")), failed(1, "ClientLeft"), row(2, done()))
    await other.ends()
    assert slow.text == "x"


async def test_too_many_buffered_bytes_are_a_flood_too(pair: Pair) -> None:
    stream, (slow, other) = await pair.deliver(2)
    slow.busy = busy = _future()
    for _ in range(18):
        await stream.send(row(1, content("x" * _MIB)))
    await stream.has_aborted(1)
    busy.set_result(None)
    await slow.fails(ProtocolBroken)
    await stream.send(row(2, done()))
    await other.ends()


async def test_delivered_rows_do_not_count_as_buffered(pair: Pair) -> None:
    stream, (slow,) = await pair.deliver(1)
    for count in range(1, 25):
        slow.busy = busy = _future()
        await stream.send(row(1, content("x")), row(1, content("x" * _MIB)))
        await until(lambda: len(slow.events) % 2 == 1, SECONDS, "it is busy")
        busy.set_result(None)
        await until(lambda count=count: len(slow.events) == 2 * count, SECONDS, "it has both")  # type: ignore[misc]  # mypy cannot type a lambda's default
    await stream.send(row(1, done()))
    await slow.ends()


async def test_a_buffered_row_does_not_keep_its_step_in_memory(pair: Pair) -> None:
    stream, (slow, quick) = await pair.deliver(2)
    slow.busy = busy = _future()
    await stream.send(row(1, content("x")))
    large = content("y" * 8 * _MIB)
    await stream.send(row(1, content("x")), row(2, large))
    await until(lambda: len(quick.events) == 1, SECONDS, "the first large row")
    before = _resident_bytes()
    for count in range(2, 42):
        quick.events.clear()
        await stream.send(row(1, content("x")), row(2, large))
        await until(lambda: bool(quick.events), SECONDS, f"large row {count}")
    assert _resident_bytes() - before < 128 * _MIB
    await stream.send(row(1, done()), row(2, done()))
    busy.set_result(None)
    await slow.ends()
    assert slow.text == "x" * 42


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of ours
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize(
    "violation",
    [
        pb.Step(rows=[row(77, content("x"))]).SerializeToString(),
        pb.Step(rows=[failed(77, "QueueFull")]).SerializeToString(),
        pb.Step(rows=[row(1, done()), row(1, content("after its end"))]).SerializeToString(),
        b"\xff\xff\xff\xff",
    ],
    ids=["unknown", "unknown's end", "after its end", "no message"],
)
async def test_a_violation_of_the_stream_ends_it_for_all(
    pair: Pair, violation: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    stream, (_, two, three) = await pair.deliver(3)
    await stream.send_bytes(violation)

    await two.fails(ProtocolBroken)
    await three.fails(ProtocolBroken)
    await asyncio.wait_for(stream.over.wait(), SECONDS)
    assert any(record.message == "exchange ended" for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records if record.name.startswith("drover"))
    Delivered(pair.submit())
    await (await pair.scripted.stream(2)).has(1)


@pytest.mark.parametrize("violation", [failed(1, "NoSuchThing"), failed(1, ""), pb.Row(number=1)])
async def test_an_unknown_failure_is_a_violation(pair: Pair, violation: pb.Row) -> None:
    stream, (one, two) = await pair.deliver(2)
    await stream.send(violation, row(2, done()))
    await one.fails(ProtocolBroken)
    await two.ends()


@pytest.mark.parametrize("error_type", ERROR_TYPES.values(), ids=ERROR_TYPES)
async def test_a_failure_is_that_of_its_request(pair: Pair, error_type: type[DroverError]) -> None:
    """One that the worker calls cancelled is none of ours: the worker, or its operator, has ended it."""
    stream, (one, two) = await pair.deliver(2)
    await stream.send(row(1, content("a")), failed(1, error_type.__name__, "what is wrong"), row(2, done()))

    error = await one.fails(WorkerUnreachable if error_type is ClientLeft else error_type)
    assert error_type is ClientLeft or str(error) == "what is wrong"
    assert one.text == "a"
    await two.ends()


async def test_numbers_come_with_a_failure(pair: Pair) -> None:
    stream, (one,) = await pair.deliver(1)
    await stream.send(failed(1, "ContextExceeded", prompt_tokens=7, context_tokens=4))
    error = await one.fails(ContextExceeded)
    assert isinstance(error, ContextExceeded)
    assert (error.prompt_tokens, error.context_tokens) == (7, 4)


@pytest.mark.parametrize(
    "raised", [ZeroDivisionError(), asyncio.CancelledError()], ids=["defect", "cancelled"]
)
async def test_an_exception_of_a_sink_ends_its_own_request_only(pair: Pair, raised: BaseException) -> None:
    stream, (one, two) = await pair.deliver(2)
    one.busy = raised
    await stream.send(row(1, content("a")), row(1, content("b")), row(2, content("c")))
    await one.fails(ZeroDivisionError if isinstance(raised, ZeroDivisionError) else InternalError)
    await stream.has_aborted(1)
    assert one.events == [content("a")]

    await stream.send(row(1, content("late")), failed(1, "ClientLeft"), row(2, done()))
    await two.ends()
    assert two.text == "c"


@pytest.mark.parametrize(("rows", "size"), [(2 * ROWS_OF_CREDIT + 1, 1), (17, _MIB)], ids=["rows", "bytes"])
async def test_rows_long_after_an_abort_end_the_stream(pair: Pair, rows: int, size: int) -> None:
    stream, (one, two) = await pair.deliver(2)
    one.task.cancel()
    await stream.has_aborted(1)
    # The stream may be gone before the last one.
    with suppress(grpc.aio.InternalError):
        for _ in range(rows):
            await stream.send(row(1, content("x" * size)))
    error = await two.fails(ProtocolBroken)
    assert isinstance(error, ProtocolBroken)
    assert error.is_flood


async def test_an_abort_before_it_is_sent_sends_nothing(pair: Pair) -> None:
    first = pair.submit()
    first.cancel()
    second = Delivered(pair.submit())
    stream = await pair.scripted.stream()
    await stream.has(2)
    await stream.send(row(2, done()))
    await second.ends()

    assert stream.submissions.keys() == {2}
    assert not stream.aborts


async def test_a_delivery_that_is_cancelled_frees_the_slot(pair: Pair) -> None:
    stream, (early, late) = await pair.deliver(2)
    early.task.cancel()
    await stream.has_aborted(1)
    await stream.send(row(2, content("a")))
    await late.has("a")
    late.task.cancel()
    await stream.has_aborted(1, 2)
    for each in (early, late):
        with pytest.raises(asyncio.CancelledError):
            await each.task


async def test_a_returned_awaitable_that_is_not_awaited_is_closed(pair: Pair) -> None:
    """A client may leave between the row that made its taker busy and the task that waits for it."""

    async def never() -> None:
        raise AssertionError

    class Leaving(Delivered):
        def receive(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
            self.task.cancel()
            return super().receive(event)

    stream, (other,) = await pair.deliver(1)
    leaving = Leaving(pair.submit())
    await stream.has(2)
    leaving.busy = coroutine = never()
    await stream.send(row(2, content("a")), row(1, done()))
    await other.ends()
    with pytest.raises(asyncio.CancelledError):
        await leaving.task
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("rows", [[], [content("a")]], ids=["before", "after"])
async def test_abandoning_ends_the_wait_with_its_error(pair: Pair, rows: list[pb.GenerateEvent]) -> None:
    stream, (one, two) = await pair.deliver(2)
    for event in rows:
        await stream.send(row(1, event))
        await one.has("a")
    one.handle.abandon(EngineFailed("stalled"))
    one.handle.abandon(EngineFailed("again"))
    one.handle.cancel()

    assert str(await one.fails(EngineFailed)) == "stalled"
    await stream.has_aborted(1)
    await stream.send(failed(1, "ClientLeft"), row(2, done()))
    await two.ends()
    assert stream.aborts == [1]


async def test_cancelling_after_the_end_sends_nothing(pair: Pair) -> None:
    stream, (one, two) = await pair.deliver(2)
    await stream.send(row(1, done()))
    await one.ends()
    one.handle.cancel()
    await stream.send(row(2, done()))
    await two.ends()
    assert not stream.aborts
