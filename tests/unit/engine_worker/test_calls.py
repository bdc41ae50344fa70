"""How a call ends: errors as gRPC statuses, clients that have left."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import grpc
import pytest

from drover.errors import ClientLeft, DroverError, InternalError, ModelNotFound
from engine_worker.calls import guarded, send

_log = logging.getLogger("test")


class _Aborted(Exception):
    pass


class _Context:
    """Of a call. `fails`: its stream is closed."""

    def __init__(self, fails: bool = False) -> None:
        self.written: list[object] = []
        self.statuses: list[grpc.StatusCode] = []
        self._fails = fails

    async def write(self, message: object) -> None:
        if self._fails:
            raise grpc.aio.InternalError("closed")
        self.written.append(message)

    async def abort(self, code: grpc.StatusCode, details: str, trailing: object) -> None:
        self.statuses.append(code)
        raise _Aborted


def _of(context: _Context) -> grpc.aio.ServicerContext[Any, Any]:
    return cast("grpc.aio.ServicerContext[Any, Any]", context)


async def test_a_result_is_returned_without_an_error() -> None:
    ends: list[DroverError | None] = []

    async def work() -> int:
        return 7

    assert await guarded(_of(_Context()), work, _log, ends.append) == 7
    assert ends == [None]


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (ModelNotFound("no such model"), grpc.StatusCode.NOT_FOUND, ModelNotFound),
        (ClientLeft("cancelled"), grpc.StatusCode.CANCELLED, ClientLeft),
        (KeyError("a defect"), grpc.StatusCode.INTERNAL, InternalError),
    ],
)
async def test_an_error_ends_the_call_with_its_status(
    raised: Exception, status: grpc.StatusCode, error: type[DroverError]
) -> None:
    context, ends = _Context(), list[DroverError | None]()

    async def work() -> None:
        raise raised

    with pytest.raises(_Aborted):
        await guarded(_of(context), work, _log, ends.append)
    assert context.statuses == [status]
    assert [type(each) for each in ends] == [error]


async def test_a_cancelled_call_ends_as_one_whose_client_left() -> None:
    ends: list[DroverError | None] = []

    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(guarded(_of(_Context()), work, _log, ends.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(each) for each in ends] == [ClientLeft]


async def test_a_message_that_cannot_be_written_means_that_the_client_left() -> None:
    context = _Context()
    await send(_of(context), "a")
    assert context.written == ["a"]
    with pytest.raises(ClientLeft):
        await send(_of(_Context(fails=True)), "b")
