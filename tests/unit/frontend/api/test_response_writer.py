"""ResponseWriter without a task switch: a coroutine runs up to its first wait and resumes in a task."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import cast

import pytest
from starlette.types import Message
from uvicorn.protocols.http.flow_control import FlowControl

from frontend.api.response_writer import ResponseWriter, run_until_blocked

_SECONDS = 30.0


class Work:
    """Waits for each of its futures in turn, and notes what it sees."""

    def __init__(self, waits: int, raises_before: bool = False, raises_after: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(waits)]
        self.seen: list[object] = []
        self._raises_before = raises_before
        self._raises_after = raises_after

    async def __call__(self) -> None:
        self.seen.append("begun")
        if self._raises_before:
            raise ZeroDivisionError
        try:
            for future in self.futures:
                self.seen.append(await future)
        except BaseException as error:
            self.seen.append(type(error))
            raise
        if self._raises_after:
            raise ZeroDivisionError
        self.seen.append("ended")


async def test_a_coroutine_that_does_not_wait_ends_immediately() -> None:
    work = Work(waits=0)
    assert run_until_blocked(work()) is None
    assert work.seen == ["begun", "ended"]


@pytest.mark.parametrize("waits", [1, 2, 3])
async def test_a_coroutine_that_waits_resumes_in_the_task_that_awaits_the_rest(waits: int) -> None:
    work = Work(waits)
    rest = run_until_blocked(work())
    assert rest is not None
    assert work.seen == ["begun"]
    for number, future in enumerate(work.futures):
        asyncio.get_running_loop().call_later(0.01 * number, future.set_result, number)
    async with asyncio.timeout(_SECONDS):
        await rest
    assert work.seen == ["begun", *range(waits), "ended"]


async def test_the_future_may_be_done_before_the_rest_is_awaited() -> None:
    work = Work(waits=2)
    rest = run_until_blocked(work())
    assert rest is not None
    for future in work.futures:
        future.set_result(7)
    async with asyncio.timeout(_SECONDS):
        await rest
    assert work.seen == ["begun", 7, 7, "ended"]


async def test_a_coroutine_that_yields_to_the_loop_resumes() -> None:
    seen = []

    async def gives_way() -> None:
        await asyncio.sleep(0)
        seen.append("ended")

    rest = run_until_blocked(gives_way())
    assert rest is not None
    await rest
    assert seen == ["ended"]


async def test_an_error_before_the_first_wait_is_raised_immediately() -> None:
    with pytest.raises(ZeroDivisionError):
        run_until_blocked(Work(waits=1, raises_before=True)())


async def test_a_later_error_is_raised_where_the_rest_is_awaited() -> None:
    work = Work(waits=1, raises_after=True)
    rest = run_until_blocked(work())
    assert rest is not None
    work.futures[0].set_result(1)
    with pytest.raises(ZeroDivisionError):
        await rest


async def test_a_failing_future_is_raised_in_the_coroutine() -> None:
    work = Work(waits=2)
    rest = run_until_blocked(work())
    assert rest is not None
    work.futures[0].set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await rest
    assert work.seen == ["begun", ConnectionResetError]


async def test_a_cancelled_task_cancels_the_coroutine() -> None:
    work = Work(waits=1)
    rest = run_until_blocked(work())
    assert rest is not None
    task = asyncio.create_task(_awaits(rest))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.seen == ["begun", asyncio.CancelledError]
    assert work.futures[0].cancelled()


async def test_closing_the_rest_closes_the_coroutine() -> None:
    work = Work(waits=1)
    rest = run_until_blocked(work())
    assert rest is not None
    cast("asyncio.Transport", rest).close()
    assert work.seen == ["begun", GeneratorExit]


@pytest.mark.filterwarnings("error")
async def test_dropping_the_rest_closes_the_coroutine() -> None:
    work = Work(waits=1)
    rest = run_until_blocked(work())
    assert rest is not None
    del rest
    gc.collect()
    assert work.seen == ["begun", GeneratorExit]


class _Transport:
    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _Wording:
    stream_content_type = b"text/plain"

    def heartbeat(self) -> bytes:
        return b""


async def test_a_client_that_stops_and_resumes_reading_gets_all_in_order() -> None:
    """With uvicorn's flow control: `send` waits before it writes while the transport is full."""
    flow = FlowControl(cast("asyncio.Transport", _Transport()))
    written: list[bytes] = []

    async def send(message: Message) -> None:
        if flow.write_paused:
            await flow.drain()
        written.append(message["body"])

    sending = ResponseWriter(send, _Wording(), send)
    assert sending.write_now(b"a") is None
    flow.pause_writing()
    rest = sending.write_now(b"b")
    assert rest is not None
    assert written == [b"a"]
    task = asyncio.create_task(_awaits(rest))
    await asyncio.sleep(0)
    assert not task.done()
    flow.resume_writing()
    await asyncio.wait_for(task, _SECONDS)
    assert sending.write_now(b"c") is None
    assert written == [b"a", b"b", b"c"]


async def _awaits(rest: Awaitable[None]) -> None:
    await rest
