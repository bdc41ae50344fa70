"""Requests of an exchange that are aborted, in every phase: the slot is free, and there is one end."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator

import grpc
import pytest

from drover.rpc import CHANNEL_OPTIONS, ROWS_OF_CREDIT, SERVICE_NAME, error_from_status
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from tests.support.waiting import until
from tests.unit.engine_worker.exchange_harness import (
    SECONDS,
    Frontend,
    Pair,
    lines,
    name_of,
    running_exchange,
    submission,
)

_POLL_SECONDS = 0.01
# A window is full when nothing was taken for so many polls.
_STILL_POLLS = 30


@pytest.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with running_exchange(slots=getattr(request, "param", 64)) as pair:
        yield pair


async def test_an_abort_in_the_message_that_submits_it(pair: Pair) -> None:
    """It has not begun: a task that is cancelled then never runs."""
    orders = pb.Orders(submissions=[submission(1), submission(2)], aborts=[1])
    await pair.frontend.orders(orders)
    await pair.runs(2)
    await pair.frontend.has_end(1)
    await pair.generates()

    assert pair.frontend.reason(1) == "ClientLeft"
    assert name_of(1) not in pair.engine.mailboxes
    assert len(pair.worker.requests) == 1


@pytest.mark.parametrize("pair", [1], indirect=True)
async def test_an_abort_in_the_engine_s_queue(pair: Pair) -> None:
    await pair.submit(1)
    await pair.frontend.submit(2)
    await until(lambda: name_of(2) in pair.engine.arrived, SECONDS, "it waits")
    await pair.frontend.abort(2)
    await pair.is_free(2)
    await pair.frontend.has_end(2)
    pair.end(1)
    await pair.generates()

    assert pair.frontend.reason(2) == "ClientLeft"


async def test_an_abort_in_mid_answer(pair: Pair) -> None:
    await pair.submit(1, 2)
    pair.say(1, "a")
    await pair.frontend.has_rows(1)
    await pair.frontend.abort(1, 1)
    await pair.is_free(1)
    await pair.frontend.has_end(1)
    await pair.generates()

    assert pair.frontend.reason(1) == "ClientLeft"
    assert pair.frontend.text(1) == "a"
    assert name_of(2) in pair.engine.mailboxes


async def test_an_abort_of_an_answer_that_is_done_and_waits_for_credit(pair: Pair) -> None:
    await pair.submit(1)
    for said in range(ROWS_OF_CREDIT):
        pair.say(1, "x")
        await pair.frontend.has_rows(1, said + 1)
    pair.say(1, "never sent")
    pair.end(1)
    await pair.is_free(1)
    # Credit that was on its way comes after the abort.
    await pair.frontend.orders(pb.Orders(aborts=[1], credits=[pb.Credit(number=1, rows=32)]))
    await pair.frontend.has_end(1)
    await pair.generates()

    assert pair.frontend.reason(1) == "ClientLeft"
    assert pair.frontend.text(1) == "x" * ROWS_OF_CREDIT
    assert await pair.worker.requests.wait_empty(SECONDS)


@pytest.mark.parametrize("number", [1, 0])
async def test_a_number_again_ends_the_stream_and_its_requests(pair: Pair, number: int) -> None:
    await pair.submit(1)
    await pair.frontend.submit(number)
    await asyncio.wait_for(pair.frontend.reading, SECONDS)

    assert pair.frontend.status is not None
    assert pair.frontend.status.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"number {number}" in error_from_status(pair.frontend.status).message
    await pair.is_free(1)
    assert await pair.worker.requests.wait_empty(SECONDS)


async def test_orders_that_cannot_be_parsed_end_the_stream(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    async with grpc.aio.insecure_channel(pair.address, options=CHANNEL_OPTIONS) as channel:
        method: grpc.aio.StreamStreamMultiCallable[bytes, pb.Step] = channel.stream_stream(
            f"/{SERVICE_NAME}/Exchange", response_deserializer=pb.Step.FromString
        )
        call = method()
        await call.write(pb.Orders(submissions=[submission(1)]).SerializeToString())
        await pair.runs(1)
        await call.write(b"\xff\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(call.read(), SECONDS)

    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await pair.is_free(1)
    assert not [record for record in caplog.records if record.exc_info]
    await pair.generates()


async def test_a_channel_that_is_closed_aborts_its_requests_and_no_other_s(pair: Pair) -> None:
    channel = grpc.aio.insecure_channel(pair.address, options=CHANNEL_OPTIONS)
    leaving = Frontend(engine_pb2_grpc.EngineStub(channel))
    await pair.submit(1)
    await leaving.submit(2, 3)
    await pair.runs(2, 3)

    await channel.close()

    await pair.is_free(2, 3)
    assert pair.engine.mailboxes.keys() == {name_of(1)}
    await asyncio.wait({leaving.reading})


_LEAVES_BEHIND = """
import asyncio, sys, grpc
from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb, engine_pb2_grpc

async def main():
    channel = grpc.aio.insecure_channel(sys.argv[1], options=CHANNEL_OPTIONS)
    call = engine_pb2_grpc.EngineStub(channel).Exchange()
    request = pb.GenerateRequest(request_id="r2", raw="p")
    await call.write(pb.Orders(submissions=[pb.Submission(number=1, request=request)]))
    await call.read()

asyncio.run(main())
"""


async def test_a_process_that_is_killed_aborts_its_requests(pair: Pair) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _LEAVES_BEHIND, pair.address)
    try:
        await pair.runs(2)
    finally:
        process.kill()
        await process.wait()
    await pair.is_free(2)
    assert await pair.worker.requests.wait_empty(SECONDS)


async def test_a_frontend_that_has_no_more_orders_has_left(pair: Pair) -> None:
    await pair.submit(1)
    await pair.frontend.call.done_writing()
    await pair.is_free(1)
    await asyncio.wait_for(pair.frontend.reading, SECONDS)


async def test_a_cancel_behind_a_full_window_ends_all_at_once(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    call = pair.stub.Exchange()
    await call.write(pb.Orders(submissions=[submission(1), submission(2)]))
    await pair.runs(1, 2)
    mailboxes = [pair.engine.mailboxes[name_of(number)] for number in (1, 2)]
    still = 0
    async with asyncio.timeout(SECONDS):
        while still < _STILL_POLLS:
            still += 1
            for mailbox in mailboxes:
                if not mailbox.ready:
                    mailbox.content("x" * (64 << 10), [1], 1)
                    still = 0
            await asyncio.sleep(_POLL_SECONDS)
    with caplog.at_level(logging.INFO):
        call.cancel()
        await pair.is_free(1, 2)
        assert await pair.worker.requests.wait_empty(SECONDS)
        logged = lines(caplog)
    assert [line["error"] for line in logged] == ["ClientLeft"] * 2


async def test_reading_that_ends_unforeseen_ends_the_call(pair: Pair) -> None:
    await pair.submit(1, 2)
    for task in asyncio.all_tasks():
        if task.get_name() == "exchange: read":
            task.cancel()
    await asyncio.wait_for(pair.frontend.reading, SECONDS)
    assert pair.frontend.status is not None
    assert pair.frontend.status.code() is grpc.StatusCode.CANCELLED
    await pair.is_free(1, 2)
