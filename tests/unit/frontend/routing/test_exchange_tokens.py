"""Rows of one token: for sinks of tokens without an event, for all others with one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from drover.errors import ProtocolBroken
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import token_event
from frontend.routing.backends.grpc.event_check import EventCheck
from tests.fakes.scripted_exchange import ScriptedWorker, row
from tests.fakes.stalling_worker import done, started
from tests.unit.frontend.routing.exchange_pair import SECONDS, Pair, pairing

Taken = tuple[str, int, int] | pb.GenerateEvent


class Tokens:
    """Implements frontend.routing.backends.base.TokenSink. `busy`: what it returns next."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.busy: Awaitable[object] | None = None

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        return self._took(kept)

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        return self._took((text, token_id, completion_tokens))

    def _took(self, taken: Taken) -> Awaitable[object] | None:
        self.taken.append(taken)
        busy, self.busy = self.busy, None
        return busy


def _token(number: int, text: str, token_id: int, count: int) -> pb.Row:
    return pb.Row(number=number, text=text, token_id=token_id, completion_tokens=count)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with pairing(ScriptedWorker()) as pair:
        yield pair


async def test_event_sinks_get_events(pair: Pair) -> None:
    stream, (one,) = await pair.deliver(1)
    await stream.send(row(1, started()), _token(1, "a", 7, 1), row(1, done()))
    await one.ends()

    assert one.events == [started(), token_event("a", 7, 1), done()]


async def test_token_sinks_get_tokens(pair: Pair) -> None:
    tokens = Tokens()
    delivery = asyncio.create_task(pair.submit().deliver(tokens))
    stream = await pair.scripted.stream()
    await stream.has(1)
    await stream.send(row(1, started()), _token(1, "a", 7, 1), _token(1, "b", 8, 2), row(1, done()))
    await asyncio.wait_for(delivery, SECONDS)

    assert tokens.taken == [started(), ("a", 7, 1), ("b", 8, 2), done()]


async def test_tokens_for_a_busy_sink_keep_their_order(pair: Pair) -> None:
    tokens = Tokens()
    tokens.busy = waits = asyncio.get_running_loop().create_future()
    delivery = asyncio.create_task(pair.submit().deliver(tokens))
    stream = await pair.scripted.stream()
    await stream.has(1)
    await stream.send(row(1, started()), _token(1, "a", 7, 1), _token(1, "b", 8, 2))
    await stream.send(row(1, done()))
    waits.set_result(None)
    await asyncio.wait_for(delivery, SECONDS)

    said = [each if isinstance(each, pb.GenerateEvent) else token_event(*each) for each in tokens.taken]
    assert said == [started(), token_event("a", 7, 1), token_event("b", 8, 2), done()]


def test_tokens_count_towards_the_size_limit() -> None:
    check = EventCheck(pb.GenerateRequest(), context_length=16, calls=0)
    for _ in range(41):
        check.check_token("x" * 100_000)
    with pytest.raises(ProtocolBroken, match="a response of more than"):
        check.check_token("x" * 100_000)


def test_a_token_after_done_is_a_violation() -> None:
    check = EventCheck(pb.GenerateRequest(), context_length=16, calls=0)
    check.check(started())
    check.check(done())
    with pytest.raises(ProtocolBroken, match="after done"):
        check.check_token("x")
