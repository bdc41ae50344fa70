"""Errors of gRPC that are no worker's fault."""

from __future__ import annotations

import grpc

from drover.errors import ProtocolBroken, WorkerUnreachable
from frontend.routing.backends.grpc.boundary import error_of


def failed(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def test_a_connection_that_closes_under_a_call_is_a_lost_worker() -> None:
    """grpc.aio makes this error itself, with the status that a worker's broken protocol has."""
    error = error_of(failed(grpc.StatusCode.INTERNAL, "Internal error from Core"))
    assert isinstance(error, WorkerUnreachable)


def test_a_workers_internal_error_breaks_the_protocol() -> None:
    assert isinstance(error_of(failed(grpc.StatusCode.INTERNAL, "boom")), ProtocolBroken)
