"""A client that disconnects frees the worker immediately, in every phase of its request."""

from __future__ import annotations

import asyncio

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import (
    STALL,
    Forever,
    StallingHandle,
    StallingWorker,
    Step,
    content,
    done,
    started,
)
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start

_CANCEL_SECONDS = 1.0
_CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
_GENERATE = {"model": "m", "prompt": "x"}


async def _is_cancelled(handle: StallingHandle) -> None:
    await asyncio.wait_for(handle.cancelled.wait(), _CANCEL_SECONDS)
    assert not handle.finished


async def _stalls(handle: StallingHandle) -> None:
    await asyncio.wait_for(handle.stalled.wait(), DEADLINE_SECONDS)
    assert not handle.cancelled.is_set()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), [("/api/chat", _CHAT), ("/api/generate", _GENERATE)])
@pytest.mark.parametrize(
    "steps",
    [[STALL], [started(), STALL], [started(), content("a"), content("b"), STALL]],
    ids=["queued", "prefill", "decode"],
)
async def test_the_client_disconnects_before_the_first_event(
    frontend: Frontend, path: str, body: dict[str, object], stream: bool, steps: list[Step]
) -> None:
    frontend.worker.steps = steps
    client = await RawClient.post(frontend.port, path, {**body, "stream": stream})
    handle = await frontend.handle()
    await _stalls(handle)

    client.leave()

    await _is_cancelled(handle)


async def test_the_client_disconnects_in_mid_stream(frontend: Frontend) -> None:
    frontend.worker.steps = [content("first"), STALL]
    client = await RawClient.post(frontend.port, "/api/chat", _CHAT)
    assert b'"content":"first"' in await client.read_until(b'"done":false}\n')
    handle = await frontend.handle()
    await _stalls(handle)

    client.leave()

    await _is_cancelled(handle)


async def test_the_client_half_closes_the_connection(frontend: Frontend) -> None:
    client = await RawClient.post(frontend.port, "/api/chat", _CHAT)
    handle = await frontend.handle()
    await _stalls(handle)

    client.writer.write_eof()

    await _is_cancelled(handle)
    client.leave()


async def _write_is_blocked(handle: StallingHandle) -> None:
    """As soon as nothing has been taken from the worker for many turns of the loop."""
    seen = -1

    def is_still() -> bool:
        nonlocal seen
        before, seen = seen, handle.taken
        return 0 < before == seen

    await until(is_still, DEADLINE_SECONDS, "the socket is full")


async def test_the_client_disconnects_while_it_does_not_read(frontend: Frontend) -> None:
    frontend.worker.steps = [Forever(content("x" * 100_000))]
    client = await RawClient.post(frontend.port, "/api/chat", _CHAT, receive_buffer=4096)
    client.stop_reading()
    handle = await frontend.handle()
    await _write_is_blocked(handle)
    assert not handle.cancelled.is_set()

    client.leave()

    await _is_cancelled(handle)


async def test_a_client_that_does_not_read_blocks_only_its_own_request(frontend: Frontend) -> None:
    frontend.worker.steps = [Forever(content("x" * 100_000))]
    client = await RawClient.post(frontend.port, "/api/chat", _CHAT, receive_buffer=4096)
    client.stop_reading()
    blocked = await frontend.handle()
    await _write_is_blocked(blocked)
    frontend.worker.steps = [content("quick"), done()]

    answer = await frontend.client.post("/api/chat", json={**_CHAT, "stream": False})

    assert answer.json()["message"]["content"] == "quick"
    assert not blocked.cancelled.is_set()
    assert blocked.taken < 1_000
    client.leave()
    await _is_cancelled(blocked)


async def test_a_client_that_stays_gets_all_and_the_handle_is_released(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("a"), content("b"), done()]

    answer = await frontend.client.post("/api/chat", json=_CHAT)

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [b'"done":true' in line for line in answer.content.splitlines()] == [False, False, True]
    handle = await frontend.handle()
    await asyncio.wait_for(handle.cancelled.wait(), _CANCEL_SECONDS)


async def test_many_clients_disconnect_at_the_same_time(frontend: Frontend) -> None:
    clients = [await RawClient.post(frontend.port, "/api/chat", _CHAT) for _ in range(50)]
    handles = frontend.worker.handles
    await until(lambda: len(handles) == 50, DEADLINE_SECONDS, "all requests arrive")

    for client in clients[:25]:
        client.leave()

    await until(
        lambda: sum(handle.cancelled.is_set() for handle in handles) == 25, _CANCEL_SECONDS, "half are gone"
    )
    for client in clients[25:]:
        client.leave()
    for handle in handles:
        await _is_cancelled(handle)
    assert len({handle.request.request_id for handle in handles}) == 50
    assert all(len(handle.request.request_id) == 32 for handle in handles)


async def test_a_client_that_disconnects_while_it_sends_its_body_reaches_no_worker(start: Start) -> None:
    worker = StallingWorker(steps=[content("a"), done()])
    async with start(worker) as frontend:
        _, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
        writer.write(
            b'POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"model":"m"'
        )
        await writer.drain()
        writer.transport.abort()

        assert (await frontend.client.post("/api/chat", json=_CHAT)).status_code == 200

    assert len(worker.handles) == 1
    assert worker.closed


async def test_the_worker_gets_the_log_id_apart_from_the_request_id(
    frontend: Frontend,
) -> None:
    frontend.worker.steps = [pb.GenerateEvent(done=done().done)]

    answer = await frontend.client.post("/api/chat", json=_CHAT, headers={"x-request-id": "from-client"})

    handle = await frontend.handle()
    assert answer.headers["x-request-id"] == handle.client_request_id == "from-client"
    assert handle.request.request_id != "from-client"
