"""The end of a gRPC call: errors as statuses, and clients that have left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from drover.errors import ClientLeft, DroverError, internal_error
from drover.rpc import abort_with

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")


async def send(context: grpc.aio.ServicerContext[Request, Response], message: Response) -> None:
    """Write a message. Raises ClientLeft if the stream is closed but the handler is not cancelled yet."""
    try:
        await context.write(message)
    except grpc.aio.InternalError as unsent:
        raise ClientLeft("cancelled") from unsent


async def guarded(
    context: grpc.aio.ServicerContext[Request, Response],
    work: Callable[[], Awaitable[Result]],
    log: logging.Logger,
    on_end: Callable[[DroverError | None], None] = lambda error: None,
) -> Result:
    """Turn errors into gRPC statuses: a DroverError as itself, any other exception as an internal error.

    `on_end` is called once the call is over, with its error.
    """
    error: DroverError | None = None
    try:
        return await work()
    except asyncio.CancelledError:
        error = ClientLeft("cancelled")
        raise
    except DroverError as failure:
        error = failure
        await abort_with(context, failure)
    except Exception as exception:
        log.exception("unhandled exception in a request")
        error = internal_error(exception)
        await abort_with(context, error)
    finally:
        on_end(error)
