"""Errors across the gRPC boundary, over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from drover.errors import (
    ERROR_MAPPINGS,
    CapabilityMissing,
    ClientLeft,
    ConstraintRejected,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    InternalError,
    InvalidRequest,
    WorkerUnreachable,
)
from drover.rpc import (
    CHANNEL_OPTIONS,
    ERROR_DOMAIN,
    SERVER_OPTIONS,
    abort_with,
    error_from_status,
    has_error_type,
)
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc

DEADLINE_SECONDS = 30.0
Context = grpc.aio.ServicerContext[pb.TokenizeRequest, pb.TokenizeResponse]


class _Failing(engine_pb2_grpc.EngineServicer):
    """Fails each call with `error`, or with the bare status `code`, or never answers."""

    def __init__(self) -> None:
        self.error: DroverError | None = None
        self.code: grpc.StatusCode | None = None

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        if self.error is not None:
            await abort_with(context, self.error)
        if self.code is not None:
            await context.abort(self.code, "because")
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")


class Boundary:
    def __init__(self, servicer: _Failing, channel: grpc.aio.Channel) -> None:
        self.servicer = servicer
        self._stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)

    async def failure(self, timeout: float = DEADLINE_SECONDS) -> DroverError:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self._stub.Tokenize(pb.TokenizeRequest(), timeout=timeout)
        return error_from_status(failed.value)


@pytest.fixture
async def boundary() -> AsyncIterator[Boundary]:
    servicer = _Failing()  # type: ignore[abstract]  # generated servicers mark every method abstract
    server = grpc.aio.server(options=SERVER_OPTIONS)
    engine_pb2_grpc.add_EngineServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
            yield Boundary(servicer, channel)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("error_type", ERROR_MAPPINGS, ids=lambda error_type: error_type.__name__)
async def test_every_error_type_arrives_as_it_was_raised(
    boundary: Boundary, error_type: type[DroverError]
) -> None:
    boundary.servicer.error = error_type('what is wrong: "ä"\nand what to do')

    error = await boundary.failure()

    assert type(error) is error_type
    assert error.message == 'what is wrong: "ä"\nand what to do'


@pytest.mark.parametrize("text", ["x" * 100_000, "ü" * 2_000, "語" * 2_000, "🐑" * 2_000, "%" * 2_000])
async def test_a_long_message_is_cut_and_its_error_type_survives(boundary: Boundary, text: str) -> None:
    boundary.servicer.error = ConstraintRejected(text)

    error = await boundary.failure()

    assert type(error) is ConstraintRejected
    assert len(error.message.encode()) >= 1400
    assert text.startswith(error.message)
    assert text.startswith(error.message)


async def test_an_error_without_a_message_gets_one(boundary: Boundary) -> None:
    boundary.servicer.error = CapabilityMissing("")

    error = await boundary.failure()

    assert type(error) is CapabilityMissing
    assert error.message


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        (grpc.StatusCode.UNAVAILABLE, WorkerUnreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, ClientLeft),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, InvalidRequest),  # a message over the size limit
        (grpc.StatusCode.UNKNOWN, InternalError),
        (grpc.StatusCode.UNIMPLEMENTED, InternalError),
    ],
)
async def test_a_bare_status_becomes_the_error_that_it_stands_for(
    boundary: Boundary, code: grpc.StatusCode, error_type: type[DroverError]
) -> None:
    boundary.servicer.code = code

    error = await boundary.failure()

    assert type(error) is error_type
    assert "because" in error.message


async def test_an_exceeded_deadline_is_named(boundary: Boundary) -> None:
    assert type(await boundary.failure(timeout=0.2)) is DeadlineExceeded


async def test_an_address_without_a_server_is_an_unreachable_worker() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1", options=CHANNEL_OPTIONS) as channel:
        servicer = _Failing()  # type: ignore[abstract]  # generated servicers mark every method abstract
        error = await Boundary(servicer, channel).failure()

    assert type(error) is WorkerUnreachable


async def test_prompt_and_context_tokens_cross_the_boundary(boundary: Boundary) -> None:
    boundary.servicer.error = ContextExceeded("too long", prompt_tokens=3010, context_tokens=2048)

    error = await boundary.failure()

    assert isinstance(error, ContextExceeded)
    assert (error.prompt_tokens, error.context_tokens) == (3010, 2048)


def _status(details: bytes) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(("other", "x"), ("grpc-status-details-bin", details))
    return grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailing, details="because")


def _details(info: error_details_pb2.ErrorInfo) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(info)
    serialized: bytes = status_pb2.Status(details=[packed]).SerializeToString()
    return serialized


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff",
        status_pb2.Status().SerializeToString(),
        _details(error_details_pb2.ErrorInfo(reason="ConstraintRejected", domain="example.com")),
        _details(error_details_pb2.ErrorInfo(reason="NoErrorOfOurs", domain=ERROR_DOMAIN)),
    ],
    ids=["unreadable", "none", "of another domain", "unknown"],
)
def test_details_that_are_not_ours_leave_the_bare_status(details: bytes) -> None:
    failure = _status(details)

    assert not has_error_type(failure)
    assert type(error_from_status(failure)) is InternalError


@pytest.mark.parametrize("metadata", [{}, {"prompt_tokens": "many", "context_tokens": "-1"}])
def test_invalid_token_counts_are_left_out(metadata: dict[str, str]) -> None:
    info = error_details_pb2.ErrorInfo(reason="ContextExceeded", domain=ERROR_DOMAIN, metadata=metadata)
    error = error_from_status(_status(_details(info)))

    assert isinstance(error, ContextExceeded)
    assert (error.message, error.prompt_tokens, error.context_tokens) == ("because", 0, 0)
