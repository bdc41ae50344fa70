"""The gRPC boundary of both tiers: channel and server options, and errors as statuses with details."""

from __future__ import annotations

import json
from typing import NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from drover.errors import (
    ERROR_TYPES,
    ClientLeft,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    InternalError,
    InvalidRequest,
    WorkerUnreachable,
    mapping_of,
)
from drover.v1 import engine_pb2 as pb

SERVICE_NAME = "drover.v1.Engine"
REQUEST_ID_METADATA_KEY = "x-request-id"
ERROR_DOMAIN = "drover"
# Initial credit of a request on an exchange (protos/drover/v1/engine.proto, Credit).
ROWS_OF_CREDIT = 64

Request = TypeVar("Request")
Response = TypeVar("Response")

_PROMPT_TOKENS, _CONTEXT_TOKENS = "prompt_tokens", "context_tokens"
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
# Trailing metadata may have 16 KiB, and a byte takes up to three there, twice.
_MAX_DETAILS_BYTES = 1500
_MAX_MESSAGE_CHARACTERS = 4096

# Tighter limits per method for what a worker may send in one message.
_MAX_RESPONSE_BYTES = {
    "GenerateStream": 16 * 1024 * 1024,
    "Exchange": 32 * 1024 * 1024,
    "WatchLoad": 64 * 1024,
    "GetModel": 64 * 1024 * 1024,
    "Score": 32 * 1024 * 1024,
    "Rerank": 1024 * 1024,
    "Classify": 32 * 1024 * 1024,
    "Tokenize": 64 * 1024 * 1024,
    "Detokenize": 64 * 1024 * 1024,
    "Render": 128 * 1024 * 1024,
}
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {"name": [{"service": SERVICE_NAME, "method": method}], "maxResponseMessageBytes": limit}
            for method, limit in _MAX_RESPONSE_BYTES.items()
        ]
    }
)

_LOOKAHEAD_BYTES = 1024 * 1024

_SIZES: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]

# Both sides give up a silent peer within 10 s.
_PING_MS = 5_000
_PING_TIMEOUT_MS = 4_000

# A long prefill sends nothing for minutes, so pings without data are normal and must not be punished.
CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    *_SIZES,
    ("grpc.service_config", _SERVICE_CONFIG),
    # Buffer of a stream whose reader is slow: by default gRPC lets it grow with the bandwidth, up to 33 MB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
    ("grpc.keepalive_time_ms", _PING_MS),
    ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
    # A minute by default, and on a server it is what ends a connection that only sends.
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    # Workers are addressed directly, whatever proxy the environment names for the web.
    ("grpc.enable_http_proxy", 0),
    # One stream per request: failing fast beats a hidden second attempt.
    ("grpc.enable_retries", 0),
]

SERVER_OPTIONS: list[tuple[str, int]] = [
    *_SIZES,
    ("grpc.keepalive_time_ms", _PING_MS),
    ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
    # A minute by default, and on a server it is what ends a connection that only sends.
    ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
    # Two minutes by default, for clients that connect and stay silent.
    ("grpc.server_handshake_timeout_ms", 10_000),
]


async def abort_with(context: grpc.aio.ServicerContext[Request, Response], error: DroverError) -> NoReturn:
    """End the call with the error's status. ErrorInfo.reason lets the other tier rebuild the error."""
    code = mapping_of(error).grpc
    info = any_pb2.Any()
    reason = error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=ERROR_DOMAIN)
    if isinstance(error, ContextExceeded):
        reason.metadata[_PROMPT_TOKENS] = str(error.prompt_tokens)
        reason.metadata[_CONTEXT_TOKENS] = str(error.context_tokens)
    info.Pack(reason)
    message = error.message.encode()[:_MAX_DETAILS_BYTES].decode(errors="ignore")
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message, details=[info])
    await context.abort(code, message, rpc_status.to_status(status).trailing_metadata)
    raise AssertionError("abort always raises")


def failure_of(error: DroverError) -> pb.Failure:
    """The error as a row of an exchange carries it; `abort_with` for a call of its own."""
    failure = pb.Failure(reason=type(error).__name__, message=error.message[:_MAX_MESSAGE_CHARACTERS])
    if isinstance(error, ContextExceeded):
        failure.prompt_tokens, failure.context_tokens = error.prompt_tokens, error.context_tokens
    return failure


def error_of_failure(failure: pb.Failure) -> DroverError:
    """The error that a worker raised; InternalError for an unknown type."""
    error_type = ERROR_TYPES.get(failure.reason, InternalError)
    if error_type is ContextExceeded:
        return ContextExceeded(failure.message, failure.prompt_tokens, failure.context_tokens)
    return error_type(failure.message)


def has_error_type(failure: grpc.aio.AioRpcError) -> bool:
    """True if the other tier raised one of our error types, rather than gRPC or an unhandled exception."""
    info = _info_in_details(failure)
    return info is not None and info.reason in ERROR_TYPES


def error_from_status(failure: grpc.aio.AioRpcError) -> DroverError:
    """The error that a worker raised, or for a failure of the transport what it means for the caller."""
    message = failure.details() or failure.code().name
    info = _info_in_details(failure)
    if info is not None and info.reason in ERROR_TYPES:
        return _rebuilt(ERROR_TYPES[info.reason], message, info)
    match failure.code():
        case grpc.StatusCode.UNAVAILABLE:
            return WorkerUnreachable(f"the worker cannot be reached: {message}")
        case grpc.StatusCode.PERMISSION_DENIED:
            return WorkerUnreachable(f"the worker refuses this frontend: {message}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(message)
        case grpc.StatusCode.CANCELLED:
            return ClientLeft(message)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return InvalidRequest(message)
        case _:
            return InternalError(message)


def _rebuilt(error_type: type[DroverError], message: str, info: error_details_pb2.ErrorInfo) -> DroverError:
    if error_type is not ContextExceeded:
        return error_type(message)
    prompt, context = (info.metadata.get(key, "") for key in (_PROMPT_TOKENS, _CONTEXT_TOKENS))
    if not (prompt.isdecimal() and context.isdecimal()):
        return ContextExceeded(message)
    return ContextExceeded(message, int(prompt), int(context))


def _info_in_details(failure: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return _info(value)
    return None


def _info(serialized_status: bytes) -> error_details_pb2.ErrorInfo | None:
    try:
        details = status_pb2.Status.FromString(serialized_status).details
        for detail in details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                return info
    except DecodeError:
        return None
    return None
