"""The boundary for gRPC's errors: what a call to a worker raises, in the words of drover/errors.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from drover.errors import ERROR_TYPES, ClientLeft, DroverError, WorkerUnreachable
from drover.rpc import error_from_status, error_of_failure, has_error_type
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.cancelling import is_cancelled
from frontend.routing.backends.grpc.event_check import broken

Request = TypeVar("Request")
Message = TypeVar("Message")
_TOO_LARGE_FROM_WORKER = "CLIENT: Received message larger than max"
_SENSELESS = frozenset(
    {
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)


@contextmanager
def boundary(abandoned: Callable[[], DroverError | None] = lambda: None) -> Iterator[None]:
    """gRPC's errors as leaves. `abandoned`: what to say instead, where somebody gave the call up. A call
    whose channel is closed raises what a cancelled one does.
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
    """Nobody here has cancelled where a status says so: the other side, or the connection, has."""
    if failure.code() is grpc.StatusCode.CANCELLED:
        return closed()
    if _is_senseless(failure):
        return broken(f"{failure.code().name}: {failure.details()}")
    return error_from_status(failure)


def error_of_row(failure: pb.Failure) -> DroverError:
    """The same, of a request on an exchange."""
    if failure.reason not in ERROR_TYPES:
        return broken(f"a failure of no known kind: {failure.reason[:64]!r}")
    error = error_of_failure(failure)
    return closed() if isinstance(error, ClientLeft) else error


def read(message: Message) -> Message:
    """grpc.aio gives None for a message that cannot be parsed, and goes on with the stream."""
    if message is None:
        raise broken("a message that cannot be parsed")
    return message


async def check_whole(call: grpc.aio.UnaryStreamCall[Request, Message]) -> None:
    """After the last message."""
    if await call.code() is not grpc.StatusCode.OK:
        raise WorkerUnreachable("the worker broke the stream off")


def _is_senseless(failure: grpc.aio.AioRpcError) -> bool:
    """A status that no worker of ours ends a call with, or a message that is larger than any answer's."""
    if has_error_type(failure):
        return False
    if failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _TOO_LARGE_FROM_WORKER in (failure.details() or "")
    return failure.code() in _SENSELESS


def closed() -> WorkerUnreachable:
    return WorkerUnreachable("the connection to the worker was closed")
