"""Exchange streams: opened, broken, missing, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar

import pytest

from drover.errors import (
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from tests.fakes.scripted_exchange import ScriptedWorker, row
from tests.fakes.stalling_worker import content, done
from tests.unit.frontend.routing.exchange_pair import Delivered, Pair, pairing

_MIB = 1024 * 1024


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("how", ["ended", "lost", "closed"])
async def test_a_stream_that_breaks_fails_all_its_requests(pair: Pair, how: str) -> None:
    stream, (one, two) = await pair.deliver(2)
    two.busy = busy = _future()
    await stream.send(row(1, content("a")), row(2, content("a")), row(2, content("b")))
    await one.has("a")
    match how:
        case "ended":
            stream.end()
        case "lost":
            stream.lose()
        case _:
            await pair.worker.close()
    await one.fails(WorkerUnreachable)
    busy.set_result(None)
    await two.fails(WorkerUnreachable)
    assert two.text == "ab"


async def test_a_request_after_it_opens_a_new_stream(pair: Pair) -> None:
    stream, (one,) = await pair.deliver(1)
    stream.end()
    await one.fails(WorkerUnreachable)

    two = Delivered(pair.submit())
    again = await pair.scripted.stream(2)
    await again.has(1)
    await again.send(row(1, content("a")), row(1, done()))
    await two.ends()
    assert two.text == "a"


async def test_closing_leaves_no_task(pair: Pair) -> None:
    _, (one,) = await pair.deliver(1)
    await pair.worker.close()
    await one.fails(WorkerUnreachable)
    assert not _exchange_tasks()


async def test_closing_before_the_stream_has_begun(pair: Pair) -> None:
    one = Delivered(pair.submit())
    await pair.worker.close()
    await one.fails(WorkerUnreachable)
    assert not _exchange_tasks()


def _exchange_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("exchange")]


async def test_many_requests_at_once_are_sent_in_order(pair: Pair) -> None:
    """More than one message takes, each as large as may share the stream."""
    sizes = [900 * 1024] * 12
    delivered = [Delivered(pair.submit("x" * size)) for size in sizes]
    stream = await pair.scripted.stream()
    await stream.has(*range(1, 13))
    assert list(stream.submissions) == list(range(1, 13))
    await stream.send(*(row(number, done()) for number in range(1, 13)))
    for each in delivered:
        await each.ends()


def _model(exchange: bool) -> pb.Model:
    return pb.Model(names=["m"], digest="d", exchange=exchange)


@pytest.mark.parametrize("has_exchange", [True, False])
async def test_without_exchange_each_request_has_its_own_call(has_exchange: bool) -> None:
    async with pairing(ScriptedWorker(has_exchange=has_exchange, model=_model(exchange=False))) as pair:
        one = Delivered(pair.submit())
        await one.ends()
        assert one.text == "own"
        assert not pair.scripted.streams


async def test_after_a_downgrade_the_next_request_has_its_own_call() -> None:
    """One of an earlier version took its place."""
    async with pairing(ScriptedWorker(has_exchange=False)) as pair:
        first = Delivered(pair.submit())
        await first.fails(WorkerUnreachable)
        second = Delivered(pair.submit())
        await second.ends()
        assert second.text == "own"


async def test_a_large_request_has_a_call_of_its_own(pair: Pair) -> None:
    large = Delivered(pair.submit("x" * (_MIB + 1)))
    await large.ends()
    assert large.text == "own"
    assert len(pair.scripted.own_requests) == 1
    assert not pair.scripted.streams


async def test_the_stream_does_not_inherit_the_context_of_a_request(pair: Pair) -> None:
    client: ContextVar[str] = ContextVar("client", default="none")
    seen: list[str] = []

    class Looking(Delivered):
        def receive(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
            seen.append(client.get())
            return super().receive(event)

    client.set("first")
    looking = Looking(pair.submit())
    stream = await pair.scripted.stream()
    await stream.has(1)
    await stream.send(row(1, done()))
    await looking.ends()
    assert seen == ["none"]
