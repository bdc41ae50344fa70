"""Error boundary: converts gRPC errors of calls to a worker into those of drover/errors.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from drover.concurrency import is_cancelled
from drover.errors import ERROR_TYPES, ClientLeft, DroverError, WorkerUnreachable
from drover.rpc import error_from_status, error_of_failure, has_error_type
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.grpc.event_check import broken

Request = TypeVar("Request")
Message = TypeVar("Message")
# What grpc.aio itself reports for a call whose connection closes at that moment.
_CLOSED_LOCALLY = "Internal error from Core"
_TOO_LARGE_FROM_WORKER = "CLIENT: Received message larger than max"
_UNEXPECTED_CODES = frozenset(
    {
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)


@contextmanager
def boundary(abandoned: Callable[[], DroverError | None] = lambda: None) -> Iterator[None]:
    """Convert errors raised within. `abandoned`: returns the error to raise instead, for an abandoned call.

    A call whose channel is closed raises CancelledError, as a cancelled one does.
    """
    try:
        yield
    except grpc.aio.AioRpcError as failure:
        raise abandoned() or error_of(failure) from failure
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise abandoned() or closed() from None


def error_of(failure: grpc.aio.AioRpcError) -> DroverError:
    """The error for a failed call. Status CANCELLED means that the worker or the connection cancelled it."""
    if failure.code() is grpc.StatusCode.CANCELLED or failure.details() == _CLOSED_LOCALLY:
        return closed()
    if _is_violation(failure):
        return broken(f"{failure.code().name}: {failure.details()}{_hint_at(failure)}")
    return error_from_status(failure)


def _hint_at(failure: grpc.aio.AioRpcError) -> str:
    """A worker host and a worker take the same kind of address."""
    is_other = failure.code() is grpc.StatusCode.UNIMPLEMENTED
    return " (is it a worker host? They are named in --hosts)" if is_other else ""


def error_of_row(failure: pb.Failure) -> DroverError:
    """The error for a failed request on an exchange."""
    if failure.reason not in ERROR_TYPES:
        return broken(f"a failure of no known kind: {failure.reason[:64]!r}")
    error = error_of_failure(failure)
    return closed() if isinstance(error, ClientLeft) else error


def read(message: Message) -> Message:
    """Raises ProtocolBroken for None, which grpc.aio returns for a message that cannot be parsed."""
    if message is None:
        raise broken("a message that cannot be parsed")
    return message


async def check_whole(call: grpc.aio.UnaryStreamCall[Request, Message]) -> None:
    """Call after the last message. Raises WorkerUnreachable unless the call ended with status OK."""
    if await call.code() is not grpc.StatusCode.OK:
        raise WorkerUnreachable("the worker closed the stream early")


def _is_violation(failure: grpc.aio.AioRpcError) -> bool:
    """True for a status that a worker never ends a call with, and for a message above the size limit."""
    if has_error_type(failure):
        return False
    if failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _TOO_LARGE_FROM_WORKER in (failure.details() or "")
    return failure.code() in _UNEXPECTED_CODES


def closed() -> WorkerUnreachable:
    return WorkerUnreachable("the connection to the worker was closed")
